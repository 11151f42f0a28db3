"""A scripted API server: the test says what each request of a path is answered, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from extender.kube.client import KubeClient
from extender.servers.listener import Listener

CLOSING = web.AppKey("closing", asyncio.Event)

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StubApi:
    """Answers are taken from `script` in order; the last one is repeated. `requests` are (method, path, query)."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[Any] = []
        self._listener: Listener | None = None

    async def __aenter__(self) -> StubApi:
        app = web.Application()
        app[CLOSING] = asyncio.Event()
        self._closing = app[CLOSING]
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._listener = Listener(app, "127.0.0.1:0")
        await self._listener.start()
        self.client = KubeClient(self._listener.url, aiohttp.ClientSession())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self.client.close()
        assert self._listener is not None
        await self._listener.stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.query)))
        body = await request.read()
        self.bodies.append(orjson.loads(body) if body else None)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await answer(request)


def reply(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")

    return answer


def failure(status: int, reason: str = "", headers: dict[str, str] | None = None) -> Answer:
    return reply({"kind": "Status", "code": status, "reason": reason, "message": f"no: {reason}"}, status, headers)


def by_method(**answers: Answer) -> Answer:
    """Another answer for each HTTP method, as in `by_method(GET=reply({}), POST=failure(500))`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers[request.method](request)

    return answer


def page(*items: dict[str, Any], version: str = "10", token: str = "") -> Answer:
    return reply({"metadata": {"resourceVersion": version, "continue": token}, "items": list(items)})


def stream(*events: tuple[str, dict[str, Any]], then: str = "end") -> Answer:
    """A watch: the events, then `end` (normally), `cut` (mid-line) or `hang`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for kind, obj in events:
            await response.write(orjson.dumps({"type": kind, "object": obj}) + b"\n")
        if then == "cut":
            assert request.transport is not None
            request.transport.abort()
        elif then == "hang":
            await request.app[CLOSING].wait()
        return response

    return answer


def obj(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}
