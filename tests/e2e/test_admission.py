"""The admission webhook as a process with the rights of `deploy/`, called over TLS by a real kube-apiserver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from extender.emulator.applying import Applier, read_documents
from tests.e2e.real import BASE, RealCluster
from tests.scenarios import webhook
from tests.scenarios.process import Extender, ExtenderFailedError

pytestmark = pytest.mark.asyncio(loop_scope="module")

_ACCOUNT = "runai-scheduler-services"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hook(real_cluster: RealCluster) -> AsyncIterator[webhook.Installed]:
    await real_cluster.apply((BASE / "namespace.yaml").read_text())
    await Applier(real_cluster.client).apply(read_documents([BASE / "access.yaml"]))
    async with webhook.installed(real_cluster, await _kubeconfig_of(real_cluster, _ACCOUNT)) as made:
        yield made


@pytest.mark.parametrize("check", webhook.CHECKS, ids=lambda check: check.__name__)
async def test_check(hook: webhook.Installed, check: Callable[[webhook.Installed], Awaitable[None]]) -> None:
    await check(hook)


async def test_without_rights_and_without_files_it_ends_and_says_what_to_do(hook: webhook.Installed) -> None:
    account = {"metadata": {"name": "nobody"}}
    await hook.client.create("/api/v1/namespaces/runai/serviceaccounts", account)
    cluster = hook.cluster
    assert isinstance(cluster, RealCluster)
    kubeconfig = await _kubeconfig_of(cluster, "nobody")
    process = Extender(kubeconfig, cluster.directory / "nobody.log", flags=("--roles=admission",))
    try:
        with pytest.raises(ExtenderFailedError, match="ended with 2"):
            await process.start()
        assert "give --tls-cert and --tls-key, or let this account get, create and update Secret" in process.tail()
    finally:
        await process.close()


async def _kubeconfig_of(cluster: RealCluster, account: str) -> Path:
    """A kubeconfig of a ServiceAccount in namespace runai."""
    path = f"/api/v1/namespaces/runai/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = (await cluster.client.create(path, request))["status"]["token"]
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    target = cluster.directory / f"{account}.kubeconfig"
    target.write_text(yaml.safe_dump(config))
    return target
