"""Create, update and patch: the write path that all kinds share.

Order of the steps, as in the API server: decode → defaults → built-in admission → mutating webhooks → server-owned
fields → validation → validating webhooks → store. Everything between reading the current object and storing the next
one is synchronous, except the calls of webhooks; after those the write looks again and starts over if it was overtaken.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from extender.emulator import convert, decoding, kinds, merging, names, patching, pods, schema, status, transitions
from extender.emulator.admission import Admission, Operation
from extender.emulator.deletes import may_vanish
from extender.emulator.resources import (
    JSON,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    Registry,
    Resource,
    Storage,
)
from extender.emulator.status import Cause
from extender.emulator.store import Record, Store
from extender.emulator.times import now_text
from extender.emulator.versions import Versions

# What Kubernetes appends to generateName: no vowels, no lookalikes.
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5

_PATCH_ATTEMPTS = 5

Change = Callable[[JSON, list[str]], JSON]


@dataclass(slots=True)
class WriteOptions:
    """The query parameters of a write, and the warnings that its reply will carry.

    validation: Strict, Warn or Ignore, what to do about unknown fields.
    """

    dry_run: bool = False
    validation: str = "Warn"
    manager: str = "unknown"
    warnings: list[str] = field(default_factory=list)


class Writer:
    """All writes to the store that come from clients."""

    def __init__(self, store: Store, registry: Registry, admission: Admission, versions: Versions) -> None:
        self._store = store
        self._registry = registry
        self._admission = admission
        self._versions = versions

    async def create(self, resource: Resource, namespace: str, body: JSON, options: WriteOptions) -> Record:
        """POST: store a new object. Raises StatusError (400, 403, 404, 409, 422)."""
        decoding.check_type(resource, body)
        obj = self._decode(resource, body, options)
        metadata = obj["metadata"]
        self._set_namespace(resource, namespace, metadata)
        if metadata.get("resourceVersion"):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        for owned in (
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
        ):
            metadata.pop(owned, None)
        metadata.pop("managedFields", None)
        return await self._create(resource, obj, options)

    async def _create(self, resource: Resource, obj: JSON, options: WriteOptions) -> Record:
        kind = kinds.of(resource.storage)
        namespace = obj["metadata"].get("namespace", "")
        self._check_namespace(resource, namespace, obj)
        self._default(resource, kind, obj)
        self._admit(resource, kind, obj)
        if self._admission.mutates(resource):
            operation = Operation("CREATE", resource, namespace, obj, None, options.dry_run, options.warnings)
            obj = self._redecode(resource, await self._admission.mutate(operation))
            self._default(resource, kind, obj)
            self._admit(resource, kind, obj)
        metadata = obj["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._generate_name(resource.storage, namespace, metadata["generateName"])
        if not metadata.get("name"):
            cause = status.required("metadata.name", "name or generateName is required")
            raise status.invalid_object(resource, "", [cause])
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = now_text()
        if resource.generation:
            metadata["generation"] = 1
        kind.prepare(obj)
        if resource.custom and "status" in resource.subresources:
            obj.pop("status", None)
        self._validate(resource, obj, kind.validate(obj))
        if self._admission.validates(resource):
            operation = Operation("CREATE", resource, namespace, obj, None, options.dry_run, options.warnings)
            await self._admission.validate(operation)
        stored = obj if options.dry_run else await self._versions.to_stored(resource, obj)
        # Once more, after whatever was waited for.
        self._check_namespace(resource, namespace, obj)
        if self._store.get(resource.storage, namespace, metadata["name"]) is not None:
            raise status.already_exists(resource, metadata["name"])
        if options.dry_run:
            return _unstored(resource.storage, obj)
        record = self._store.insert(resource.storage, stored, self._versions.stored_in(resource))
        if resource.storage == NAMESPACES:
            self._populate_namespace(record.name)
        return await self._versions.served(resource, record)

    def _populate_namespace(self, name: str) -> None:
        metadata = {
            "name": "default",
            "namespace": name,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now_text(),
        }
        if self._store.get(SERVICE_ACCOUNTS, name, "default") is None:
            self._store.insert(SERVICE_ACCOUNTS, {"metadata": metadata})

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: JSON,
        options: WriteOptions,
        subresource: str = "",
    ) -> Record:
        """PUT: replace an object, or its status. Raises StatusError (400, 404, 409, 422)."""
        decoding.check_type(resource, body)
        given = (body.get("metadata") or {}).get("name")
        if given != name:
            raise status.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        obj = self._decode(resource, body, options)
        self._set_namespace(resource, namespace, obj["metadata"])
        if resource.custom and not obj["metadata"].get("resourceVersion"):
            cause = status.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise status.invalid_object(resource, name, [cause])
        raw = orjson.dumps(obj)
        return await self._change(
            resource, namespace, name, lambda _old, _unknown: orjson.loads(raw), options, subresource
        )

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        content_type: str,
        body: bytes,
        options: WriteOptions,
        subresource: str = "",
    ) -> tuple[Record, bool]:
        """PATCH in one of the four dialects; returns the object and whether it was created (apply only).

        Raises StatusError (400, 404, 409, 415, 422).
        """
        if content_type == patching.APPLY_PATCH:
            return await self._apply(resource, namespace, name, body, options, subresource)
        patch = decoding.parse_json(body)
        if content_type == patching.JSON_PATCH and not isinstance(patch, list):
            raise status.bad_request("a JSON patch is a list of operations")
        if content_type != patching.JSON_PATCH and not isinstance(patch, dict):
            raise status.bad_request("the patch is not an object")

        def change(old: JSON, unknown: list[str]) -> JSON:
            uid = old["metadata"]["uid"]
            new = decoding.to_stored(resource, _apply_dialect(resource, content_type, old, patch), unknown)
            wanted = (new.get("metadata") or {}).get("uid")
            if wanted and wanted != uid:
                # A PUT fails on a precondition (409), a PATCH on validation, as on the real API server.
                cause = status.invalid_value("metadata.uid", wanted, "field is immutable")
                raise status.invalid_object(resource, name, [cause])
            return new

        def refuse(unknown: list[str]) -> status.StatusError:
            text = body.decode(errors="replace")
            return status.invalid("", "", "", [status.invalid_value("patch", text, decoding.strict_text(unknown))])

        return await self._change(resource, namespace, name, change, options, subresource, refuse), False

    async def _apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: bytes,
        options: WriteOptions,
        subresource: str,
    ) -> tuple[Record, bool]:
        applied = decoding.parse_yaml(body)
        if not isinstance(applied, dict):
            raise status.bad_request("the applied configuration is not an object")
        decoding.check_type(resource, applied)
        metadata = applied["metadata"] = applied.get("metadata") or {}
        if metadata.setdefault("name", name) != name:
            raise status.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        wanted = self._decode(resource, applied, options)
        wanted["metadata"].pop("managedFields", None)
        structure = _structure(resource)
        owned = merging.field_set({k: v for k, v in wanted.items() if k != "metadata"}, structure)
        owned["f:metadata"] = merging.field_set(
            {k: v for k, v in wanted["metadata"].items() if k in ("labels", "annotations", "finalizers")},
            structure.child("metadata"),
        )
        entry = {
            "manager": options.manager,
            "operation": "Apply",
            "apiVersion": resource.api_version,
            "time": now_text(),
            "fieldsType": "FieldsV1",
            "fieldsV1": owned,
        }
        if subresource:
            entry["subresource"] = subresource
        if self._store.get(resource.storage, namespace, name) is None:
            if subresource:
                raise status.not_found(resource, name)
            self._set_namespace(resource, namespace, wanted["metadata"])
            wanted["metadata"]["managedFields"] = [entry]
            return await self._create(resource, wanted, options), True

        def change(old: JSON, _unknown: list[str]) -> JSON:
            entries = old["metadata"].get("managedFields") or []
            mine = [e for e in entries if _same_manager(e, entry)]
            previous = mine[0].get("fieldsV1") or {} if mine else {}
            # Applying the same again must change nothing, the time of the entry included.
            kept = mine[0] if mine and previous == owned else entry
            new = merging.apply_patch(old, orjson.loads(orjson.dumps(wanted)), previous, structure)
            new["metadata"]["managedFields"] = [e for e in entries if not _same_manager(e, entry)] + [kept]
            return new

        return await self._change(resource, namespace, name, change, options, subresource, keep_managed=True), False

    async def set_replicas(
        self, resource: Resource, namespace: str, name: str, replicas: int, version: str | None, options: WriteOptions
    ) -> Record:
        """Change `spec.replicas` alone; `version` is a precondition when given. Raises StatusError 404, 409."""

        def change(old: JSON, _unknown: list[str]) -> JSON:
            old.setdefault("spec", {})["replicas"] = replicas
            if version:
                old["metadata"]["resourceVersion"] = version
            return old

        return await self._change(resource, namespace, name, change, options)

    async def _change(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change,
        options: WriteOptions,
        subresource: str = "",
        refuse: Callable[[list[str]], status.StatusError] | None = None,
        keep_managed: bool = False,
    ) -> Record:
        """Read, change, store; again when a webhook call let another writer in between."""
        for _ in range(_PATCH_ATTEMPTS):
            stored = self._store.get(resource.storage, namespace, name)
            if stored is None:
                raise status.not_found(resource, name)
            current = await self._versions.served(resource, stored)
            unknown: list[str] = []
            try:
                new = change(current.copy(), unknown)
            except patching.PatchError as error:
                raise patching.refusal(error) from error
            if unknown and options.validation == "Strict" and refuse is not None:
                raise refuse(unknown)
            if refuse is not None and options.validation == "Warn":
                options.warnings.extend(f'unknown field "{path}"' for path in unknown)
            wanted_version = (new.get("metadata") or {}).get("resourceVersion")
            if wanted_version and wanted_version != str(current.version):
                raise status.modified(resource, name)
            record = await self._store_change(resource, stored, current, new, options, subresource, keep_managed)
            if record is not None:
                return record
        raise status.modified(resource, name)

    async def _store_change(
        self,
        resource: Resource,
        stored: Record,
        current: Record,
        new: JSON,
        options: WriteOptions,
        subresource: str,
        keep_managed: bool,
    ) -> Record | None:
        """One attempt to store `new` over `current`, the view of `stored`; None when another write came first."""
        kind = kinds.of(resource.storage)
        old = current.obj
        transitions.carry_owned_metadata(resource, current, new, keep_managed)
        new = transitions.split_status(resource, old, new, subresource)
        if not subresource:
            self._default(resource, kind, new)
            kind.inherit(new, old)
        operation = Operation(
            "UPDATE", resource, current.namespace, new, old, options.dry_run, options.warnings, subresource
        )
        if self._admission.mutates(resource):
            new = self._redecode(resource, await self._admission.mutate(operation))
            transitions.carry_owned_metadata(resource, current, new, keep_managed)
            new = transitions.split_status(resource, old, new, subresource)
            operation.obj = new
        if resource.generation and transitions.desired(resource, new) != transitions.desired(resource, old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        causes: list[Cause] = list(names.validate_metadata_update(new["metadata"], old["metadata"]))
        if not subresource:
            causes += kind.validate_update(new, old)
        if not causes:
            causes = list(kind.validate(new)) if not subresource else []
        self._validate(resource, new, causes)
        if self._admission.validates(resource):
            await self._admission.validate(operation)
        api_version = self._versions.stored_in(resource)
        is_same = new == old and stored.api_version == api_version
        obj = new if options.dry_run or is_same else await self._versions.to_stored(resource, new)
        if self._store.get(stored.storage, stored.namespace, stored.name) is not stored:
            return None
        if options.dry_run:
            return _unstored(resource.storage, new)
        if may_vanish(resource.storage, new):
            return await self._versions.served(resource, self._store.remove(stored, obj, api_version))
        if is_same:
            return current
        return await self._versions.served(resource, self._store.replace(stored, obj, api_version))

    def _decode(self, resource: Resource, body: JSON, options: WriteOptions) -> JSON:
        unknown: list[str] = []
        obj = decoding.to_stored(resource, body, unknown)
        if unknown and options.validation == "Strict":
            raise decoding.strict_refusal(resource, unknown)
        if options.validation == "Warn":
            options.warnings.extend(f'unknown field "{path}"' for path in unknown)
        return obj

    def _redecode(self, resource: Resource, obj: JSON) -> JSON:
        """What a webhook made of an object, pruned again."""
        return decoding.to_stored(resource, obj, [])

    def _default(self, resource: Resource, kind: kinds.Kind, obj: JSON) -> None:
        if resource.custom:
            schema.default(resource.schema or {}, obj)
        else:
            kind.default(obj)

    def _admit(self, resource: Resource, kind: kinds.Kind, obj: JSON) -> None:
        try:
            kind.admit(obj, self._store)
        except pods.AdmissionError as error:
            metadata = obj["metadata"]
            name = metadata.get("name") or metadata.get("generateName") or "Unknown"
            raise status.forbidden(resource, name, str(error)) from error

    def _validate(self, resource: Resource, obj: JSON, causes: Iterable[Cause]) -> None:
        found = list(names.validate_metadata(resource, obj["metadata"]))
        if resource.custom:
            found += schema.validate(resource.schema or {}, obj)
        found += causes
        if found:
            raise status.invalid_object(resource, obj["metadata"].get("name", ""), found)

    def _set_namespace(self, resource: Resource, namespace: str, metadata: JSON) -> None:
        given = metadata.get("namespace")
        if not resource.namespaced:
            metadata.pop("namespace", None)
        elif given and given != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        else:
            metadata["namespace"] = namespace

    def _check_namespace(self, resource: Resource, namespace: str, obj: JSON) -> None:
        """A namespaced object needs a namespace that exists and is not on its way out."""
        if not resource.namespaced:
            return
        record = self._store.get(NAMESPACES, "", namespace)
        if record is None:
            raise status.not_found(self._registry.of_storage(NAMESPACES), namespace)
        if "deletionTimestamp" in record.obj["metadata"]:
            metadata = obj["metadata"]
            name = metadata.get("name") or metadata.get("generateName", "")
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            error = status.forbidden(resource, name, why)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
            }
            error.details = {**(error.details or {}), "causes": [{**cause, "field": "metadata.namespace"}]}
            raise error

    def _generate_name(self, storage: Storage, namespace: str, prefix: str) -> str:
        while True:
            name = prefix[:58] + "".join(random.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))
            if self._store.get(storage, namespace, name) is None:
                return name


def _apply_dialect(resource: Resource, content_type: str, old: JSON, patch: Any) -> JSON:
    typed = {"apiVersion": resource.api_version, "kind": resource.kind, **convert.to_served(resource, old)}
    if content_type == patching.JSON_PATCH:
        result = patching.json_patch(typed, patch)
        if not isinstance(result, dict):
            raise patching.PatchError("the patched document is not an object")
        return result
    if content_type == patching.MERGE_PATCH:
        merged: JSON = patching.merge_patch(typed, patch)
        return merged
    if content_type == patching.STRATEGIC_PATCH and not resource.custom:
        return merging.strategic_merge(typed, patch, _structure(resource))
    accepted = [patching.JSON_PATCH, patching.MERGE_PATCH, patching.APPLY_PATCH]
    if not resource.custom:
        accepted.insert(2, patching.STRATEGIC_PATCH)
    raise status.unsupported_media_type(accepted)


def _structure(resource: Resource) -> merging.Structure:
    if resource.model:
        return merging.StructureOfModel(resource.model)
    return merging.StructureOfSchema(resource.schema or {})


def _same_manager(entry: JSON, other: JSON) -> bool:
    return all(entry.get(key) == other.get(key) for key in ("manager", "operation", "subresource"))


def _unstored(storage: Storage, obj: JSON) -> Record:
    """What a dry run would have stored."""
    metadata = {"resourceVersion": "0", **obj["metadata"]}
    record = Record(storage, {**obj, "metadata": metadata})
    if metadata["resourceVersion"] == "0":
        del metadata["resourceVersion"]
    return record
