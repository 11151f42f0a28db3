"""Idle limits against a small stand-in for Prometheus, which answers as the test says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from extender.cluster.picture import Picture
from extender.controllers.idle import IdleLimits
from extender.controllers.owners import Owners
from extender.controllers.stopping import Stopper
from extender.errors import NotFoundError, UnavailableError
from extender.kube.client import KubeClient
from extender.metrics import REGISTRY
from extender.model.pod import Owner, Pod
from extender.model.queue import Project, Queue
from extender.servers.listener import Listener
from extender.settings import GpuMetricsSettings
from tests.builders import PROJECT, pod

Json = dict[str, Any]

LIMIT_S = 60


class Prometheus:
    """Answers `use` (pod → percent, in any namespace) until it is told another `body` or `status`, or to be slow."""

    def __init__(self) -> None:
        self.use: dict[str, float] = {}
        self.body: bytes | None = None
        self.status = 200
        self.delay_s = 0.0
        self.queries: list[str] = []
        self.listener = Listener(web.Application(), "127.0.0.1:0")

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/api/v1/query", self._query)
        self.listener = Listener(app, "127.0.0.1:0")
        await self.listener.start()

    async def _query(self, request: web.Request) -> web.Response:
        self.queries.append(request.query["query"])
        await asyncio.sleep(self.delay_s)
        series = [
            {"metric": {"namespace": namespace, "pod": name}, "value": [1.5, str(percent)]}
            for name, percent in self.use.items()
            for namespace in ("runai-team-a", "runai-reservation")
        ]
        vector = {"status": "success", "data": {"resultType": "vector", "result": series}}
        return web.Response(body=orjson.dumps(vector) if self.body is None else self.body, status=self.status)


class FakeApi(KubeClient):
    """Objects by path; patches and deletions are remembered."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.patched: list[tuple[str, Any]] = []
        self.deleted: list[str] = []
        self.is_down = False

    async def get(self, path: str, **_: Any) -> Json:
        if path not in self.objects:
            raise NotFoundError(path)
        return self.objects[path]

    async def patch(self, path: str, patch: Any, **_: Any) -> Json:  # type: ignore[override]
        if self.is_down:
            raise UnavailableError("down")
        self.patched.append((path, patch["spec"]))
        return {}

    async def delete(self, path: str, **_: Any) -> Json:
        self.deleted.append(path)
        return {}


