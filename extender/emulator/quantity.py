"""Kubernetes quantities: "500m", "1.5Gi", 2, "1e3" in; exact values and the canonical text out."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()} | {0: ""}

_QUANTITY = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:([eE])([+-]?\d{1,3})|([KMGTPE]i|[numkMGTPE]?))")


class QuantityError(ValueError):
    """The text is no quantity."""


def _parse(text: str) -> tuple[Fraction, str]:
    """The exact value and the format: "decimal", "binary" or "exponent"."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise QuantityError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    sign, digits, exponent_mark, exponent, suffix = match.groups()
    value = Fraction(digits) * (-1 if sign == "-" else 1)
    if exponent_mark:
        return value * Fraction(10) ** int(exponent), "exponent"
    if suffix in _BINARY:
        return value * 1024 ** _BINARY[suffix], "binary"
    return value * Fraction(10) ** _DECIMAL[suffix], "decimal"


def value_of(quantity: str | int | float) -> Fraction:
    """The exact value. Raises QuantityError."""
    return _parse(str(quantity))[0]


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """The one spelling that the API server stores: no fraction, the largest suffix that allows that.

    "0.5" → "500m", "1024Mi" → "1Gi", "1000" → "1k". Raises QuantityError.
    """
    value, form = _parse(text)
    if form == "binary" and (abs(value) < 1024 or value.denominator != 1):
        form = "decimal"
    if value == 0:
        return "0"
    if form == "binary":
        number, power = int(value), 0
        while number % 1024 == 0 and power < 6:
            number, power = number // 1024, power + 1
        return f"{number}{_BINARY_SUFFIX[power]}"
    # Nano is the finest unit; the rest is rounded up, away from zero.
    nanos = value * 10**9
    number = -(-nanos.numerator // nanos.denominator) if value > 0 else nanos.numerator // nanos.denominator
    power = -9
    while number % 1000 == 0 and power < 18:
        number, power = number // 1000, power + 3
    if form == "exponent":
        return f"{number}e{power}" if power else str(number)
    return f"{number}{_DECIMAL_SUFFIX[power]}"
