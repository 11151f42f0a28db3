"""The floor: an extender that decodes the names and hands them all back. aiohttp, orjson, uvloop, no work."""

from __future__ import annotations

import asyncio
import sys

import orjson
from aiohttp import web

from extender.app import run
from extender.servers.listener import Listener


async def _filter(request: web.Request) -> web.Response:
    names = orjson.loads(await request.read())["NodeNames"]
    answer = {"Nodes": None, "NodeNames": names, "FailedNodes": {}, "FailedAndUnresolvableNodes": {}, "Error": ""}
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _prioritize(request: web.Request) -> web.Response:
    names = orjson.loads(await request.read())["NodeNames"]
    answer = [{"Host": name, "Score": 0} for name in names]
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def serve(app: web.Application) -> None:
    """Listen on a free port, print the URL, serve until standard input ends."""
    listener = Listener(app, "127.0.0.1:0")
    await listener.start()
    print(listener.url, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await listener.stop()


def app() -> web.Application:
    application = web.Application(client_max_size=16 * 1024 * 1024)
    application.router.add_post("/extender/filter", _filter)
    application.router.add_post("/extender/prioritize", _prioritize)
    return application


if __name__ == "__main__":
    run(serve(app()))
