"""Bodies and query parameters of requests, as the options that the write path takes."""

from __future__ import annotations

from aiohttp import web

from extender.emulator import decoding, patching, status, subresources
from extender.emulator.deletes import DeleteOptions
from extender.emulator.resources import JSON
from extender.emulator.writes import WriteOptions


async def read_body(request: web.BaseRequest, model: str = "") -> JSON:
    """The object in a request's body, by its model where one is named. Raises StatusError 400, 415."""
    body = decoding.parse_body(_content_type(request), await request.read())
    return decoding.to_model(model, body) if model else body


def _content_type(request: web.BaseRequest) -> str:
    # aiohttp makes up a type where the header is missing; the API takes such a body for JSON.
    return request.content_type if "Content-Type" in request.headers else ""


def write_options(request: web.BaseRequest) -> WriteOptions:
    """The query parameters of a write. Raises StatusError 400, 422."""
    query = request.query
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Strict", "Warn", "Ignore"):
        cause = status.not_supported("fieldValidation", validation, ("Ignore", "Strict", "Warn"))
        raise status.invalid("CreateOptions", "meta.k8s.io", "", [cause])
    manager = query.get("fieldManager") or request.headers.get("User-Agent", "unknown").partition("/")[0]
    return WriteOptions(_dry_run(query.get("dryRun")), validation, manager)


def _dry_run(value: str | None) -> bool:
    if value not in (None, "", "All"):
        cause = status.not_supported("dryRun", value, ("All",))
        raise status.invalid("CreateOptions", "meta.k8s.io", "", [cause])
    return value == "All"


async def delete_options(request: web.BaseRequest) -> DeleteOptions:
    """The options of a delete, from its body or else its query. Raises StatusError 400, 422."""
    raw = await request.read()
    body: JSON = decoding.parse_body(_content_type(request), raw) if raw else {}
    query = request.query
    for name in ("propagationPolicy", "orphanDependents", "gracePeriodSeconds"):
        if name in query and name not in body:
            body[name] = query[name]
    if isinstance(body.get("gracePeriodSeconds"), str):
        if not body["gracePeriodSeconds"].isdigit():
            raise status.bad_request("gracePeriodSeconds must be an integer")
        body["gracePeriodSeconds"] = int(body["gracePeriodSeconds"])
    if isinstance(body.get("orphanDependents"), str):
        body["orphanDependents"] = body["orphanDependents"] == "true"
    options = subresources.delete_options(decoding.to_model("V1DeleteOptions", body))
    options.dry_run = options.dry_run or _dry_run(query.get("dryRun"))
    return options


def patched_scale(scale: JSON, content_type: str, body: bytes) -> JSON:
    """A Scale after a patch. Raises StatusError 400, 422."""
    patch = decoding.parse_yaml(body)
    # Only what the patch itself says is a precondition.
    scale["metadata"].pop("resourceVersion", None)
    try:
        is_json_patch = content_type == patching.JSON_PATCH
        changed = patching.json_patch(scale, patch) if is_json_patch else patching.merge_patch(scale, patch)
    except patching.PatchError as error:
        raise patching.refusal(error) from error
    return decoding.to_model("V1Scale", changed if isinstance(changed, dict) else {})
