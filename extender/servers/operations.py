"""For operators: /metrics, /healthz, /readyz, /snapshot and /explain, on a port of their own."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from extender import metrics
from extender.cluster import audit
from extender.cluster.picture import Picture
from extender.planning.planner import Planner
from extender.servers import snapshot
from extender.servers.explain import explain


class Operations:
    """`why_not` says why we are not ready, "" when we are; `measure` brings gauges up to date for a scrape."""

    def __init__(
        self,
        picture: Picture,
        registry: CollectorRegistry,
        why_not: Callable[[], str],
        measure: Callable[[], None],
        planner: Planner | None = None,
        *,
        cluster_id: str = "",
    ) -> None:
        self._picture = picture
        self._registry = registry
        self._why_not = why_not
        self._measure = measure
        self._planner = planner
        self._cluster_id = cluster_id

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/snapshot", self._snapshot)
        app.router.add_get("/explain/{namespace}/{name}", self._explain)
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        why_not = self._why_not()
        return web.Response(text=f"{why_not or 'ok'}\n", status=503 if why_not else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        self._measure()
        return web.Response(
            body=generate_latest(self._registry) + await metrics.pod_series(self._picture, self._cluster_id),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _explain(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        found = None if self._planner is None else explain(self._picture, self._planner, namespace, name)
        if found is None:
            nobody = {"error": f"no PodGroup and no pod of ours is called {name} in namespace {namespace}"}
            return web.Response(body=orjson.dumps(nobody), status=404, content_type="application/json")
        return web.Response(body=orjson.dumps(found), content_type="application/json")

    async def _snapshot(self, request: web.Request) -> web.Response:
        """The whole picture as JSON; `?check=1` adds a recount (`problems` is empty when the books add up)."""
        document = snapshot.take(self._picture)
        if request.query.get("check"):
            document["problems"] = audit.check(self._picture)
            document["overcommitted"] = audit.overcommitted(self._picture)
        return web.Response(body=orjson.dumps(document), content_type="application/json")
