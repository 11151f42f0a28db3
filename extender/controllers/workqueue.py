"""Keys to look at: each once however often it is added, by one worker at a time, later when that failed."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

from extender import logs
from extender.errors import ApiError

Key = TypeVar("Key", bound=Hashable)

_FIRST_RETRY_S = 0.5
_TURN_S = 0.5  # between two looks whether it is our turn
_LONGEST_RETRY_S = 60.0

log = logs.get("workqueue")


class WorkQueue(Generic[Key]):
    """Level-triggered: a key says where to look, not what happened. One event loop.

    A key that is added while it is looked at is looked at again. One whose handler raises comes again after 0.5 s,
    twice as late each time up to a minute, until it succeeds.
    """

    def __init__(self, handle: Callable[[Key], Awaitable[None]], *, name: str, workers: int = 8) -> None:
        self._handle = handle
        self._name = name
        self._workers = workers
        self._due: list[tuple[float, int, Key]] = []  # a heap of when
        self._when: dict[Key, float] = {}  # of waiting keys: the earliest time that was asked for
        self._busy: set[Key] = set()
        self._again: dict[Key, float] = {}  # added while busy
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._count = 0

    def __len__(self) -> int:
        return len(self._when) + len(self._busy)

    def add(self, key: Key, after_s: float = 0.0) -> None:
        """Have `key` looked at in `after_s` seconds, or earlier if that was asked for already. Cost: O(log n).

        One that waits for its next try is not hurried: what failed may be what brings the news.
        """
        if key in self._failures and key in self._when:
            return
        when = asyncio.get_running_loop().time() + after_s
        if key in self._busy:
            self._again[key] = min(when, self._again.get(key, when))
        elif when < self._when.get(key, float("inf")):
            self._when[key] = when
            self._count += 1
            heapq.heappush(self._due, (when, self._count, key))
            self._changed.set()

    async def run(self) -> None:
        """Look at keys until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def run_when(self, is_active: Callable[[], bool], keys: Callable[[], Iterable[Key]]) -> None:
        """`run`, and whenever our turn begins add all `keys`: what happened in another replica's turn, nobody added."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.run())
            was_active = False
            while True:
                active = is_active()
                if active and not was_active:
                    for key in keys():
                        self.add(key)
                was_active = active
                await asyncio.sleep(_TURN_S)

    async def _work(self) -> None:
        while True:
            key = await self._next()
            try:
                await self._handle(key)
            except Exception as error:
                self._failures[key] = failures = self._failures.get(key, 0) + 1
                if isinstance(error, ApiError):
                    log.warning("retry", kind=self._name, name=str(key), cause=error.message)
                else:
                    log.exception("retry", kind=self._name, name=str(key))
                retry = min(_FIRST_RETRY_S * 2.0 ** min(failures - 1, 16), _LONGEST_RETRY_S)
                self._done(key, retry)
            else:
                self._failures.pop(key, None)
                self._done(key, None)

    def _done(self, key: Key, retry_s: float | None) -> None:
        self._busy.discard(key)
        again = self._again.pop(key, None)
        now = asyncio.get_running_loop().time()
        if retry_s is not None:
            # News does not hurry a key that fails: it would be tried again with every event of its pods.
            self.add(key, retry_s)
        elif again is not None:
            self.add(key, max(0.0, again - now))

    async def _next(self) -> Key:
        while True:
            now = asyncio.get_running_loop().time()
            while self._due and self._due[0][0] <= now:
                when, _, key = heapq.heappop(self._due)
                if self._when.get(key) == when:
                    del self._when[key]
                    self._busy.add(key)
                    return key
            self._changed.clear()
            try:
                async with asyncio.timeout(self._due[0][0] - now if self._due else None):
                    await self._changed.wait()
            except TimeoutError:
                pass
