"""The planner's loop against a scripted API server: what is written, and what people are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from extender.cluster.picture import HoldState, Picture
from extender.controllers import evictions, planning
from extender.controllers.planning import PlanningLoop
from extender.kube.events import EventRecorder
from extender.model import names
from extender.model.queue import PodGroup
from extender.planning.planner import Planner
from extender.planning.roster import Roster
from extender.planning.settings import Settings
from tests.builders import NAMESPACE, node, pod, uid, world
from tests.edges.stub import Answer, StubApi, by_method, failure, page, reply

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"


@asynccontextmanager
async def running(picture: Picture, answer: Answer) -> AsyncIterator[StubApi]:
    async with StubApi() as api:
        api.script = [answer]
        events = EventRecorder(api.client)
        loop = PlanningLoop(api.client, picture, Planner(picture, Settings()), events, lambda: True)
        tasks = [asyncio.create_task(loop.run()), asyncio.create_task(events.run())]
        try:
            yield api
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not claim():
            await asyncio.sleep(0.005)


def said(api: StubApi) -> set[tuple[str, str]]:
    """(whom, reason) of every Event so far."""
    bodies = [body for (_, path, _), body in zip(api.requests, api.bodies, strict=True) if path == EVENTS]
    return {(body["involvedObject"]["name"], body["reason"]) for body in bodies}


def sent(api: StubApi, path: str) -> list[Any]:
    return [body for (_, at, _), body in zip(api.requests, api.bodies, strict=True) if at == path]


def contended() -> Picture:
    """A training on the only GPU, and interactive work of its project that waits for it."""
    picture = world(node("n", gpus=1))
    picture.upsert_pod(pod("train", gpus=1, on="n", indices=[0]))
    gated = replace(pod("build", gpus=1, priority_class="build"), gates=(names.SCHEDULING_GATE,))
    picture.upsert_pod(gated)
    return picture


@pytest.mark.asyncio
async def test_an_eviction_is_told_to_both_once_it_is_one() -> None:
    async with running(contended(), reply({}, 201)) as api:
        await until(lambda: said(api) >= {("train", "Preempted"), ("build", "WaitingForOthers")})
        assert len(sent(api, f"{PODS}/train/eviction")) == 1


@pytest.mark.asyncio
async def test_a_budget_that_forbids_an_eviction_is_told_to_who_waits_and_tried_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evictions, "_BUDGET_REST_S", 0.2)
    picture = contended()
    async with running(picture, failure(429, "DisruptionBudget")) as api:
        await until(lambda: len(sent(api, f"{PODS}/train/eviction")) >= 2)
        await until(lambda: ("build", "EvictionRefused") in said(api))
        assert ("train", "Preempted") not in said(api)
        held = picture.pods[uid("train")].hold
        assert held is not None
        assert held.state is HoldState.BOUND


@pytest.mark.asyncio
async def test_a_pod_that_kube_scheduler_put_aside_is_nominated_and_touched() -> None:
    picture = world(node("n", gpus=1))
    picture.upsert_pod(replace(pod("p", gpus=1), unschedulable=True))
    async with running(picture, reply({})) as api:
        await until(lambda: bool(sent(api, f"{PODS}/p")))
        assert sent(api, f"{PODS}/p/status")[0]["status"] == {"nominatedNodeName": "n"}
        assert names.WAKE_ANNOTATION in sent(api, f"{PODS}/p")[0]["metadata"]["annotations"]


@pytest.mark.asyncio
async def test_why_a_gang_waits_is_told_when_it_has_stood_for_a_moment() -> None:
    picture = world(node("n", gpus=1))
    first = replace(pod("p", gpus=2), gates=(names.SCHEDULING_GATE,))
    picture.upsert_pod(first)
    async with running(picture, reply({}, 201)) as api:
        await asyncio.sleep(0.05)
        picture.upsert_pod(replace(pod("q", gpus=3), gates=(names.SCHEDULING_GATE,)))
        picture.delete_pod(uid("p"))
        await until(lambda: bool(said(api)))
        assert said(api) == {("q", "NotEnoughResources")}


@pytest.mark.asyncio
async def test_who_lost_a_seat_is_not_nominated_there_any_more_when_another_is() -> None:
    picture = world(node("n", gpus=1))
    old = replace(pod("old", gpus=1), nominated="n", unschedulable=True)
    picture.upsert_pod(old)
    picture.upsert_pod(replace(pod("new", gpus=1, priority_class="build"), gates=(names.SCHEDULING_GATE,)))
    async with running(picture, reply({})) as api:
        await until(lambda: bool(sent(api, f"{PODS}/new")))  # its gate is lifted
        written = [path for _, path, _ in api.requests if path.startswith(PODS)]
        assert written == [f"{PODS}/old/status", f"{PODS}/new/status", f"{PODS}/new"]
        assert sent(api, f"{PODS}/old/status")[0]["status"] == {"nominatedNodeName": None}


@pytest.mark.asyncio
async def test_who_does_not_come_for_its_seat_is_touched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_TIDY_EVERY_S", 0.05)
    monkeypatch.setattr(planning, "_REMIND_AFTER_S", 0.1)
    picture = world(node("n", gpus=1))
    picture.upsert_pod(replace(pod("p", gpus=1), unschedulable=True))
    async with running(picture, reply({})) as api:
        await until(lambda: len(sent(api, f"{PODS}/p")) >= 3)
        # It has come: nobody reminds it any more.
        picture.set_state(uid("p"), HoldState.BINDING)
        await asyncio.sleep(0.2)
        count = len(sent(api, f"{PODS}/p"))
        await asyncio.sleep(0.5)
        assert len(sent(api, f"{PODS}/p")) == count


@pytest.mark.asyncio
async def test_a_start_that_failed_is_tried_again_for_as_long_as_the_seat_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "_TIDY_EVERY_S", 0.02)
    monkeypatch.setattr(planning, "_RETRY_S", 0.02)
    picture = world(node("n", gpus=1))
    picture.upsert_pod(replace(pod("p", gpus=1), gates=(names.SCHEDULING_GATE,)))
    async with running(picture, failure(500)) as api:
        await until(lambda: len(sent(api, f"{PODS}/p/status")) >= 6)
        api.script = [reply({})]
        await until(lambda: bool(sent(api, f"{PODS}/p")))  # its gate is lifted


def gang_contended() -> Picture:
    """Two trainings on two GPUs, and an interactive gang of their project that needs both."""
    picture = world(node("n", gpus=2))
    for index in range(2):
        picture.upsert_pod(pod(f"train{index}", gpus=1, on="n", indices=[index], labels={"app": f"t{index}"}))
    picture.upsert_group(PodGroup(NAMESPACE, "g", min_member=2))
    for name in ("g0", "g1"):
        made = pod(name, gpus=1, priority_class="build", group="g")
        picture.upsert_pod(replace(made, gates=(names.SCHEDULING_GATE,)))
    return picture


def budget(allowed: int, selector: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"namespace": NAMESPACE, "name": "keep"},
        "spec": {"selector": selector},
        "status": {"disruptionsAllowed": allowed},
    }


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("allowed", "selector", "leave"),
    [
        (0, {"matchLabels": {"app": "t1"}}, 0),
        (1, {"matchExpressions": [{"key": "app", "operator": "Exists"}]}, 0),
        (2, {}, 2),
        (0, {"matchLabels": {"app": "other"}}, 2),
    ],
)
async def test_all_who_are_to_leave_for_a_gang_leave_or_none(
    allowed: int, selector: dict[str, Any], leave: int
) -> None:
    listed = page(budget(allowed, selector))
    async with running(gang_contended(), by_method(GET=listed, POST=reply({}, 201), PATCH=reply({}))) as api:
        if leave:
            await until(lambda: sum(path.endswith("/eviction") for _, path, _ in api.requests) == leave)
        else:
            await until(lambda: ("g0", "EvictionRefused") in said(api))
            await asyncio.sleep(0.3)
            assert not any(path.endswith("/eviction") for _, path, _ in api.requests)


@pytest.mark.asyncio
async def test_who_was_to_leave_and_is_still_there_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_TIDY_EVERY_S", 0.05)
    monkeypatch.setattr(evictions, "_GOES_WITHIN_S", 0.2)
    monkeypatch.setattr(evictions, "_FAILED_REST_S", 0.2)
    async with running(contended(), reply({}, 201)) as api:
        await until(lambda: len(sent(api, f"{PODS}/train/eviction")) >= 2)


@pytest.mark.asyncio
async def test_a_list_of_many_pods_is_taken_in_by_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_PORTION", 2)
    picture = world(node("n", gpus=8))
    for number in range(9):
        picture.upsert_pod(replace(pod(f"p{number}", gpus=1), gates=(names.SCHEDULING_GATE,)))
    took: list[int | None] = []
    async with running(picture, reply({})) as api:
        refresh = Roster.refresh

        def watched(roster: Roster, now: float, *, most: int | None = None) -> None:
            took.append(most)
            refresh(roster, now, most=most)

        monkeypatch.setattr(Roster, "refresh", watched)
        await until(lambda: len({path for _, path, _ in api.requests if path.endswith("/status")}) == 8)
    assert took[:4] == [2, 2, 2, 2]


@pytest.mark.asyncio
async def test_whom_kube_scheduler_has_yet_to_try_is_not_reminded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_TIDY_EVERY_S", 0.02)
    monkeypatch.setattr(planning, "_REMIND_AFTER_S", 0.02)
    picture = world(node("n", gpus=1))
    gated = replace(pod("p", gpus=1), gates=(names.SCHEDULING_GATE,))
    picture.upsert_pod(gated)
    async with running(picture, reply({})) as api:
        await until(lambda: bool(sent(api, f"{PODS}/p")))
        picture.upsert_pod(replace(gated, gates=(), version=2))  # the watch tells that its gate is gone
        await asyncio.sleep(0.1)
        count = len(api.requests)
        await asyncio.sleep(0.4)
        assert len(api.requests) == count
