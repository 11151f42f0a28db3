"""The environment that a fake kubelet gives to containers, and the ConfigMaps for which it holds them back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from extender.emulator.cluster import EmbeddedCluster
from extender.emulator.devices import device_uuid
from extender.emulator.kubelet import Behaviour
from tests.emulator.playing import DEFAULT, Json, config_map, container, from_map, gone, gpu_pod, is_phase, reach

POD = f"{DEFAULT}/pods/p"
MAPS = f"{DEFAULT}/configmaps"


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(nodes=1, behaviour=Behaviour(start_delay_s=0.01, stop_delay_s=0.01)) as cluster:
        yield cluster


def waiting(pod: Json, kind: str = "containerStatuses") -> dict[str, tuple[str, str | None]]:
    """Container -> (reason, message) of those that wait."""
    states = {status["name"]: status["state"] for status in pod["status"].get(kind) or ()}
    found = {name: state["waiting"] for name, state in states.items() if "waiting" in state}
    return {name: (state["reason"], state.get("message")) for name, state in found.items()}


async def environment(cluster: EmbeddedCluster, *containers: Json, **pod: Any) -> dict[str, dict[str, str]]:
    """What the containers of a pod were started with."""
    await cluster.client.create(f"{DEFAULT}/pods", gpu_pod("p", *containers, **pod))
    found = await reach(cluster.client, POD, is_phase("Running"))
    variables = cluster.kubelets.environment(found["metadata"]["uid"])
    return {name: dict(values) for name, values in variables.items()}


async def test_a_container_waits_for_its_map_and_then_for_the_key(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    await client.create(f"{DEFAULT}/pods", gpu_pod("p", container(env=[from_map("NVIDIA_VISIBLE_DEVICES", "m", "k")])))
    pod = await reach(client, POD, waiting)
    assert waiting(pod) == {"c": ("CreateContainerConfigError", 'configmap "m" not found')}
    assert pod["status"]["phase"] == "Pending"
    conditions = {one["type"]: one["status"] for one in pod["status"]["conditions"] if one["type"] != "PodScheduled"}
    assert conditions == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "False",
        "ContainersReady": "False",
    }
    assert cluster.kubelets.is_settled(60)  # it waits for somebody else

    await client.create(MAPS, config_map("m", other="x"))
    said = {"c": ("CreateContainerConfigError", "couldn't find key k in ConfigMap default/m")}
    pod = await reach(client, POD, lambda pod: waiting(pod) == said)
    assert cluster.kubelets.environment(pod["metadata"]["uid"]) == {}

    await client.patch(f"{MAPS}/m", {"data": {"k": "GPU-1"}})
    started = pod["status"]["startTime"]
    pod = await reach(client, POD, is_phase("Running"))
    assert cluster.kubelets.environment(pod["metadata"]["uid"]) == {"c": {"NVIDIA_VISIBLE_DEVICES": "GPU-1"}}
    assert pod["status"]["startTime"] == started
    assert waiting(pod) == {}


async def test_what_a_container_was_started_with_stays(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(MAPS, config_map("m", k="before"))
    assert await environment(cluster, container(env=[from_map("V", "m", "k")])) == {"c": {"V": "before"}}
    await cluster.client.patch(f"{MAPS}/m", {"data": {"k": "after"}})
    await asyncio.sleep(0.3)
    uid = (await cluster.client.get(POD))["metadata"]["uid"]
    assert cluster.kubelets.environment(uid) == {"c": {"V": "before"}}
    await cluster.client.delete(POD)
    await gone(cluster.client, POD)
    await asyncio.sleep(0.1)
    assert cluster.kubelets.environment(uid) == {}


async def test_what_is_optional_holds_nothing_back(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(MAPS, config_map("there", k="v"))
    got = await environment(
        cluster,
        container(
            env=[from_map("A", "m", "k", optional=True), from_map("B", "there", "x", optional=True)],
            envFrom=[{"configMapRef": {"name": "m", "optional": True}}],
        ),
    )
    assert got == {"c": {}}


async def test_whole_maps_come_first_and_single_variables_win(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(MAPS, config_map("m", A="map", B="map"))
    got = await environment(
        cluster,
        container(env=[{"name": "P_A", "value": "own"}], envFrom=[{"prefix": "P_", "configMapRef": {"name": "m"}}]),
    )
    assert got == {"c": {"P_A": "own", "P_B": "map"}}


async def test_a_whole_map_that_is_missing_holds_the_container_back(cluster: EmbeddedCluster) -> None:
    pod = gpu_pod("p", container(envFrom=[{"configMapRef": {"name": "m"}}]))
    await cluster.client.create(f"{DEFAULT}/pods", pod)
    found = await reach(cluster.client, POD, waiting)
    assert waiting(found) == {"c": ("CreateContainerConfigError", 'configmap "m" not found')}


async def test_an_init_container_holds_all_after_it_back(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    init = [container("first"), container("second", env=[from_map("V", "m", "k")]), container("third")]
    await client.create(f"{DEFAULT}/pods", gpu_pod("p", container("main"), init=init))
    pod = await reach(client, POD, waiting)
    assert waiting(pod, "initContainerStatuses") == {
        "second": ("CreateContainerConfigError", 'configmap "m" not found'),
        "third": ("PodInitializing", None),
    }
    assert waiting(pod) == {"main": ("PodInitializing", None)}
    assert {one["type"]: one["status"] for one in pod["status"]["conditions"]}["Initialized"] == "False"
    await client.create(MAPS, config_map("m", k="v"))
    pod = await reach(client, POD, is_phase("Running"))
    assert all(one["state"]["terminated"]["exitCode"] == 0 for one in pod["status"]["initContainerStatuses"])
    assert cluster.kubelets.environment(pod["metadata"]["uid"])["second"] == {"V": "v"}


async def test_containers_wait_one_by_one(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    waits = container("waits", gpus=1, env=[from_map("V", "m", "k")])
    await client.create(f"{DEFAULT}/pods", gpu_pod("p", container("runs"), waits))
    pod = await reach(client, POD, waiting)
    assert list(waiting(pod)) == ["waits"]
    assert list(cluster.kubelets.environment(pod["metadata"]["uid"])) == ["runs"]
    # Its device is held meanwhile.
    assert cluster.kubelets.devices("node-0").holders(device_uuid("node-0", 0)) == [pod["metadata"]["uid"]]


async def test_fields_of_the_pod_and_devices_of_the_plugin(cluster: EmbeddedCluster) -> None:
    def field(variable: str, path: str) -> Json:
        return {"name": variable, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    env = [field("NAME", "metadata.name"), field("NODE", "spec.nodeName"), field("LABEL", "metadata.labels['x']")]
    got = await environment(
        cluster,
        container("plain", gpus=1, env=env),
        container("own", gpus=1, env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]),
    )
    assert got["plain"] == {
        "NAME": "p",
        "NODE": "node-0",
        "LABEL": "",
        "NVIDIA_VISIBLE_DEVICES": device_uuid("node-0", 0),
    }
    assert got["own"] == {"NVIDIA_VISIBLE_DEVICES": "void"}


async def test_a_map_that_cannot_be_read_is_asked_for_again(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    await client.create(f"{DEFAULT}/pods", gpu_pod("p", container(env=[from_map("V", "m", "k")])))
    await reach(client, POD, waiting)
    cluster.server.faults.unavailable()
    await asyncio.sleep(0.5)
    cluster.server.faults.unavailable(False)
    await client.create(MAPS, config_map("m", k="v"))
    await reach(client, POD, is_phase("Running"))
