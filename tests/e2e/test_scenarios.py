"""Every scenario file on the real control plane."""

from __future__ import annotations

import pytest

from tests.e2e.real import RealCluster
from tests.scenarios import runner

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("play", runner.plays(RealCluster.abilities), ids=str)
async def test_scenario(play: runner.Play, real_cluster: RealCluster) -> None:
    await real_cluster.clear()
    await runner.run(play.scenario, real_cluster, extender_port=real_cluster.extender_port, gated=play.gated)
