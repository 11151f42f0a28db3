"""The API server's ConversionReview (apiextensions.k8s.io/v1), and our answers to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from extender.errors import MalformedError

Json = dict[str, Any]

_VERSION = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """Objects that the API server wants in another version, all or none.

    version: as an object's `apiVersion` says it.
    objects: of one kind, or lists of it, in any of its versions.
    """

    uid: str
    version: str
    objects: tuple[Json, ...]


def decode_conversion(body: bytes) -> Conversion:
    """The request of a ConversionReview. Raises MalformedError."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or any(document.get(key) != value for key, value in _VERSION.items()):
        raise MalformedError("not a ConversionReview of apiextensions.k8s.io/v1")
    request = document.get("request")
    if not isinstance(request, dict):
        raise MalformedError("request is missing")
    uid, version, objects = request.get("uid"), request.get("desiredAPIVersion"), request.get("objects")
    if not isinstance(uid, str) or not uid:
        raise MalformedError("request.uid is missing")
    if not isinstance(version, str) or not version:
        raise MalformedError("request.desiredAPIVersion is missing")
    if not isinstance(objects, list) or not all(isinstance(one, dict) for one in objects):
        raise MalformedError("request.objects is no list of objects")
    return Conversion(uid, version, tuple(objects))


def encode_converted(uid: str, objects: list[Json]) -> bytes:
    """The ConversionReview with every object converted, in the order in which they came."""
    return _encode({"uid": uid, "convertedObjects": objects, "result": {"status": "Success"}})


def encode_failed(uid: str, why: str) -> bytes:
    """The ConversionReview that converts nothing; `why` is what kubectl shows."""
    return _encode({"uid": uid, "convertedObjects": [], "result": {"status": "Failed", "message": why}})


def _encode(response: Json) -> bytes:
    return orjson.dumps({**_VERSION, "response": response})
