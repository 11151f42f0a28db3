"""What a simulation found: values, and the names they have in JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Progress = Callable[[int, int], None]  # (arrivals so far, arrivals in all), every few arrivals

PROGRESS_EVERY = 256


class Mode(StrEnum):
    FILL = "fill"
    CHURN = "churn"


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of the plot. at: arrived load in percent (fill) or steps (churn); the rest percent of capacity."""

    at: float
    allocated_percent: float
    fragmentation_percent: float


@dataclass(frozen=True, slots=True)
class Result:
    """One run. Percentages are of the GPU capacity, except `lost_percent`: of the GPU demand that arrived.

    What the protocol of the mode does not measure is None, and so is an allocation at a load that never arrived.
    steps, warm_up_steps: of churn, all of them and those not counted. curve: for the plot, empty unless asked for.
    """

    mode: Mode
    policy: str
    seed: int
    fragmentation_percent: float
    refused_though_fitting: int
    decisions: int
    decision_us_p50: float
    decision_us_p99: float
    allocated_percent_at_100: float | None = None
    allocated_percent_at_130: float | None = None
    lost_percent: float | None = None
    mean_allocated_percent: float | None = None
    steps: int | None = None
    warm_up_steps: int | None = None
    curve: tuple[Sample, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "policy": self.policy,
            "mode": self.mode.value,
            "seed": self.seed,
            "allocated_percent_at_100": self.allocated_percent_at_100,
            "allocated_percent_at_130": self.allocated_percent_at_130,
            "lost_percent": self.lost_percent,
            "mean_allocated_percent": self.mean_allocated_percent,
            "steps": self.steps,
            "warm_up_steps": self.warm_up_steps,
            "fragmentation_percent": self.fragmentation_percent,
            "refused_though_fitting": self.refused_though_fitting,
            "decisions": self.decisions,
            "decision_us": {"p50": self.decision_us_p50, "p99": self.decision_us_p99},
        }
