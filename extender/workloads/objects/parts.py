"""Small forms that every object shares: what says nothing is left out, items in order, amounts as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from extender.model.amounts import parse_quantity

Json = dict[str, Any]


def without_empty(obj: Json) -> Json:
    """The members that say something: neither None nor "", nor an empty list or object."""
    return {key: value for key, value in obj.items() if value not in (None, "", [], {}, ())}


def items(values: Json, name: str) -> Iterator[tuple[int, str, Any]]:
    """The items of an itemized parameter by label, numbered from 0: number, label, value.

    By label, since the order of a map is no part of what its author said.
    """
    found = values.get(name) or {}
    for number, label in enumerate(sorted(found)):
        yield number, label, found[label]


def decimal_text(value: str | int) -> str:
    """A number as Kubernetes and people write it: "2.0" is "2", "0.50" is "0.5". Raises ValueError."""
    number = parse_quantity(value)
    whole = number.to_integral_value()
    return str(int(whole)) if number == whole else format(number.normalize(), "f")
