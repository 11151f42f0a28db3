"""Workloads and policies in both versions on a real API server, which asks our webhook over TLS; then on the emulator.

Both must say the same. A difference is a fault of the emulator: the real one is the judge.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from extender.admission.pods import Context
from extender.controllers.certificates import OwnCertificate
from extender.emulator.cluster import EmbeddedCluster
from extender.errors import ApiError
from extender.kube.client import KubeClient
from extender.model.workload import WorkloadKind
from extender.servers.admission import Webhook
from extender.servers.listener import Listener
from extender.wire.manifests.definitions import definition
from extender.wire.workloads import models
from tests.e2e.real import RealCluster

Json = dict[str, Any]

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KINDS = (WorkloadKind.TRAINING.workload, WorkloadKind.TRAINING.policy)
OLD, NEW = "v1alpha1", "v2alpha1"
_SOON_S = 20.0


def path(version: str, plural: str, name: str = "") -> str:
    return f"/apis/run.ai/{version}/namespaces/default/{plural}" + (f"/{name}" if name else "")


def workload(version: str, name: str, **spec: Any) -> Json:
    api_version = f"run.ai/{version}"
    return {"apiVersion": api_version, "kind": "TrainingWorkload", "metadata": {"name": name}, "spec": spec}


@asynccontextmanager
async def converting(client: KubeClient) -> AsyncIterator[None]:
    """Our definitions of the kinds, converted by our webhook at its address here, with a certificate of its own."""
    certificate = OwnCertificate(
        client,
        namespace="runai",
        secret="conversion-tls",
        hosts=("127.0.0.1",),
        configurations="none",
        definitions=tuple(definition(*versions)["metadata"]["name"] for versions in _models()),
    )
    listener = Listener(Webhook(_nobody, Context(""), max_body_bytes=1 << 20).app(), "127.0.0.1:0", certificate.context)
    await listener.start()
    try:
        for versions in _models():
            one = definition(*versions)
            url = f"{listener.url}/admission/convert"
            one["spec"]["conversion"]["webhook"]["clientConfig"] = {"service": None, "url": url}
            await _apply(client, one)
        await certificate.round()
        for versions in _models():
            plural = versions[0].resource.plural
            for version in (OLD, NEW):
                await _until_served(client, path(version, plural))
        yield
    finally:
        await listener.stop()


def _models() -> list[Any]:
    return [versions for versions in models() if versions[0].resource.kind in KINDS]


async def _nobody(_: str) -> bool:
    return False


async def _apply(client: KubeClient, one: Json) -> None:
    name = one["metadata"]["name"]
    try:
        await client.get(f"{DEFINITIONS}/{name}")
    except ApiError:
        del one["spec"]["conversion"]["webhook"]["clientConfig"]["service"]
        await client.create(DEFINITIONS, one)
    else:
        await client.patch(f"{DEFINITIONS}/{name}", {"spec": one["spec"]})


async def _until_served(client: KubeClient, at: str) -> None:
    async with asyncio.timeout(_SOON_S):
        while True:
            try:
                await client.list(at)
                return
            except ApiError:
                await asyncio.sleep(0.1)


async def _refusal(call: Any) -> tuple[int, str, str]:
    with pytest.raises(ApiError) as caught:
        await call
    message = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:0", caught.value.message)
    return caught.value.status, caught.value.reason, message


def _said(obj: Json) -> Json:
    return {key: obj[key] for key in ("apiVersion", "kind", "spec")} | {"name": obj["metadata"]["name"]}


async def observe(client: KubeClient) -> Json:
    """What an API server does with both versions of two kinds."""
    seen: Json = {}
    async with converting(client):
        old, new = path(OLD, "trainingworkloads"), path(NEW, "trainingworkloads")
        created = await client.create(old, workload(OLD, "a", jobNamePrefix={"value": "x"}, gpu={"value": "1"}))
        seen["created"] = _said(created)
        seen["read in the other"] = _said(await client.get(f"{new}/a"))
        seen["same state"] = (await client.get(f"{new}/a"))["metadata"]["resourceVersion"] == (
            created["metadata"]["resourceVersion"]
        )
        await client.create(new, workload(NEW, "b", namePrefix={"value": "y"}))
        for name, at in (("old", old), ("new", new)):
            items, version = await client.list(at)
            seen[f"list of the {name}"] = [_said(one) for one in items]
        watched = asyncio.create_task(_watch(client, old, version, 3))
        await client.patch(f"{new}/a", {"spec": {"namePrefix": {"value": "z"}}})
        await client.patch(f"{old}/b", {"spec": {"jobNamePrefix": {"value": "w"}}})
        await client.delete(f"{new}/b")
        seen["watched"] = await asyncio.wait_for(watched, _SOON_S)
        seen["patched"] = _said(await client.get(f"{old}/a"))
        nested = {"gpu": {"rules": {"max": "4"}, "value": {"value": "1"}}}
        policy = {"apiVersion": f"run.ai/{OLD}", "kind": "TrainingPolicy", "metadata": {"name": "p"}, "spec": nested}
        await client.create(path(OLD, "trainingpolicies"), policy)
        seen["policy"] = _said(await client.get(path(NEW, "trainingpolicies", "p")))
        both = {"jobNamePrefix": {"value": "x"}, "namePrefix": {"value": "y"}}
        seen["both spellings written"] = await _refusal(client.create(old, workload(OLD, "c", **both)))
        await client.create(new, workload(NEW, "c", **both))
        seen["both spellings stored"] = _said(await client.get(f"{old}/c"))
        await client.create(new, workload(NEW, "d", gpu={"value": "1"}))
    # Nobody answers any more. What is read in the stored version needs nobody.
    seen["stored version, nobody there"] = _said(await client.get(f"{new}/d"))
    seen["write, nobody there"] = await _refusal(client.create(old, workload(OLD, "e")))
    seen["patch, nobody there"] = await _refusal(client.patch(f"{old}/a", {"spec": {"jobNamePrefix": {"value": "v"}}}))
    return seen


async def _watch(client: KubeClient, at: str, version: str, count: int) -> list[Any]:
    events = []
    async for event in client.watch(at, resource_version=version):
        if event.type != "BOOKMARK":
            events.append((event.type, _said(event.object)))
        if len(events) == count:
            break
    return events


async def test_both_versions_on_the_real_one_and_on_the_emulator(real_cluster: RealCluster) -> None:
    real = await observe(real_cluster.client)
    prefix = {"value": "x"}
    assert real["created"] == _said(workload(OLD, "a", jobNamePrefix=prefix, gpu={"value": "1"}))
    assert real["read in the other"] == _said(workload(NEW, "a", namePrefix=prefix, gpu={"value": "1"}))
    assert real["same state"]
    assert [one["spec"]["jobNamePrefix"]["value"] for one in real["list of the old"]] == ["x", "y"]
    assert [one["spec"]["namePrefix"]["value"] for one in real["list of the new"]] == ["x", "y"]
    assert [(type_, one["name"], one["spec"]["jobNamePrefix"]["value"]) for type_, one in real["watched"]] == [
        ("MODIFIED", "a", "z"),
        ("MODIFIED", "b", "w"),
        ("DELETED", "b", "w"),
    ]
    status, _, message = real["both spellings written"]
    assert status == 500
    assert "TrainingWorkload c has two prefixes for the names of its jobs" in message
    assert real["policy"]["spec"] == {"gpu": {"rules": {"max": "4"}, "value": "1"}}
    async with EmbeddedCluster(nodes=0) as embedded:
        emulated = await observe(embedded.client)
    assert emulated == real
