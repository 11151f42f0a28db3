"""The fields and types of the built-in kinds, read off the model classes of kubernetes_asyncio.

Those classes are generated from the API's own OpenAPI document, so they are the full field tree of the version that
the embedded cluster claims to be. It is used for three things: to drop (or, under strict validation, report) unknown
fields as decoding into Go structs does, to refuse values of a wrong type, and to describe kinds to `kubectl explain`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from kubernetes_asyncio.client import models
from kubernetes_asyncio.client.configuration import Configuration

from extender.emulator import quantity
from extender.emulator.resources import JSON

# Field names that hold quantities: the models call them plain strings.
_QUANTITY_MAPS = frozenset(
    [
        "limits",
        "requests",
        "capacity",
        "allocatable",
        "overhead",
        "hard",
        "used",
        "allocatedResources",
        "default",
        "defaultRequest",
        "max",
        "min",
        "maxLimitRequestRatio",
        "podFixed",
    ]
)
_QUANTITIES = frozenset({"sizeLimit", "divisor"})


class DecodeError(ValueError):
    """A value of the wrong type, in the words of Go's JSON decoder."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A field's type. form: string, integer, number, boolean, quantity, any, list, map, model, or model-or-boolean."""

    form: str
    item: Shape | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its JSON name, its type, and the attribute of the model class that documents it."""

    name: str
    shape: Shape
    attribute: str


_SCALARS = {
    "str": Shape("string"),
    "int": Shape("integer"),
    "float": Shape("number"),
    "bool": Shape("boolean"),
    "datetime": Shape("string"),
    "object": Shape("any"),
    "V1MicroTime": Shape("string"),
}
_QUANTITY = Shape("quantity")

# The models leave these open, since JSON Schema allows more forms there than a structural schema may use.
_SCHEMA = "V1JSONSchemaProps"
_SCHEMA_PARTS = {
    (_SCHEMA, "items"): Shape("model", model=_SCHEMA),
    (_SCHEMA, "additionalProperties"): Shape("model-or-boolean", model=_SCHEMA),
    (_SCHEMA, "not"): Shape("model", model=_SCHEMA),
}


@cache
def fields_of(model: str) -> dict[str, Field]:
    """JSON name → field of a model class, e.g. `V1PodSpec`. KeyError when there is no such class."""
    class_ = getattr(models, model, None)
    if class_ is None:
        raise KeyError(model)
    fields = {}
    for attribute, text in class_.openapi_types.items():
        name = class_.attribute_map[attribute]
        shape = _shape(text)
        if name in _QUANTITY_MAPS and shape.form == "map":
            shape = Shape("map", _QUANTITY)
        elif name in _QUANTITIES:
            shape = _QUANTITY
        elif (model, name) in _SCHEMA_PARTS:
            shape = _SCHEMA_PARTS[model, name]
        fields[name] = Field(name, shape, attribute)
    return fields


def _shape(text: str) -> Shape:
    if text in _SCALARS:
        return _SCALARS[text]
    if match := re.fullmatch(r"list\[(.*)\]", text):
        return Shape("list", _shape(match[1]))
    if match := re.fullmatch(r"dict\(str, (.*)\)", text):
        return Shape("map", _shape(match[1]))
    return Shape("model", model=text)


@cache
def is_required(model: str, attribute: str) -> bool:
    """Whether the published schema requires the field."""
    probe = _probe(model)
    try:
        setattr(probe, attribute, None)
    except ValueError as error:
        return "must not be `None`" in str(error)
    return False


def describe(model: str, attribute: str) -> str:
    """The published description of a field, on one line."""
    text = getattr(getattr(models, model), attribute).__doc__ or ""
    body = text.partition("\n")[2].partition(":return:")[0]
    return " ".join(body.replace("# noqa: E501", "").split())


def prune(model: str, value: JSON, unknown: list[str], path: str = "") -> JSON:
    """A copy of `value` as the server would store it: known fields only, no nulls, quantities in canonical form.

    The paths of dropped unknown fields are added to `unknown`. Raises DecodeError for a value of a wrong type.
    """
    fields = fields_of(model)
    pruned: JSON = {}
    for name, child in value.items():
        field = fields.get(name)
        if field is None:
            unknown.append(f"{path}{name}")
        elif child is not None:
            kept = _prune(field.shape, child, unknown, f"{path}{name}", model)
            # Go leaves empty lists and maps out; an empty object (emptyDir: {}) means something.
            if kept or field.shape.form not in ("list", "map"):
                pruned[name] = kept
    return pruned


# form → the Python types of its values and the Go type that an error names
_EXPECTED: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "string"),
    "integer": ((int,), "int32"),
    "number": ((int, float), "float64"),
    "boolean": ((bool,), "bool"),
}


def _prune(shape: Shape, value: Any, unknown: list[str], path: str, model: str) -> Any:
    form = shape.form
    if form == "model-or-boolean" and isinstance(value, bool):
        return value
    if shape.model:
        if not isinstance(value, dict):
            raise _mismatch(value, path, model, go_name(shape.model))
        return prune(shape.model, value, unknown, f"{path}.")
    if shape.item is not None:
        return _prune_items(shape, shape.item, value, unknown, path, model)
    if form == "quantity":
        return _canonical(value)
    expected = _EXPECTED.get(form)
    if expected is not None:
        types, go_type = expected
        # A bool is an int to Python and not to Go.
        if not isinstance(value, types) or (isinstance(value, bool) and form != "boolean"):
            raise _mismatch(value, path, model, go_type)
    return value


def _prune_items(shape: Shape, item: Shape, value: Any, unknown: list[str], path: str, model: str) -> Any:
    if shape.form == "list":
        if not isinstance(value, list):
            raise _mismatch(value, path, model, f"[]{_go_type(item)}")
        return [_prune(item, v, unknown, f"{path}[{i}]", model) for i, v in enumerate(value) if v is not None]
    if not isinstance(value, dict):
        raise _mismatch(value, path, model, f"map[string]{_go_type(item)}")
    return {k: _prune(item, v, unknown, f"{path}.{k}", model) for k, v in value.items() if v is not None}


def _canonical(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DecodeError("quantities must be a string or a number")
    try:
        return quantity.canonical(str(value))
    except quantity.QuantityError as error:
        raise DecodeError(str(error)) from error


def _mismatch(value: Any, path: str, model: str, go_type: str) -> DecodeError:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    plain = re.sub(r"\[\d+\]", "", path)
    found = names.get(type(value), "null")
    return DecodeError(
        f"json: cannot unmarshal {found} into Go struct field {go_name(model)}.{plain} of type {go_type}"
    )


def go_name(model: str) -> str:
    """`V1PodSpec` → `PodSpec`, `CoreV1Event` → `Event`: the kind's name without its version."""
    return re.sub(r"^(?:Core|Events|Admissionregistration|Apiextensions)?V\d+(?:alpha\d+|beta\d+)?(?=[A-Z])", "", model)


def _go_type(shape: Shape) -> str:
    forms = {"string": "string", "integer": "int32", "boolean": "bool", "quantity": "resource.Quantity"}
    return go_name(shape.model) if shape.form == "model" else forms.get(shape.form, "interface {}")


@cache
def _probe(model: str) -> Any:
    """An instance that skips its constructor (which insists on required fields) but validates what is set."""
    class_ = getattr(models, model)
    probe = class_.__new__(class_)
    probe.local_vars_configuration = Configuration()
    return probe
