"""Every scenario file on the real control plane."""

from __future__ import annotations

import os

import pytest

from tests.e2e.real import RealCluster
from tests.scenarios import runner

pytestmark = pytest.mark.asyncio(loop_scope="module")


# `make e2e` plays both forms of each; a test run among others has the embedded cluster for those without gates.
_FORM = None if os.environ.get("RUNAI_E2E") == "required" else True


@pytest.mark.parametrize("play", runner.plays(RealCluster.abilities, gated=_FORM), ids=str)
async def test_scenario(play: runner.Play, real_cluster: RealCluster) -> None:
    await real_cluster.clear()
    await runner.run(play.scenario, real_cluster, extender_port=real_cluster.extender_port, gated=play.gated)
