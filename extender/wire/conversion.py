"""The API server's ConversionReview (apiextensions.k8s.io/v1), and our answers to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from extender.errors import MalformedError
from extender.wire.reviews import request_of

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
    uid, request = request_of(body, _VERSION, "a ConversionReview of apiextensions.k8s.io/v1")
    version, objects = request.get("desiredAPIVersion"), request.get("objects")
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
