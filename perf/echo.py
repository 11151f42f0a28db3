"""The floor: an extender that decodes the names and hands them all back. aiohttp, orjson, uvloop, no work.

`python -m perf.echo [API-URL]`; with the URL of a stub API server, bind makes one POST to it, as a binder must.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
import orjson
from aiohttp import web

from extender.app import run
from perf.serving import serve

_SESSION = web.AppKey("session", aiohttp.ClientSession)


def app(api_url: str = "") -> web.Application:
    application = web.Application(client_max_size=16 * 1024 * 1024)
    application.router.add_post("/extender/filter", _filter)
    application.router.add_post("/extender/prioritize", _prioritize)
    if api_url:
        application.router.add_post("/extender/bind", _bind)

        async def session(made: web.Application) -> AsyncIterator[None]:
            async with aiohttp.ClientSession(api_url) as made[_SESSION]:
                yield

        application.cleanup_ctx.append(session)
    return application


async def _filter(request: web.Request) -> web.Response:
    names = orjson.loads(await request.read())["NodeNames"]
    answer = {"Nodes": None, "NodeNames": names, "FailedNodes": {}, "FailedAndUnresolvableNodes": {}, "Error": ""}
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _prioritize(request: web.Request) -> web.Response:
    names = orjson.loads(await request.read())["NodeNames"]
    answer = [{"Host": name, "Score": 0} for name in names]
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _bind(request: web.Request) -> web.Response:
    args = orjson.loads(await request.read())
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": args["PodName"], "namespace": args["PodNamespace"], "uid": args["PodUID"]},
        "target": {"apiVersion": "v1", "kind": "Node", "name": args["Node"]},
    }
    path = f"/api/v1/namespaces/{args['PodNamespace']}/pods/{args['PodName']}/binding"
    headers = {"Content-Type": "application/json"}
    async with request.app[_SESSION].post(path, data=orjson.dumps(binding), headers=headers) as answer:
        await answer.read()
        error = "" if answer.status == 201 else f"the API server answered {answer.status}"
    return web.Response(body=orjson.dumps({"Error": error}), content_type="application/json")


if __name__ == "__main__":
    run(serve(app(*sys.argv[1:])))
