"""What the controller of RunaiJobs does when its view of the cluster is behind, or somebody else was faster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from extender.controllers.runaijobs import RunaiJobs
from extender.kube.events import EventRecorder
from extender.workloads.attempts import Place
from extender.workloads.runaijob import pod_of
from tests.edges.stub import StubApi

Json = dict[str, Any]

JOB = "/apis/run.ai/v1/namespaces/ns/runaijobs/j"
PODS = "/api/v1/namespaces/ns/pods"


def job(version: int = 10, **spec: Any) -> Json:
    template = {"spec": {"containers": [{"name": "main"}]}}
    metadata = {"name": "j", "namespace": "ns", "uid": "u-j", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"template": template, **spec}}


def pod(index: int = 0, attempt: int = 0, *, version: int = 20, owner: str = "u-j", phase: str = "Running") -> Json:
    made = pod_of({**job(), "metadata": {**job()["metadata"], "uid": owner}}, Place(index, attempt))
    made["metadata"] |= {
        "uid": f"u-{index}-{attempt}",
        "resourceVersion": str(version),
        "creationTimestamp": "2999-01-01T00:00:00Z",  # so what failed waits for its back-off
    }
    return {**made, "status": {"phase": phase}}


class Api:
    """One job and the pods of its namespace, with versions that count on; `writes` are (method, path)."""

    def __init__(self, **spec: Any) -> None:
        self.job = job(**spec)
        self.pods: dict[str, Json] = {}
        self.version = 100
        self.writes: list[tuple[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read() or b"null")
        method, path = request.method, request.path
        if method != "GET":
            self.writes.append(
                (method, path.removeprefix("/api/v1/namespaces/ns/").removeprefix(JOB.removesuffix("j")))
            )
        if path.startswith(JOB):
            return self._job(method, body)
        name = path.removeprefix(PODS).lstrip("/")
        if method == "POST":
            name = body["metadata"]["name"]
            if name in self.pods:
                return web.json_response({"message": "it exists"}, status=409)
            self.pods[name] = {**body, "metadata": {**body["metadata"], "uid": f"made-{name}"}, "status": {}}
        elif name not in self.pods:
            return web.json_response({"message": "no such pod"}, status=404)
        self.version += method != "GET"
        self.pods[name]["metadata"].setdefault("resourceVersion", str(self.version))
        return web.json_response(self.pods[name])

    def _job(self, method: str, body: Any) -> web.Response:
        if method == "GET":
            return web.json_response(self.job)
        if body["metadata"]["resourceVersion"] != self.job["metadata"]["resourceVersion"]:
            return web.json_response({"message": "changed meanwhile"}, status=409)
        self.version += 1
        metadata = {**self.job["metadata"], "resourceVersion": str(self.version)}
        if method == "PATCH":
            metadata["annotations"] = {**metadata.get("annotations", {}), **body["metadata"]["annotations"]}
        self.job = {**self.job, "metadata": metadata, **({"status": body["status"]} if "status" in body else {})}
        return web.json_response(self.job)

    def made(self) -> list[str]:
        return sorted(self.pods)


@asynccontextmanager
async def controlling(api: Api, *, active: bool = True) -> AsyncIterator[RunaiJobs]:
    """The controller, with what its watches bring left to the test."""
    async with StubApi() as stub:
        stub.script = [api.answer]
        jobs = RunaiJobs(stub.client, EventRecorder(stub.client), lambda: active)
        task = asyncio.create_task(jobs.run())
        try:
            yield jobs
            await asyncio.sleep(0.1)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(claim: Callable[[], object], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not claim():
            await asyncio.sleep(0.01)


async def test_the_status_is_written_before_the_pods_that_follow_from_it() -> None:
    api = Api()
    async with controlling(api) as jobs:
        jobs.jobs_listed([api.job], 10)
        await until(lambda: ("PATCH", "j") in api.writes)
    assert api.writes[:3] == [("PUT", "j/status"), ("POST", "pods"), ("PATCH", "j")]
    assert api.job["metadata"]["annotations"]["runai-pending-pods"] == "1"


async def test_what_was_written_is_known_before_the_watch_says_so() -> None:
    api = Api(completions=1)
    async with controlling(api) as jobs:
        jobs.jobs_listed([api.job], 10)
        jobs.pods_listed([pod(phase="Failed")], 20)
        await until(lambda: ("PATCH", "j") in api.writes)
        jobs.job_is(job())  # a belated event from before
        await asyncio.sleep(0.1)
    assert api.job["status"]["failed"] == 1
    assert api.writes.count(("PUT", "j/status")) == 1


async def test_a_status_that_somebody_else_has_changed_is_read_again() -> None:
    api = Api()
    async with controlling(api) as jobs:
        known = api.job
        api.job = {**job(11), "spec": {**known["spec"], "suspend": True}}
        jobs.jobs_listed([known], 10)
        await until(lambda: (api.job.get("status") or {}).get("conditions"))
    assert api.job["status"]["conditions"][0]["type"] == "Suspended"
    assert api.made() == []


async def test_a_pod_that_we_made_and_forgot_is_found_by_its_name() -> None:
    api = Api()
    api.pods["j-0-0"] = pod()
    async with controlling(api) as jobs:
        jobs.jobs_listed([api.job], 10)
        await until(lambda: api.job["metadata"].get("annotations", {}).get("runai-calculated-status"))
    assert api.made() == ["j-0-0"]
    assert api.job["metadata"]["annotations"]["runai-running-pods"] == "1"


async def test_a_name_that_another_jobs_pod_has_is_passed_over() -> None:
    api = Api()
    api.pods["j-0-0"] = pod(owner="an earlier job of that name")
    async with controlling(api) as jobs:
        jobs.jobs_listed([api.job], 10)
        await until(lambda: "j-0-1" in api.pods)
    assert api.made() == ["j-0-0", "j-0-1"]


async def test_a_list_from_before_does_not_take_away_what_we_have_just_made() -> None:
    api = Api()
    async with controlling(api) as jobs:
        jobs.jobs_listed([api.job], 10)
        await until(lambda: api.pods)
        await asyncio.sleep(0.1)
        jobs.pods_listed([], 50)  # our pod is of a later version
        await asyncio.sleep(0.1)
        assert api.made() == ["j-0-0"]
        jobs.pods_listed([], api.version + 1)  # and this list is from after it went
        await until(lambda: len(api.pods) == 2)
    assert api.made() == ["j-0-0", "j-0-1"]


async def test_who_is_not_active_writes_nothing() -> None:
    api = Api()
    async with controlling(api, active=False) as jobs:
        jobs.jobs_listed([api.job], 10)
        await asyncio.sleep(0.1)
    assert api.writes == []


async def test_after_a_job_of_the_same_name_nothing_is_left_of_the_one_before() -> None:
    api = Api()
    async with controlling(api) as jobs:
        jobs.pods_listed([pod(phase="Failed", owner="u-old")], 20)
        jobs.jobs_listed([api.job], 10)
        await until(lambda: api.pods)
        jobs.pod_went(pod(phase="Failed", owner="u-old"))
        await asyncio.sleep(0.1)
    assert api.job["status"]["failed"] == 0
