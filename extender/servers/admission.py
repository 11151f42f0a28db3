"""The webhooks over HTTP(S): AdmissionReviews and ConversionReviews in and out, stateless, the same from every replica.

A body that is no review is a 400 and an error of ours a 500: then the failure policy of the configuration decides.
Everything else is a 200 with the verdict inside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from aiohttp import web

from extender import logs, metrics
from extender.admission import rules
from extender.admission.pods import Context
from extender.errors import MalformedError
from extender.wire import admission as wire
from extender.wire import conversion
from extender.wire.admission import Answer, Review
from extender.workloads.conversion import convert

_BODY_S = 3.0  # the API server itself waits no longer (timeoutSeconds)

# A request's body → what came of it, for the metric, and the reply. Raises MalformedError when it is no review.
Answering = Callable[[bytes], Awaitable[tuple[str, bytes]]]

log = logs.get("admission")


class Webhook:
    """Routes `/admission/mutate`, `/admission/validate` and `/admission/convert`.

    is_enforced: whether a namespace makes every pod in it ours. settings: what is the same for all requests.
    judges:      for kinds that the cluster itself has to be asked about, who validates them.
    """

    def __init__(
        self,
        is_enforced: Callable[[str], Awaitable[bool]],
        settings: Context,
        *,
        max_body_bytes: int,
        judges: Mapping[str, Callable[[Review], Awaitable[Answer]]] | None = None,
    ) -> None:
        self._is_enforced = is_enforced
        self._judges = judges or {}
        self._settings = settings
        self._max_body_bytes = max_body_bytes

    def app(self) -> web.Application:
        app = web.Application(client_max_size=self._max_body_bytes)
        app.router.add_post("/admission/mutate", self._handler("mutate", _reviewing("mutate", self._mutate)))
        app.router.add_post("/admission/validate", self._handler("validate", _reviewing("validate", self._validate)))
        app.router.add_post("/admission/convert", self._handler("convert", _converted))
        return app

    def _handler(self, webhook: str, answer: Answering) -> Callable[[web.Request], Awaitable[web.Response]]:
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
                outcome, reply = await answer(body)
            except MalformedError as error:
                count("malformed")
                log.warning("malformed", verb=webhook, cause=str(error))
                raise web.HTTPBadRequest(text=f"malformed {webhook} request: {error}\n") from error
            except Exception as error:
                # A request must never cost the next one, and its sender gets no traceback.
                count("error")
                log.exception("admission_failed", verb=webhook)
                raise web.HTTPInternalServerError(text="internal error, see the log of the webhook\n") from error
            count(outcome)
            if outcome != "malformed":
                seconds.observe(time.perf_counter() - started)
            return web.Response(body=reply, content_type="application/json")

        return handle

    async def _mutate(self, review: Review) -> Answer:
        return rules.mutate(review, await self._context(review))

    async def _validate(self, review: Review) -> Answer:
        judge = self._judges.get(review.kind)
        if judge is not None:
            return await judge(review)
        return rules.validate(review, await self._context(review))

    async def _context(self, review: Review) -> Context:
        enforced = rules.asks_for_another_scheduler(review) and await self._is_enforced(review.namespace)
        return replace(self._settings, namespace=review.namespace, enforced=enforced, request_uid=review.uid)


def _reviewing(webhook: str, decide: Callable[[Review], Awaitable[Answer]]) -> Answering:
    """An AdmissionReview with the verdict of `decide`."""

    async def answer(body: bytes) -> tuple[str, bytes]:
        review = wire.decode_review(body)
        try:
            verdict = await decide(review)
        except MalformedError as error:
            log.warning("malformed", verb=webhook, cause=str(error))
            return "malformed", wire.encode_unreadable(review.uid, str(error))
        log.debug("admission", verb=webhook, kind=review.kind, reason="; ".join(verdict.refusals))
        outcome = "refused" if verdict.refusals else "patched" if verdict.patch else "allowed"
        return outcome, wire.encode_answer(review.uid, verdict)

    return answer


async def _converted(body: bytes) -> tuple[str, bytes]:
    """A ConversionReview with the objects in the version asked for, or with the reason why one of them is in none."""
    asked = conversion.decode_conversion(body)
    try:
        objects = [convert(one, asked.version) for one in asked.objects]
    except MalformedError as error:
        log.warning("not_converted", verb="convert", cause=str(error))
        return "refused", conversion.encode_failed(asked.uid, str(error))
    return "converted", conversion.encode_converted(asked.uid, objects)
