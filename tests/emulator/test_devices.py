"""The device manager of fake nodes: who gets which device, for how long, and what is said when one falls ill."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from extender.emulator.cluster import EmbeddedCluster
from extender.emulator.devices import Health, NodeDevices, device_uuid
from extender.emulator.kubelet import Behaviour, FakeKubelets
from extender.kube.client import KubeClient
from tests.emulator.playing import DEFAULT, Json, container, given, gone, gpu_pod, is_phase, reach

UUIDS = [device_uuid("node-0", index) for index in range(4)]


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(nodes=1, behaviour=Behaviour(start_delay_s=0.01, stop_delay_s=0.01)) as cluster:
        yield cluster


async def runs(client: KubeClient, pod: Json) -> Json:
    await client.create(f"{DEFAULT}/pods", pod)
    return await reach(client, f"{DEFAULT}/pods/{pod['metadata']['name']}", is_phase("Running"))


@asynccontextmanager
async def other_kubelets(client: KubeClient) -> AsyncIterator[FakeKubelets]:
    """Kubelets that start anew, knowing only what the API server has."""
    kubelets = FakeKubelets(client)
    running = asyncio.create_task(kubelets.run())
    try:
        yield kubelets
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_uuids_look_like_the_drivers_and_stay() -> None:
    assert all(re.fullmatch(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid) for uuid in UUIDS)
    assert len({*UUIDS, device_uuid("node-1", 0)}) == 5


def with_uid(pod: Json, uid: str) -> Json:
    return {**pod, "metadata": {**pod["metadata"], "uid": uid}}


def test_devices_of_init_containers_go_on_to_the_containers() -> None:
    devices = NodeDevices("node-0")
    devices.grow(4)
    pod = gpu_pod("p", container("a", gpus=1), container("b", gpus=1), init=[container("i", gpus=3)])
    assert devices.give(with_uid(pod, "p")) is None
    assert devices.held_by("p") == {"i": tuple(UUIDS[:3]), "a": (UUIDS[0],), "b": (UUIDS[1],)}


def test_a_side_car_keeps_its_device() -> None:
    devices = NodeDevices("node-0")
    devices.grow(4)
    pod = gpu_pod("p", container("a", gpus=1), init=[container("s", gpus=1, restartPolicy="Always")])
    assert devices.give(with_uid(pod, "p")) is None
    assert devices.held_by("p") == {"s": (UUIDS[0],), "a": (UUIDS[1],)}


def test_a_pod_that_gets_too_few_gets_none() -> None:
    devices = NodeDevices("node-0")
    devices.grow(2)
    assert devices.give(with_uid(gpu_pod("p", container("a", gpus=1), container("b", gpus=2)), "p")) == (2, 1)
    assert devices.held_by("p") == {}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("take_back"), st.integers(0, 12), st.just(0)),
        st.tuples(st.sampled_from(list(Health)), st.integers(0, 3), st.just(0)),
    ),
    max_size=20,
)


@for_all(STEPS)
def test_no_device_has_two_holders_and_only_healthy_ones_are_given(steps: list[tuple[str, int, int]]) -> None:
    devices = NodeDevices("node-0")
    devices.grow(4)
    for number, (step, first, second) in enumerate(steps):
        if step == "give":
            init = [container("i", gpus=second)]
            before = devices.allocatable - sum(
                len(devices.holders(uuid)) for uuid in UUIDS if devices.health(uuid) is Health.HEALTHY
            )
            short = devices.give(with_uid(gpu_pod("p", container("a", gpus=first), init=init), str(number)))
            assert (short is None) == (max(first, second) <= before)
            mine = {uuid for held in devices.held_by(str(number)).values() for uuid in held}
            assert all(devices.health(uuid) is Health.HEALTHY for uuid in mine)
            assert len(mine) == (max(first, second) if short is None else 0)
        elif step == "take_back":
            devices.take_back(str(first))
        else:
            devices.set_health(UUIDS[first], Health(step))
        assert all(len(devices.holders(uuid)) <= 1 for uuid in UUIDS)


async def test_pods_get_the_lowest_free_devices_and_say_so(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    assert list(given(await runs(client, gpu_pod("first", gpus=2)))) == UUIDS[:2]
    second = await runs(client, gpu_pod("second", gpus=1))
    assert second["status"]["containerStatuses"][0]["allocatedResourcesStatus"] == [
        {"name": "nvidia.com/gpu", "resources": [{"resourceID": UUIDS[2], "health": "Healthy"}]}
    ]
    await client.delete(f"{DEFAULT}/pods/first")
    await gone(client, f"{DEFAULT}/pods/first")
    third = await runs(client, gpu_pod("third", gpus=1))
    assert list(given(third)) == [UUIDS[0]]
    assert cluster.kubelets.environment(third["metadata"]["uid"]) == {"c": {"NVIDIA_VISIBLE_DEVICES": UUIDS[0]}}
    assert cluster.kubelets.devices("node-0").holders(UUIDS[0]) == [third["metadata"]["uid"]]


async def test_a_pod_without_gpus_gets_no_device(cluster: EmbeddedCluster) -> None:
    pod = await runs(cluster.client, gpu_pod("p"))
    assert given(pod) == {}
    assert cluster.kubelets.environment(pod["metadata"]["uid"]) == {"c": {}}


async def test_kubelets_that_start_anew_know_who_has_which_device(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    await runs(client, gpu_pod("first", gpus=1))
    second = await runs(client, gpu_pod("second", gpus=1))
    await client.delete(f"{DEFAULT}/pods/first")
    await gone(client, f"{DEFAULT}/pods/first")
    async with other_kubelets(client) as kubelets, asyncio.timeout(5):
        while not kubelets.devices("node-0").holders(UUIDS[1]):
            await asyncio.sleep(0.01)
        assert kubelets.devices("node-0").held_by(second["metadata"]["uid"]) == {"c": (UUIDS[1],)}
        assert kubelets.devices("node-0").holders(UUIDS[0]) == []


async def test_an_ill_device_is_told_and_given_to_nobody(cluster: EmbeddedCluster) -> None:
    client, kubelets = cluster.client, cluster.kubelets
    await runs(client, gpu_pod("holder", gpus=2))
    await kubelets.set_health("node-0", UUIDS[1], Health.UNHEALTHY)
    node = await client.get("/api/v1/nodes/node-0")
    assert (node["status"]["capacity"]["nvidia.com/gpu"], node["status"]["allocatable"]["nvidia.com/gpu"]) == ("4", "3")
    holder = await client.get(f"{DEFAULT}/pods/holder")
    assert given(holder) == {UUIDS[0]: "Healthy", UUIDS[1]: "Unhealthy"}
    assert holder["status"]["phase"] == "Running"
    await client.delete(f"{DEFAULT}/pods/holder")
    await gone(client, f"{DEFAULT}/pods/holder")
    assert list(given(await runs(client, gpu_pod("next", gpus=2)))) == [UUIDS[0], UUIDS[2]]
    await client.create(f"{DEFAULT}/pods", gpu_pod("late", gpus=2))
    late = await reach(client, f"{DEFAULT}/pods/late", is_phase("Failed"))
    assert late["status"]["reason"] == "UnexpectedAdmissionError"
    assert "Requested: 2, Available: 1" in late["status"]["message"]


async def test_a_device_that_recovers_is_given_again(cluster: EmbeddedCluster) -> None:
    client, kubelets = cluster.client, cluster.kubelets
    await runs(client, gpu_pod("holder", gpus=1))
    await kubelets.set_health("node-0", UUIDS[0], Health.UNHEALTHY)
    await kubelets.set_health("node-0", UUIDS[0], Health.HEALTHY)
    assert given(await client.get(f"{DEFAULT}/pods/holder")) == {UUIDS[0]: "Healthy"}
    node = await client.get("/api/v1/nodes/node-0")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "4"
    assert list(given(await runs(client, gpu_pod("rest", gpus=3)))) == UUIDS[1:]


async def test_a_device_that_vanishes_leaves_the_nodes_capacity_too(cluster: EmbeddedCluster) -> None:
    client, kubelets = cluster.client, cluster.kubelets
    await runs(client, gpu_pod("holder", gpus=1))
    await kubelets.set_health("node-0", UUIDS[0], Health.VANISHED)
    node = await client.get("/api/v1/nodes/node-0")
    assert (node["status"]["capacity"]["nvidia.com/gpu"], node["status"]["allocatable"]["nvidia.com/gpu"]) == ("3", "3")
    # A kubelet calls a device that its plugin no longer lists healthy; only the program that holds it notices.
    assert given(await client.get(f"{DEFAULT}/pods/holder")) == {UUIDS[0]: "Healthy"}
    assert list(given(await runs(client, gpu_pod("rest", gpus=3)))) == UUIDS[1:]


async def test_an_unknown_device_cannot_fall_ill(cluster: EmbeddedCluster) -> None:
    with pytest.raises(KeyError, match="node-0 has no device GPU-x"):
        await cluster.kubelets.set_health("node-0", "GPU-x", Health.UNHEALTHY)


async def test_a_node_that_is_made_anew_with_fewer_devices_has_fewer(cluster: EmbeddedCluster) -> None:
    assert len(cluster.kubelets.devices("node-0").uuids) == 4
    await cluster.client.delete("/api/v1/nodes/node-0")
    await cluster.kubelets.add_nodes(1, gpus=1)
    async with asyncio.timeout(5):
        while len(cluster.kubelets.devices("node-0").uuids) != 1:
            await asyncio.sleep(0.01)
