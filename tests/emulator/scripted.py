"""A scripted extender: answers what a test says, remembers every call. Also builders for pods that ask for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from extender.kube.client import KubeClient

Json = dict[str, Any]
Answer = Callable[[Json], Any]

NAME = "runai-scheduler"
PODS = "/api/v1/namespaces/default/pods"


@dataclass
class Call:
    verb: str
    raw: bytes
    headers: dict[str, str]
    at: float

    @property
    def body(self) -> Json:
        decoded: Json = orjson.loads(self.raw)
        return decoded


def everything(body: Json) -> Json:
    return {"NodeNames": body["NodeNames"]}


@dataclass
class ScriptedExtender:
    """Answers what the test says and remembers every call; an answer may be a Response, JSON or bytes."""

    client: KubeClient
    filter: Answer = everything
    prioritize: Answer = lambda _: []
    bind: Answer | None = None
    delay_s: float = 0.0
    calls: list[Call] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        verb = request.match_info["verb"]
        call = Call(verb, await request.read(), dict(request.headers), time.monotonic())
        self.calls.append(call)
        await asyncio.sleep(self.delay_s)
        if verb == "bind":
            answer = self.bind(call.body) if self.bind else await self.store(call.body)
        else:
            answer = getattr(self, verb)(call.body)
        if isinstance(answer, web.Response):
            return answer
        return web.Response(body=answer if isinstance(answer, bytes) else orjson.dumps(answer))

    async def store(self, body: Json) -> Json:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": body["PodName"], "namespace": body["PodNamespace"], "uid": body["PodUID"]},
            "target": {"kind": "Node", "name": body["Node"]},
        }
        await self.client.create(f"{PODS}/{body['PodName']}/binding", binding)
        return {"Error": ""}

    def verbs(self) -> list[str]:
        return [call.verb for call in self.calls]

    def of(self, verb: str) -> list[Call]:
        return [call for call in self.calls if call.verb == verb]


@asynccontextmanager
async def serving(client: KubeClient) -> AsyncIterator[tuple[ScriptedExtender, str]]:
    """A scripted extender that listens, and its URL; binds are stored through `client`."""
    extender = ScriptedExtender(client)
    app = web.Application()
    app.router.add_post("/extender/{verb}", extender.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield extender, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def first_only(body: Json) -> Json:
    return {"NodeNames": body["NodeNames"][:1]}


def nobody(_: Json) -> Json:
    return {"NodeNames": [], "FailedAndUnresolvableNodes": {"node-0": "no GPU for it"}}


def pod(name: str = "p", *, gpus: int = 0, annotations: Json | None = None, **spec: Any) -> Json:
    limits = {"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}} if gpus else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"schedulerName": NAME, "containers": [{"name": "c", "image": "i", **limits}], **spec},
    }


async def until(holds: Callable[[], Any], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            answer = holds()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.01)
