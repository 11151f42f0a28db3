"""One value: is it what its type says, is it the same as another, how much is it, and what is a part of it.

All arithmetic is exact: 1 plus three times 0.2 is 1.6, and 95.4Mi is more than 100M.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

from extender.model import durations
from extender.model.amounts import parse_quantity
from extender.model.workload import Type

AMOUNTS = frozenset({Type.INTEGER, Type.NUMBER, Type.QUANTITY, Type.DURATION})  # there is more and less of them

_LONGEST = 64
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?)([numkMGTPE]|[KMGTPE]i)?", re.ASCII)
_EXACT = Context(prec=200)


def problem(value: Any, type_: Type, options: Iterable[str] = ()) -> str:
    """Why `value` is not of its type ("must be a number") or none of the `options`; "" when nothing is wrong."""
    if not _is(value, type_):
        return f"must be {type_}"
    known = tuple(options)
    return one_of(known) if known and canonical(value, known) not in known else ""


def one_of(options: Iterable[Any]) -> str:
    """What is said of a value that is none of the `options`."""
    return f"must be a valid value (one of: {', '.join(map(str, options))})"


def canonical(value: Any, options: Iterable[str]) -> Any:
    """The option that `value` means, letters counting alike in any case; what is no option stays as it is."""
    if not isinstance(value, str):
        return value
    folded = value.casefold()
    return next((one for one in options if one.casefold() == folded), value)


def same(one: Any, other: Any, type_: Type, options: Iterable[str] = ()) -> bool:
    """Whether two values mean the same: 1 and "1.0", 1G and 1000M, always and Always where that is an option."""
    if type_ in AMOUNTS:
        left, right = amount(one, type_), amount(other, type_)
        if left is not None and right is not None:
            return left == right
    return _equal(canonical(one, options), canonical(other, options))


def shown(value: Any) -> str:
    """A wrong value as a sentence quotes it: as JSON, and short whatever it is."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def is_blank(value: Any) -> bool:
    """Nothing, or an empty text, list or object; false and 0 are values."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def integer(value: Any) -> int | None:
    """The value when it is a whole number; true is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def amount(value: Any, type_: Type) -> Fraction | None:
    """How much `value` is: a number, base units of a quantity, seconds of a duration. None when it is none of those."""
    if type_ is Type.INTEGER:
        whole = integer(value)
        return None if whole is None else Fraction(whole)
    if isinstance(value, bool) or not isinstance(value, str if type_ is Type.DURATION else str | int | float):
        return None
    # Of a decimal in JSON its shortest form is what its author wrote, and not the nearest binary fraction.
    return _amount(str(value), type_)


@lru_cache(maxsize=4096)
def _amount(text: str, type_: Type) -> Fraction | None:
    pattern = {Type.NUMBER: _NUMBER, Type.QUANTITY: _QUANTITY}.get(type_)  # none for durations
    if len(text) > _LONGEST or (pattern and not pattern.fullmatch(text)):
        return None
    try:
        return Fraction(parse_quantity(text) if pattern else durations.exact_seconds(text))
    except ValueError:
        return None


def part(value: Any, source: Type, factor: Any, target: Type) -> Any:
    """`value` times `factor` as a value of type `target`: 8Gi × 0.5 is "4Gi". None when it cannot be computed."""
    whole, times = amount(value, source), amount(factor, Type.NUMBER)
    if whole is None or times is None or Type.DURATION in (source, target):
        return None
    if target is Type.INTEGER and (whole * times).denominator == 1:
        return int(whole * times)
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    number, suffix = match.groups()
    if target is not Type.QUANTITY:
        number, suffix = str(parse_quantity(str(value))), ""
    product = _EXACT.multiply(Decimal(number), Decimal(str(factor)))
    return f"{product.normalize(_EXACT):f}{suffix or ''}"


def _is(value: Any, type_: Type) -> bool:
    match type_:
        case Type.TEXT:
            return isinstance(value, str)
        case Type.BOOLEAN:
            return isinstance(value, bool)
        case Type.TEXTS:
            return isinstance(value, list) and all(isinstance(one, str) for one in value)
        case Type.OBJECT:
            return isinstance(value, dict)
        case _:
            return amount(value, type_) is not None


def _equal(one: Any, other: Any) -> bool:
    """Equality of JSON, where true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
