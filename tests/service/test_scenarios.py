"""Every scenario file on the embedded cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios import runner
from tests.service.embedded import Embedded


@pytest.mark.parametrize("file", runner.files(Embedded.abilities), ids=lambda file: file.stem)
async def test_scenario(file: Path) -> None:
    scenario = runner.load(file)
    async with Embedded() as cluster:
        await runner.run(scenario, cluster)
