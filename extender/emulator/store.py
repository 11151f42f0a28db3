"""Objects in memory, one counter of resource versions, and a bounded history for watches.

Ownership: what the store holds is never changed in place. A writer hands over a dict and must not touch it again; a
reader that wants to change something takes `Record.copy()`. So a watch event, a list and the object's next version may
share parts without care, and every object is encoded at most once however many watchers there are.

All methods are synchronous: a read followed by a write without an `await` between them is atomic.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from typing import cast

import orjson

from extender.emulator import convert
from extender.emulator.resources import JSON, Resource, Storage

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"

HISTORY_EVENTS = 10_000


class Record:
    """One version of one object; `obj` has no `apiVersion` and `kind`.

    api_version: the one that `obj` is in; "" where there is but one shape. views: it in others, kept by `versions`.
    """

    __slots__ = ("_encoded", "api_version", "name", "namespace", "obj", "storage", "version", "views")

    def __init__(self, storage: Storage, obj: JSON, api_version: str = "") -> None:
        metadata = obj["metadata"]
        self.storage = storage
        self.obj = obj
        self.namespace: str = metadata.get("namespace", "")
        self.name: str = metadata["name"]
        self.version = int(metadata["resourceVersion"])
        self.api_version = api_version
        self.views: dict[str, Record] = {}
        self._encoded: dict[str, bytes] = {}

    @property
    def uid(self) -> str:
        return cast("str", self.obj["metadata"]["uid"])

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)

    def encode(self, resource: Resource) -> bytes:
        """The object's JSON as `resource` serves it, without `kind` and `apiVersion`; kept, so that it costs once."""
        encoded = self._encoded.get(resource.api_version)
        if encoded is None:
            encoded = orjson.dumps(convert.to_served(resource, self.obj))
            self._encoded[resource.api_version] = encoded
        return encoded

    def encode_whole(self, resource: Resource) -> bytes:
        """The object's JSON with `kind` and `apiVersion`."""
        return resource.head + self.encode(resource)[1:]

    def copy(self) -> JSON:
        """A deep copy that the caller may change."""
        return cast("JSON", orjson.loads(orjson.dumps(self.obj)))


class Event:
    """One change. `before` is None for ADDED; for DELETED `record` is the last state with the deletion's version."""

    __slots__ = ("_lines", "before", "record", "type")

    def __init__(self, type_: str, record: Record, before: Record | None) -> None:
        self.type = type_
        self.record = record
        self.before = before
        self._lines: dict[tuple[str, str], bytes] = {}

    def line(self, resource: Resource) -> bytes:
        """The watch line, newline included, encoded once for all watchers of one version."""
        return self._line(resource, self.type, self.record)

    def line_as(self, resource: Resource, type_: str) -> bytes:
        """The line for a watcher whose selection the object enters (ADDED) or leaves (DELETED) with this change.

        Leaving carries the old content under the new version: the client must see what it knew go away.
        """
        if type_ == DELETED and self.type != DELETED and self.before is not None:
            return self._line(resource, type_, with_version(self.before, self.record.version))
        return self._line(resource, type_, self.record)

    def _line(self, resource: Resource, type_: str, record: Record) -> bytes:
        key = (type_, resource.api_version)
        line = self._lines.get(key)
        if line is None:
            line = b'{"type":"%b","object":%b}\n' % (type_.encode(), record.encode_whole(resource))
            self._lines[key] = line
        return line


def with_version(record: Record, version: int) -> Record:
    """The same content under another resourceVersion."""
    metadata = {**record.obj["metadata"], "resourceVersion": str(version)}
    return Record(record.storage, {**record.obj, "metadata": metadata}, record.api_version)


