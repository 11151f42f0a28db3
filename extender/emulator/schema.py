"""Structural schemas of custom resources: prune, default, validate, in the API server's words.

A general JSON Schema library would carry only the smallest part of this: pruning and defaulting are not its business,
and its messages are not the ones that users and tests read (`spec.x: Invalid value: ...`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from extender.emulator import expressions
from extender.emulator.resources import JSON
from extender.emulator.status import Cause, duplicate, invalid_value, not_supported, required

_ROOT_FIELDS = frozenset({"apiVersion", "kind", "metadata"})


def prune(schema: JSON, value: JSON, unknown: list[str]) -> None:
    """Drop the fields of a custom resource that its schema does not know, in place; their paths go to `unknown`."""
    _prune_object(schema, value, unknown, "", root=True)


def _prune_object(schema: JSON, value: JSON, unknown: list[str], path: str, root: bool = False) -> None:
    keep_all = schema.get("x-kubernetes-preserve-unknown-fields", False)
    embedded = root or schema.get("x-kubernetes-embedded-resource", False)
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    for name in list(value):
        if embedded and name in _ROOT_FIELDS:
            continue
        if name in properties:
            _prune_value(properties[name], value[name], unknown, f"{path}{name}")
        elif isinstance(extra, dict):
            _prune_value(extra, value[name], unknown, f"{path}{name}")
        elif not extra and not keep_all:
            unknown.append(f"{path}{name}")
            del value[name]


def _prune_value(schema: JSON, value: Any, unknown: list[str], path: str) -> None:
    if isinstance(value, dict):
        _prune_object(schema, value, unknown, f"{path}.")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for position, item in enumerate(value):
            _prune_value(schema["items"], item, unknown, f"{path}[{position}]")


def default(schema: JSON, value: Any) -> None:
    """Fill in the schema's defaults, in place: for absent fields, and for nulls where null is not allowed."""
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for item in value:
                default(items, item)
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    for name, below in properties.items():
        if value.get(name) is None and not (name in value and below.get("nullable")):
            if "default" in below:
                value[name] = copy.deepcopy(below["default"])
            else:
                # A null where null is not allowed counts as absent.
                value.pop(name, None)
        if name in value:
            default(below, value[name])
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for name, child in value.items():
            if name not in properties:
                default(extra, child)


def validate(schema: JSON, value: JSON) -> list[Cause]:
    """The rules of the schema that the object breaks; metadata is checked elsewhere."""
    body = {name: child for name, child in value.items() if name not in _ROOT_FIELDS}
    return list(_validate({**schema, "required": _without_root(schema)}, body, ""))


def _without_root(schema: JSON) -> list[str]:
    return [name for name in schema.get("required") or () if name not in _ROOT_FIELDS]


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def _validate(schema: JSON, value: Any, path: str) -> Iterator[Cause]:
    if value is None and schema.get("nullable"):
        return
    if not _has_type(schema, value):
        wanted = "integer,string" if schema.get("x-kubernetes-int-or-string") else schema.get("type")
        detail = f'{path or "<nil>"} in body must be of type {wanted}: "{_type_name(value)}"'
        yield Cause(path, "FieldValueTypeInvalid", f'Invalid value: "{_type_name(value)}": {detail}')
        return
    if "enum" in schema and value not in schema["enum"]:
        yield not_supported(path, value, schema["enum"])
    if isinstance(value, str):
        yield from _validate_string(schema, value, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _validate_number(schema, value, path)
    elif isinstance(value, list):
        yield from _validate_list(schema, value, path)
    elif isinstance(value, dict):
        yield from _validate_object(schema, value, path)
    yield from _validate_logic(schema, value, path)
    yield from _validate_rules(schema, value, path)


def _has_type(schema: JSON, value: Any) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, (int, str)) and not isinstance(value, bool)
    wanted: str | None = schema.get("type")
    if not wanted:
        return True
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    types: tuple[type, ...] = _TYPES.get(wanted, (object,))
    return isinstance(value, types)


def _type_name(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str] | None:
    # Go's RE2 and Python's re agree on nearly all patterns that are used; one that Python cannot read is not checked.
    try:
        return re.compile(text)
    except re.error:
        return None


