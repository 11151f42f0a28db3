"""Calls of webhooks, for admission and conversion alike: where one is, whom to trust there, and what it says."""

from __future__ import annotations

import base64
import binascii
import errno
import ssl
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import aiohttp
import orjson

from extender.emulator.resources import JSON

# (namespace, name, port) of a Service → the base URL under which this process reaches it.
ServiceResolver = Callable[[str, str, int], str]


class WebhookError(Exception):
    """A webhook could not be asked or gave no usable answer."""


class Webhooks:
    """The connections to webhooks. Plain http is allowed, since everything here is one machine's loopback.

    service_resolver: where Services of webhooks really are; without it such webhooks fail as unreachable ones do.
    """

    def __init__(self, service_resolver: ServiceResolver | None = None) -> None:
        self._session: aiohttp.ClientSession | None = None
        self.service_resolver = service_resolver

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, client: JSON, review: JSON, timeout_s: float) -> JSON:
        """Send a review to where `client` (a clientConfig) says; the `response` of the answer.

        Raises WebhookError when there is none, or when it is no answer to this review.
        """
        url, tls = self._address(client)
        url = f"{url}?timeout={timeout_s:g}s"
        if self._session is None:
            self._session = aiohttp.ClientSession()
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                url, data=orjson.dumps(review), headers=headers, timeout=timeout, ssl=tls
            ) as reply:
                body = await reply.read()
                if reply.status != 200:
                    raise WebhookError(f'the server answered "{url}" with {reply.status}')
        except TimeoutError as error:
            raise WebhookError(f'Post "{url}": context deadline exceeded') from error
        except aiohttp.ClientConnectorError as error:
            refused = error.os_error.errno == errno.ECONNREFUSED
            why = f"dial tcp {error.host}:{error.port}: connect: connection refused" if refused else str(error)
            raise WebhookError(f'Post "{url}": {why}') from error
        except aiohttp.ClientError as error:
            raise WebhookError(f'Post "{url}": {error}') from error
        return _read_review(body, review)

    def _address(self, client: JSON) -> tuple[str, ssl.SSLContext | bool]:
        url = client.get("url")
        if not url:
            service = client["service"]
            if self.service_resolver is None:
                raise WebhookError(f'service "{service["name"]}" not found')
            try:
                base = self.service_resolver(service["namespace"], service["name"], service.get("port", 443))
            except LookupError as error:
                raise WebhookError(f'service "{service["name"]}" not found') from error
            url = base.rstrip("/") + "/" + service.get("path", "").lstrip("/")
        bundle = client.get("caBundle")
        return url, _trusting(bundle) if bundle and url.startswith("https") else True


@lru_cache(maxsize=16)
def _trusting(bundle: str) -> ssl.SSLContext:
    """A TLS context that trusts a caBundle and nothing else. Raises WebhookError."""
    try:
        return ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
    except (ValueError, binascii.Error, ssl.SSLError) as error:
        raise WebhookError(f"unable to load root certificates: {error}") from error


def _read_review(body: bytes, asked: JSON) -> JSON:
    """The `response` of a reply to the review `asked`. Raises WebhookError for anything that is not a proper one."""
    try:
        review: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WebhookError(f"failed to decode the webhook's reply: {error}") from error
    response = review.get("response") if isinstance(review, dict) else None
    if not isinstance(response, dict):
        raise WebhookError("the webhook's reply has no response")
    if any(review.get(key) != asked[key] for key in ("apiVersion", "kind")):
        raise WebhookError(f"expected webhook response of {asked['apiVersion']}, Kind={asked['kind']}")
    uid = asked["request"]["uid"]
    if response.get("uid") != uid:
        raise WebhookError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    return response
