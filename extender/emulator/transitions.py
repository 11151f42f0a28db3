"""What a write to an existing object may change: the rules between its old and its new state that all kinds share."""

from __future__ import annotations

from extender.emulator import status
from extender.emulator.resources import JSON, Resource
from extender.emulator.store import Record


def carry_owned_metadata(resource: Resource, current: Record, new: JSON, keep_managed: bool) -> None:
    """Put back what a client cannot change; a different uid means another object of the same name."""
    old = current.obj["metadata"]
    metadata = new.setdefault("metadata", {})
    if metadata.get("uid") not in (None, "", old["uid"]):
        why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {old['uid']}"
        raise status.conflict(resource, current.name, why)
    owned = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ]
    owned += ["generation", "resourceVersion", "selfLink"]
    if not keep_managed:
        owned.append("managedFields")
    for key in owned:
        if key in old:
            metadata[key] = old[key]
        else:
            metadata.pop(key, None)


def split_status(resource: Resource, old: JSON, new: JSON, subresource: str) -> JSON:
    """Let a write of the object change everything but the status, and a write of the status nothing else.

    For built-in kinds a status write may also change labels, annotations and finalizers.
    """
    if subresource == "status":
        metadata = old["metadata"] if resource.custom else {**new["metadata"]}
        if not resource.custom and "ownerReferences" in old["metadata"]:
            metadata["ownerReferences"] = old["metadata"]["ownerReferences"]
        if resource.custom and "managedFields" in new["metadata"]:
            metadata = {**metadata, "managedFields": new["metadata"]["managedFields"]}
        result = {**old, "metadata": dict(metadata)}
        if "status" in new:
            result["status"] = new["status"]
        else:
            result.pop("status", None)
        return result
    if "status" in resource.subresources:
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)
    return new


def desired(resource: Resource, obj: JSON) -> JSON:
    """The part of an object whose changes count as generations."""
    split = not resource.custom or "status" in resource.subresources
    skipped = ("metadata", "status") if split else ("metadata",)
    return {key: value for key, value in obj.items() if key not in skipped}
