"""The admission webhook over HTTP(S): AdmissionReviews in and out, stateless, the same from every replica.

A body that is no review is a 400 and an error of ours a 500: then the failure policy of the configuration decides.
Everything else is a 200 with the verdict inside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from aiohttp import web

from extender import logs, metrics
from extender.admission import rules
from extender.admission.pods import Context
from extender.errors import MalformedError
from extender.wire import admission as wire
from extender.wire.admission import Answer, Review

_BODY_S = 3.0  # the API server itself waits no longer (timeoutSeconds)

log = logs.get("admission")


class Webhook:
    """Routes `/admission/mutate` and `/admission/validate`.

    is_enforced: whether a namespace makes every pod in it ours. settings: what is the same for all requests.
    """

    def __init__(
        self, is_enforced: Callable[[str], Awaitable[bool]], settings: Context, *, max_body_bytes: int
    ) -> None:
        self._is_enforced = is_enforced
        self._settings = settings
        self._max_body_bytes = max_body_bytes

    def app(self) -> web.Application:
        app = web.Application(client_max_size=self._max_body_bytes)
        app.router.add_post("/admission/mutate", self._handler("mutate", self._mutate))
        app.router.add_post("/admission/validate", self._handler("validate", self._validate))
        return app

    def _handler(
        self, webhook: str, decide: Callable[[Review], Awaitable[Answer]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        seconds = metrics.ADMISSION_SECONDS.labels(webhook)

        def count(outcome: str) -> None:
            metrics.ADMISSIONS.labels(webhook, outcome).inc()

        async def handle(request: web.Request) -> web.Response:
            try:
                async with asyncio.timeout(_BODY_S):
                    body = await request.read()
            except TimeoutError as error:
                count("malformed")
                raise web.HTTPRequestTimeout(text="the request's body did not arrive in time\n") from error
            except web.HTTPRequestEntityTooLarge:
                count("malformed")
                raise
            started = time.perf_counter()
            try:
                review = wire.decode_review(body)
            except MalformedError as error:
                count("malformed")
                log.warning("malformed", verb=webhook, cause=str(error))
                raise web.HTTPBadRequest(text=f"malformed {webhook} request: {error}\n") from error
            try:
                answer = await decide(review)
            except MalformedError as error:
                count("malformed")
                log.warning("malformed", verb=webhook, cause=str(error))
                return _reply(wire.encode_unreadable(review.uid, str(error)))
            except Exception as error:
                # A request must never cost the next one, and its sender gets no traceback.
                count("error")
                log.exception("admission_failed", verb=webhook)
                raise web.HTTPInternalServerError(text="internal error, see the log of the webhook\n") from error
            count("refused" if answer.refusals else "patched" if answer.patch else "allowed")
            seconds.observe(time.perf_counter() - started)
            log.debug("admission", verb=webhook, kind=review.kind, reason="; ".join(answer.refusals))
            return _reply(wire.encode_answer(review.uid, answer))

        return handle

    async def _mutate(self, review: Review) -> Answer:
        return rules.mutate(review, await self._context(review))

    async def _validate(self, review: Review) -> Answer:
        return rules.validate(review, await self._context(review))

    async def _context(self, review: Review) -> Context:
        enforced = rules.asks_for_another_scheduler(review) and await self._is_enforced(review.namespace)
        return replace(self._settings, namespace=review.namespace, enforced=enforced, request_uid=review.uid)


def _reply(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
