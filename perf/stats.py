"""Percentiles and spreads. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure that was measured once a round: its median, and the smallest and largest of the rounds."""

    median: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        return {"median": self.median, "low": self.low, "high": self.high}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` (0..1) of them do not exceed: one that was really measured.

    Raises ValueError without values or with a share outside 0..1.
    """
    if not values:
        raise ValueError("no values")
    if not 0 <= share <= 1:
        raise ValueError(f"share {share} is not between 0 and 1")
    ordered = sorted(values)
    # 1e-9: 0.07 * 100 is 7.000000000000001 and must not become the 8th.
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def spread(values: Sequence[float]) -> Spread:
    """Median (of an even number the mean of the middle two), smallest and largest. Raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Spread(median, ordered[0], ordered[-1])


def ratios(ours: Sequence[float], base: Sequence[float]) -> Spread:
    """`ours` over `base`, round by round, both in the order of the rounds. Raises ValueError for unequal lengths."""
    return spread([one / other for one, other in zip(ours, base, strict=True)])
