"""list + watch of one kind, for ever: what the API server holds, mirrored into a sink.

    list (paged) ──► sink.replace ──► watch from the list's version ──► sink.apply, version moves on
      ▲                                   │ stream ended: watch again from the last version seen
      └──────── 410: too old, list ◄──────┤ broken: back off, watch again from the last version seen
                                          └ bookmarks move the version on and are signs of life

The last version seen survives a broken stream, so a blip costs no list; only 410 does, and the list is then
compared with what is known: nothing is ever cleared first.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any, Protocol

from extender import logs, metrics
from extender.errors import ApiError, GoneError, NotFoundError, ThrottledError
from extender.kube.client import KubeClient

Json = dict[str, Any]

_FIRST_BACKOFF_S = 0.2
_LONGEST_BACKOFF_S = 10.0
_SHORTEST_WATCH_S = 1.0
_WATCH_S = 300  # asked of the server, jittered so that our watches do not end together

log = logs.get("reflector")


class Sink(Protocol):
    """Where objects go. The calls are synchronous and must not raise for one bad object."""

    def read(self, obj: Json) -> Any | None:
        """What is kept of a listed object, None to leave it out."""

    def replace(self, values: list[Any], version: int) -> None:
        """The kind is exactly what was read of it, as of `version`."""

    def apply(self, event: str, obj: Json) -> None:
        """`obj` was ADDED, MODIFIED or DELETED."""


class Reflector:
    """One kind. `run` it as a task; `synced` is set after the first list, `silent_s` tells how stale we may be.

    optional: a kind that the API server does not serve has no objects, until it is installed.
    """

    def __init__(
        self,
        client: KubeClient,
        path: str,
        sink: Sink,
        *,
        name: str,
        params: Mapping[str, str] | None = None,
        optional: bool = False,
    ) -> None:
        self.name = name
        self.synced = asyncio.Event()
        self._client = client
        self._path = path
        self._sink = sink
        self._params = dict(params or {})
        self._optional = optional
        self._version = ""
        self._backoff_s = _FIRST_BACKOFF_S
        self._connected = False
        self._last_contact = time.monotonic()

    def silent_s(self) -> float:
        """Seconds since we last knew to be up to date: 0 while a stream is open (its own idle timeout guards it)."""
        return 0.0 if self._connected else time.monotonic() - self._last_contact

    async def run(self) -> None:
        """Mirror until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except GoneError as error:
                log.info("relist", kind=self.name, cause=error.message)
                metrics.RELISTS.labels(self.name).inc()
                self._version = ""
                await self._pause(error)
            except ApiError as error:
                if self._optional and isinstance(error, NotFoundError):
                    self._none()
                else:
                    log.warning("watch_broken", kind=self.name, cause=error.message)
                await self._pause(error)
            except Exception as error:
                # Without this kind we are blind: whatever one answer held, list and watch again.
                log.exception("watch_failed", kind=self.name)
                self._version = ""
                await self._pause(error)

    async def _list(self) -> None:
        started = time.monotonic()
        values: list[Any] = []
        version = ""
        async for page, version in self._client.pages(self._path, params=self._params):  # noqa: B007  used below
            values.extend(value for obj in page if (value := self._sink.read(obj)) is not None)
        self._sink.replace(values, int(version) if version.isdigit() else 0)
        self._version = version or "0"
        self._alive()
        if not self.synced.is_set():
            log.info("listed", kind=self.name, objects=len(values), seconds=round(time.monotonic() - started, 3))
            self.synced.set()

    def _none(self) -> None:
        """Nobody has installed the kind, or somebody has taken it away."""
        self._sink.replace([], 0)
        self._version = ""
        if not self.synced.is_set():
            log.info("not_served", kind=self.name)
            self.synced.set()

    async def _watch(self) -> None:
        timeout_s = int(_WATCH_S * random.uniform(0.8, 1.2))
        stream = self._client.watch(
            self._path,
            resource_version=self._version,
            params=self._params,
            timeout_s=timeout_s,
            on_open=self._opened,
        )
        opened = time.monotonic()
        try:
            async for event in stream:
                self._alive()
                self._version = event.object["metadata"]["resourceVersion"]
                if event.type != "BOOKMARK":
                    metrics.WATCH_EVENTS.labels(self.name).inc()
                    self._sink.apply(event.type, event.object)
        finally:
            if self._connected:
                self._last_contact = time.monotonic()
            self._connected = False
            await stream.aclose()
        if time.monotonic() - opened < _SHORTEST_WATCH_S:
            # A server that ends every stream at once would otherwise be asked in a tight loop.
            await asyncio.sleep(_SHORTEST_WATCH_S)

    def _opened(self) -> None:
        self._connected = True
        self._alive()

    def _alive(self) -> None:
        self._last_contact = time.monotonic()
        self._backoff_s = _FIRST_BACKOFF_S

    async def _pause(self, error: Exception) -> None:
        wait = self._backoff_s * random.uniform(0.5, 1.0)
        if isinstance(error, ThrottledError):
            wait = max(wait, error.retry_after_s)
        self._backoff_s = min(2 * self._backoff_s, _LONGEST_BACKOFF_S)
        await asyncio.sleep(wait)
