"""What the reviews that the API server sends have in common, whatever they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from extender.errors import MalformedError

Json = dict[str, Any]


def request_of(body: bytes, version: Mapping[str, str], called: str) -> tuple[str, Json]:
    """The uid and the request of a review.

    version: its `apiVersion` and `kind`; called: how a message calls it. Raises MalformedError.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or any(document.get(key) != value for key, value in version.items()):
        raise MalformedError(f"not {called}")
    request = document.get("request")
    if not isinstance(request, dict):
        raise MalformedError("request is missing")
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise MalformedError("request.uid is missing")
    return uid, request
