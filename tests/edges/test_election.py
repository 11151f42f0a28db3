"""Of several processes one holds the Lease; nobody works under it who may have lost it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from extender.controllers.election import Election, Timing
from tests.edges.stub import StubApi

Json = dict[str, Any]

QUICK = Timing(duration_s=1.0, deadline_s=0.6, renew_s=0.05, retry_s=0.05, call_s=0.3)
LEASES = "/apis/coordination.k8s.io/v1/namespaces/runai/leases"


class Leases:
    """Leases as the API server keeps them: a write must name the version that is there."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.version = 0
        self.down = False
        self.writes: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        if self.down:
            return web.json_response({"message": "down"}, status=503)
        body = orjson.loads(await request.read() or b"null")
        match request.method:
            case "GET" if self.lease is None:
                return web.json_response({"message": "no such lease"}, status=404)
            case "GET":
                return web.json_response(self.lease)
            case "POST":
                assert (request.path, body["metadata"]) == (LEASES, {"name": "mine"})
                if self.lease is not None:
                    return web.json_response({"message": "it exists"}, status=409)
            case _:
                assert request.path == f"{LEASES}/mine"
                if body["metadata"]["resourceVersion"] != str(self.version):
                    return web.json_response({"message": "changed meanwhile"}, status=409)
        self.put(body)
        return web.json_response(self.lease)

    def put(self, body: Json) -> None:
        self.version += 1
        self.lease = {**body, "metadata": {"name": "mine", "resourceVersion": str(self.version)}}
        self.writes.append((body.get("spec") or {}).get("holderIdentity") or "")

    def held_by(self, name: str, **spec: Any) -> None:
        self.put({"spec": {"holderIdentity": name, "leaseDurationSeconds": 1, **spec}})


@asynccontextmanager
async def replicas(leases: Leases, *names: str, timing: Timing = QUICK) -> AsyncIterator[list[Election]]:
    async with StubApi() as api:
        api.script = [leases.answer]
        elections = [Election(api.client, "runai", "mine", name, timing=timing) for name in names]
        tasks = [asyncio.create_task(one.run()) for one in elections]
        for one, task in zip(elections, tasks, strict=True):
            one.task = task  # type: ignore[attr-defined]
        try:
            yield elections
        finally:
            await end(*tasks)


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(claim: Callable[[], object], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not claim():
            await asyncio.sleep(0.01)


async def test_the_first_makes_the_lease_and_renews_it() -> None:
    leases = Leases()
    async with replicas(leases, "a") as (one,):
        await until(one.is_active)
        assert leases.lease is not None
        spec = leases.lease["spec"]
        assert spec["holderIdentity"].startswith("a_")
        assert (spec["leaseDurationSeconds"], spec["leaseTransitions"]) == (1, 0)
        await until(lambda: leases.version > 4)
        renewed = leases.lease["spec"]
        assert renewed["renewTime"] > spec["renewTime"]
        assert renewed["acquireTime"] == spec["acquireTime"]
        assert one.is_active()


async def test_of_two_one_is_active_and_the_other_follows_at_once_when_it_stops() -> None:
    leases = Leases()
    async with replicas(leases, "a", "b") as both:
        await until(lambda: any(one.is_active() for one in both))
        first = next(one for one in both if one.is_active())
        second = next(one for one in both if one is not first)
        for _ in range(30):
            assert first.is_active()
            assert not second.is_active()
            await asyncio.sleep(0.02)
        await end(first.task)  # type: ignore[attr-defined]
        assert not first.is_active()
        await until(second.is_active, timeout_s=1.9)
        assert leases.lease is not None
        assert leases.lease["spec"]["leaseTransitions"] == 1


async def test_a_lease_that_nobody_renews_is_taken_after_its_duration() -> None:
    leases = Leases()
    leases.held_by("gone", leaseTransitions=3)
    async with replicas(leases, "a") as (one,):
        await asyncio.sleep(0.6)
        assert not one.is_active()
        await until(one.is_active)
        assert leases.lease is not None
        assert leases.lease["spec"]["leaseTransitions"] == 4


@pytest.mark.parametrize("stamp", ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
async def test_what_another_clock_says_does_not_matter(stamp: str) -> None:
    leases = Leases()
    leases.held_by("other", renewTime=stamp)
    async with replicas(leases, "a") as (one,):
        for _ in range(20):  # twice its duration, renewed again and again
            await asyncio.sleep(0.1)
            leases.held_by("other", renewTime=stamp)
            assert not one.is_active()
        await until(one.is_active)  # and not renewed any more


async def test_who_cannot_renew_stops_before_another_may_begin() -> None:
    leases = Leases()
    async with replicas(leases, "a") as (one,):
        await until(one.is_active)
        leases.down = True
        before = asyncio.get_running_loop().time()
        await until(lambda: not one.is_active())
        assert asyncio.get_running_loop().time() - before < QUICK.duration_s
        leases.down = False
        await until(one.is_active)


async def test_who_is_replaced_knows_it_at_the_next_renewal() -> None:
    leases = Leases()
    async with replicas(leases, "a") as (one,):
        await until(one.is_active)
        leases.held_by("thief")
        await until(lambda: not one.is_active(), timeout_s=QUICK.deadline_s)
        assert leases.writes[-1] == "thief"


async def test_the_lease_of_another_is_not_given_back() -> None:
    leases = Leases()
    slow = Timing(duration_s=5.0, deadline_s=4.0, renew_s=3.0, retry_s=0.05, call_s=0.3)
    async with replicas(leases, "a", timing=slow) as (one,):
        await until(one.is_active)
        leases.held_by("thief")
        await end(one.task)  # type: ignore[attr-defined]
    assert leases.writes[-1] == "thief"
