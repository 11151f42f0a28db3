"""Kubernetes protobuf bodies, for the few kinds that kubectl's own generators and `drain` send that way.

`kubectl create namespace` and the like encode with generated code, which the models at hand do not have: a table of
field numbers stands in for it. Kinds that are not in the table are refused (415); files (`-f`) always come as JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from extender.emulator.resources import JSON

_MAGIC = b"k8s\x00"

# Message → field number → (JSON name, type). Types: string, int, bool, bytes; "[]" before one repeats it; "map" and
# "bytesmap" have string keys; anything else is another message. Fields that are not listed are skipped: timestamps
# and statuses, which the server sets itself.
_MESSAGES: dict[str, dict[int, tuple[str, str]]] = {
    "ObjectMeta": {
        1: ("name", "string"),
        2: ("generateName", "string"),
        3: ("namespace", "string"),
        5: ("uid", "string"),
        6: ("resourceVersion", "string"),
        11: ("labels", "map"),
        12: ("annotations", "map"),
        14: ("finalizers", "[]string"),
    },
    "Namespace": {1: ("metadata", "ObjectMeta")},
    "ServiceAccount": {1: ("metadata", "ObjectMeta")},
    "ConfigMap": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "map"),
        3: ("binaryData", "bytesmap"),
        4: ("immutable", "bool"),
    },
    "Secret": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "bytesmap"),
        3: ("type", "string"),
        4: ("stringData", "map"),
        5: ("immutable", "bool"),
    },
    "PriorityClass": {
        1: ("metadata", "ObjectMeta"),
        2: ("value", "int"),
        3: ("globalDefault", "bool"),
        4: ("description", "string"),
        5: ("preemptionPolicy", "string"),
    },
    "Eviction": {1: ("metadata", "ObjectMeta"), 2: ("deleteOptions", "DeleteOptions")},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "int"),
        2: ("preconditions", "Preconditions"),
        3: ("orphanDependents", "bool"),
        4: ("propagationPolicy", "string"),
        5: ("dryRun", "[]string"),
    },
    "Preconditions": {1: ("uid", "string"), 2: ("resourceVersion", "string")},
}


class UnknownKindError(ValueError):
    """A kind that this module has no field numbers for, or bytes that are no Kubernetes protobuf."""


def decode(body: bytes) -> JSON:
    """A protobuf body as the JSON object that it means. Raises UnknownKindError."""
    if not body.startswith(_MAGIC):
        raise UnknownKindError("not a Kubernetes protobuf message")
    try:
        envelope = dict(_fields(body[len(_MAGIC) :]))
        type_meta = dict(_fields(envelope.get(1, b"")))
        kind = type_meta.get(2, b"").decode()
        if kind not in _MESSAGES:
            raise UnknownKindError(f"no protobuf decoder for {kind}")
        api_version = type_meta.get(1, b"").decode()
        return {"apiVersion": api_version, "kind": kind, **_message(kind, envelope.get(2, b""))}
    except (IndexError, AttributeError, UnicodeDecodeError) as error:
        raise UnknownKindError("malformed protobuf message") from error


def _message(name: str, data: bytes) -> JSON:
    result: JSON = {}
    for number, raw in _fields(data):
        field = _MESSAGES[name].get(number)
        if field is None:
            continue
        key, type_ = field
        if type_.startswith("[]"):
            result.setdefault(key, []).append(_value(type_[2:], raw))
        elif type_ in ("map", "bytesmap"):
            entry = dict(_fields(raw))
            value = entry.get(2, b"")
            text = value.decode() if type_ == "map" else base64.b64encode(value).decode()
            result.setdefault(key, {})[entry.get(1, b"").decode()] = text
        elif (value := _value(type_, raw)) not in ("", None):
            # Generated code writes empty strings for what is not set.
            result[key] = value
    return result


def _value(type_: str, raw: Any) -> Any:
    if type_ == "string":
        return raw.decode()
    if type_ == "bool":
        return bool(raw)
    if type_ == "int":
        # Negative numbers are sign-extended to 64 bits.
        return raw - (1 << 64) if raw >> 63 else raw
    return _message(type_, raw)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, int or bytes) of a message, in order."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire_type = key & 7
        if wire_type == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
        elif wire_type == 2:
            size, position = _varint(data, position)
            yield key >> 3, data[position : position + size]
            position += size
        else:
            # Fixed-width numbers do not occur in the kinds above.
            position += 8 if wire_type == 1 else 4


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
