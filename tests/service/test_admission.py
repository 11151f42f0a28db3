"""The admission webhook as a process, called over TLS by the embedded cluster's API server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from extender.app import Service
from extender.controllers.authority import Material, renewed
from extender.emulator.cluster import EmbeddedCluster
from extender.settings import Settings
from tests.scenarios import policies, webhook
from tests.scenarios.process import Extender
from tests.service.embedded import Embedded

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hook() -> AsyncIterator[webhook.Installed]:
    async with Embedded() as cluster, webhook.installed(cluster) as made:
        yield made


@pytest.mark.parametrize("check", [*policies.CHECKS, *webhook.CHECKS], ids=lambda check: check.__name__)
async def test_check(hook: webhook.Installed, check: Callable[[webhook.Installed], Awaitable[None]]) -> None:
    await check(hook)


async def test_files_bring_the_certificate_and_a_new_one_is_served_without_a_restart(hook: webhook.Installed) -> None:
    first, second = (renewed(None, ("127.0.0.1",), time.time()) for _ in range(2))
    certificate, key = hook.cluster.directory / "tls.crt", hook.cluster.directory / "tls.key"
    _write(first, certificate, key)
    flags = ("--roles=admission", f"--tls-cert={certificate}", f"--tls-key={key}")
    process = Extender(hook.cluster.kubeconfig, hook.cluster.directory / "files.log", flags=flags)
    try:
        await process.start()
        assert await webhook.served_certificate(process.admission_port, first.bundle) == _der(first)
        _write(second, certificate, key)
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(ssl.SSLError):  # what is served is still the old one
                    served = await webhook.served_certificate(process.admission_port, second.bundle)
                    break
                await asyncio.sleep(0.1)
        assert served == _der(second)
        assert not process.complaints()
    finally:
        await process.close()


async def test_in_one_process_with_everything_else() -> None:
    async with EmbeddedCluster(nodes=0) as cluster:
        addresses = {f"{name}_address": "127.0.0.1:0" for name in ("extender", "admission", "metrics")}
        service = Service(Settings(kubeconfig=str(cluster.kubeconfig), **addresses))
        await cluster.install_webhooks(lambda: service.admission_url)
        await service.start()
        try:
            await service.wait_ready(20)
            made = await cluster.client.create("/api/v1/namespaces/default/pods", webhook.pod("p"))
            assert made["spec"]["schedulingGates"] == [webhook.GATE]
        finally:
            await service.stop()


def _write(material: Material, certificate: Path, key: Path) -> None:
    certificate.write_bytes(material.certificate)
    key.write_bytes(material.key)


def _der(material: Material) -> bytes:
    return ssl.PEM_cert_to_DER_cert(material.certificate.decode())
