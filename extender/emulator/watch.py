"""Watch streams: changes of one resource, one JSON line each, until somebody ends it.

A stream keeps no queue of its own: it holds the version that it has sent, and takes what is newer from the store's
history whenever it is woken. A client that reads too slowly to stay inside the history is told so (410) and relists,
as with the real watch cache; memory stays bounded however slow it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web

from extender.emulator import status, tables
from extender.emulator.reads import Form, ListQuery
from extender.emulator.resources import JSON, Resource
from extender.emulator.store import ADDED, DELETED, MODIFIED, Event, Record, Store, with_version
from extender.emulator.versions import Versions

# A client that names no timeout gets one between these two in a real cluster; one value will do.
_DEFAULT_TIMEOUT_S = 2700.0
_INITIAL_END = "k8s.io/initial-events-end"
# Lines that are written together at most: a first list of 20,000 pods goes out in several pieces.
_CHUNK_LINES = 500


@dataclass(slots=True)
class WatchOptions:
    """timeout_s: how long the stream may last; initial: whether current objects are sent first as ADDED."""

    timeout_s: float
    bookmarks: bool
    initial: bool
    initial_end: bool
    start: int


def watch_options(query: Mapping[str, str], list_: ListQuery, store: Store) -> WatchOptions:
    """The options of a watch. Raises StatusError 410 where the history does not reach back, 422 when inconsistent."""
    bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
    streaming = query.get("sendInitialEvents")
    if streaming is not None:
        _check_streaming(query)
    elif list_.match:
        raise _invalid_option(
            "resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        )
    start = int(list_.version or 0)
    initial = streaming == "true" or (streaming is None and start == 0)
    if not initial and start < store.floor(list_.resource.storage):
        if start:
            raise status.expired(f"too old resource version: {start} ({store.floor(list_.resource.storage)})")
        start = store.version
    timeout_s = float(query.get("timeoutSeconds") or 0) or _DEFAULT_TIMEOUT_S
    return WatchOptions(timeout_s, bookmarks, initial, streaming == "true" and bookmarks, start or store.version)


def _check_streaming(query: Mapping[str, str]) -> None:
    if query.get("sendInitialEvents") not in ("true", "false"):
        raise _invalid_option("sendInitialEvents", "must be a boolean")
    if query.get("resourceVersionMatch") != "NotOlderThan":
        raise _invalid_option(
            "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        )


def _invalid_option(field: str, detail: str) -> status.StatusError:
    return status.invalid("ListOptions", "meta.k8s.io", "", [status.forbidden_field(field, detail)])


class Watches:
    """The open streams, so that faults and shutdown can end them.

    bookmark_interval_s: how often a stream that allows bookmarks gets one.
    """

    def __init__(self, store: Store, versions: Versions, bookmark_interval_s: float = 10.0) -> None:
        self._store = store
        self._versions = versions
        self.bookmark_interval_s = bookmark_interval_s
        self._open: set[_Stream] = set()
        self._closed = False

    async def serve(
        self, request: web.BaseRequest, list_: ListQuery, options: WatchOptions, form: Form
    ) -> web.StreamResponse:
        """Stream until the client leaves, the time is over, or `cut` is called."""
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )
        response.enable_chunked_encoding()
        stream = _Stream(self._store, self._versions, list_, options, form, self.bookmark_interval_s)
        stream.cut = self._closed
        self._open.add(stream)
        try:
            # Subscribed before the first await: nothing is missed while the headers go out.
            stream.open()
            await response.prepare(request)
            await stream.run(response)
            if stream.abort and request.transport is not None:
                request.transport.abort()
            else:
                await response.write_eof()
        except ConnectionError:
            # The client left; it knows.
            pass
        finally:
            self._open.discard(stream)
            stream.close()
        return response

    def cut(self, resource: Resource | None = None, abort: bool = False) -> int:
        """End the streams (of one resource) now: cleanly, or by dropping the connection. Returns how many."""
        ended = [s for s in self._open if resource is None or s.resource.storage == resource.storage]
        for stream in ended:
            stream.end(abort)
        return len(ended)

    def close(self) -> None:
        """End all streams, and every one that is still to come."""
        self._closed = True
        self.cut()

    def reopen(self) -> None:
        """Take streams again after `close`."""
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)


def _nothing() -> None:
    return None


class _Stream:
    def __init__(
        self,
        store: Store,
        versions: Versions,
        list_: ListQuery,
        options: WatchOptions,
        form: Form,
        bookmark_interval_s: float,
    ) -> None:
        self._store = store
        self._versions = versions
        self._list = list_
        self._options = options
        self._form = form
        self._bookmark_interval_s = bookmark_interval_s
        self._wake = asyncio.Event()
        self._version = options.start
        self._first: list[Record] = []
        self._headers_sent = False
        self._unsubscribe: Callable[[], None] = _nothing
        self.resource = list_.resource
        self.cut = False
        self.abort = False

    def open(self) -> None:
        """Note the objects that exist, and follow every change from here on."""
        if self._options.initial:
            self._version = self._store.version
            self._first = [
                r
                for r in self._store.records(self.resource.storage, self._list.namespace)
                if self._list.selection.matches(r.obj)
            ]
        self._unsubscribe = self._store.subscribe(self.resource.storage, self._wake.set)

    def close(self) -> None:
        self._unsubscribe()

    def end(self, abort: bool) -> None:
        self.cut, self.abort = True, abort
        self._wake.set()

    async def run(self, response: web.StreamResponse) -> None:
        try:
            await self._run(response)
        except status.StatusError as error:
            # In the version of this stream an object cannot be had: it ends, and the client lists again.
            await response.write(_error_line(error))

    async def _run(self, response: web.StreamResponse) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.timeout_s
        next_bookmark = loop.time() + self._bookmark_interval_s
        self._first = await self._versions.all_served(self.resource, self._first)
        for lines in _chunks(self._initial_lines()):
            await response.write(lines)
        while not self.cut:
            self._wake.clear()
            events = self._store.events_after(self.resource.storage, self._version)
            if events is None:
                await response.write(_error_line(status.expired(f"too old resource version: {self._version}")))
                return
            if events:
                self._version = events[-1].record.version
                events = [await self._versions.event(self.resource, event) for event in events]
                for lines in _chunks(self._lines(events)):
                    await response.write(lines)
                continue
            now = loop.time()
            if now >= deadline:
                return
            until = min(deadline, next_bookmark) if self._options.bookmarks else deadline
            try:
                async with asyncio.timeout_at(until):
                    await self._wake.wait()
            except TimeoutError:
                if self._options.bookmarks and loop.time() >= next_bookmark:
                    next_bookmark = loop.time() + self._bookmark_interval_s
                    # Nothing of this resource changed since, so the whole store's version is a safe place to resume.
                    self._version = max(self._version, self._store.version)
                    await response.write(self._bookmark())

    def _initial_lines(self) -> Iterator[bytes]:
        for record in self._first:
            yield self._line(Event(ADDED, record, None))
        self._first = []
        if self._options.initial_end:
            yield self._bookmark({_INITIAL_END: "true"})

    def _lines(self, events: list[Event]) -> Iterator[bytes]:
        selection, namespace = self._list.selection, self._list.namespace
        for event in events:
            if namespace and event.record.namespace != namespace:
                continue
            if selection.everything:
                yield self._line(event)
                continue
            was_in = event.before is not None and selection.matches(event.before.obj)
            is_in = event.type != DELETED and selection.matches(event.record.obj)
            if is_in:
                yield self._line(event, MODIFIED if was_in else ADDED)
            elif was_in:
                yield self._line(event, DELETED)

    def _line(self, event: Event, type_: str | None = None) -> bytes:
        if self._form.kind == "object":
            return event.line(self.resource) if type_ is None else event.line_as(self.resource, type_)
        type_ = type_ or event.type
        record = event.record
        if type_ == DELETED and event.type != DELETED and event.before is not None:
            record = with_version(event.before, record.version)
        return _encode_line(type_, self._represent(record))

    def _represent(self, record: Record) -> JSON:
        if self._form.kind != "Table":
            return tables.partial_metadata(record)
        metadata = {"resourceVersion": str(record.version)}
        table = tables.table(self.resource, [record], metadata, self._form.include, headers=not self._headers_sent)
        self._headers_sent = True
        return table

    def _bookmark(self, annotations: JSON | None = None) -> bytes:
        metadata: JSON = {"resourceVersion": str(self._version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        if self._form.kind == "Table":
            obj: JSON = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "rows": []}
        else:
            obj = {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": metadata}
        return _encode_line("BOOKMARK", obj)


def _encode_line(type_: str, obj: JSON) -> bytes:
    return orjson.dumps({"type": type_, "object": obj}) + b"\n"


def _error_line(error: status.StatusError) -> bytes:
    return _encode_line("ERROR", error.body())


def _chunks(lines: Iterator[bytes]) -> Iterator[bytes]:
    batch: list[bytes] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _CHUNK_LINES:
            yield b"".join(batch)
            batch = []
    if batch:
        yield b"".join(batch)
