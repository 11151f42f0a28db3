"""The admission webhook as a process with the rights of `deploy/`, called over TLS by a real kube-apiserver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from extender.emulator.applying import Applier, read_documents
from extender.errors import BadRequestError, UnavailableError
from tests.e2e.real import BASE, RealCluster, kubeconfig_of
from tests.scenarios import policies, webhook, webhooks
from tests.scenarios.process import Extender, ExtenderFailedError

pytestmark = pytest.mark.asyncio(loop_scope="module")

_ACCOUNT = "runai-scheduler-services"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hook(real_cluster: RealCluster) -> AsyncIterator[webhook.Installed]:
    await real_cluster.apply((BASE / "namespace.yaml").read_text())
    await Applier(real_cluster.client).apply(read_documents([BASE / "access.yaml"]))
    async with webhook.installed(real_cluster, await kubeconfig_of(real_cluster, _ACCOUNT)) as made:
        yield made


@pytest.mark.parametrize("check", [*policies.CHECKS, *webhook.CHECKS], ids=lambda check: check.__name__)
async def test_check(hook: webhook.Installed, check: Callable[[webhook.Installed], Awaitable[None]]) -> None:
    await check(hook)


async def test_while_it_is_down_only_new_templates_wait(hook: webhook.Installed) -> None:
    """Suspending a Job of ours, or taking a finalizer off it, changes no template: nobody asks us about it."""
    made = await hook.client.create(webhook.JOBS, webhook.job("kept", resources={"limits": {"nvidia.com/gpu": "1"}}))
    path = f"{webhook.JOBS}/kept"
    assert await hook.extender.stop() == 0
    try:
        await hook.client.patch(path, {"metadata": {"finalizers": ["example.com/f"]}, "spec": {"suspend": True}})
        await hook.client.patch(path, {"metadata": {"finalizers": None}})
        with pytest.raises(UnavailableError, match="failed calling webhook"):
            await hook.client.create(webhook.JOBS, webhook.job("late"))
        assert (await hook.client.get(path))["spec"]["template"] == made["spec"]["template"]
    finally:
        await hook.extender.start()
        await hook.answers()


async def test_a_running_job_keeps_replacing_its_pods_when_the_policy_has_changed(hook: webhook.Installed) -> None:
    limits = {"limits": {"nvidia.com/gpu": "2"}}
    selector = {"labelSelector": "job-name=goes-on"}

    async def pods() -> list[str]:
        found, _ = await hook.client.list(webhook.PODS, params=selector)
        return [one["metadata"]["name"] for one in found if not one["metadata"].get("deletionTimestamp")]

    async def made(but: list[str]) -> list[str]:
        async with asyncio.timeout(30):
            while not (names := [name for name in await pods() if name not in but]):
                await asyncio.sleep(0.05)
        return names

    await hook.client.create(webhook.JOBS, webhook.job("goes-on", resources=limits))
    first = await made([])
    async with policies.policy(hook, "TrainingPolicy", {"gpu": {"rules": {"max": "1"}}}):
        with pytest.raises(BadRequestError, match="gpu: must be no greater than 1"):
            await hook.client.create(webhook.JOBS, webhook.job("another", resources=limits))
        for name in first:
            await hook.client.delete(f"{webhook.PODS}/{name}")
        (second,) = await made(first)
        template = (await hook.client.get(f"{webhook.JOBS}/goes-on"))["spec"]["template"]
        pod = await hook.client.get(f"{webhook.PODS}/{second}")
        assert pod["spec"]["containers"][0]["resources"]["limits"] == limits["limits"]
        assert "seen" not in (pod["metadata"].get("annotations") or {}), template


async def test_a_deployment_makes_one_replica_set_with_its_template(hook: webhook.Installed) -> None:
    """One that was there before us is not filled in, and neither is what its controller makes of it."""
    at = f"/apis/apps/v1/namespaces/{webhook.PROJECT}"
    template = {
        "metadata": {"labels": {"app": "d"}},
        "spec": webhook.pod("x", container={"resources": {"limits": {"nvidia.com/gpu": "1"}}})["spec"],
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "d"}}, "template": template, "paused": True}
    await webhooks.uninstall(hook.client)
    try:
        await hook.client.create(f"{at}/deployments", {"metadata": {"name": "d"}, "spec": spec})
    finally:
        for path, one in zip(webhooks.PATHS, webhooks.configurations(hook.url), strict=True):
            await hook.client.create(path, one)
    await hook.answers()
    await hook.client.patch(f"{at}/deployments/d", {"spec": {"paused": False}})
    async with asyncio.timeout(30):
        while not (pods := (await hook.client.list(webhook.PODS, params={"labelSelector": "app=d"}))[0]):
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)  # in which another ReplicaSet would have been made
    (replica_set,), _ = await hook.client.list(f"{at}/replicasets")
    assert "requests" not in replica_set["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert pods[0]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "1", "its pods are"


async def test_without_rights_and_without_files_it_ends_and_says_what_to_do(hook: webhook.Installed) -> None:
    account = {"metadata": {"name": "nobody"}}
    await hook.client.create("/api/v1/namespaces/runai/serviceaccounts", account)
    cluster = hook.cluster
    assert isinstance(cluster, RealCluster)
    kubeconfig = await kubeconfig_of(cluster, "nobody")
    process = Extender(kubeconfig, cluster.directory / "nobody.log", flags=("--roles=admission",))
    try:
        with pytest.raises(ExtenderFailedError, match="ended with 2"):
            await process.start()
        assert "give --tls-cert and --tls-key, or let this account get, create and update Secret" in process.tail()
    finally:
        await process.close()
