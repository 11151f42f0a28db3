"""The small Job, StatefulSet, ReplicaSet and Deployment controllers, with kubelets that run what they make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from extender.emulator.cluster import EmbeddedCluster
from extender.emulator.kubelet import Behaviour
from extender.emulator.scheduler import SchedulerConfig

Json = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
SETS = "/apis/apps/v1/namespaces/default/statefulsets"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
REPLICA_SETS = "/apis/apps/v1/namespaces/default/replicasets"
NEW_IMAGE = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "new"}]}}}}


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(
        nodes=1,
        behaviour=Behaviour(start_delay_s=0.01, stop_delay_s=0.01),
        scheduler_config=SchedulerConfig(frozenset({"default-scheduler"})),
        retry_backoff_s=0.05,
    ) as cluster:
        cluster.start_scheduler("http://127.0.0.1:1")
        yield cluster


def template(*, gpus: int = 0, restart: str = "Always", **annotations: str) -> Json:
    limits = {"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}} if gpus else {}
    return {
        "metadata": {
            "labels": {"app": "w"},
            "annotations": {f"emulator.run.ai/{key.replace('_', '-')}": value for key, value in annotations.items()},
        },
        "spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "i", **limits}]},
    }


def job(*, annotations: dict[str, str] | None = None, **spec: Any) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {"template": template(restart="Never", **(annotations or {})), **spec},
    }


def workload(kind: str, replicas: int = 1, *, pods: Json | None = None, **spec: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "w"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "w"}},
            "template": pods or template(),
            **({"serviceName": "w"} if kind == "StatefulSet" else {}),
            **spec,
        },
    }


async def reach(cluster: EmbeddedCluster, path: str, holds: Callable[[Json], bool]) -> Json:
    """The object, as soon as `holds` is true of it."""
    found: Json = {}
    try:
        async with asyncio.timeout(5):
            while not holds(found := await cluster.client.get(path)):
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never came true; last: {found.get('spec')} {found.get('status')}") from None
    return found


async def pods(cluster: EmbeddedCluster, count: int | None = None, phase: str | None = None) -> list[Json]:
    """All pods; with `count`, as soon as there are so many in `phase`."""
    async with asyncio.timeout(5):
        while True:
            items, _ = await cluster.client.list(PODS)
            found = [item for item in items if phase is None or _is(item, phase)]
            if count is None or len(found) == count:
                return found
            await asyncio.sleep(0.01)


def _is(pod: Json, phase: str) -> bool:
    return pod["status"]["phase"] == phase and "deletionTimestamp" not in pod["metadata"]


async def successor(cluster: EmbeddedCluster, of: Json) -> Json:
    """The one running pod, once it is another than `of`."""
    async with asyncio.timeout(5):
        while True:
            (found,) = await pods(cluster, 1, "Running")
            if found["metadata"]["uid"] != of["metadata"]["uid"]:
                return found
            await asyncio.sleep(0.01)


def names(found: list[Json]) -> list[str]:
    return sorted(item["metadata"]["name"] for item in found)


def status(obj: Json) -> Json:
    found: Json = obj.get("status") or {}
    return found


def conditions(obj: Json) -> dict[str, str]:
    return {c["type"]: c["reason"] for c in status(obj).get("conditions") or () if c["status"] == "True"}


def has(kind: str) -> Callable[[Json], bool]:
    return lambda obj: kind in conditions(obj)


def counts(**wanted: int) -> Callable[[Json], bool]:
    return lambda obj: all((status(obj).get(name) or 0) == count for name, count in wanted.items())


class TestJob:
    async def test_pods_carry_the_jobs_name_labels_and_reference(self, cluster: EmbeddedCluster) -> None:
        created = await cluster.client.create(JOBS, job())
        (pod,) = await pods(cluster, 1, "Running")
        metadata = pod["metadata"]
        assert metadata["name"].startswith("j-")
        assert len(metadata["name"]) == len("j-") + 5
        assert metadata["labels"]["job-name"] == metadata["labels"]["batch.kubernetes.io/job-name"] == "j"
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("Job", created["metadata"]["uid"], True)
        done = await reach(cluster, f"{JOBS}/j", counts(ready=1, active=1))
        assert done["status"]["startTime"]

    async def test_completions_run_at_most_parallelism_at_a_time(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(JOBS, job(annotations={"run_seconds": "0.1"}, completions=3, parallelism=2))
        most = 0
        async with asyncio.timeout(5):
            while not has("Complete")(done := await cluster.client.get(f"{JOBS}/j")):
                most = max(most, sum(p["status"]["phase"] in ("Pending", "Running") for p in await pods(cluster)))
        assert most == 2
        assert conditions(done) == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
        assert (done["status"]["succeeded"], done["status"].get("active", 0)) == (3, 0)
        assert done["status"]["completionTime"]
        assert len(await pods(cluster)) == 3

    async def test_failures_are_retried_up_to_the_limit(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(JOBS, job(annotations={"exit_code": "1"}, backoffLimit=2))
        done = await reach(cluster, f"{JOBS}/j", has("Failed"))
        assert conditions(done)["Failed"] == "BackoffLimitExceeded"
        assert done["status"]["failed"] == 3
        assert len(await pods(cluster)) == 3

    async def test_a_pod_that_is_taken_away_is_replaced_and_counts_as_failed(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(JOBS, job())
        (first,) = await pods(cluster, 1, "Running")
        await cluster.client.delete(f"{PODS}/{first['metadata']['name']}")
        await reach(cluster, f"{JOBS}/j", counts(failed=1, active=1, ready=1))
        assert names([await successor(cluster, first)]) != names([first])

    async def test_suspended_has_no_pods_and_resumes(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(JOBS, job(parallelism=2, completions=2, suspend=True))
        await reach(cluster, f"{JOBS}/j", has("Suspended"))
        assert await pods(cluster) == []
        await cluster.client.patch(f"{JOBS}/j", {"spec": {"suspend": False}})
        await pods(cluster, 2, "Running")
        await cluster.client.patch(f"{JOBS}/j", {"spec": {"suspend": True}})
        await pods(cluster, 0)
        done = await reach(cluster, f"{JOBS}/j", lambda j: has("Suspended")(j) and counts(active=0, failed=0)(j))
        assert "startTime" not in done["status"]

    async def test_fewer_parallel_pods_on_request(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(JOBS, job(parallelism=3, completions=5))
        await pods(cluster, 3, "Running")
        await cluster.client.patch(f"{JOBS}/j", {"spec": {"parallelism": 1}})
        await pods(cluster, 1)
        await reach(cluster, f"{JOBS}/j", counts(failed=0, active=1))

    async def test_without_completions_one_success_is_enough(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(JOBS, job(annotations={"run_seconds": "0.05"}, parallelism=2))
        done = await reach(cluster, f"{JOBS}/j", has("Complete"))
        assert done["status"]["succeeded"] == 2

    async def test_a_deadline_ends_it(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(JOBS, job(activeDeadlineSeconds=1))
        await pods(cluster, 1, "Running")
        done = await reach(cluster, f"{JOBS}/j", has("Failed"))
        assert conditions(done)["Failed"] == "DeadlineExceeded"
        await pods(cluster, 0)

    async def test_it_is_cleaned_up_after_its_time(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(JOBS, job(annotations={"run_seconds": "0.05"}, ttlSecondsAfterFinished=0))
        await pods(cluster, 1)
        await pods(cluster, 0)
        assert (await cluster.client.list(JOBS))[0] == []

    async def test_indexed_pods_have_each_index_once(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(JOBS, job(completions=3, parallelism=3, completionMode="Indexed"))
        found = await pods(cluster, 3, "Running")
        key = "batch.kubernetes.io/job-completion-index"
        assert sorted(pod["metadata"]["annotations"][key] for pod in found) == ["0", "1", "2"]
        assert sorted(pod["spec"]["hostname"] for pod in found) == ["j-0", "j-1", "j-2"]

    async def test_a_job_of_the_same_name_gets_pods_of_its_own(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(JOBS, job())
        (first,) = await pods(cluster, 1, "Running")
        await cluster.client.delete(f"{JOBS}/j", options={"propagationPolicy": "Background"})
        second = await cluster.client.create(JOBS, job())
        found = await successor(cluster, first)
        assert found["metadata"]["ownerReferences"][0]["uid"] == second["metadata"]["uid"]

    async def test_what_the_server_refuses_is_an_event_of_the_job(self, cluster: EmbeddedCluster) -> None:
        spec = job()
        spec["spec"]["template"]["spec"]["priorityClassName"] = "unheard-of"
        await cluster.client.create(JOBS, spec)
        refusals: list[Json] = []
        async with asyncio.timeout(5):
            while not refusals:
                events, _ = await cluster.client.list("/api/v1/namespaces/default/events")
                refusals = [event for event in events if event["reason"] == "FailedCreate"]
                await asyncio.sleep(0.01)
        assert "unheard-of" in refusals[0]["message"]


class TestStatefulSet:
    async def test_pods_come_in_order_with_their_names_and_labels(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(SETS, workload("StatefulSet", 3))
        found = {pod["metadata"]["name"]: pod for pod in await pods(cluster, 3, "Running")}
        assert sorted(found, key=lambda name: found[name]["metadata"]["creationTimestamp"] + name) == [
            "w-0",
            "w-1",
            "w-2",
        ]
        assert found["w-0"]["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "w-0"
        assert (found["w-0"]["spec"]["hostname"], found["w-0"]["spec"]["subdomain"]) == ("w-0", "w")
        done = await reach(cluster, f"{SETS}/w", counts(readyReplicas=3))
        assert counts(replicas=3, updatedReplicas=3, currentReplicas=3)(done)
        assert done["status"]["currentRevision"] == done["status"]["updateRevision"]

    async def test_a_pod_that_waits_holds_back_the_next(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(SETS, workload("StatefulSet", 2, pods=template(gpus=5)))
        await pods(cluster, 1, "Pending")
        await asyncio.sleep(0.1)
        assert names(await pods(cluster)) == ["w-0"]

    async def test_parallel_does_not_wait(self, cluster: EmbeddedCluster) -> None:
        spec = workload("StatefulSet", 2, pods=template(gpus=5), podManagementPolicy="Parallel")
        await cluster.client.create(SETS, spec)
        assert names(await pods(cluster, 2, "Pending")) == ["w-0", "w-1"]

    async def test_a_deleted_pod_is_replaced_under_its_name(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(SETS, workload("StatefulSet", 1))
        (first,) = await pods(cluster, 1, "Running")
        await cluster.client.delete(f"{PODS}/w-0")
        assert names([await successor(cluster, first)]) == ["w-0"]

    async def test_a_failed_pod_is_replaced(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(SETS, workload("StatefulSet", 1))
        (first,) = await pods(cluster, 1, "Running")
        await cluster.client.patch(f"{PODS}/w-0/status", {"status": {"phase": "Failed"}})
        assert names([await successor(cluster, first)]) == ["w-0"]

    async def test_scaling_down_takes_the_highest(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(SETS, workload("StatefulSet", 3))
        await pods(cluster, 3, "Running")
        await cluster.client.patch(f"{SETS}/w", {"spec": {"replicas": 1}})
        assert names(await pods(cluster, 1)) == ["w-0"]
        await cluster.client.patch(f"{SETS}/w", {"spec": {"replicas": 0}})
        await pods(cluster, 0)

    async def test_a_new_template_is_rolled_out(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(SETS, workload("StatefulSet", 2))
        await pods(cluster, 2, "Running")
        await cluster.client.patch(f"{SETS}/w", NEW_IMAGE)
        await reach(cluster, f"{SETS}/w", counts(observedGeneration=2, updatedReplicas=2, readyReplicas=2))
        found = await pods(cluster, 2, "Running")
        assert {pod["spec"]["containers"][0]["image"] for pod in found} == {"new"}

    async def test_claims_of_its_templates_are_made_and_mounted(self, cluster: EmbeddedCluster) -> None:
        claim = {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        await cluster.client.create(SETS, workload("StatefulSet", 1, volumeClaimTemplates=[claim]))
        (pod,) = await pods(cluster, 1, "Running")
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] == "data-w-0"
        claims, _ = await cluster.client.list("/api/v1/namespaces/default/persistentvolumeclaims")
        assert names(claims) == ["data-w-0"]


class TestReplicaSetAndDeployment:
    async def test_a_replica_set_keeps_its_number(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(REPLICA_SETS, workload("ReplicaSet", 2))
        first, _ = await pods(cluster, 2, "Running")
        await cluster.client.delete(f"{PODS}/{first['metadata']['name']}")
        await reach(cluster, f"{REPLICA_SETS}/w", counts(readyReplicas=2))
        await cluster.client.patch(f"{REPLICA_SETS}/w", {"spec": {"replicas": 1}})
        await pods(cluster, 1)

    async def test_a_deployment_rolls_from_one_replica_set_to_the_next(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(DEPLOYMENTS, workload("Deployment", 2))
        done = await reach(cluster, f"{DEPLOYMENTS}/w", counts(availableReplicas=2))
        assert conditions(done) == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
        (first,) = (await cluster.client.list(REPLICA_SETS))[0]
        assert first["metadata"]["name"].startswith("w-")
        await cluster.client.patch(f"{DEPLOYMENTS}/w", NEW_IMAGE)
        await reach(cluster, f"{DEPLOYMENTS}/w", counts(observedGeneration=2, updatedReplicas=2, replicas=2))
        found = await pods(cluster, 2, "Running")
        assert {pod["spec"]["containers"][0]["image"] for pod in found} == {"new"}
        old = await cluster.client.get(f"{REPLICA_SETS}/{first['metadata']['name']}")
        assert old["spec"]["replicas"] == 0

    async def test_recreate_stops_the_old_before_it_starts_the_new(self, cluster: EmbeddedCluster) -> None:
        spec = workload("Deployment", 1, pods=template(gpus=4), strategy={"type": "Recreate"})
        await cluster.client.create(DEPLOYMENTS, spec)
        (first,) = await pods(cluster, 1, "Running")
        await cluster.client.patch(f"{DEPLOYMENTS}/w", NEW_IMAGE)
        assert (await successor(cluster, first))["spec"]["containers"][0]["image"] == "new"

    async def test_a_deleted_deployment_takes_everything_with_it(self, cluster: EmbeddedCluster) -> None:
        await cluster.client.create(DEPLOYMENTS, workload("Deployment", 2))
        await pods(cluster, 2, "Running")
        await cluster.client.delete(f"{DEPLOYMENTS}/w")
        await pods(cluster, 0)
        assert (await cluster.client.list(REPLICA_SETS))[0] == []
