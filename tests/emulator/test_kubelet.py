"""Fake nodes: pods that are bound start, end, go away, or are refused as a kubelet refuses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from extender.emulator.cluster import EmbeddedCluster
from extender.emulator.kubelet import Behaviour, FakeKubelets
from extender.errors import ConflictError

Json = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"


def pod(name: str = "p", *, node: str = "node-0", gpus: int = 0, cpu: str = "0", **annotations: str) -> Json:
    limits = {"cpu": cpu, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "annotations": {f"emulator.run.ai/{key.replace('_', '-')}": value for key, value in annotations.items()},
        },
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i", "resources": {"limits": limits}}]},
    }


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(nodes=1, behaviour=Behaviour(start_delay_s=0.01, stop_delay_s=0.01)) as cluster:
        yield cluster


async def reach(cluster: EmbeddedCluster, holds: Callable[[Json], bool], name: str = "p") -> Json:
    """The pod, as soon as `holds` is true of it."""
    async with asyncio.timeout(5):
        while True:
            found = await cluster.client.get(f"{PODS}/{name}")
            if holds(found):
                return found
            await asyncio.sleep(0.01)


def is_phase(phase: str) -> Callable[[Json], bool]:
    return lambda pod: bool(pod["status"]["phase"] == phase)


async def names(cluster: EmbeddedCluster) -> list[str]:
    return [item["metadata"]["name"] for item in (await cluster.client.list(PODS))[0]]


async def gone(cluster: EmbeddedCluster) -> None:
    async with asyncio.timeout(5):
        while await names(cluster):
            await asyncio.sleep(0.01)


async def test_a_bound_pod_runs_with_everything_that_people_look_at(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod())
    status = (await reach(cluster, is_phase("Running")))["status"]
    conditions = {c["type"]: c["status"] for c in status["conditions"] if c["type"] != "PodScheduled"}
    assert conditions == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "ContainersReady": "True",
        "Ready": "True",
    }
    (container,) = status["containerStatuses"]
    assert container["ready"]
    assert "running" in container["state"]
    assert status["podIP"].startswith("10.2.")
    assert status["hostIP"].startswith("10.1.")
    assert status["startTime"]


async def test_a_pod_without_a_node_or_on_a_ghost_stays_pending(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod("ghost", node="nowhere"))
    await cluster.client.create(PODS, pod("unbound", node=""))
    await asyncio.sleep(0.1)
    for name in ("ghost", "unbound"):
        assert (await cluster.client.get(f"{PODS}/{name}"))["status"]["phase"] == "Pending"


async def test_a_node_that_comes_later_takes_its_pods(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod(node="late-0"))
    assert await cluster.kubelets.add_nodes(1, 2, prefix="late-") == ["late-0"]
    await reach(cluster, is_phase("Running"))


@pytest.mark.parametrize(
    ("annotations", "phase", "code"),
    [
        ({"run_seconds": "0.05"}, "Succeeded", 0),
        ({"run_seconds": "0.05", "exit_code": "3"}, "Failed", 3),
        ({"exit_code": "1"}, "Failed", 1),
        ({"run_seconds": "nonsense"}, "Succeeded", 0),
    ],
)
async def test_a_pod_ends_as_its_annotations_say(
    cluster: EmbeddedCluster, annotations: dict[str, str], phase: str, code: int
) -> None:
    await cluster.client.create(PODS, pod(**annotations))
    status = (await reach(cluster, is_phase(phase)))["status"]
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == code
    assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "False"
    await asyncio.sleep(0.05)
    assert cluster.kubelets.is_settled(60)


async def test_a_deleted_pod_goes_away_after_the_delay(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod())
    await reach(cluster, is_phase("Running"))
    await cluster.client.delete(f"{PODS}/p")
    await gone(cluster)


async def test_a_pod_deleted_while_it_starts_goes_away(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod())
    await cluster.client.delete(f"{PODS}/p")
    await gone(cluster)


async def test_devices_given_away_twice_are_visible(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod("first", gpus=3))
    await reach(cluster, is_phase("Running"), "first")
    await cluster.client.create(PODS, pod("second", gpus=2))
    status = (await reach(cluster, is_phase("Failed"), "second"))["status"]
    assert status["reason"] == "UnexpectedAdmissionError"
    assert status["message"] == (
        "Pod was rejected: Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. "
        "Requested: 2, Available: 1, which is unexpected"
    )


async def test_cpu_beyond_the_node_is_refused(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod(cpu="65"))
    status = (await reach(cluster, is_phase("Failed")))["status"]
    assert status["reason"] == "OutOfcpu"
    assert "requested: 65000, used: 0, capacity: 64000" in status["message"]


async def test_devices_are_free_again_when_a_pod_ends_or_goes(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod("ends", gpus=4, run_seconds="0.05"))
    await reach(cluster, is_phase("Succeeded"), "ends")
    await cluster.client.create(PODS, pod("goes", gpus=4))
    await reach(cluster, is_phase("Running"), "goes")
    await cluster.client.delete(f"{PODS}/goes")
    await cluster.client.delete(f"{PODS}/ends")
    await gone(cluster)
    await cluster.client.create(PODS, pod("next", gpus=4))
    await reach(cluster, is_phase("Running"), "next")


async def test_settled_means_nothing_moves_by_itself_within_the_time(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod(run_seconds="30"))
    await reach(cluster, is_phase("Running"))
    await asyncio.sleep(0.05)
    assert cluster.kubelets.is_settled(10)
    assert not cluster.kubelets.is_settled(60)


async def test_kubelets_that_start_late_count_what_runs_and_end_what_is_due(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod("runs", gpus=4, run_seconds="1.5"))
    await reach(cluster, is_phase("Running"), "runs")
    again = FakeKubelets(cluster.client)
    running = asyncio.create_task(again.run())
    try:
        async with asyncio.timeout(5):
            while not again._lives:
                await asyncio.sleep(0.01)
        assert again._admission.used("node-0", "nvidia.com/gpu") == 4
        assert not again.is_settled(10)
        await reach(cluster, is_phase("Succeeded"), "runs")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_writes_survive_a_server_that_is_away_for_a_moment(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(PODS, pod())
    cluster.server.faults.unavailable()
    await asyncio.sleep(0.1)
    cluster.server.faults.unavailable(False)
    await reach(cluster, is_phase("Running"))


async def test_nodes_look_like_gpu_nodes(cluster: EmbeddedCluster) -> None:
    node = await cluster.client.get("/api/v1/nodes/node-0")
    labels = node["metadata"]["labels"]
    assert labels["kubernetes.io/hostname"] == "node-0"
    assert labels["nvidia.com/gpu.present"] == "true"
    assert labels["nvidia.com/gpu.count"] == "4"
    assert labels["nvidia.com/gpu.memory"] == "40960"
    assert labels["nvidia.com/gpu.product"]
    assert node["status"]["capacity"] == node["status"]["allocatable"]
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "4"
    assert [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"] == ["True"]
    assert not (node.get("spec") or {}).get("taints")


async def test_only_the_not_ready_taint_is_taken_off_and_a_node_can_be_reshaped(cluster: EmbeddedCluster) -> None:
    keep = {"key": "keep", "effect": "NoSchedule"}
    not_ready = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    await cluster.client.patch("/api/v1/nodes/node-0", {"spec": {"taints": [keep, not_ready]}})
    await cluster.kubelets.add_nodes(1, 8, labels={"pool": "x"}, resources={"nvidia.com/mig-1g.5gb": "7"})
    node = await cluster.client.get("/api/v1/nodes/node-0")
    assert node["spec"]["taints"] == [keep]
    assert node["metadata"]["labels"]["pool"] == "x"
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert node["status"]["allocatable"]["nvidia.com/mig-1g.5gb"] == "7"


async def test_heartbeats_renew_leases(cluster: EmbeddedCluster) -> None:
    kubelets = FakeKubelets(cluster.client, Behaviour(heartbeat_s=0.05))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-node-lease"}}
    with suppress(ConflictError):
        await cluster.client.create("/api/v1/namespaces", namespace)
    running = asyncio.create_task(kubelets.run())
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    try:
        seen: set[str] = set()
        async with asyncio.timeout(5):
            while len(seen) < 2:
                seen |= {item["spec"]["renewTime"] for item in (await cluster.client.list(path))[0]}
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
