"""Small forms that every object shares: amounts and durations, words of a command, items in order."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from extender.model import durations
from extender.model.amounts import MIB, parse_quantity

Json = dict[str, Any]


def seconds(duration: str) -> int:
    """Whole seconds of a duration such as "90s" or "1h30m", to the nearest. Raises ValueError."""
    return round(durations.exact_seconds(duration))


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


def words(command: Any) -> list[str]:
    """A command as a list: a text is split as a shell does it, quotes included, and nothing is expanded.

    A quote without its end is taken for the letter that it is: `it's` are two words in no shell, but they run.
    """
    if isinstance(command, list):
        return [str(one) for one in command]
    text = str(command or "")
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def decimal_text(value: str | int) -> str:
    """A number as Kubernetes and people write it: "2.0" is "2", "0.50" is "0.5". Raises ValueError."""
    number = parse_quantity(value)
    whole = number.to_integral_value()
    return str(int(whole)) if number == whole else format(number.normalize(), "f")


def mebibytes(value: str | int) -> int:
    """MiB of a quantity, rounded down: what `gpu-memory` says (behaviour.md 12.7). Raises ValueError."""
    return int(parse_quantity(value) / Decimal(MIB))
