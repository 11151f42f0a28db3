"""Reservation pods on fake nodes run our own program, with a fake driver: NVML itself is not tested here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from extender.emulator.cluster import EmbeddedCluster
from extender.emulator.devices import Health, device_uuid
from extender.emulator.kubelet import Behaviour, FakeKubelets
from extender.emulator.reservation_pods import Reporting
from extender.model.names import RESERVED_INDEX_ANNOTATION
from tests.emulator.playing import (
    DEFAULT,
    RESERVATIONS,
    create_reservations_namespace,
    gone,
    gpu_pod,
    is_phase,
    reach,
    reported,
    reservation_pod,
)

UUIDS = [device_uuid("node-0", index) for index in range(4)]


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    behaviour = Behaviour(0.01, 0.01, report_delay_s=0.05, look_every_s=0.05, crash_pause_s=0.1)
    async with EmbeddedCluster(nodes=1, behaviour=behaviour) as cluster:
        await create_reservations_namespace(cluster.client)
        yield cluster


async def test_a_reservation_pod_reports_the_device_that_it_was_given(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    await client.create(f"{DEFAULT}/pods", gpu_pod("whole", gpus=1))
    await reach(client, f"{DEFAULT}/pods/whole", is_phase("Running"))
    await client.create(RESERVATIONS, reservation_pod())
    pod = await reach(client, f"{RESERVATIONS}/r", reported)
    assert reported(pod) == UUIDS[1]
    assert pod["metadata"]["annotations"][RESERVED_INDEX_ANNOTATION] == "1"
    assert pod["status"]["phase"] == "Running"
    await asyncio.sleep(0.1)
    assert cluster.kubelets.is_settled(60)
    await client.delete(f"{RESERVATIONS}/r")
    await gone(client, f"{RESERVATIONS}/r")
    assert cluster.kubelets.devices("node-0").holders(UUIDS[1]) == []


async def test_it_reports_after_a_while(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(RESERVATIONS, reservation_pod())
    pod = await reach(cluster.client, f"{RESERVATIONS}/r", is_phase("Running"))
    assert reported(pod) is None
    assert not cluster.kubelets.is_settled(0)


async def test_it_fails_where_no_device_is_free(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    await client.create(f"{DEFAULT}/pods", gpu_pod("whole", gpus=4))
    await reach(client, f"{DEFAULT}/pods/whole", is_phase("Running"))
    await client.create(RESERVATIONS, reservation_pod())
    pod = await reach(client, f"{RESERVATIONS}/r", is_phase("Failed"))
    assert pod["status"]["reason"] == "UnexpectedAdmissionError"


async def test_one_that_asks_for_no_device_ends_as_its_program_does(cluster: EmbeddedCluster) -> None:
    await cluster.client.create(RESERVATIONS, reservation_pod(gpus=0))
    pod = await reach(cluster.client, f"{RESERVATIONS}/r", is_phase("Failed"))
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 1
    assert reported(pod) is None


async def test_its_program_ends_when_the_device_vanishes_but_not_when_it_falls_ill(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    await client.create(RESERVATIONS, reservation_pod())
    await reach(client, f"{RESERVATIONS}/r", reported)
    await cluster.kubelets.set_health("node-0", UUIDS[0], Health.UNHEALTHY)
    await asyncio.sleep(0.2)
    assert (await client.get(f"{RESERVATIONS}/r"))["status"]["phase"] == "Running"
    await cluster.kubelets.set_health("node-0", UUIDS[0], Health.VANISHED)
    await reach(client, f"{RESERVATIONS}/r", is_phase("Failed"))
    assert cluster.kubelets.devices("node-0").holders(UUIDS[0]) == []


async def test_one_that_is_started_again_crashes_until_its_device_is_back(cluster: EmbeddedCluster) -> None:
    client, kubelets = cluster.client, cluster.kubelets
    await client.create(RESERVATIONS, reservation_pod(restart_policy="Always"))
    await reach(client, f"{RESERVATIONS}/r", reported)
    await kubelets.set_health("node-0", UUIDS[0], Health.VANISHED)
    crashed = await reach(
        client, f"{RESERVATIONS}/r", lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] == 1
    )
    (status,) = crashed["status"]["containerStatuses"]
    assert crashed["status"]["phase"] == "Running"
    assert {one["type"]: one["status"] for one in crashed["status"]["conditions"]}["Ready"] == "False"
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["state"]["waiting"]["message"].startswith("back-off 0.2s restarting failed container=reserve pod=r_")
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert kubelets.devices("node-0").holders(UUIDS[0]) == [crashed["metadata"]["uid"]]
    await kubelets.set_health("node-0", UUIDS[0], Health.HEALTHY)
    pod = await reach(
        client, f"{RESERVATIONS}/r", lambda pod: "running" in pod["status"]["containerStatuses"][0]["state"]
    )
    assert pod["status"]["containerStatuses"][0]["restartCount"] >= 1


async def test_a_silent_one_reports_when_it_is_let(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    cluster.kubelets.set_reporting("node-0", Reporting.SILENT)
    await client.create(RESERVATIONS, reservation_pod())
    await reach(client, f"{RESERVATIONS}/r", is_phase("Running"))
    await asyncio.sleep(0.2)
    assert reported(await client.get(f"{RESERVATIONS}/r")) is None
    assert cluster.kubelets.is_settled(60)
    cluster.kubelets.set_reporting("node-0", Reporting.NORMAL)
    await reach(client, f"{RESERVATIONS}/r", reported)


async def test_a_refused_one_fails_at_admission_and_holds_nothing(cluster: EmbeddedCluster) -> None:
    cluster.kubelets.set_reporting("node-0", Reporting.REFUSED)
    await cluster.client.create(RESERVATIONS, reservation_pod())
    pod = await reach(cluster.client, f"{RESERVATIONS}/r", is_phase("Failed"))
    assert pod["status"]["reason"] == "UnexpectedAdmissionError"
    assert cluster.kubelets.devices("node-0").holders(UUIDS[0]) == []


async def test_kubelets_that_start_anew_run_the_program_on(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    cluster.kubelets.set_reporting("node-0", Reporting.SILENT)  # so that who reports is the new ones
    await client.create(RESERVATIONS, reservation_pod())
    await reach(client, f"{RESERVATIONS}/r", is_phase("Running"))
    again = asyncio.create_task(FakeKubelets(client).run())
    try:
        assert reported(await reach(client, f"{RESERVATIONS}/r", reported)) == UUIDS[0]
    finally:
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def test_it_reports_once_the_api_server_is_back(cluster: EmbeddedCluster) -> None:
    client = cluster.client
    cluster.kubelets.set_reporting("node-0", Reporting.SILENT)
    await client.create(RESERVATIONS, reservation_pod())
    await reach(client, f"{RESERVATIONS}/r", is_phase("Running"))
    cluster.server.faults.unavailable()
    cluster.kubelets.set_reporting("node-0", Reporting.NORMAL)
    await asyncio.sleep(0.5)
    cluster.server.faults.unavailable(False)
    await reach(client, f"{RESERVATIONS}/r", reported)
