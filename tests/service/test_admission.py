"""The admission webhook as a process, called over TLS by the embedded cluster's API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.scenarios import webhook
from tests.service.embedded import Embedded

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hook() -> AsyncIterator[webhook.Installed]:
    async with Embedded() as cluster, webhook.installed(cluster) as made:
        yield made


@pytest.mark.parametrize("check", webhook.CHECKS, ids=lambda check: check.__name__)
async def test_check(hook: webhook.Installed, check: Callable[[webhook.Installed], Awaitable[None]]) -> None:
    await check(hook)
