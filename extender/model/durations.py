"""Durations as Kubernetes objects write them ("30s", "1h30m", "500ms", "-1s") → seconds."""

from __future__ import annotations

import re
from decimal import Decimal

NOT_NEGATIVE = r"^(0|([0-9]{1,9}(\.[0-9]{1,9})?(ns|us|ms|s|m|h)){1,6})$"
ANY = r"^-?(0|([0-9]{1,9}(\.[0-9]{1,9})?(ns|us|ms|s|m|h)){1,6})$"

_WHOLE = re.compile(ANY, re.ASCII)
_TERM = re.compile(r"([0-9.]+)(ns|us|ms|s|m|h)")
_SECONDS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}


def seconds(text: str) -> float:
    """The duration in seconds. Raises ValueError for anything that is not one."""
    return float(exact_seconds(text))


def exact_seconds(text: str) -> Decimal:
    """The same without rounding. Raises ValueError."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f'not a duration, as in "30s" or "1h30m": {text[:60]!r}')
    total = sum((Decimal(number) * _SECONDS[unit] for number, unit in _TERM.findall(text)), Decimal(0))
    return -total if text.startswith("-") else total
