"""Workloads, templates and policies on the embedded cluster: everything of ours in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.scenarios import submissions
from tests.service.embedded import Embedded

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[submissions.Site]:
    async with Embedded() as cluster, submissions.running(cluster) as made:
        yield made


@pytest.mark.parametrize("check", submissions.CHECKS, ids=lambda check: check.__name__)
async def test_check(site: submissions.Site, check: Callable[[submissions.Site], Awaitable[None]]) -> None:
    try:
        await check(site)
    finally:
        await site.delete_all()
