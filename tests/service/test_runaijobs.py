"""RunaiJobs on the embedded cluster: run to their end, tried again, suspended, evicted, deleted; and our restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from extender.controllers import limits
from extender.emulator.cluster import EmbeddedCluster
from extender.errors import NotFoundError
from extender.workloads import attempts
from tests.service.test_workloads import project, serving, until

Json = dict[str, Any]

JOBS = "/apis/run.ai/v1/namespaces/runai-team-a/runaijobs"
PODS = "/api/v1/namespaces/runai-team-a/pods"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_FIRST_BACKOFF_S", 0.5)


def job(name: str, *, seconds: str = "", code: str = "0", annotations: Json | None = None, **spec: Any) -> Json:
    """seconds: how long each pod runs, "" for ever; code: what it ends with."""
    ends = {"emulator.run.ai/run-seconds": seconds, "emulator.run.ai/exit-code": code} if seconds else {}
    template = {
        "metadata": {"annotations": ends, "labels": {"release": name}},
        "spec": {
            "schedulerName": "runai-scheduler",
            "containers": [{"name": "main", "image": "i", "resources": {"limits": {"nvidia.com/gpu": 1}}}],
        },
    }
    return {
        "apiVersion": "run.ai/v1",
        "kind": "RunaiJob",
        "metadata": {"name": name, "namespace": "runai-team-a", "annotations": annotations or {}},
        "spec": {"template": template, **spec},
    }


@asynccontextmanager
async def playing(*, gpus: int = 4) -> AsyncIterator[EmbeddedCluster]:
    async with (
        EmbeddedCluster(nodes=1, gpus_per_node=gpus) as cluster,
        serving(cluster, roles=("extender", "workloads")),
    ):
        await cluster.apply([project(deservedGpus=gpus)])
        yield cluster


async def status(cluster: EmbeddedCluster, name: str) -> Json:
    found: Json = (await cluster.client.get(f"{JOBS}/{name}")).get("status") or {}
    return found


async def ended(cluster: EmbeddedCluster, name: str, kind: str) -> Json | None:
    """The status, once it says that the job has ended so."""
    found = await status(cluster, name)
    held = [one["type"] for one in found.get("conditions") or () if one["status"] == "True"]
    return found if kind in held else None


async def word(cluster: EmbeddedCluster, name: str) -> str:
    annotations = (await cluster.client.get(f"{JOBS}/{name}"))["metadata"].get("annotations") or {}
    return str(annotations.get("runai-calculated-status"))


async def phases(cluster: EmbeddedCluster) -> dict[str, str]:
    listed, _ = await cluster.client.list(PODS)
    return {one["metadata"]["name"]: one["status"].get("phase") or "Pending" for one in listed}


async def are(cluster: EmbeddedCluster, expected: dict[str, str]) -> bool:
    return await phases(cluster) == expected


async def exists(cluster: EmbeddedCluster, path: str) -> bool:
    try:
        await cluster.client.get(path)
    except NotFoundError:
        return False
    return True


async def has_gone(cluster: EmbeddedCluster, path: str) -> bool:
    return not await exists(cluster, path)


async def said(cluster: EmbeddedCluster, reason: str) -> list[str]:
    listed, _ = await cluster.client.list("/api/v1/namespaces/runai-team-a/events")
    return [one["message"] for one in listed if one["reason"] == reason and one["involvedObject"]["kind"] == "RunaiJob"]


async def test_it_runs_to_completion_and_says_so() -> None:
    async with playing() as cluster:
        await cluster.apply([job("j", seconds="0.2", completions=3, parallelism=2)])
        found = await until(lambda: ended(cluster, "j", "Complete"))
        assert (found["succeeded"], found["failed"], found["completedIndexes"]) == (3, 0, "0-2")
        assert found["startTime"] <= found["completionTime"]
        assert await phases(cluster) == dict.fromkeys(("j-0-0", "j-1-0", "j-2-0"), "Succeeded")
        await until(lambda: _is(cluster, "j", "Succeeded"))
        annotations = (await cluster.client.get(f"{JOBS}/j"))["metadata"]["annotations"]
        assert annotations["runai-total-requested-gpus"] == "3"
        assert annotations["runai-current-requested-gpus"] == annotations["runai-running-pods"] == "0"
        one = await cluster.client.get(f"{PODS}/j-1-0")
        assert one["metadata"]["labels"]["run.ai/pod-index"] == "1"
        assert one["metadata"]["annotations"]["runai-calculated-status"] == "Succeeded"
        assert len(await until(lambda: said(cluster, "SuccessfulCreate"))) >= 1
        assert await until(lambda: said(cluster, "Completed")) == ["Job completed"]


async def test_its_pods_are_one_group_while_they_run() -> None:
    async with playing() as cluster:
        await cluster.apply([job("j", completions=2, parallelism=2)])
        await until(lambda: are(cluster, {"j-0-0": "Running", "j-1-0": "Running"}))
        groups, _ = await until(lambda: _groups(cluster))
        (group,) = groups
        (owner,) = group["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("RunaiJob", "j")
        assert group["spec"]["priorityClassName"] == "train"
        await until(lambda: _is(cluster, "j", "Running"))
        annotations = (await cluster.client.get(f"{JOBS}/j"))["metadata"]["annotations"]
        assert (annotations["runai-running-pods"], annotations["runai-used-nodes"]) == ("2", "node-0")
        assert annotations["runai-current-allocated-gpus"] == "2"


async def test_failures_are_tried_again_up_to_the_limit() -> None:
    async with playing() as cluster:
        await cluster.apply([job("j", seconds="0.1", code="1", backoffLimit=1)])
        found = await until(lambda: ended(cluster, "j", "Failed"))
        assert found["failed"] == 2
        assert await phases(cluster) == {"j-0-0": "Failed", "j-0-1": "Failed"}
        await until(lambda: _is(cluster, "j", "Failed"))
        await until(lambda: said(cluster, "BackoffLimitExceeded"))


async def test_suspend_and_resume() -> None:
    async with playing() as cluster:
        await cluster.apply([job("j", completions=2, parallelism=2)])
        await until(lambda: are(cluster, {"j-0-0": "Running", "j-1-0": "Running"}))
        await cluster.client.patch(f"{JOBS}/j", {"spec": {"suspend": True}})
        await until(lambda: are(cluster, {}))
        await until(lambda: _is(cluster, "j", "Suspended"))
        found = await status(cluster, "j")
        assert "startTime" not in found
        assert (found["active"], found["failed"]) == (0, 0)
        await cluster.client.patch(f"{JOBS}/j", {"spec": {"suspend": False}})
        await until(lambda: are(cluster, {"j-0-1": "Running", "j-1-1": "Running"}))
        await until(lambda: _is(cluster, "j", "Running"))
        assert (await status(cluster, "j"))["startTime"]


async def test_who_is_evicted_comes_again_and_has_not_failed() -> None:
    async with playing() as cluster:
        await cluster.apply([job("j")])
        await until(lambda: are(cluster, {"j-0-0": "Running"}))
        found = await cluster.client.get(f"{PODS}/j-0-0")
        await cluster.client.evict("runai-team-a", "j-0-0", found["metadata"]["uid"])
        await until(lambda: are(cluster, {"j-0-1": "Running"}))
        assert (await status(cluster, "j"))["failed"] == 0


async def test_terminate_after_preemption() -> None:
    async with playing() as cluster:
        await cluster.apply([job("j", annotations={"runai/terminate-after-preemption": "true"})])
        await until(lambda: are(cluster, {"j-0-0": "Running"}))
        found = await cluster.client.get(f"{PODS}/j-0-0")
        await cluster.client.evict("runai-team-a", "j-0-0", found["metadata"]["uid"])
        await until(lambda: ended(cluster, "j", "Failed"))
        await until(lambda: _is(cluster, "j", "Preempted"))
        await until(lambda: are(cluster, {}))


async def test_the_deadline() -> None:
    async with playing() as cluster:
        await cluster.apply([job("j", activeDeadlineSeconds=1)])
        found = await until(lambda: ended(cluster, "j", "Failed"))
        assert found["conditions"][0]["reason"] == "DeadlineExceeded"
        await until(lambda: are(cluster, {}))


async def test_a_job_over_its_time_is_suspended_until_somebody_resumes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_EVERY_S", 0.02)
    async with playing() as cluster:
        await cluster.apply([project(deservedGpus=4, trainingJobTimeLimitSecs=1), job("j")])
        await until(lambda: _is(cluster, "j", "TimedOut"))
        await until(lambda: are(cluster, {}))
        assert [one["type"] for one in (await status(cluster, "j"))["conditions"]] == ["Suspended"]
        assert await word(cluster, "j") == "TimedOut"
        await cluster.client.patch("/apis/run.ai/v1/projects/team-a", {"spec": {"trainingJobTimeLimitSecs": 0}})
        await cluster.client.patch(f"{JOBS}/j", {"spec": {"suspend": False}})
        await until(lambda: _is(cluster, "j", "Running"))


async def test_time_to_live_takes_the_job_and_its_pods() -> None:
    async with playing() as cluster:
        await cluster.apply([job("j", seconds="0.1", ttlSecondsAfterFinished=0)])
        await until(lambda: has_gone(cluster, f"{JOBS}/j"))
        await until(lambda: are(cluster, {}))


async def test_deleting_the_job_takes_its_pods() -> None:
    async with playing() as cluster:
        await cluster.apply([job("j", completions=2, parallelism=2)])
        await until(lambda: are(cluster, {"j-0-0": "Running", "j-1-0": "Running"}))
        await cluster.client.delete(f"{JOBS}/j")
        await until(lambda: are(cluster, {}))
        # The same name again is another job.
        await cluster.apply([job("j", seconds="0.1")])
        found = await until(lambda: ended(cluster, "j", "Complete"))
        assert found["succeeded"] == 1


async def test_a_name_taken_by_somebody_elses_pod_is_passed_over() -> None:
    async with playing() as cluster:
        other = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j-0-0", "namespace": "runai-team-a"}}
        await until(lambda: exists(cluster, "/api/v1/namespaces/runai-team-a"))
        await cluster.apply(
            [{**other, "spec": {"containers": [{"name": "main", "image": "i"}], "schedulerName": "nobody"}}]
        )
        await cluster.apply([job("j", seconds="0.1")])
        await until(lambda: ended(cluster, "j", "Complete"))
        assert await phases(cluster) == {"j-0-0": "Pending", "j-0-1": "Succeeded"}


async def test_a_pod_that_cannot_be_made_is_said_and_tried_again() -> None:
    async with playing() as cluster:
        one = job("j", seconds="0.1")
        one["spec"]["template"]["spec"]["containers"][0]["image"] = ""
        await cluster.apply([one])
        (message,) = await until(lambda: said(cluster, "FailedCreate"))
        assert message.startswith("Error creating pod j-0-0: ")
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "i"}]}}}}
        await cluster.client.patch(f"{JOBS}/j", patch)
        await until(lambda: ended(cluster, "j", "Complete"))


async def test_a_restart_in_the_middle_makes_nothing_twice() -> None:
    roles = ("extender", "workloads")
    async with EmbeddedCluster(nodes=1, gpus_per_node=4) as cluster:
        async with serving(cluster, roles=roles):
            await cluster.apply([project(deservedGpus=4), job("j", completions=6, parallelism=3, seconds="0.5")])
            await until(lambda: _some_pods(cluster))
        async with serving(cluster, roles=roles, schedule=False) as second:
            cluster.start_scheduler(second.extender_url)
            found = await until(lambda: ended(cluster, "j", "Complete"))
        assert (found["succeeded"], found["failed"]) == (6, 0)
        assert sorted(await phases(cluster)) == [f"j-{index}-0" for index in range(6)]


async def test_what_ended_while_we_were_away_is_counted() -> None:
    roles = ("workloads",)
    async with EmbeddedCluster(nodes=1) as cluster:
        await cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "runai-team-a"}}])
        async with serving(cluster, roles=roles, schedule=False):
            await cluster.apply([job("j", backoffLimit=3), job("k")])
            await until(lambda: are(cluster, {"j-0-0": "Pending", "k-0-0": "Pending"}))
        await cluster.client.patch(f"{PODS}/j-0-0/status", {"status": {"phase": "Failed"}})
        await cluster.client.patch(f"{PODS}/k-0-0/status", {"status": {"phase": "Succeeded"}})
        async with serving(cluster, roles=roles, schedule=False):
            await until(lambda: ended(cluster, "k", "Complete"))
            await until(lambda: are(cluster, {"j-0-0": "Failed", "j-0-1": "Pending", "k-0-0": "Succeeded"}))
            assert (await status(cluster, "j"))["failed"] == 1


async def test_of_two_replicas_one_works_and_the_other_takes_over() -> None:
    roles = ("workloads",)
    async with EmbeddedCluster(nodes=1) as cluster:
        await cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "runai-team-a"}}])
        async with serving(cluster, roles=roles, schedule=False, identity="b"):
            async with serving(cluster, roles=roles, schedule=False, identity="a"):
                await cluster.apply([job("j", completions=2, parallelism=2)])
                await until(lambda: are(cluster, {"j-0-0": "Pending", "j-1-0": "Pending"}))
            await cluster.apply([job("k")])
            await until(lambda: exists(cluster, f"{PODS}/k-0-0"))
            assert len(await phases(cluster)) == 3


async def _is(cluster: EmbeddedCluster, name: str, expected: str) -> bool:
    return await word(cluster, name) == expected


async def _some_pods(cluster: EmbeddedCluster) -> bool:
    return len(await phases(cluster)) >= 3


async def _groups(cluster: EmbeddedCluster) -> Any:
    listed, version = await cluster.client.list(
        "/apis/scheduling.incubator.k8s.io/v1alpha1/namespaces/runai-team-a/podgroups"
    )
    return (listed, version) if listed else None
