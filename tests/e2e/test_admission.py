"""The admission webhook as a process, called over TLS by a real kube-apiserver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.e2e.real import RealCluster
from tests.scenarios import webhook

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hook(real_cluster: RealCluster) -> AsyncIterator[webhook.Installed]:
    async with webhook.installed(real_cluster) as made:
        yield made


@pytest.mark.parametrize("check", webhook.CHECKS, ids=lambda check: check.__name__)
async def test_check(hook: webhook.Installed, check: Callable[[webhook.Installed], Awaitable[None]]) -> None:
    await check(hook)