def _validate_string(schema: JSON, value: str, path: str) -> Iterator[Cause]:
    if "minLength" in schema and len(value) < schema["minLength"]:
        yield invalid_value(path, value, f"{path} in body should be at least {schema['minLength']} chars long")
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield Cause(path, "FieldValueTooLong", f"Too long: may not be more than {schema['maxLength']} bytes")
    if "pattern" in schema:
        pattern = _pattern(schema["pattern"])
        if pattern is not None and not pattern.search(value):
            yield invalid_value(path, value, f"{path} in body should match '{schema['pattern']}'")
    if schema.get("format") == "date-time" and not _DATE_TIME.fullmatch(value):
        yield invalid_value(path, value, f"{path} in body must be of type date-time: {value!r}".replace("'", '"'))


_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _validate_number(schema: JSON, value: float, path: str) -> Iterator[Cause]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value <= low if schema.get("exclusiveMinimum") else value < low):
        relation = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield invalid_value(path, value, f"{path} in body should be {relation} {_number(low)}")
    if high is not None and (value >= high if schema.get("exclusiveMaximum") else value > high):
        relation = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield invalid_value(path, value, f"{path} in body should be {relation} {_number(high)}")
    multiple = schema.get("multipleOf")
    if multiple and value % multiple:
        yield invalid_value(path, value, f"{path} in body should be a multiple of {_number(multiple)}")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _validate_list(schema: JSON, value: list[Any], path: str) -> Iterator[Cause]:
    if "minItems" in schema and len(value) < schema["minItems"]:
        yield invalid_value(path, len(value), f"{path} in body should have at least {schema['minItems']} items")
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        yield Cause(path, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {schema['maxItems']} items")
    items = schema.get("items")
    if isinstance(items, dict):
        for position, item in enumerate(value):
            yield from _validate(items, item, f"{path}[{position}]")
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    unique = schema.get("x-kubernetes-list-type") in ("set", "map")
    seen: list[Any] = []
    for position, item in enumerate(value if unique else ()):
        identity = {key: item.get(key) for key in keys} if keys and isinstance(item, dict) else item
        if identity in seen:
            yield duplicate(f"{path}[{position}]", identity)
        seen.append(identity)


def _validate_object(schema: JSON, value: JSON, path: str) -> Iterator[Cause]:
    prefix = f"{path}." if path else ""
    for name in schema.get("required") or ():
        if name not in value:
            yield required(f"{prefix}{name}")
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        most = schema["maxProperties"]
        yield Cause(path, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items")
    if "minProperties" in schema and len(value) < schema["minProperties"]:
        least = schema["minProperties"]
        yield invalid_value(path, len(value), f"{path} in body should have at least {least} properties")
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    for name, child in value.items():
        if name in properties:
            yield from _validate(properties[name], child, f"{prefix}{name}")
        elif isinstance(extra, dict):
            yield from _validate(extra, child, f"{prefix}{name}")


def _validate_logic(schema: JSON, value: Any, path: str) -> Iterator[Cause]:
    for below in schema.get("allOf") or ():
        yield from _validate(below, value, path)
    if schema.get("anyOf") and not any(_holds(below, value, path) for below in schema["anyOf"]):
        yield invalid_value(path, value, f"{path} in body must validate at least one schema (anyOf)")
    if schema.get("oneOf") and sum(_holds(below, value, path) for below in schema["oneOf"]) != 1:
        yield invalid_value(path, value, f"{path} in body must validate one and only one schema (oneOf)")
    if isinstance(schema.get("not"), dict) and _holds(schema["not"], value, path):
        yield invalid_value(path, value, f"{path} in body must not validate the schema (not)")


def _validate_rules(schema: JSON, value: Any, path: str) -> Iterator[Cause]:
    """The CEL rules of a schema; those that compare with the old object (`oldSelf`) are not evaluated."""
    for rule in schema.get("x-kubernetes-validations") or ():
        if "oldSelf" in rule["rule"]:
            continue
        shown = f'Invalid value: "{_type_name(value)}"'
        try:
            if expressions.holds(rule["rule"], {"self": value}) is False:
                message = rule.get("message") or f"failed rule: {rule['rule']}"
                yield Cause(path or "<nil>", rule.get("reason") or "FieldValueInvalid", f"{shown}: {message}")
        except expressions.ExpressionError as error:
            yield Cause(path or "<nil>", "FieldValueInvalid", f"{shown}: rule evaluation error: {error}")


def _holds(schema: JSON, value: Any, path: str) -> bool:
    return next(_validate(schema, value, path), None) is None
