from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from extender.kube import reflector as module
from extender.kube.reflector import Reflector
from tests.edges.stub import StubApi, failure, obj, page, stream


class Mirror:
    """A sink that keeps what it was told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._moved = asyncio.Event()

    def read(self, obj: dict[str, Any]) -> dict[str, Any] | None:
        return obj

    def replace(self, objects: list[dict[str, Any]], version: int) -> None:
        self._note(f"list@{version}:{','.join(one['metadata']['name'] for one in objects)}")

    def apply(self, event: str, obj: dict[str, Any]) -> None:
        self._note(f"{event}:{obj['metadata']['name']}")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self._moved.set()

    async def until(self, count: int) -> list[str]:
        async with asyncio.timeout(5):
            while len(self.calls) < count:
                self._moved.clear()
                await self._moved.wait()
        return self.calls


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr(module, "_SHORTEST_WATCH_S", 0.001)


@asynccontextmanager
async def _mirrored(api: StubApi):  # type: ignore[no-untyped-def]
    mirror = Mirror()
    reflector = Reflector(api.client, "/api/v1/pods", mirror, name="pods")
    task = asyncio.create_task(reflector.run())
    try:
        yield mirror, reflector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_stream_that_ends_is_resumed_after_the_last_event_without_a_list() -> None:
    async with StubApi() as api:
        api.script = [
            page(obj("a", 9), version="10"),
            stream(("ADDED", obj("b", 11)), ("BOOKMARK", obj("", 15))),
            stream(("DELETED", obj("a", 16)), then="hang"),
        ]
        async with _mirrored(api) as (mirror, reflector):
            assert await mirror.until(3) == ["list@10:a", "ADDED:b", "DELETED:a"]
            assert reflector.synced.is_set()
        assert [query.get("resourceVersion") for _, _, query in api.requests] == [None, "10", "15"]


async def test_a_broken_stream_is_resumed_too() -> None:
    async with StubApi() as api:
        api.script = [
            page(version="10"),
            stream(("ADDED", obj("b", 11)), then="cut"),
            failure(503),
            stream(("ADDED", obj("c", 12)), then="hang"),
        ]
        async with _mirrored(api) as (mirror, _):
            assert await mirror.until(3) == ["list@10:", "ADDED:b", "ADDED:c"]
        assert [query.get("resourceVersion") for _, _, query in api.requests] == [None, "10", "11", "11"]


@pytest.mark.parametrize(
    "gone", [failure(410, "Expired"), stream(("ERROR", {"code": 410, "reason": "Expired"}))], ids=["status", "event"]
)
async def test_a_version_that_is_too_old_is_listed_again_not_repeated(gone: Any) -> None:
    async with StubApi() as api:
        api.script = [page(version="10"), gone, page(obj("z", 30), version="31"), stream(then="hang")]
        async with _mirrored(api) as (mirror, _):
            assert await mirror.until(2) == ["list@10:", "list@31:z"]


async def test_a_continue_token_that_expired_restarts_the_list() -> None:
    async with StubApi() as api:
        api.script = [
            page(obj("a", 1), token="t"),
            failure(410, "Expired"),
            page(obj("a", 1), obj("b", 2), version="20"),
            stream(then="hang"),
        ]
        async with _mirrored(api) as (mirror, _):
            assert await mirror.until(1) == ["list@20:a,b"]


async def test_silence_is_counted_only_while_no_stream_is_open() -> None:
    async with StubApi() as api:
        api.script = [page(version="10"), stream(("ADDED", obj("b", 11)), then="hang")]
        async with _mirrored(api) as (mirror, reflector):
            await mirror.until(2)
            assert reflector.silent_s() == 0.0


async def test_while_nothing_is_received_silence_grows_whatever_is_tried() -> None:
    async with StubApi() as api:
        api.script = [page(version="10"), stream(("ADDED", obj("b", 11)), then="cut"), failure(503)]
        async with _mirrored(api) as (mirror, reflector):
            await mirror.until(2)
            async with asyncio.timeout(5):
                while len(api.requests) < 3:
                    await asyncio.sleep(0.001)
            before = reflector.silent_s()
            async with asyncio.timeout(5):
                while len(api.requests) < 6:  # three more attempts, none of which reached a stream
                    await asyncio.sleep(0.001)
            assert reflector.silent_s() > before > 0


async def test_an_answer_that_is_no_object_does_not_end_the_loop() -> None:
    async with StubApi() as api:
        api.script = [
            page(version="10"),
            stream(("ADDED", {"metadata": {"name": "without a version"}})),
            page(obj("a", 12), version="12"),
            stream(then="hang"),
        ]
        async with _mirrored(api) as (mirror, _):
            assert (await mirror.until(2))[-1] == "list@12:a"
