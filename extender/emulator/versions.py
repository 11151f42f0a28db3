"""Custom resources in several versions: stored in one of them, served in each, with a webhook between.

A write is stored in the storage version of its definition, and a record remembers which that was. Whoever reads in
another version gets a view of the record: the same object as the definition's webhook converts it, pruned and defaulted
by the schema of that version, kept for as long as the record is. Who reads the stored version calls nobody; and where
the strategy is None, versions differ in `apiVersion` alone, which is not stored.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from extender.emulator import schema
from extender.emulator.resources import CRDS, JSON, Resource
from extender.emulator.status import StatusError
from extender.emulator.store import Event, Record, Store
from extender.emulator.webhooks import WebhookError, Webhooks

_TIMEOUT_S = 30.0
# What a webhook may change in metadata; the rest stays as it was.
_CHANGEABLE = ("labels", "annotations")


class Versions:
    """Converts between the versions of a kind. Raises StatusError 500 where the webhook fails."""

    def __init__(self, store: Store, webhooks: Webhooks) -> None:
        self._store = store
        self._webhooks = webhooks

    def stored_in(self, resource: Resource) -> str:
        """The `apiVersion` in which objects of this kind are stored now; "" where there is but one shape."""
        definition = self._definition(resource)
        if definition is None:
            return ""
        return next(f"{resource.group}/{one['name']}" for one in definition["versions"] if one["storage"])

    async def served(self, resource: Resource, record: Record) -> Record:
        """The record as `resource` serves it: itself, or a view of it."""
        if record.api_version in ("", resource.api_version) or self._webhook(resource) is None:
            return record
        view = record.views.get(resource.api_version)
        if view is None:
            obj = await self._converted(resource, record.obj, record.api_version, resource.api_version)
            view = record.views[resource.api_version] = Record(record.storage, obj, resource.api_version)
        return view

    async def all_served(self, resource: Resource, records: Iterable[Record]) -> list[Record]:
        """As `served`, of many."""
        return [await self.served(resource, record) for record in records]

    async def event(self, resource: Resource, event: Event) -> Event:
        """The change as a watcher of `resource` sees it."""
        record = await self.served(resource, event.record)
        if record is event.record:
            return event
        before = event.before and await self.served(resource, event.before)
        return Event(event.type, record, before)

    async def to_stored(self, resource: Resource, obj: JSON) -> JSON:
        """An object that came in the version of `resource`, in the one that it is stored in."""
        target = self.stored_in(resource)
        if target in ("", resource.api_version) or self._webhook(resource) is None:
            return obj
        return await self._converted(resource, obj, resource.api_version, target)

    async def between(self, source: Resource, obj: JSON, target: Resource) -> JSON:
        """An object of one served version in another."""
        if source.api_version == target.api_version or self._webhook(source) is None:
            return obj
        return await self._converted(source, obj, source.api_version, target.api_version)

    def _definition(self, resource: Resource) -> JSON | None:
        """The current one: `resource` itself may be older than a change of it. None for built-in kinds."""
        record = self._store.get(CRDS, "", resource.qualified) if resource.custom else None
        return record.obj["spec"] if record else None

    def _webhook(self, resource: Resource) -> JSON | None:
        definition = self._definition(resource) or {}
        conversion: JSON = definition.get("conversion") or {}
        return conversion["webhook"]["clientConfig"] if conversion.get("strategy") == "Webhook" else None

    async def _converted(self, resource: Resource, obj: JSON, source: str, target: str) -> JSON:
        client = self._webhook(resource) or {}
        typed = {"apiVersion": source, "kind": resource.kind, **obj}
        review = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "ConversionReview",
            "request": {"uid": str(uuid.uuid4()), "desiredAPIVersion": target, "objects": [typed]},
        }
        about = f"conversion webhook for {source}, Kind={resource.kind}"
        try:
            response = await self._webhooks.ask(client, review, _TIMEOUT_S)
        except WebhookError as error:
            raise _failure(f"{about} failed: {error}") from error
        result = response.get("result") or {}
        if result.get("status") != "Success":
            why = result.get("message") or f"response.result.status was '{result.get('status', '')}', not 'Success'"
            raise _failure(f"{about} failed: {why}")
        converted = response.get("convertedObjects") or []
        if len(converted) != 1:
            raise _failure(f"{about} returned {len(converted)} objects, expected 1")
        return self._checked(resource, obj, converted[0], target, about)

    def _checked(self, resource: Resource, before: JSON, after: Any, target: str, about: str) -> JSON:
        """What the webhook made of an object, without its type, as far as it may decide that."""
        got = after.get("apiVersion")
        if got != target:
            raise _failure(f"{about} returned invalid object: invalid apiVersion (expected {target}, received {got})")
        if after.get("kind") != resource.kind:
            why = f"invalid kind (expected {resource.kind}, received {after.get('kind')})"
            raise _failure(f"{about} returned invalid object: {why}")
        given = after.get("metadata") or {}
        for key in ("name", "namespace", "uid"):
            if given.get(key) != before["metadata"].get(key):
                why = f"metadata.{key}: must be the same {key}: {before['metadata'].get(key)} != {given.get(key)}"
                raise _failure(f"{about} returned invalid metadata: {why}")
        metadata = {key: value for key, value in before["metadata"].items() if key not in _CHANGEABLE}
        metadata |= {key: given[key] for key in _CHANGEABLE if given.get(key)}
        converted: JSON = {"metadata": metadata}
        converted |= {key: value for key, value in after.items() if key not in ("apiVersion", "kind", "metadata")}
        schema_of_target = self._schema(resource, target)
        schema.prune(schema_of_target, converted, [])
        schema.default(schema_of_target, converted)
        return converted

    def _schema(self, resource: Resource, api_version: str) -> JSON:
        versions = (self._definition(resource) or {}).get("versions") or ()
        name = api_version.rpartition("/")[2]
        return next((one["schema"]["openAPIV3Schema"] for one in versions if one["name"] == name), {})


def _failure(why: str) -> StatusError:
    return StatusError(500, "", why)