class Said:
    """What owners of workloads are told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def record(self, subject: Any, kind: str, reason: str, message: str) -> None:
        self.events.append((subject.kind, reason, message))


class World:
    """One project with a limit of a minute for trainings, a clock that the test turns, a stand-in Prometheus."""

    def __init__(self, prometheus: Prometheus, session: aiohttp.ClientSession) -> None:
        self.prometheus = prometheus
        self.session = session
        self.api = FakeApi()
        self.said = Said()
        self.picture = Picture()
        self.picture.upsert_project(Project(Queue(PROJECT), training_idle_limit_s=LIMIT_S))
        self.now = 1000.0
        self.is_active = True
        owners = Owners(self.api)
        self.limits = IdleLimits(
            self.picture,
            owners,
            Stopper(self.api, owners, self.said),  # type: ignore[arg-type]
            GpuMetricsSettings(url=prometheus.listener.url + "/", timeout_s=0.2),
            lambda: self.is_active,
            clock=lambda: self.now,
        )

    def running(self, name: str, owner: Owner | None = None, **given: Any) -> Pod:
        """A running pod of the project, known to the picture."""
        made = pod(name, **{"gpus": 1, "phase": "Running", "on": "n", **given})
        made = replace(made, started="2026-01-01T00:00:00Z", owner=owner)
        self.picture.upsert_pod(made)
        return made

    def owned(self, kind: str, name: str, *, by: Json | None = None) -> Owner:
        """A workload object that the API server has, as an owner."""
        group, plural = {
            "Job": ("batch/v1", "jobs"),
            "JobSet": ("jobset.x-k8s.io/v1alpha2", "jobsets"),
        }[kind]
        metadata: Json = {"name": name, "uid": f"{name}-uid"}
        if by is not None:
            metadata["ownerReferences"] = [by]
        path = f"/apis/{group}/namespaces/runai-team-a/{plural}/{name}"
        self.api.objects[path] = {"apiVersion": group, "kind": kind, "metadata": metadata}
        return Owner(kind, name, f"{name}-uid", group)

    async def rounds(self, number: int, every_s: float = 30.0) -> None:
        for _ in range(number):
            await self.limits.round(self.session)
            self.now += every_s


@pytest.fixture
async def world() -> AsyncIterator[World]:
    prometheus = Prometheus()
    await prometheus.start()
    async with aiohttp.ClientSession() as session:
        yield World(prometheus, session)
    await prometheus.listener.stop()


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_an_idle_job_is_suspended_and_told_limit_and_measure(world: World) -> None:
    world.running("p", world.owned("Job", "train"))
    world.prometheus.use = {"p": 0.0}
    before = counted("runai_workloads_idled_out_total", work="training")
    await world.rounds(2)
    assert world.api.patched == []
    await world.rounds(3)
    assert world.api.patched == [("/apis/batch/v1/namespaces/runai-team-a/jobs/train", {"suspend": True})]
    text = (
        "The workload has left its GPUs idle for 60 seconds; the idle limit of such training workloads in project "
        "team-a is 60 seconds: Job train is suspended."
    )
    assert world.said.events == [("Pod", "IdleTimedOut", text), ("Job", "IdleTimedOut", text)]
    assert counted("runai_workloads_idled_out_total", work="training") == before + 1
    assert "max_over_time(DCGM_FI_DEV_GPU_UTIL[91s])" in world.prometheus.queries[0]


async def test_a_lone_pod_is_deleted(world: World) -> None:
    world.running("p")
    world.prometheus.use = {"p": 0.0}
    await world.rounds(3)
    assert world.api.deleted == ["/api/v1/namespaces/runai-team-a/pods/p"]


async def test_who_works_is_left_alone(world: World) -> None:
    world.running("p")
    for percent in (0.0, 0.0, 3.0, 0.0, 0.0):
        world.prometheus.use = {"p": percent}
        await world.rounds(1)
    assert world.api.deleted == []


async def test_only_running_pods_with_gpus_count(world: World) -> None:
    job = world.owned("Job", "train")
    world.running("idle", job)
    world.running("cpu", job, gpus=0)
    world.picture.upsert_pod(pod("pending", gpus=1))
    world.picture.upsert_project(Project(Queue("reservation"), training_idle_limit_s=LIMIT_S))
    world.running("ours", namespace="runai-reservation")  # it holds a device for those who share it
    world.prometheus.use = {"idle": 0.0, "ours": 0.0}
    await world.rounds(3)
    assert (len(world.api.patched), world.api.deleted) == (1, [])
    assert counted("runai_gpu_metrics_missing_pods") == 0


async def test_a_workload_with_one_working_pod_is_left_alone(world: World) -> None:
    job = world.owned("Job", "train")
    for name in ("idle", "works"):
        world.running(name, job)
    world.prometheus.use = {"idle": 0.0, "works": 90.0}
    await world.rounds(4)
    assert world.api.patched == []


async def test_a_whole_of_several_parts_is_idle_when_all_of_them_are(world: World) -> None:
    whole = world.owned("JobSet", "set")
    reference = {
        "apiVersion": whole.api_version, "kind": "JobSet", "name": "set", "uid": whole.uid, "controller": True
    }  # fmt: skip
    for part in ("a", "b"):
        world.running(part, world.owned("Job", f"set-{part}", by=reference))
    world.prometheus.use = {"a": 0.0, "b": 50.0}
    await world.rounds(4)
    assert world.api.patched == []
    world.prometheus.use = {"a": 0.0, "b": 0.0}
    await world.rounds(3)
    assert world.api.patched == [
        ("/apis/jobset.x-k8s.io/v1alpha2/namespaces/runai-team-a/jobsets/set", {"suspend": True})
    ]


@pytest.mark.parametrize(
    ("trouble", "outcome", "cause"),
    [
        ({"status": 503, "body": b'{"status":"error","error":"query timed out"}'}, "failed", "503 query timed out"),
        ({"status": 404, "body": b"<html>"}, "failed", "404"),
        ({"body": b"<html>"}, "malformed", "not a vector"),
        ({"body": b'{"status":"success","data":{"resultType":"vector","result":[]}}'}, "empty", "names no pod"),
        ({"delay_s": 0.5}, "failed", "no answer within 0.2 s"),
    ],
    ids=["error", "another server", "malformed", "empty", "slow"],
)
async def test_nobody_is_idle_while_metrics_are_down(
    world: World, trouble: Json, outcome: str, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "runai")
    world.running("p")
    world.prometheus.use = {"p": 0.0}
    await world.rounds(2)  # 30 of 60 seconds
    for field, value in trouble.items():
        setattr(world.prometheus, field, value)
    before = counted("runai_gpu_metrics_queries_total", outcome=outcome)
    await world.rounds(4)
    assert world.api.deleted == []
    assert counted("runai_gpu_metrics_queries_total", outcome=outcome) == before + 4
    assert counted("runai_gpu_metrics_missing_pods") == 1
    world.prometheus.body, world.prometheus.status, world.prometheus.delay_s = None, 200, 0.0
    await world.rounds(2)
    assert world.api.deleted == []  # what nobody saw does not count, and what was before it neither
    await world.rounds(1)
    assert len(world.api.deleted) == 1
    said = [(one.getMessage(), one.runai[1].get("cause", "")) for one in caplog.records]  # type: ignore[attr-defined]
    assert [event for event, _ in said[:2]] == ["gpu_metrics_missing", "gpu_metrics_back"]
    assert cause in said[0][1]


async def test_nobody_listens(world: World) -> None:
    await world.prometheus.listener.stop()
    world.running("p")
    await world.rounds(5)
    assert world.api.deleted == []


async def test_without_a_limit_nobody_is_asked(world: World) -> None:
    world.picture.upsert_project(Project(Queue(PROJECT)))
    world.running("p")
    await world.rounds(3)
    assert world.prometheus.queries == []


async def test_a_passive_replica_counts_along_and_stops_nobody(world: World) -> None:
    world.is_active = False
    world.running("p")
    world.prometheus.use = {"p": 0.0}
    await world.rounds(4)
    assert world.api.deleted == []
    world.is_active = True
    await world.rounds(1)
    assert len(world.api.deleted) == 1


async def test_what_could_not_be_stopped_is_tried_again(world: World) -> None:
    world.running("p", world.owned("Job", "train"))
    world.prometheus.use = {"p": 0.0}
    world.api.is_down = True
    await world.rounds(3)
    world.api.is_down = False
    await world.rounds(1)
    assert len(world.api.patched) == 1
    await world.rounds(2)
    assert len(world.api.patched) == 1  # told once: it takes a moment to go
