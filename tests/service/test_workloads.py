"""PodGroups made for workloads, on the embedded cluster: one service in the process, stopped and started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from extender.app import Service
from extender.controllers import grouper, limits
from extender.emulator.cluster import EmbeddedCluster
from extender.errors import NotFoundError
from extender.model.amounts import Amounts
from extender.servers.listener import Listener
from extender.settings import Settings

Json = dict[str, Any]

GROUPS = "/apis/scheduling.incubator.k8s.io/v1alpha1/namespaces/runai-team-a/podgroups"
PODS = "/api/v1/namespaces/runai-team-a/pods"
JOBS = "/apis/batch/v1/namespaces/runai-team-a/jobs"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouper, "_EVERY_S", 0.02)
    monkeypatch.setattr(limits, "_EVERY_S", 0.02)


@asynccontextmanager
async def serving(cluster: EmbeddedCluster, *, schedule: bool = True, **settings: Any) -> AsyncIterator[Service]:
    service = Service(
        Settings(
            kubeconfig=str(cluster.kubeconfig),
            extender_address="127.0.0.1:0",
            metrics_address="127.0.0.1:0",
            **settings,
        )
    )
    await service.start()
    try:
        await service.wait_ready(10)
        if schedule:
            cluster.start_scheduler(service.extender_url)
        yield service
    finally:
        await service.stop()


async def until(claim: Callable[[], Any], within_s: float = 15.0) -> Any:
    """What `claim` answers once that is true; it may be a coroutine function."""
    async with asyncio.timeout(within_s):
        while True:
            found = claim()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
            await asyncio.sleep(0.02)


def project(**spec: Any) -> Json:
    return {"apiVersion": "run.ai/v1", "kind": "Project", "metadata": {"name": "team-a"}, "spec": spec}


def template(**metadata: Any) -> Json:
    limits_ = {"limits": {"nvidia.com/gpu": "1"}}
    return {
        "metadata": metadata,
        "spec": {
            "schedulerName": "runai-scheduler",
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "i", "resources": limits_}],
        },
    }


def job(name: str, *, parallelism: int = 1, **metadata: Any) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "runai-team-a", **metadata},
        "spec": {"parallelism": parallelism, "completions": parallelism, "template": template()},
    }


def pod(name: str, **metadata: Any) -> Json:
    obj = template(name=name, namespace="runai-team-a", **metadata)
    return {"apiVersion": "v1", "kind": "Pod", **obj}


async def groups_of_pods(cluster: EmbeddedCluster) -> dict[str, str]:
    """The group named on each pod that names one."""
    listed, _ = await cluster.client.list(PODS)
    notes = {one["metadata"]["name"]: one["metadata"].get("annotations") or {} for one in listed}
    return {name: found["pod-group-name"] for name, found in notes.items() if "pod-group-name" in found}


async def groups(cluster: EmbeddedCluster) -> dict[str, Json]:
    listed, _ = await cluster.client.list(GROUPS)
    return {one["metadata"]["name"]: one for one in listed}


async def test_a_job_gets_one_group_and_it_goes_with_the_job() -> None:
    async with EmbeddedCluster(nodes=1, gpus_per_node=4) as cluster, serving(cluster):
        note = {"kai.scheduler/batch-min-member": "3"}
        await cluster.apply(
            [
                project(deservedGpus=4),
                job("train", parallelism=3, annotations=note, labels={"priorityClassName": "build"}),
            ]
        )
        named = await until(lambda: _all_named(cluster, 3))
        uid = (await cluster.client.get(f"{JOBS}/train"))["metadata"]["uid"]
        assert set(named.values()) == {f"pg-train-{uid}"}
        made = await groups(cluster)
        assert list(made) == [f"pg-train-{uid}"]
        assert made[f"pg-train-{uid}"]["spec"] == {"minMember": 3, "priorityClassName": "build"}
        await until(lambda: _phase(cluster, f"pg-train-{uid}", "Running"))
        await cluster.client.delete(f"{JOBS}/train", options={"propagationPolicy": "Background"})
        await until(lambda: _gone(cluster, f"{GROUPS}/pg-train-{uid}"))


async def test_lone_pods_get_a_group_each_and_some_get_none() -> None:
    async with EmbeddedCluster(nodes=1, gpus_per_node=4) as cluster, serving(cluster):
        await cluster.apply(
            [
                project(deservedGpus=4),
                pod("alone", labels={"kai.scheduler/preemptibility": "non-preemptible"}),
                pod("left-alone", annotations={"kai.scheduler/skip-podgrouper": "true"}),
                pod("grouped", annotations={"scheduling.k8s.io/group-name": "mine"}),
                {**pod("of-others"), "spec": {**pod("x")["spec"], "schedulerName": "other"}},
            ]
        )
        named = await until(lambda: _all_named(cluster, 1))
        assert list(named) == ["alone"]
        [made] = (await groups(cluster)).values()
        assert made["spec"]["preemptibility"] == "non-preemptible"
        await until(lambda: _phase(cluster, made["metadata"]["name"], "Running"))
        assert list(await groups_of_pods(cluster)) == ["alone"]
        await cluster.client.delete(f"{PODS}/alone")
        await until(lambda: _gone(cluster, f"{GROUPS}/{made['metadata']['name']}"))


async def test_replicas_of_a_deployment_are_groups_of_their_own_with_its_labels() -> None:
    async with EmbeddedCluster(nodes=1, gpus_per_node=4) as cluster, serving(cluster):
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "serve", "namespace": "runai-team-a", "labels": {"priorityClassName": "train"}},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "serve"}},
                "template": {
                    **template(labels={"app": "serve"}),
                    "spec": {**template()["spec"], "restartPolicy": "Always"},
                },
            },
        }
        await cluster.apply([project(deservedGpus=4), deployment])
        named = await until(lambda: _all_named(cluster, 2))
        assert len(set(named.values())) == 2
        assert {one["spec"]["priorityClassName"] for one in (await groups(cluster)).values()} == {"train"}


async def test_launcher_and_workers_of_a_training_job_are_one_group() -> None:
    async with EmbeddedCluster(nodes=1, gpus_per_node=4) as cluster, serving(cluster, schedule=False):
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "mpijobs.kubeflow.org"},
            "spec": {
                "group": "kubeflow.org",
                "scope": "Namespaced",
                "names": {"kind": "MPIJob", "plural": "mpijobs", "singular": "mpijob", "listKind": "MPIJobList"},
                "versions": [
                    {
                        "name": "v2beta1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                ],
            },
        }
        training = {
            "apiVersion": "kubeflow.org/v2beta1",
            "kind": "MPIJob",
            "metadata": {"name": "mpi", "namespace": "runai-team-a"},
            "spec": {"mpiReplicaSpecs": {"Launcher": {"replicas": 1}, "Worker": {"replicas": 2}}},
        }
        await cluster.apply([project(deservedGpus=4), crd, training])
        uid = (await cluster.client.get("/apis/kubeflow.org/v2beta1/namespaces/runai-team-a/mpijobs/mpi"))["metadata"][
            "uid"
        ]
        owner = {"apiVersion": "kubeflow.org/v2beta1", "kind": "MPIJob", "name": "mpi", "uid": uid, "controller": True}
        await cluster.apply(
            [
                job("mpi-launcher", ownerReferences=[owner]),
                *(pod(f"mpi-worker-{index}", ownerReferences=[owner]) for index in range(2)),
            ]
        )
        named = await until(lambda: _all_named(cluster, 3))
        assert set(named.values()) == {f"pg-mpi-{uid}"}
        [made] = (await groups(cluster)).values()
        assert made["spec"]["minMember"] == 3


async def test_half_done_work_is_finished_after_a_restart() -> None:
    async with EmbeddedCluster(nodes=1, gpus_per_node=4) as cluster:
        async with serving(cluster, schedule=False, create_pod_groups=False) as service:
            await cluster.apply([project(deservedGpus=4), job("train", parallelism=2)])
            await until(lambda: len(service.picture.pods) == 2)
            uid = (await cluster.client.get(f"{JOBS}/train"))["metadata"]["uid"]
            # Without any object the pods are one group already.
            assert service.picture.group_keys() == [("runai-team-a", f"pg-train-{uid}")]
            assert await groups(cluster) == {}
        made = {
            "apiVersion": "scheduling.incubator.k8s.io/v1alpha1",
            "kind": "PodGroup",
            "metadata": {"name": f"pg-train-{uid}", "namespace": "runai-team-a"},
            "spec": {"minMember": 2},
        }
        await cluster.client.create(GROUPS, made)
        async with serving(cluster, schedule=False):
            named = await until(lambda: _all_named(cluster, 2))
            assert set(named.values()) == {f"pg-train-{uid}"}
            assert (await groups(cluster))[f"pg-train-{uid}"]["spec"]["minMember"] == 2  # what is there is left alone


async def test_a_job_over_its_time_is_suspended_and_can_be_resumed() -> None:
    async with EmbeddedCluster(nodes=1, gpus_per_node=4) as cluster, serving(cluster):
        await cluster.apply([project(deservedGpus=4, trainingJobTimeLimitSecs=1), job("train")])
        stopped = await until(lambda: _where(cluster, f"{JOBS}/train", lambda one: one["spec"].get("suspend")))
        assert stopped["metadata"]["annotations"]["runai-calculated-status"] == "TimedOut"
        await until(lambda: _without_pods(cluster))
        events = await until(lambda: _events(cluster, "TimedOut", 2))
        assert {one["involvedObject"]["kind"] for one in events} == {"Job", "Pod"}
        assert "running for 1 seconds, the time limit of training workloads in project team-a" in events[0]["message"]
        await cluster.client.patch("/apis/run.ai/v1/projects/team-a", {"spec": {"trainingJobTimeLimitSecs": 0}})
        await cluster.client.patch(f"{JOBS}/train", {"spec": {"suspend": False}})
        await until(lambda: _where(cluster, f"{JOBS}/train", lambda one: one["status"].get("active")))


async def test_only_the_kind_of_work_that_is_limited_is_stopped() -> None:
    async with EmbeddedCluster(nodes=1, gpus_per_node=4) as cluster, serving(cluster):
        notebook = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "notebook", "namespace": "runai-team-a"},
            "spec": {
                "replicas": 1,
                "serviceName": "notebook",
                "selector": {"matchLabels": {"app": "n"}},
                "template": {
                    **template(labels={"app": "n"}),
                    "spec": {**template()["spec"], "restartPolicy": "Always"},
                },
            },
        }
        await cluster.apply(
            [
                project(deservedGpus=4, interactiveJobTimeLimitSecs=1),
                job("train"),
                notebook,
                pod("interactive", labels={"priorityClassName": "interactive-preemptible"}),
            ]
        )
        await until(lambda: _gone(cluster, f"{PODS}/interactive"))
        path = "/apis/apps/v1/namespaces/runai-team-a/statefulsets/notebook"
        await until(lambda: _where(cluster, path, lambda one: one["spec"]["replicas"] == 0))
        await until(lambda: _gone(cluster, f"{PODS}/notebook-0"))
        assert not (await cluster.client.get(f"{JOBS}/train"))["spec"].get("suspend")


async def test_a_job_that_leaves_its_gpus_idle_is_suspended_while_another_works() -> None:
    async def answer(_: web.Request) -> web.Response:
        series = [
            {"metric": {"exported_namespace": "runai-team-a", "exported_pod": name}, "value": [0, percent]}
            for name, percent in use.items()
        ]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": series}})

    use: dict[str, str] = {}
    app = web.Application()
    app.router.add_get("/api/v1/query", answer)
    prometheus = Listener(app, "127.0.0.1:0")
    await prometheus.start()
    asked = {"url": prometheus.url, "every_s": 0.1}
    async with EmbeddedCluster(nodes=1, gpus_per_node=4) as cluster, serving(cluster, gpu_metrics=asked):
        await cluster.apply([project(deservedGpus=4, trainingJobMaxIdleDurationSecs=1), job("idle"), job("works")])
        for one in await until(lambda: _running(cluster, 2)):
            use[one] = "0" if one.startswith("idle") else "30"
        stopped = await until(lambda: _where(cluster, f"{JOBS}/idle", lambda one: one["spec"].get("suspend")))
        assert stopped["metadata"]["annotations"]["runai-calculated-status"] == "TimedOut"
        events = await until(lambda: _events(cluster, "IdleTimedOut", 2))
        assert {one["involvedObject"]["kind"] for one in events} == {"Job", "Pod"}
        assert "the idle limit of such training workloads in project team-a is 1 seconds" in events[0]["message"]
        assert not (await cluster.client.get(f"{JOBS}/works"))["spec"].get("suspend")
    await prometheus.stop()


async def test_pools_and_topologies_are_read_as_they_change() -> None:
    async with (
        EmbeddedCluster(nodes=1) as cluster,
        serving(cluster, schedule=False, pools={"label": "example.com/pool"}) as service,
    ):
        levels = {"levels": [{"nodeLabel": "topology.kubernetes.io/zone"}, {"nodeLabel": "kubernetes.io/hostname"}]}
        dc = {"apiVersion": "run.ai/v1", "kind": "Topology", "metadata": {"name": "dc"}, "spec": levels}
        await cluster.apply([dc, project(nodePoolsResources=[{"pool": "a100", "gpu": {"deserved": 2}}])])
        picture = service.picture
        expected = {"dc": ("topology.kubernetes.io/zone", "kubernetes.io/hostname")}
        await until(lambda: picture.membership.topologies == expected)
        [node] = picture.nodes()
        assert node.pool == "default"
        patch = {"metadata": {"labels": {"example.com/pool": "a100", "run.ai/type": "dgx"}}}
        await cluster.client.patch(f"/api/v1/nodes/{node.name}", patch)
        await until(lambda: [(one.pool, one.node_type) for one in picture.nodes()] == [("a100", "dgx")])
        tree = picture.quotas.quota_tree("a100", Amounts())
        assert [one.deserved[0] for one in tree.projects.values()] == [2000]
        await cluster.client.delete("/apis/run.ai/v1/topologies/dc")
        await until(lambda: picture.membership.topologies == {})


async def _all_named(cluster: EmbeddedCluster, number: int) -> dict[str, str]:
    named = await groups_of_pods(cluster)
    return named if len(named) >= number else {}


async def _running(cluster: EmbeddedCluster, number: int) -> list[str]:
    """The names of the pods that run, once there are so many."""
    listed, _ = await cluster.client.list(PODS)
    found = [one["metadata"]["name"] for one in listed if one["status"].get("phase") == "Running"]
    return found if len(found) >= number else []


async def _phase(cluster: EmbeddedCluster, name: str, phase: str) -> bool:
    return (await cluster.client.get(f"{GROUPS}/{name}")).get("status", {}).get("phase") == phase


async def _where(cluster: EmbeddedCluster, path: str, claim: Callable[[Json], Any]) -> Json | None:
    found = await cluster.client.get(path)
    return found if claim(found) else None


async def _gone(cluster: EmbeddedCluster, path: str) -> bool:
    try:
        await cluster.client.get(path)
    except NotFoundError:
        return True
    return False


async def _without_pods(cluster: EmbeddedCluster) -> bool:
    listed, _ = await cluster.client.list(PODS)
    return not listed


async def _events(cluster: EmbeddedCluster, reason: str, number: int) -> list[Json]:
    listed, _ = await cluster.client.list("/api/v1/namespaces/runai-team-a/events")
    found = [one for one in listed if one["reason"] == reason]
    return found if len(found) >= number else []
