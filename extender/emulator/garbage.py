"""What follows from a deletion: dependents of deleted owners, contents of deleted namespaces.

A real cluster does this in controllers beside the API server. Here one loop in its process does it: a store listener
notes which objects may have work (it must not write), the loop looks at each of them again and acts on what is true
then. So nothing depends on the order of events.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from extender.emulator.deletes import FOREGROUND, ORPHAN, DeleteOptions, Deleter
from extender.emulator.resources import JSON, NAMESPACES, Registry, Storage
from extender.emulator.store import DELETED, Event, Record, Store

# Objects handled before other tasks get a turn.
_BATCH = 100


class _Key(NamedTuple):
    storage: Storage
    namespace: str
    name: str


class GarbageCollector:
    """Deletes dependents and namespace contents; `run` is its loop, owned by the caller."""

    def __init__(self, store: Store, registry: Registry, deleter: Deleter) -> None:
        self._store = store
        self._registry = registry
        self._deleter = deleter
        self._live: dict[str, _Key] = {}
        # uid of an owner → its dependents; uid of an object → uids of its owners
        self._dependents: dict[str, dict[_Key, None]] = {}
        self._owners: dict[str, frozenset[str]] = {}
        self._work: dict[_Key, None] = {}
        self._wake = asyncio.Event()
        store.listen(self._note)

    async def run(self) -> None:
        """Work off what was noted, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._work:
                for key in list(self._work)[:_BATCH]:
                    del self._work[key]
                    self._process(key)
                await asyncio.sleep(0)

    def _note(self, event: Event) -> None:
        record = event.record
        key = _Key(record.storage, record.namespace, record.name)
        metadata = record.obj["metadata"]
        uid = record.uid
        if event.type == DELETED:
            self._forget(uid, key)
            return
        self._live[uid] = key
        owners = frozenset(owner["uid"] for owner in metadata.get("ownerReferences") or ())
        known = self._owners.get(uid, frozenset())
        if owners != known:
            for owner in known - owners:
                self._drop_dependent(owner, key)
            for owner in owners:
                self._dependents.setdefault(owner, {})[key] = None
            self._owners[uid] = owners
        if "deletionTimestamp" in metadata:
            if metadata.get("finalizers") or record.storage == NAMESPACES:
                self._enqueue(key)
        elif owners != known and any(owner not in self._live for owner in owners):
            self._enqueue(key)

    def _forget(self, uid: str, key: _Key) -> None:
        self._live.pop(uid, None)
        for owner in self._owners.pop(uid, frozenset()):
            self._drop_dependent(owner, key)
            if owner in self._live:
                self._enqueue(self._live[owner])
        for dependent in self._dependents.get(uid, ()):
            self._enqueue(dependent)
        namespace = self._store.get(NAMESPACES, "", key.namespace) if key.namespace else None
        if namespace is not None and "deletionTimestamp" in namespace.obj["metadata"]:
            self._enqueue(_Key(NAMESPACES, "", key.namespace))

    def _drop_dependent(self, owner: str, key: _Key) -> None:
        dependents = self._dependents.get(owner)
        if dependents is not None:
            dependents.pop(key, None)
            if not dependents:
                del self._dependents[owner]

    def _enqueue(self, key: _Key) -> None:
        self._work[key] = None
        self._wake.set()

    def _process(self, key: _Key) -> None:
        record = self._store.get(*key)
        if record is None:
            return
        metadata = record.obj["metadata"]
        finalizers = list(metadata.get("finalizers") or ())
        if "deletionTimestamp" not in metadata:
            self._check_owners(record)
        elif ORPHAN in finalizers:
            for dependent in self._dependents_of(record):
                self._release(dependent, record.uid)
            self._deleter.set_finalizers(record, [f for f in finalizers if f != ORPHAN])
        elif FOREGROUND in finalizers:
            self._delete_in_foreground(record, finalizers)
        elif record.storage == NAMESPACES:
            self._empty_namespace(record)

    def _dependents_of(self, record: Record) -> list[Record]:
        found = (self._store.get(*key) for key in list(self._dependents.get(record.uid, ())))
        return [dependent for dependent in found if dependent is not None]

    def _check_owners(self, record: Record) -> None:
        """Delete an object whose owners are all gone; drop references to single ones that are."""
        owners: list[JSON] = record.obj["metadata"].get("ownerReferences") or []
        absent = [owner for owner in owners if self._is_absent(owner)]
        if owners and len(absent) == len(owners):
            self._deleter.remove(record, DeleteOptions(propagation="Background"))
        else:
            for owner in absent:
                current = self._store.get(record.storage, record.namespace, record.name)
                if current is not None:
                    self._release(current, owner["uid"])

    def _is_absent(self, owner: JSON) -> bool:
        # An owner of a kind that is not served cannot be looked up: the real collector waits, too.
        served = self._registry.find_kind(owner["apiVersion"], owner["kind"]) is not None
        return served and owner["uid"] not in self._live

    def _release(self, dependent: Record, owner_uid: str) -> None:
        obj = dependent.copy()
        kept = [owner for owner in obj["metadata"].get("ownerReferences") or () if owner["uid"] != owner_uid]
        obj["metadata"].pop("ownerReferences", None)
        if kept:
            obj["metadata"]["ownerReferences"] = kept
        self._store.replace(dependent, obj)

    def _delete_in_foreground(self, record: Record, finalizers: list[str]) -> None:
        for dependent in self._dependents_of(record):
            if "deletionTimestamp" not in dependent.obj["metadata"]:
                self._deleter.remove(dependent, DeleteOptions(propagation="Foreground"))
        # Only dependents that say so hold their owner back.
        if not any(_blocks(dependent, record.uid) for dependent in self._dependents_of(record)):
            self._deleter.set_finalizers(record, [f for f in finalizers if f != FOREGROUND])

    def _empty_namespace(self, namespace: Record) -> None:
        left = False
        for storage in self._store.storages():
            for record in self._store.records(storage, namespace.name):
                if "deletionTimestamp" not in record.obj["metadata"]:
                    self._deleter.remove(record, DeleteOptions(propagation="Background"))
                left = left or self._store.get(storage, record.namespace, record.name) is not None
        if not left:
            self._deleter.finalize_namespace(namespace)


def _blocks(dependent: Record, owner_uid: str) -> bool:
    owners = dependent.obj["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == owner_uid and owner.get("blockOwnerDeletion") for owner in owners)
