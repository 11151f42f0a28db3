"""Workloads, templates and policies on a real control plane, with the rights that `deploy/` gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from extender.emulator.applying import Applier, read_documents
from extender.wire.manifests.names import NAME, SERVICES
from tests.e2e.real import BASE, RealCluster, kubeconfig_of
from tests.scenarios import submissions

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(real_cluster: RealCluster) -> AsyncIterator[submissions.Site]:
    await real_cluster.apply((BASE / "namespace.yaml").read_text())
    await Applier(real_cluster.client).apply(read_documents([BASE / "access.yaml"]))
    accounts = await kubeconfig_of(real_cluster, NAME), await kubeconfig_of(real_cluster, SERVICES)
    async with submissions.running(real_cluster, accounts) as made:
        yield made


@pytest.mark.parametrize("check", submissions.CHECKS, ids=lambda check: check.__name__)
async def test_check(site: submissions.Site, check: Callable[[submissions.Site], Awaitable[None]]) -> None:
    try:
        await check(site)
    finally:
        await site.delete_all()


async def test_a_node_port_that_is_taken_is_said_in_the_words_of_the_api_server(site: submissions.Site) -> None:
    services = f"/api/v1/namespaces/{submissions.NAMESPACE}/services"
    taken = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}
    await site.client.create(services, {"metadata": {"name": "theirs"}, "spec": taken})
    ports = {
        "free": {"value": {"container": 80, "external": 30081}},
        "taken": {"value": {"container": 81, "external": 30080}},
    }
    spec = {"image": {"value": "ubuntu"}, "serviceType": {"value": "NodePort"}, "ports": {"items": ports}}
    workload = submissions.manifest("TrainingWorkload", "w", spec)
    await site.client.create(submissions.at("trainingworkloads"), workload)
    try:
        await submissions.failed_without_a_trace(site, "w", "provided port is already allocated")
    finally:
        await site.client.delete(f"{services}/theirs")
        await site.delete_all()


@pytest.mark.parametrize(
    "field", ["TrainingWorkload.spec.nodeType", "TrainingPolicy.spec.ports", "InteractiveWorkload.spec.jupyter"]
)
async def test_kubectl_explains_what_the_documentation_shows(site: submissions.Site, field: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "workloads.md").read_text()
    explained = (await site.kubectl("explain", field)).rstrip()
    shown = "\n".join(line.rstrip() for line in explained.splitlines())
    assert f"$ kubectl explain {field}\n{shown}\n" in page, explained
