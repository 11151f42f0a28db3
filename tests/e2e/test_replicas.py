"""Two Pods of kube-scheduler and extender, one Lease: the extender beside the leader is the active one."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from extender.errors import NotFoundError
from tests.e2e.controlplane import can_name_hosts
from tests.e2e.real import BASE, RealCluster, shipped_feature_gates
from tests.scenarios.process import Extender
from tests.scenarios.runner import Run

pytestmark = pytest.mark.asyncio(loop_scope="module")

_LEASE = "/apis/coordination.k8s.io/v1/namespaces/runai/leases/runai-scheduler"
_ELECTED_S = 30.0


async def _leader(cluster: RealCluster, *, not_: str = "") -> str:
    """The host that holds the Lease, once it is another than `not_`."""
    deadline = asyncio.get_running_loop().time() + _ELECTED_S
    while asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(NotFoundError):
            holder = ((await cluster.client.get(_LEASE))["spec"].get("holderIdentity") or "").rpartition("_")[0]
            if holder and holder != not_:
                return str(holder)
        await asyncio.sleep(0.1)
    raise AssertionError(f"nobody but {not_!r} took the Lease in {_ELECTED_S:g} s")


def _events(extender: Extender) -> list[str]:
    found = []
    for line in extender.log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            found.append(str(json.loads(line).get("event")))
    return found


async def test_the_other_replica_takes_over_when_the_leader_and_its_extender_are_killed(
    real_cluster: RealCluster,
) -> None:
    if not can_name_hosts():
        pytest.skip("kube-schedulers need host names of their own: unshare --uts is not permitted here")
    await real_cluster.clear()
    await real_cluster.stop_scheduler()
    await real_cluster.apply((BASE / "namespace.yaml").read_text())
    scenario = {
        "nodes": [{"count": 4, "gpus": 4}],
        "projects": {"team-a": {"deservedGpus": 16}},
        "steps": [],
    }
    shorts = [
        {"name": "whole", "namespace": "runai-team-a", "gpus": 1, "count": 6},
        {"name": "part", "namespace": "runai-team-a", "fraction": "0.25", "count": 40},
    ]
    extenders = {
        host: Extender(
            real_cluster.kubeconfig,
            real_cluster.directory / f"{host}.log",
            flags=("--lease=runai/runai-scheduler",),
            environment={"RUNAI_IDENTITY": host},
        )
        for host in ("scheduler-1", "scheduler-2")
    }
    run = Run(scenario, real_cluster, None)
    try:
        for host, extender in extenders.items():
            await extender.start()
            await real_cluster.plane.start_replica(
                host,
                BASE / "kube-scheduler.yaml",
                extender_url=extender.url,
                feature_gates=shipped_feature_gates(),
            )
        leader = await _leader(real_cluster)
        run.extender = extenders[leader]
        await run.furnish()
        await run.step("burst", shorts)
        await run.step("bound", {"at_least": 8})
        await real_cluster.plane.kill(leader)
        await extenders[leader].kill()
        other = await _leader(real_cluster, not_=leader)
        run.extender = extenders[other]
        await run.step("join", None)
        await run.step("bound", {"at_least": 46})
        await run.step("settled", None)
        for host, extender in extenders.items():
            assert "active" in _events(extender), f"{host} was never active"
            assert not extender.complaints(), f"{host}: {extender.complaints()[:3]}"
        assert "namespace_created" not in _events(extenders[other]), "the passive replica wrote"
    finally:
        await run.close()
        for host, extender in extenders.items():
            await extender.close()
            await real_cluster.plane.kill(host)
