"""The embedded cluster's mini kube-scheduler says and asks what the real one does, word for word.

Every case runs on both. A difference is a fault of the emulator: the real one is the judge.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from extender.emulator.cluster import EmbeddedCluster
from extender.emulator.kubelet import FakeKubelets
from extender.kube.client import KubeClient
from extender.wire import manifests
from tests.e2e.controlplane import ControlPlane
from tests.e2e.real import shipped_feature_gates
from tests.emulator.scripted import PODS, ScriptedExtender, first_only, nobody, pod, serving

Json = dict[str, Any]
Setup = Callable[[ScriptedExtender], None]


def _filter(answer: Any) -> Setup:
    return lambda extender: setattr(extender, "filter", lambda _: answer)


def _bind(answer: Any) -> Setup:
    def setup(extender: ScriptedExtender) -> None:
        extender.filter = first_only
        extender.bind = lambda _: answer

    return setup


def _slow(extender: ScriptedExtender) -> None:
    extender.delay_s = 2.5


def _requests(**amounts: str) -> Json:
    return {"containers": [{"name": "c", "image": "i", "resources": {"requests": amounts}}]}


def _affinity(**term: Any) -> Json:
    required = {"nodeSelectorTerms": [term]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


# Name -> (what the extender does, the pod's spec). All end with PodScheduled=False.
CASES: dict[str, tuple[Setup, Json]] = {
    "one reason": (lambda extender: setattr(extender, "filter", nobody), {}),
    "both maps": (
        _filter({"FailedNodes": {"node-0": "a", "node-1": "a"}, "FailedAndUnresolvableNodes": {"node-1": "b"}}),
        {},
    ),
    "no reasons": (_filter({"NodeNames": None}), {}),
    "error": (_filter({"Error": "cannot judge now"}), {}),
    "unknown node": (_filter({"NodeNames": ["ghost"]}), {}),
    "empty body": (_filter(b""), {}),
    "cut off": (_filter(b'{"NodeNames": ['), {}),
    "array": (_filter([]), {}),
    "wrong type": (_filter({"NodeNames": "node-0"}), {}),
    "wrong reason": (_filter({"FailedNodes": {"node-0": 1}}), {}),
    "time-out": (_slow, {}),
    "bind error": (_bind({"Error": "not today"}), {}),
    "in-tree GPUs": (_filter({}), {"gpus": 5}),
    "in-tree CPU and memory": (_filter({}), _requests(cpu="100", memory="1Ti")),
    "in-tree selector": (_filter({}), {"nodeSelector": {"no": "where"}}),
    "in-tree affinity": (
        _filter({}),
        _affinity(matchExpressions=[{"key": "nvidia.com/gpu.count", "operator": "Gt", "values": ["4"]}]),
    ),
    "in-tree named node": (
        _filter({}),
        _affinity(matchFields=[{"key": "metadata.name", "operator": "In", "values": ["ghost"]}]),
    ),
    "status 503": (lambda extender: setattr(extender, "filter", lambda _: web.Response(status=503)), {}),
}


async def test_refusals_and_errors_read_the_same(tmp_path: Path) -> None:
    async with _real(tmp_path) as (client, extender):
        real = {name: await _observe(client, extender, *case) for name, case in CASES.items()}
    async with _embedded() as (client, extender):
        emulated = {name: await _observe(client, extender, *case) for name, case in CASES.items()}
    assert emulated == real


async def test_requests_look_the_same(tmp_path: Path) -> None:
    async with _real(tmp_path) as (client, extender):
        real = await _requests_of_one_pod(client, extender)
    async with _embedded() as (client, extender):
        emulated = await _requests_of_one_pod(client, extender)
    assert emulated == real


async def _observe(client: KubeClient, extender: ScriptedExtender, setup: Setup, spec: Json) -> Json:
    """What a pod's first attempt leaves behind."""
    setup(extender)
    created = await client.create(PODS, pod(**spec))
    try:
        async with asyncio.timeout(10):
            while not (condition := await _condition(client)):
                await asyncio.sleep(0.05)
            while not (notes := await _events(client, created["metadata"]["uid"])):
                await asyncio.sleep(0.05)
    finally:
        await client.delete(f"{PODS}/p", options={"gracePeriodSeconds": 0})
    first_round = list(dict.fromkeys(extender.verbs()))
    extender.filter, extender.bind, extender.delay_s = ScriptedExtender(client).filter, None, 0.0
    await asyncio.sleep(0.1)
    extender.calls.clear()
    return {"condition": condition, "event": min(notes), "verbs": first_round}


async def _condition(client: KubeClient) -> Json:
    for condition in (await client.get(f"{PODS}/p"))["status"].get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return {key: _without_ports(condition.get(key)) for key in ("reason", "message")}
    return {}


async def _events(client: KubeClient, uid: str) -> list[tuple[str, ...]]:
    items, _ = await client.list("/apis/events.k8s.io/v1/namespaces/default/events")
    fields = ("type", "reason", "action", "note", "reportingController")
    return [tuple(_without_ports(item[f]) for f in fields) for item in items if item["regarding"].get("uid") == uid]


def _without_ports(text: Any) -> str:
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:0", str(text))


async def _requests_of_one_pod(client: KubeClient, extender: ScriptedExtender) -> Json:
    """The three requests for a pod that several nodes take: headers and everything but the pod's own fields."""
    await client.create(PODS, pod())
    async with asyncio.timeout(10):
        while "bind" not in extender.verbs():
            await asyncio.sleep(0.02)
    seen: Json = {}
    for call in extender.calls:
        body = call.body
        shape: Json = {"keys": list(body)}
        if call.verb == "bind":
            # Among equal nodes the real one draws.
            shape["bytes"] = re.sub(r"node-[01]", "node", call.raw.decode().replace(body["PodUID"], "uid"))
        else:
            sent = body["Pod"]
            shape["pod"] = (list(sent), sent["status"], "managedFields" in sent["metadata"])
            # The order of the nodes is that in which they were first seen.
            tail = call.raw[call.raw.index(b',"Nodes":') :].decode()
            shape["tail"] = tail.replace('["node-1","node-0"]', '["node-0","node-1"]')
        dropped = ("Host", "Content-Length")
        shape["headers"] = {key: value for key, value in sorted(call.headers.items()) if key not in dropped}
        seen[call.verb] = shape
    return seen


@asynccontextmanager
async def _embedded() -> AsyncIterator[tuple[KubeClient, ScriptedExtender]]:
    async with EmbeddedCluster(nodes=2) as cluster, serving(cluster.client) as (extender, url):
        cluster.start_scheduler(url)
        yield cluster.client, extender


@asynccontextmanager
async def _real(directory: Path) -> AsyncIterator[tuple[KubeClient, ScriptedExtender]]:
    config = directory / "kube-scheduler.yaml"
    config.write_text(manifests.configuration())
    async with ControlPlane() as plane, await KubeClient.connect(str(plane.kubeconfig)) as client:
        kubelets = FakeKubelets(client)
        running = asyncio.create_task(kubelets.run())
        try:
            await kubelets.add_nodes(2, 4)
            async with serving(client) as (extender, url):
                await plane.start_scheduler(config, extender_url=url, feature_gates=shipped_feature_gates())
                yield client, extender
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
