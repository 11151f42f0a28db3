"""Every scenario file on the embedded cluster."""

from __future__ import annotations

import pytest

from tests.scenarios import runner
from tests.service.embedded import Embedded


@pytest.mark.parametrize("play", runner.plays(Embedded.abilities, gated=False), ids=str)
async def test_scenario(play: runner.Play) -> None:
    async with Embedded() as cluster:
        await runner.run(play.scenario, cluster, gated=play.gated)
