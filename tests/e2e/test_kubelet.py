"""A real API server takes what the fake kubelets write about devices, reservation pods and waiting containers."""

from __future__ import annotations

import asyncio

from extender.emulator.devices import Health, device_uuid
from extender.emulator.kubelet import FakeKubelets
from extender.kube.client import KubeClient
from tests.e2e.controlplane import ControlPlane
from tests.emulator.playing import (
    DEFAULT,
    RESERVATIONS,
    config_map,
    container,
    create_reservations_namespace,
    from_map,
    given,
    gpu_pod,
    is_phase,
    reach,
    reported,
    reservation_pod,
)

FIRST, SECOND = (device_uuid("node-0", index) for index in range(2))


async def test_devices_reservations_and_config_maps_as_a_real_api_server_stores_them() -> None:
    async with ControlPlane() as plane, await KubeClient.connect(str(plane.kubeconfig)) as client:
        kubelets = FakeKubelets(client)
        running = asyncio.create_task(kubelets.run())
        try:
            await kubelets.add_nodes(1, 2)
            await create_reservations_namespace(client)
            await reach(client, "/api/v1/namespaces/default/serviceaccounts/default", bool)
            await reach(client, "/api/v1/namespaces/runai-reservation/serviceaccounts/default", bool)

            await client.create(RESERVATIONS, reservation_pod())
            assert reported(await reach(client, f"{RESERVATIONS}/r", reported)) == FIRST
            await client.create(f"{DEFAULT}/pods", gpu_pod("whole", gpus=1))
            assert given(await reach(client, f"{DEFAULT}/pods/whole", is_phase("Running"))) == {SECOND: "Healthy"}

            init = [container("init", env=[from_map("V", "m", "k")])]
            sharer = gpu_pod("sharer", container(env=[from_map("NVIDIA_VISIBLE_DEVICES", "m", "devices")]), init=init)
            await client.create(f"{DEFAULT}/pods", sharer)
            await reach(client, f"{DEFAULT}/pods/sharer", lambda pod: pod["status"].get("initContainerStatuses"))
            await client.create(f"{DEFAULT}/configmaps", config_map("m", k="v", devices=FIRST))
            pod = await reach(client, f"{DEFAULT}/pods/sharer", is_phase("Running"))
            assert kubelets.environment(pod["metadata"]["uid"])["c"] == {"NVIDIA_VISIBLE_DEVICES": FIRST}

            await kubelets.set_health("node-0", FIRST, Health.UNHEALTHY)
            assert given(await client.get(f"{RESERVATIONS}/r")) == {FIRST: "Unhealthy"}
            node = await client.get("/api/v1/nodes/node-0")
            assert (node["status"]["capacity"]["nvidia.com/gpu"], node["status"]["allocatable"]["nvidia.com/gpu"]) == (
                "2",
                "1",
            )
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
