"""The queue of keys: once, by one worker, again when that failed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from extender.controllers import workqueue
from extender.controllers.workqueue import WorkQueue
from extender.errors import UnavailableError


@asynccontextmanager
async def running(handle: Callable[[str], Awaitable[None]]) -> AsyncIterator[WorkQueue[str]]:
    queue = WorkQueue(handle, name="test", workers=4)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not claim():
            await asyncio.sleep(0.001)


async def test_a_key_that_is_added_often_is_looked_at_once() -> None:
    seen: list[str] = []

    async def handle(key: str) -> None:
        seen.append(key)

    async with running(handle) as queue:
        for _ in range(5):
            queue.add("a")
            queue.add("b")
        await until(lambda: len(queue) == 0)
    assert sorted(seen) == ["a", "b"]


async def test_a_key_is_never_looked_at_twice_at_the_same_time_and_news_meanwhile_is_not_lost() -> None:
    now, most, looks = 0, 0, 0
    go = asyncio.Event()

    async def handle(key: str) -> None:
        nonlocal now, most, looks
        now, looks = now + 1, looks + 1
        most = max(most, now)
        await go.wait()
        now -= 1

    async with running(handle) as queue:
        queue.add("a")
        await until(lambda: now == 1)
        for _ in range(3):
            queue.add("a")
        go.set()
        await until(lambda: len(queue) == 0)
    assert (most, looks) == (1, 2)


async def test_the_earlier_of_two_times_counts() -> None:
    seen: list[str] = []

    async def handle(key: str) -> None:
        seen.append(key)

    async with running(handle) as queue:
        queue.add("a", 60)
        queue.add("b", 60)
        queue.add("a", 0.01)
        await until(lambda: seen == ["a"])
        assert len(queue) == 1


async def test_one_that_fails_comes_again_later_each_time_whatever_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "_FIRST_RETRY_S", 0.05)
    times: list[float] = []

    async def handle(key: str) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) < 4:
            queue.add(key)  # news about it while it fails
            raise UnavailableError("not now") if len(times) % 2 else RuntimeError("a bug")

    async with running(handle) as queue:
        queue.add("a")
        while len(times) < 4:
            await asyncio.sleep(0.01)
            queue.add("a")  # news about it while it waits
        await until(lambda: len(queue) == 0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] >= 0.05
    assert gaps[1] >= 0.1
    assert gaps[2] >= 0.2


async def test_when_our_turn_begins_all_keys_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "_TURN_S", 0.01)
    seen: list[str] = []
    active = False

    async def handle(key: str) -> None:
        seen.append(key)

    queue = WorkQueue(handle, name="test")
    task = asyncio.create_task(queue.run_when(lambda: active, lambda: ["a", "b"]))
    try:
        await asyncio.sleep(0.05)
        assert seen == []
        for turn in (1, 2):
            active = True
            await until(lambda turn=turn: len(seen) == 2 * turn)  # type: ignore[misc]
            active = False
            await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sorted(seen) == ["a", "a", "b", "b"]
