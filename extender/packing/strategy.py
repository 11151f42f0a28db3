from __future__ import annotations

from enum import StrEnum


class Strategy(StrEnum):
    """Where work goes: onto the fullest place that fits, or onto the emptiest."""

    BINPACK = "binpack"
    SPREAD = "spread"
