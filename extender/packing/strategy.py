from __future__ import annotations

from enum import StrEnum


class Strategy(StrEnum):
    """Where work goes: where it strands the least, onto the fullest place that fits, or onto the emptiest."""

    FRAGMENTATION = "fragmentation"
    BINPACK = "binpack"
    BESTFIT = "bestfit"
    SPREAD = "spread"
