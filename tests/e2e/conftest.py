"""These tests need the control plane's executables and kubectl. Without them: skipped, and said loudly.

With RUNAI_E2E=required (`make e2e`) their absence is a failure.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.controlplane import binaries_directory, missing_binaries
from tests.e2e.real import RealCluster
from tests.scenarios.cluster import kubectl_path

_HERE = Path(__file__).parent
_SKIPPED = pytest.StashKey[int]()


def _missing() -> list[str]:
    return [*missing_binaries(), *([] if kubectl_path() else ["kubectl"])]


def _is_required() -> bool:
    return os.environ.get("RUNAI_E2E") == "required"


def _explanation(missing: list[str]) -> str:
    return (
        f"{binaries_directory()} lacks {', '.join(missing)} (set KUBEBUILDER_ASSETS to a folder that has them, "
        "for instance by `setup-envtest use -p path`)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(_HERE)]
    for item in ours:
        item.add_marker(pytest.mark.e2e)
    missing = _missing()
    if missing and not _is_required():
        config.stash[_SKIPPED] = len(ours)
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=f"no control plane: {_explanation(missing)}"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.path.is_relative_to(_HERE) and _is_required() and (missing := _missing()):
        pytest.fail(f"RUNAI_E2E=required, and {_explanation(missing)}", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = config.stash.get(_SKIPPED, 0)
    if skipped:
        terminalreporter.section("NOT TESTED: the real control plane", sep="!", red=True, bold=True)
        terminalreporter.line(f"{skipped} end-to-end tests did not run: {_explanation(_missing())}.", red=True)
        terminalreporter.line("What passed was shown on the embedded cluster only.", red=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real_cluster() -> AsyncIterator[RealCluster]:
    """One control plane for all tests of a module; each test clears it first (`clear`)."""
    async with RealCluster() as cluster:
        yield cluster
