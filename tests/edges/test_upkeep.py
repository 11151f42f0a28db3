"""Waking: a refused pod is touched when, and only when, it would pass now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from extender.cluster.picture import HoldState, Picture
from extender.controllers import upkeep as module
from extender.controllers.binder import Binder
from extender.controllers.projects import ProjectNamespaces
from extender.controllers.status import StatusWriter
from extender.controllers.upkeep import Upkeep
from extender.kube.events import EventRecorder
from extender.model.gpu import GpuRequest
from extender.model.names import SCHEDULER_NAME, NodeName, PodUID
from extender.model.node import Node
from extender.model.pod import Placement, Pod
from extender.model.queue import PodGroup, Project, Queue, Quota
from extender.pods.filter import filter_pod
from extender.pods.placement import Policy
from tests.edges.stub import StubApi, failure, reply

GPU = GpuRequest(1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY_S", 0.001)
    monkeypatch.setattr(module, "_SETTLE_S", 0.005)


def pod(name: str, gpu: GpuRequest = GPU, **fields: Any) -> Pod:
    fields = {"version": 1, "scheduler": SCHEDULER_NAME, **fields}
    return Pod(PodUID(f"uid-{name}"), "runai-a", name, gpu=gpu, **fields)


def picture(gpus: int = 1, limit: int | None = None) -> Picture:
    made = Picture()
    made.upsert_project(Project(Queue("a", limit=Quota(gpu_milli=limit))))
    made.upsert_node(Node(NodeName("n1"), "", gpus=gpus, gpu_slots=gpus))
    return made


def refuse(upkeep: Upkeep, made: Picture, one: Pod) -> None:
    answer = filter_pod(made, one, ["n1"], Policy(), now=0.0)
    assert answer.verdict is not None
    upkeep.refused(made.pods[one.uid], answer.verdict)


@asynccontextmanager
async def running(api: StubApi, made: Picture, *, active: bool = True) -> AsyncIterator[Upkeep]:
    recorder = EventRecorder(api.client)
    binder = Binder(api.client, made, Policy(), lambda: active, timeout_s=1)
    upkeep = Upkeep(api.client, made, Policy(), binder, recorder, lambda: active)
    tasks = [asyncio.create_task(upkeep.run()), asyncio.create_task(recorder.run())]
    try:
        yield upkeep
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def patches(api: StubApi, *, at_least: int = 0) -> list[str]:
    """Names of the pods touched so far, once there are `at_least` or a moment has passed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(2.0 if at_least else 0.1):
            while len(_touched(api)) < max(at_least, 1):
                await asyncio.sleep(0.002)
    return _touched(api)


def _touched(api: StubApi) -> list[str]:
    return [path.rpartition("/")[2] for method, path, _ in api.requests if method == "PATCH"]


async def test_raising_the_limit_wakes_the_pod_that_it_held_back() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        made = picture(limit=0)
        async with running(api, made) as upkeep:
            refuse(upkeep, made, pod("p"))
            assert await patches(api) == []
            made.upsert_project(Project(Queue("a")))
            assert await patches(api, at_least=1) == ["p"]
            patch = next(body for body in api.bodies if body and "annotations" in body.get("metadata", {}))
            assert patch["metadata"]["uid"] == "uid-p"


async def test_a_freed_gpu_wakes_the_first_in_order_and_not_those_that_still_do_not_fit() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        made = picture()
        made.upsert_pod(pod("holder", placement=Placement(NodeName("n1"), ((0, ""),))))
        async with running(api, made) as upkeep:
            refuse(upkeep, made, pod("needs-two", GpuRequest(2)))
            refuse(upkeep, made, pod("needs-one"))
            made.delete_pod(PodUID("uid-holder"))
            assert await patches(api, at_least=1) == ["needs-one"]


async def test_one_freed_gpu_wakes_one_of_many_that_wait() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        made = picture()
        made.upsert_pod(pod("holder", placement=Placement(NodeName("n1"), ((0, ""),))))
        async with running(api, made) as upkeep:
            for number in range(5):
                refuse(upkeep, made, pod(f"p{number}", created=f"2026-01-0{9 - number}T00:00:00Z"))
            made.delete_pod(PodUID("uid-holder"))
            assert await patches(api, at_least=1) == ["p4"]  # the oldest
            assert await patches(api, at_least=2) == ["p4"]
            assert list(made.provisional()) == []


async def test_gated_deleted_and_placed_pods_are_left_alone() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        made = picture(gpus=4, limit=0)
        async with running(api, made) as upkeep:
            for name in ("gated", "deleted", "placed"):
                refuse(upkeep, made, pod(name))
            made.upsert_pod(pod("gated", version=2, gates=("held",)))
            made.delete_pod(PodUID("uid-deleted"))
            made.upsert_pod(pod("placed", version=2, placement=Placement(NodeName("n1"), ((0, ""),))))
            made.upsert_project(Project(Queue("a")))
            assert await patches(api) == []


