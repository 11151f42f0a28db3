"""Every scenario file on the real control plane."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.real import RealCluster
from tests.scenarios import runner

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("file", runner.files(RealCluster.abilities), ids=lambda file: file.stem)
async def test_scenario(file: Path, real_cluster: RealCluster) -> None:
    scenario = runner.load(file)
    await real_cluster.clear()
    await runner.run(scenario, real_cluster, extender_port=real_cluster.extender_port)
