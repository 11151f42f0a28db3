"""A stub API server: it lists what `perf.objects` makes, lets watches hang, says 201 to every Binding.

`python -m perf.stub NODES PODS` prints its URL and serves until standard input ends. Pages are rendered (and
compressed, as the real API server does above 128 KiB for a client that takes gzip) the first time they are asked
for and kept: the first start of a client warms it, later ones measure the client alone.
"""

from __future__ import annotations

import asyncio
import sys
import zlib

import orjson
from aiohttp import web

from extender.app import run
from extender.model import names
from perf import objects
from perf.serving import serve

_VERSION = 5_000_000
_GZIP_ABOVE = 128 * 1024
_CREATED = orjson.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})


class StubApi:
    def __init__(self, nodes: int, pods: int) -> None:
        seats = objects.Seats(nodes, pods)
        project = {
            "metadata": {"name": objects.PROJECT, "uid": "project", "resourceVersion": "1"},
            "spec": {},
        }
        namespace = {
            "metadata": {
                "name": objects.NAMESPACE, "uid": "namespace", "resourceVersion": "1",
                "labels": {names.QUEUE_LABEL: objects.PROJECT},
            }
        }  # fmt: skip
        self._items: dict[str, list[bytes]] = {
            "/api/v1/nodes": [orjson.dumps(objects.node(index)) for index in range(nodes)],
            "/api/v1/pods": [
                *(objects.running_pod(index, *seats.deal(index)) for index in range(pods)),
                *map(orjson.dumps, objects.asking_pods()),
            ],
            "/api/v1/namespaces": [orjson.dumps(namespace)],
            f"/apis/{names.RUN_AI_GROUP}/v1/projects": [orjson.dumps(project)],
        }
        self._pages: dict[tuple[str, int, int, bool], bytes] = {}
        self._closing = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/api/v1/namespaces/{namespace}/pods/{name}/binding", self._bind)
        app.router.add_get("/{path:.*}", self._read)
        app.router.add_route("*", "/{path:.*}", self._write)
        app.on_shutdown.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        self._closing.set()

    async def _bind(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=_CREATED, status=201, content_type="application/json")

    async def _write(self, request: web.Request) -> web.Response:
        # Events and statuses: taken, and forgotten.
        body = await request.read()
        status = 201 if request.method == "POST" else 200
        return web.Response(body=body or b"{}", status=status, content_type="application/json")

    async def _read(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") in ("true", "1"):
            return await self._hang(request)
        limit = int(request.query.get("limit") or 0)
        begin = int(request.query.get("continue") or 0)
        gzip = "gzip" in request.headers.get("Accept-Encoding", "")
        key = (request.path, limit, begin, gzip)
        page = self._pages.get(key)
        if page is None:
            page = self._pages[key] = self._page(*key)
        packed = page[:2] == b"\x1f\x8b"
        headers = {"Content-Encoding": "gzip"} if packed else {}
        return web.Response(body=page, headers=headers, content_type="application/json")

    def _page(self, path: str, limit: int, begin: int, gzip: bool) -> bytes:
        items = self._items.get(path, [])
        end = begin + limit if limit else len(items)
        token = str(end) if end < len(items) else ""
        page = b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"%d","continue":"%s"},"items":[%s]}' % (
            _VERSION, token.encode(), b",".join(items[begin:end]),
        )  # fmt: skip
        if gzip and len(page) > _GZIP_ABOVE:
            # 31: a gzip header; level 1 is the API server's.
            packer = zlib.compressobj(level=1, wbits=31)
            return packer.compress(page) + packer.flush()
        return page

    async def _hang(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await self._closing.wait()
        return response


if __name__ == "__main__":
    run(serve(StubApi(int(sys.argv[1]), int(sys.argv[2])).app()))
