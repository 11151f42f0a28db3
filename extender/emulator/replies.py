"""Replies: JSON with the headers that every reply of the API has."""

from __future__ import annotations

import orjson
from aiohttp import web

from extender.emulator.resources import JSON, Resource
from extender.emulator.store import Record


def json_reply(body: JSON, code: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A reply from values."""
    return raw_reply(orjson.dumps(body), code, headers)


def raw_reply(body: bytes, code: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A reply from encoded JSON."""
    merged = {"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
    if headers:
        merged.update(headers)
    return web.Response(body=body, status=code, headers=merged)


def object_reply(
    resource: Resource, record: Record, code: int = 200, warnings: list[str] | None = None
) -> web.Response:
    """One object, as `resource` serves it, with the warnings that its write gave."""
    return raw_reply(record.encode_whole(resource), code, warning_headers(warnings or []))


def warning_headers(warnings: list[str]) -> dict[str, str]:
    """Warnings in the form in which kubectl prints them; {} for none."""
    if not warnings:
        return {}
    return {"Warning": ", ".join(f'299 - "{_quoted(text)}"' for text in dict.fromkeys(warnings))}


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
