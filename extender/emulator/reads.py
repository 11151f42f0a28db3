"""Get and list: what clients read, as JSON, as Tables, or reduced to metadata."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from extender.emulator import selectors, status, tables
from extender.emulator.resources import JSON, Resource
from extender.emulator.selectors import Selection
from extender.emulator.store import Record, Store

_GONE_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True)
class Form:
    """How a reply represents objects. kind: "object", "Table", "PartialObjectMetadata" or "PartialObjectMetadataList".

    include: for Tables, what a row carries beside its cells.
    """

    kind: str = "object"
    include: str = "Metadata"


def negotiate(accept: str, query: Mapping[str, str]) -> Form:
    """The first representation in an Accept header that is served here. Raises StatusError 406."""
    if not accept or accept in ("*/*", "application/json"):
        return Form()
    for choice in accept.split(","):
        media, *parameters = (part.strip() for part in choice.split(";"))
        wanted = dict(parameter.partition("=")[::2] for parameter in parameters)
        if media not in ("application/json", "application/*", "*/*"):
            continue
        as_ = wanted.get("as")
        if as_ in (None, ""):
            return Form()
        known = as_ in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
        if known and wanted.get("g") == "meta.k8s.io" and wanted.get("v") == "v1":
            return Form(as_, query.get("includeObject") or "Metadata")
    message = "only the following media types are accepted: application/json, application/yaml"
    raise status.StatusError(406, "NotAcceptable", message)


def encode_one(resource: Resource, record: Record, form: Form) -> bytes:
    """One object in the form that the client asked for."""
    if form.kind == "Table":
        metadata = {"resourceVersion": str(record.version)}
        return orjson.dumps(tables.table(resource, [record], metadata, form.include))
    if form.kind.startswith("Partial"):
        return orjson.dumps(tables.partial_metadata(record))
    return record.encode_whole(resource)


@dataclass(slots=True)
class ListQuery:
    """One list request; `namespace` is None for all namespaces."""

    resource: Resource
    namespace: str | None
    selection: Selection
    limit: int = 0
    token: str = ""
    version: str = ""
    match: str = ""


def list_query(resource: Resource, namespace: str | None, query: Mapping[str, str]) -> ListQuery:
    """The list or watch that query parameters ask for. Raises StatusError 400."""
    selection = selectors.parse(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    limit = query.get("limit", "0")
    if not limit.isdigit():
        raise status.bad_request(f'strconv.ParseInt: parsing "{limit}": invalid syntax')
    version = query.get("resourceVersion", "")
    if version and not version.isdigit():
        cause = status.invalid_value("resourceVersion", version, "strconv.ParseUint: invalid syntax")
        raise status.invalid("ListOptions", "meta.k8s.io", "", [cause])
    return ListQuery(
        resource,
        namespace,
        selection,
        int(limit),
        query.get("continue", ""),
        version,
        query.get("resourceVersionMatch", ""),
    )


def select(store: Store, query: ListQuery) -> tuple[list[Record], JSON]:
    """The objects of a list and its metadata. Raises StatusError 400, 410 (token too old) or 504 (version to come).

    Pages are cut by key: each shows the objects as they are now, under the version of the first page. A client that
    watches from that version sees every change it may have missed.
    """
    version, after = store.version, None
    storage = query.resource.storage
    if query.token:
        version, after = _read_token(query.token)
        if version < store.floor(storage):
            raise status.expired(_GONE_TOKEN)
    elif query.version and int(query.version) > store.version:
        raise _too_large(int(query.version), store.version)
    elif query.match == "Exact" and int(query.version or 0) < store.floor(storage):
        raise status.expired(f"The resourceVersion for the provided list is too old: {query.version}")
    candidates = store.records(storage, query.namespace, after)
    selection = query.selection
    records = candidates if selection.everything else [r for r in candidates if selection.matches(r.obj)]
    metadata: JSON = {"resourceVersion": str(version)}
    if query.limit and len(records) > query.limit:
        remaining = len(records) - query.limit
        records = records[: query.limit]
        metadata["continue"] = _make_token(version, records[-1].key)
        if selection.everything:
            metadata["remainingItemCount"] = remaining
    return records, metadata


def encode_list(resource: Resource, records: list[Record], metadata: JSON, form: Form) -> bytes:
    """The List reply, in the form that the client asked for."""
    if form.kind == "Table":
        return orjson.dumps(tables.table(resource, records, metadata, form.include))
    if form.kind.startswith("Partial"):
        kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        items = [orjson.dumps(tables.partial_metadata(record)) for record in records]
    else:
        kind, api_version = resource.list_kind, resource.api_version
        # Items of typed lists do not repeat their kind; those of custom resources do.
        items = [r.encode_whole(resource) if resource.custom else r.encode(resource) for r in records]
    head = f'{{"kind":"{kind}","apiVersion":"{api_version}","metadata":'.encode()
    return b'%b%b,"items":[%b]}\n' % (head, orjson.dumps(metadata), b",".join(items))


def _make_token(version: int, key: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": key})).decode()


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        content = orjson.loads(base64.urlsafe_b64decode(token))
        namespace, name = content["start"]
        return int(content["rv"]), (str(namespace), str(name))
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise status.bad_request("continue key is not valid: invalid token") from error


def _too_large(wanted: int, current: int) -> status.StatusError:
    message = f"Too large resource version: {wanted}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details = {"causes": [cause], "retryAfterSeconds": 1}
    return status.StatusError(504, "Timeout", f"Timeout: {message}", details, {"Retry-After": "1"})