class _Table:
    """Objects and history of one storage."""

    __slots__ = ("events", "expired", "floor", "keys", "limit", "records", "wakers")

    def __init__(self, limit: int) -> None:
        self.records: dict[tuple[str, str], Record] = {}
        self.keys: list[tuple[str, str]] = []
        self.events: list[Event] = []
        self.limit = limit
        # The newest version that the history no longer covers.
        self.floor = 0
        # As above, by decree: new watches cannot start from below it, open ones go on.
        self.expired = 0
        self.wakers: set[Callable[[], None]] = set()

    def append(self, event: Event) -> None:
        self.events.append(event)
        # Cut in blocks: deleting the head of a list costs its length.
        if len(self.events) > self.limit + max(self.limit // 4, 16):
            self.trim(len(self.events) - self.limit)
        for wake in self.wakers:
            wake()

    def trim(self, count: int) -> None:
        if count > 0:
            self.floor = self.events[count - 1].record.version
            del self.events[:count]


class Store:
    """Every object of the embedded cluster.

    history_events: how many changes a resource remembers at least; older resume points answer 410 Gone.
    """

    def __init__(self, history_events: int = HISTORY_EVENTS) -> None:
        self._history_events = history_events
        self._tables: dict[Storage, _Table] = {}
        self._listeners: list[Callable[[Event], None]] = []
        # A young cluster has already written something; 0 and 1 have meanings of their own in the protocol.
        self.version = 1

    def get(self, storage: Storage, namespace: str, name: str) -> Record | None:
        """The current version of one object; `namespace` is "" for cluster-scoped ones."""
        table = self._tables.get(storage)
        return table.records.get((namespace, name)) if table else None

    def records(
        self, storage: Storage, namespace: str | None = None, after: tuple[str, str] | None = None
    ) -> list[Record]:
        """Objects in (namespace, name) order, optionally of one namespace and behind a key; the caller's list."""
        table = self._tables.get(storage)
        if table is None:
            return []
        keys = table.keys
        low, high = 0, len(keys)
        if namespace:
            low, high = bisect_left(keys, (namespace, "")), bisect_left(keys, (namespace + "\0", ""))
        if after is not None:
            low = max(low, bisect_right(keys, after))
        return [table.records[key] for key in keys[low:high]]

    def count(self, storage: Storage) -> int:
        table = self._tables.get(storage)
        return len(table.records) if table else 0

    def storages(self) -> list[Storage]:
        """Every storage that has ever held an object."""
        return list(self._tables)

    def insert(self, storage: Storage, obj: JSON, api_version: str = "") -> Record:
        """Store a new object under the next resourceVersion; the key must be free (KeyError)."""
        record = self._stamp(storage, obj, api_version)
        table = self._table(storage)
        if record.key in table.records:
            raise KeyError(record.key)
        table.records[record.key] = record
        insort(table.keys, record.key)
        self._publish(table, Event(ADDED, record, None))
        return record

    def replace(self, before: Record, obj: JSON, api_version: str | None = None) -> Record:
        """Store the next state of `before`, which must be the current one (KeyError); by default in its apiVersion."""
        record = self._stamp(before.storage, obj, before.api_version if api_version is None else api_version)
        table = self._table(before.storage)
        if table.records.get(before.key) is not before or record.key != before.key:
            raise KeyError(before.key)
        table.records[record.key] = record
        self._publish(table, Event(MODIFIED, record, before))
        return record

    def remove(self, before: Record, obj: JSON | None = None, api_version: str | None = None) -> Record:
        """Take an object out; `obj` is its last state where that differs from `before`, the current one (KeyError)."""
        api_version = before.api_version if api_version is None else api_version
        record = self._stamp(before.storage, {**(obj or before.obj)}, api_version)
        table = self._table(before.storage)
        if table.records.get(before.key) is not before:
            raise KeyError(before.key)
        del table.records[before.key]
        del table.keys[bisect_left(table.keys, before.key)]
        self._publish(table, Event(DELETED, record, before))
        return record

    def next_version(self) -> int:
        """Spend one resourceVersion."""
        self.version += 1
        return self.version

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` synchronously with every change of every resource (it must not write)."""
        self._listeners.append(listener)

    def floor(self, storage: Storage) -> int:
        """The oldest version from which a watch can resume."""
        table = self._tables.get(storage)
        return max(table.floor, table.expired) if table else 0

    def expire(self, storage: Storage) -> None:
        """Let no watch resume from any version up to now; open streams go on."""
        self._table(storage).expired = self.next_version()

    def events_after(self, storage: Storage, version: int) -> list[Event] | None:
        """Changes newer than `version`, oldest first; None when the history no longer reaches back to it."""
        table = self._tables.get(storage)
        if table is None:
            return []
        if version < table.floor:
            return None
        return table.events[bisect_right(table.events, version, key=_version) :]

    def subscribe(self, storage: Storage, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after each change of one resource; returns the function that ends it."""
        wakers = self._table(storage).wakers
        wakers.add(wake)
        return lambda: wakers.discard(wake)

    def __iter__(self) -> Iterator[Record]:
        for table in self._tables.values():
            yield from list(table.records.values())

    def _table(self, storage: Storage) -> _Table:
        table = self._tables.get(storage)
        if table is None:
            table = self._tables[storage] = _Table(self._history_events)
        return table

    def _stamp(self, storage: Storage, obj: JSON, api_version: str) -> Record:
        obj["metadata"] = {**obj["metadata"], "resourceVersion": str(self.next_version())}
        return Record(storage, obj, api_version)

    def _publish(self, table: _Table, event: Event) -> None:
        table.append(event)
        for listener in self._listeners:
            listener(event)


def _version(event: Event) -> int:
    return event.record.version
