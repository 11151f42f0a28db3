"""The API server's AdmissionReview (admission.k8s.io/v1), and our answers to it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import orjson

from extender.errors import MalformedError
from extender.wire.reviews import request_of

Json = dict[str, Any]

_VERSION = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}


@dataclass(frozen=True, slots=True)
class Review:
    """One write that the API server asks about.

    kind:      `Pod`, or with its group where there is one: `Job.batch`.
    namespace: of the request; the object itself may not say it yet.
    obj:       as it would be stored; empty for DELETE. old: as it is stored; empty for CREATE.
    user:      who asks, and in which groups.
    """

    uid: str
    operation: str
    kind: str
    namespace: str
    obj: Json
    dry_run: bool = False
    old: Json = field(default_factory=dict)
    user: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """patch: JSON-patch operations, none for no change. refusals: sentences for the object's owner; any refuses."""

    patch: tuple[Json, ...] = ()
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def decode_review(body: bytes) -> Review:
    """The request of an AdmissionReview. Raises MalformedError."""
    uid, request = request_of(body, _VERSION, "an AdmissionReview of admission.k8s.io/v1")
    operation, kind = request.get("operation"), request.get("kind")
    if not isinstance(operation, str) or not isinstance(kind, dict):
        raise MalformedError("request.operation or request.kind is missing")
    user = _object(request, "userInfo")
    return Review(
        uid=uid,
        operation=operation,
        kind=".".join(filter(None, (str(kind.get("kind") or ""), str(kind.get("group") or "")))),
        namespace=str(request.get("namespace") or ""),
        obj=_object(request, "object"),
        dry_run=request.get("dryRun") is True,
        old=_object(request, "oldObject"),
        user=str(user.get("username") or ""),
        groups=tuple(str(group) for group in user.get("groups") or ()),
    )


def _object(request: Json, key: str) -> Json:
    value = request.get(key)
    if value is not None and not isinstance(value, dict):
        raise MalformedError(f"request.{key} is no object")
    return value or {}


def encode_answer(uid: str, answer: Answer) -> bytes:
    """The AdmissionReview that allows, patches or refuses. The same answer is the same bytes."""
    response: Json = {"uid": uid, "allowed": not answer.refusals}
    if answer.refusals:
        response["status"] = _status(422, "Invalid", "; ".join(answer.refusals))
    elif answer.patch:
        # The API server takes neither of the two without the other.
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(answer.patch)).decode()
    if answer.warnings:
        response["warnings"] = list(answer.warnings)
    return orjson.dumps({**_VERSION, "response": response})


def encode_unreadable(uid: str, why: str) -> bytes:
    """The AdmissionReview that refuses an object nobody can read."""
    response = {"uid": uid, "allowed": False, "status": _status(400, "BadRequest", why)}
    return orjson.dumps({**_VERSION, "response": response})


def _status(code: int, reason: str, message: str) -> Json:
    return {"code": code, "reason": reason, "message": message}