async def test_a_passive_replica_touches_nothing() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        made = picture(limit=0)
        async with running(api, made, active=False) as upkeep:
            refuse(upkeep, made, pod("p"))
            made.upsert_project(Project(Queue("a")))
            assert await patches(api) == []


async def test_after_a_restart_pods_that_were_waiting_are_tried_again() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        made = picture()
        made.upsert_pod(pod("waited"))
        made.upsert_pod(pod("not-ours", scheduler="default-scheduler"))
        async with running(api, made) as upkeep:
            upkeep.adopt_pending()
            assert await patches(api, at_least=1) == ["waited"]


async def test_a_failing_api_server_does_not_end_the_loop() -> None:
    async with StubApi() as api:
        api.script = [failure(500), reply({})]
        made = picture(limit=0)
        async with running(api, made) as upkeep:
            refuse(upkeep, made, pod("p"))
            made.upsert_project(Project(Queue("a")))
            await patches(api, at_least=1)
            made.reserve(
                PodUID("uid-p"), Placement(NodeName("n1"), ((0, ""),)), now=0, expires=0.0, state=HoldState.RESERVED
            )
            async with asyncio.timeout(2):
                while list(made.provisional()):
                    await asyncio.sleep(0.002)


async def test_the_owner_is_told_once_with_the_numbers() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        made = picture(limit=500)
        async with running(api, made) as upkeep:
            refuse(upkeep, made, pod("p"))
            refuse(upkeep, made, pod("p"))
            async with asyncio.timeout(2):
                while not api.requests:
                    await asyncio.sleep(0.002)
            await patches(api)
        events = [body for body in api.bodies if body and body.get("kind") == "Event"]
        assert len(events) == 1
        assert events[0]["reason"] == "OverLimit"
        assert events[0]["message"] == (
            "a quota has reached the allowable limit of GPUs. Limit is 0.5 GPUs, currently 0 GPUs allocated "
            "and workload requested 1 GPUs"
        )


async def test_a_project_gets_its_namespace_and_an_unlabelled_one_its_label() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        made = Picture()
        for name in ("made", "labelled", "elsewhere", "taken"):
            made.upsert_project(Project(Queue(name)))
        made.upsert_namespace("runai-labelled", "")
        made.upsert_namespace("custom", "elsewhere")
        made.upsert_namespace("runai-taken", "another")
        task = asyncio.create_task(ProjectNamespaces(api.client, made, lambda: True).run())
        async with asyncio.timeout(3):
            while len(api.requests) < 2:
                await asyncio.sleep(0.01)
        task.cancel()
        assert [(method, path) for method, path, _ in api.requests[:2]] == [
            ("PATCH", "/api/v1/namespaces/runai-labelled"),
            ("POST", "/api/v1/namespaces"),
        ]
        assert api.bodies[1]["metadata"] == {"name": "runai-made", "labels": {"runai/queue": "made"}}


async def test_status_of_groups_and_queues_is_written_once_per_change() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        made = picture()
        made.upsert_group(PodGroup("runai-a", "g"))
        made.upsert_namespace("runai-a", "a")
        placed = Placement(NodeName("n1"), ((0, ""),))
        made.upsert_pod(pod("p", group="g", placement=placed))
        writer = StatusWriter(api.client, made, lambda: True)
        await writer._reconcile()
        await writer._reconcile()
        written = {path: body["status"] for (_, path, _), body in zip(api.requests, api.bodies, strict=True)}
        assert len(api.requests) == len(written) == 2
        group = written["/apis/scheduling.incubator.k8s.io/v1alpha1/namespaces/runai-a/podgroups/g/status"]
        assert (group["phase"], group["pending"], group["running"]) == ("Running", 1, 0)
        project = written["/apis/run.ai/v1/projects/a/status"]
        assert (project["phase"], project["namespace"], project["allocated"]["gpu"]) == ("Ready", "runai-a", 1)


async def test_another_projects_namespace_is_never_relabelled() -> None:
    async with StubApi() as api:
        api.script = [failure(409), reply({"metadata": {"name": "runai-a", "labels": {"runai/queue": "other"}}})]
        made = Picture()
        made.upsert_project(Project(Queue("a")))
        task = asyncio.create_task(ProjectNamespaces(api.client, made, lambda: True).run())
        async with asyncio.timeout(3):
            while len(api.requests) < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        assert [method for method, _, _ in api.requests] == ["POST", "GET"]


async def test_a_pod_that_is_woken_in_vain_rests_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_REST_S", 0.02)
    async with StubApi() as api:
        api.script = [reply({})]
        made = picture(limit=0)
        async with running(api, made) as upkeep:
            refuse(upkeep, made, pod("p"))
            made.upsert_project(Project(Queue("a")))
            started = asyncio.get_running_loop().time()
            async with asyncio.timeout(5):
                while len(_touched(api)) < 4:  # at 0, 20, 60 and 140 ms
                    made.generation += 1  # something changes all the time
                    await asyncio.sleep(0.002)
            assert asyncio.get_running_loop().time() - started >= 0.14
