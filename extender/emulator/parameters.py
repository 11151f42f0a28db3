"""Bodies and query parameters of requests, as the options that the write path takes."""

from __future__ import annotations

from aiohttp import web

from extender.emulator import decoding, patching, status, subresources
from extender.emulator.deletes import DeleteOptions
from extender.emulator.resources import JSON
from extender.emulator.writes import WriteOptions


async def read_body(request: web.BaseRequest) -> JSON:
    return decoding.parse_body(request.content_type, await request.read())


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
    body: JSON = decoding.parse_body(request.content_type if request.can_read_body or raw else "", raw) if raw else {}
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
    options = subresources.delete_options(body)
    options.dry_run = options.dry_run or _dry_run(query.get("dryRun"))
    return options


def patched_scale(scale: JSON, content_type: str, body: bytes) -> JSON:
    patch = decoding.parse_yaml(body)
    # Only what the patch itself says is a precondition.
    scale["metadata"].pop("resourceVersion", None)
    if content_type == patching.JSON_PATCH:
        try:
            result: JSON = patching.json_patch(scale, patch)
        except patching.PatchError as error:
            raise patching.refusal(error) from error
        return result
    merged: JSON = patching.merge_patch(scale, patch)
    return merged
