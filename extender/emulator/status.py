"""Refusals of the API, as exceptions that become `Status` objects; the words are the real server's.

StatusError is the only exception that leaves the rooms of this package; the HTTP edge turns it into a reply.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from extender.emulator.resources import JSON, Resource


class Cause(NamedTuple):
    """One broken rule of a 422: the field's path, the machine-readable type, and the message without the path."""

    field: str
    type: str
    message: str

    @property
    def text(self) -> str:
        return f"{self.field}: {self.message}"


class StatusError(Exception):
    """A request that is refused. `headers` go with the reply (Retry-After)."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: JSON | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}

    def body(self) -> JSON:
        """The `Status` object."""
        status: JSON = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status


def success(code: int, details: JSON | None = None) -> JSON:
    """A `Status` that says yes."""
    status: JSON = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        status["details"] = details
    else:
        status["code"] = code
    return status


def _details(resource: Resource, name: str) -> JSON:
    details: JSON = {"name": name}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details


def not_found(resource: Resource, name: str) -> StatusError:
    return StatusError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> StatusError:
    message = f'{resource.qualified} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str, why: str) -> StatusError:
    """409: the write is fine, the moment is not."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(resource, name))


def modified(resource: Resource, name: str) -> StatusError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, _details(resource, name))


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def internal_error(why: str) -> StatusError:
    details = {"causes": [{"message": why}]}
    return StatusError(500, "InternalError", f"Internal error occurred: {why}", details)


def method_not_allowed() -> StatusError:
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def unsupported_media_type(accepted: Iterable[str]) -> StatusError:
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return StatusError(415, "UnsupportedMediaType", message)


def expired(message: str) -> StatusError:
    """410: the history that the client asks for is gone; it must list again."""
    return StatusError(410, "Expired", message)


def too_many_requests(message: str, retry_after_s: int, causes: list[JSON] | None = None) -> StatusError:
    details: JSON = {}
    if causes:
        details["causes"] = causes
    if retry_after_s:
        details["retryAfterSeconds"] = retry_after_s
    return StatusError(429, "TooManyRequests", message, details, {"Retry-After": str(retry_after_s)})


def invalid(kind: str, group: str, name: str, causes: Iterable[Cause]) -> StatusError:
    """422 from the broken rules; `kind` may be empty (a patch that does not decode names no kind)."""
    causes = list(causes)
    texts = list(dict.fromkeys(cause.text for cause in causes))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: JSON = {"name": name} if name else {}
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    details["causes"] = [{"reason": c.type, "message": c.message, "field": c.field} for c in causes]
    qualified = f"{kind}.{group}" if group else kind
    return StatusError(422, "Invalid", f'{qualified} "{name}" is invalid: {text}', details)


def invalid_object(resource: Resource, name: str, causes: Iterable[Cause]) -> StatusError:
    return invalid(resource.kind, resource.group, name, causes)


def required(path: str, detail: str = "") -> Cause:
    return Cause(path, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")


def invalid_value(path: str, value: object, detail: str) -> Cause:
    return Cause(path, "FieldValueInvalid", f"Invalid value: {_show(value)}: {detail}")


def not_supported(path: str, value: object, supported: Iterable[object]) -> Cause:
    values = ", ".join(_show(v) for v in supported)
    message = f"Unsupported value: {_show(value)}: supported values: {values}"
    return Cause(path, "FieldValueNotSupported", message)


def forbidden_field(path: str, detail: str) -> Cause:
    return Cause(path, "FieldValueForbidden", f"Forbidden: {detail}")


def duplicate(path: str, value: object) -> Cause:
    return Cause(path, "FieldValueDuplicate", f"Duplicate value: {_show(value)}")


def _show(value: object) -> str:
    """A value as the real server prints it: strings quoted, the rest as JSON."""
    if value is None:
        return "null"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
