"""The extender's verbs over HTTP. Always 200 with the verdict in the body: kube-scheduler reads nothing else.

The picture is only touched between two awaits: body read before, answer sent after. Zero API calls here but bind's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from extender import logs, metrics
from extender.cluster.picture import Picture
from extender.controllers.binder import Binder
from extender.controllers.upkeep import Upkeep
from extender.errors import MalformedError
from extender.model.names import PodUID
from extender.pods.filter import filter_pod
from extender.pods.placement import Policy
from extender.pods.preempt import keep_possible
from extender.pods.prioritize import prioritize_pod
from extender.wire import extender as wire

_JSON = {"Content-Type": "application/json"}
_BODY_S = 10.0  # a client that stops half-way must not hold its connection for ever

_Decide = Callable[[bytes], Awaitable[bytes]]

log = logs.get("verbs")


class Verbs:
    """Routes `/extender/<verb>`. `why_not` says why we cannot judge now, "" when we can."""

    def __init__(
        self,
        picture: Picture,
        policy: Policy,
        binder: Binder,
        upkeep: Upkeep,
        why_not: Callable[[], str],
        *,
        answer_all: bool,
        max_body_bytes: int,
    ) -> None:
        self._picture = picture
        self._policy = policy
        self._binder = binder
        self._upkeep = upkeep
        self._why_not = why_not
        self._answer_all = answer_all
        self._max_body_bytes = max_body_bytes
        self._passed = metrics.DECISIONS.labels("filter", "ok")

    def app(self) -> web.Application:
        app = web.Application(client_max_size=self._max_body_bytes)
        routes: dict[str, tuple[_Decide, Callable[[str], bytes]]] = {
            "filter": (self._filter, wire.encode_filter_error),
            "prioritize": (self._prioritize, lambda _: wire.encode_points(())),
            "bind": (self._bind, wire.encode_binding),
            "preempt": (self._preempt, lambda _: wire.encode_victims({})),
        }
        for verb, (decide, on_error) in routes.items():
            handler = self._handler(verb, decide, on_error)
            # kube-scheduler's prefix may end in a slash; a redirect would lose the body.
            app.router.add_post(f"/extender/{verb}", handler)
            app.router.add_post(f"/extender/{verb}/", handler)
        return app

    def _handler(
        self, verb: str, decide: _Decide, on_error: Callable[[str], bytes]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        seconds = metrics.VERB_SECONDS.labels(verb)
        failed = metrics.DECISIONS.labels(verb, "error")

        async def handle(request: web.Request) -> web.Response:
            if request.content_length is not None and request.content_length > self._max_body_bytes:
                failed.inc()
                log.warning("body_too_large", verb=verb, bytes=request.content_length)
                raise web.HTTPRequestEntityTooLarge(max_size=self._max_body_bytes, actual_size=request.content_length)
            try:
                if request.content.is_eof():
                    body = await request.read()
                else:
                    async with asyncio.timeout(_BODY_S):
                        body = await request.read()
            except TimeoutError as error:
                failed.inc()
                raise web.HTTPRequestTimeout(text="the request's body did not arrive in time\n") from error
            started = time.perf_counter()
            try:
                answer = await decide(body)
            except MalformedError as error:
                failed.inc()
                log.warning("malformed", verb=verb, cause=str(error))
                answer = on_error(f"malformed {verb} request: {error}")
            except Exception:
                # A request must never cost the next one, and its sender gets no traceback.
                failed.inc()
                log.exception("verb_failed", verb=verb)
                answer = on_error(f"{verb} failed: internal error, see the extender's log")
            seconds.observe(time.perf_counter() - started)
            return web.Response(body=answer, headers=_JSON)

        return handle

    async def _filter(self, body: bytes) -> bytes:
        args = wire.decode_args(body, self._picture.known)
        why_not = self._why_not()
        if why_not:
            metrics.DECISIONS.labels("filter", "error").inc()
            return wire.encode_filter_error(why_not)
        answer = filter_pod(
            self._picture,
            args.pod,
            args.names,
            self._policy,
            now=time.monotonic(),
            answer_all=self._answer_all,
        )
        if answer.verdict is None:
            self._passed.inc()
            log.debug("filter", pod=args.pod.key, node=answer.nodes[0])
            return wire.encode_pass(args, answer.nodes)
        metrics.DECISIONS.labels("filter", answer.verdict.reason.value).inc()
        log.debug("filter", pod=args.pod.key, reason=answer.verdict.reason, cause=answer.verdict.message)
        record = self._picture.pods.get(PodUID(args.pod.uid))
        if record is not None and record.verdict is answer.verdict:
            self._upkeep.refused(record, answer.verdict)
        return wire.encode_reject(args, answer.verdict)

    async def _prioritize(self, body: bytes) -> bytes:
        args = wire.decode_args(body, self._picture.known)
        if self._why_not():
            # Scores are advice; none at all is better than none in time.
            return wire.encode_points([(name, 0) for name in args.names])
        metrics.DECISIONS.labels("prioritize", "ok").inc()
        return wire.encode_points(prioritize_pod(self._picture, args.pod, args.names, self._policy))

    async def _bind(self, body: bytes) -> bytes:
        request = wire.decode_binding(body)
        why_not = self._why_not()
        error = why_not or await self._binder.bind(request)
        metrics.DECISIONS.labels("bind", "error" if error else "ok").inc()
        return wire.encode_binding(error)

    async def _preempt(self, body: bytes) -> bytes:
        candidates = wire.decode_candidates(body)
        metrics.DECISIONS.labels("preempt", "ok").inc()
        return wire.encode_victims({} if self._why_not() else keep_possible(self._picture, candidates))
