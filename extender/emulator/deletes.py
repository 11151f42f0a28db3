"""Delete: preconditions, grace, finalizers, propagation; what goes at once and what stays until somebody lets go."""

from __future__ import annotations

from dataclasses import dataclass, field

from extender.emulator import status
from extender.emulator.admission import Admission, Operation
from extender.emulator.resources import CRDS, JOBS, JSON, NAMESPACES, PODS, Resource, Storage
from extender.emulator.store import Record, Store
from extender.emulator.times import now_text
from extender.emulator.versions import Versions

# Finalizers by which a deletion waits for the garbage collector.
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"

_PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})

# Kinds whose delete answers with the object even when it is gone at once.
_RETURNS_DELETED = frozenset({"pods", "services", "persistentvolumeclaims", "persistentvolumes", "serviceaccounts"})

_JOBS_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


@dataclass(slots=True)
class DeleteOptions:
    """The body or query parameters of a delete; None is "not said"."""

    grace_s: int | None = None
    propagation: str | None = None
    uid: str | None = None
    version: str | None = None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)


class Deleter:
    """All deletions, those by clients and those by the garbage collector."""

    def __init__(self, store: Store, admission: Admission, versions: Versions) -> None:
        self._store = store
        self._admission = admission
        self._versions = versions

    async def delete(
        self, resource: Resource, namespace: str, name: str, options: DeleteOptions
    ) -> tuple[Record, bool]:
        """DELETE: take an object out or mark it; returns its last state and whether it is gone.

        Raises StatusError (403, 404, 409; 500 for an object that cannot be had in the version of the request).
        """
        current = self._checked(resource, namespace, name, options)
        old = (await self._versions.served(resource, current)).obj
        if resource.storage == NAMESPACES and name in _PROTECTED_NAMESPACES:
            raise status.forbidden(resource, name, "this namespace may not be deleted")
        if self._admission.validates(resource):
            operation = Operation(
                "DELETE", resource, namespace, None, old, options.dry_run, options.warnings, name=name
            )
            await self._admission.validate(operation)
        # Somebody else may have written while a webhook was asked.
        current = self._checked(resource, namespace, name, options)
        if options.dry_run:
            return current, True
        if resource.storage == JOBS and options.propagation is None:
            # The batch API's old default, which kubectl never relies on.
            options.propagation = "Orphan"
            options.warnings.append(_JOBS_WARNING)
        if resource.storage == CRDS:
            self._delete_instances(current)
        return self.remove(current, options)

    def _checked(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Record:
        current = self._store.get(resource.storage, namespace, name)
        if current is None:
            raise status.not_found(resource, name)
        _check_preconditions(resource, current, options)
        return current

    def remove(self, current: Record, options: DeleteOptions) -> tuple[Record, bool]:
        """Delete without asking anyone, but with grace and finalizers; returns the state and whether it is gone."""
        obj = current.copy()
        metadata = obj["metadata"]
        if options.propagation in ("Orphan", "Foreground"):
            mark = ORPHAN if options.propagation == "Orphan" else FOREGROUND
            others = [f for f in metadata.get("finalizers") or () if f not in (ORPHAN, FOREGROUND)]
            metadata["finalizers"] = [*others, mark]
        if current.storage == NAMESPACES:
            obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        grace_s = _grace_s(current, options)
        stays = bool(metadata.get("finalizers")) or grace_s > 0 or current.storage == NAMESPACES
        if not stays:
            return self._store.remove(current), True
        remaining_s = metadata.get("deletionGracePeriodSeconds")
        if "deletionTimestamp" not in metadata and "generation" in metadata:
            metadata["generation"] += 1
        if remaining_s is None or grace_s < remaining_s:
            # Deleting again can only hasten it.
            metadata["deletionTimestamp"] = now_text(later_s=grace_s)
            metadata["deletionGracePeriodSeconds"] = grace_s
        if obj == current.obj:
            return current, False
        return self._store.replace(current, obj), False

    def set_finalizers(self, current: Record, finalizers: list[str]) -> Record:
        """Replace an object's finalizers; one that is being deleted vanishes with its last."""
        obj = current.copy()
        obj["metadata"].pop("finalizers", None)
        if finalizers:
            obj["metadata"]["finalizers"] = finalizers
        return (
            self._store.remove(current, obj) if may_vanish(current.storage, obj) else self._store.replace(current, obj)
        )

    def finalize_namespace(self, current: Record) -> Record:
        """Take the API server's own finalizer off a namespace, whose contents are gone."""
        obj = current.copy()
        obj["spec"].pop("finalizers", None)
        return (
            self._store.remove(current, obj) if may_vanish(current.storage, obj) else self._store.replace(current, obj)
        )

    def _delete_instances(self, crd: Record) -> None:
        """A definition takes its objects with it, finalizers or not: nobody could serve them any more."""
        spec = crd.obj["spec"]
        for record in self._store.records(Storage(spec["group"], spec["names"]["plural"])):
            self._store.remove(record)


def may_vanish(storage: Storage, obj: JSON) -> bool:
    """Whether an object that is being deleted has nothing left that keeps it."""
    metadata = obj["metadata"]
    return (
        "deletionTimestamp" in metadata
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not (storage == NAMESPACES and obj["spec"].get("finalizers"))
    )


def returns_deleted(resource: Resource) -> bool:
    """Whether deleting answers with the object itself rather than with a Status."""
    return not resource.group and resource.plural in _RETURNS_DELETED


def _grace_s(current: Record, options: DeleteOptions) -> int:
    """Seconds that the object keeps: only pods that run on a node get any."""
    if current.storage != PODS:
        return 0
    spec, phase = current.obj.get("spec") or {}, (current.obj.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    if options.grace_s is not None:
        return max(0, options.grace_s)
    return int(spec.get("terminationGracePeriodSeconds", 30))


def _check_preconditions(resource: Resource, current: Record, options: DeleteOptions) -> None:
    if options.uid is not None and options.uid != current.uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({current.uid}). "
            "The object might have been deleted and then recreated"
        )
        raise status.conflict(resource, current.name, why)
    if options.version is not None and options.version != str(current.version):
        why = (
            f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion in "
            f"record ({current.version}). The object might have been modified"
        )
        raise status.conflict(resource, current.name, why)
