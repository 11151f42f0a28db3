"""The budgets that the bench can judge: figure, and met or not. Pure. (Packing quality is `simulate`'s to judge.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judged:
    """One budget. `met` is None when this run did not measure it."""

    what: str
    budget: str
    figure: str
    met: bool | None

    def as_json(self) -> dict[str, object]:
        return {"what": self.what, "budget": self.budget, "figure": self.figure, "met": self.met}


def judge(results: Mapping[str, Any]) -> list[Judged]:
    """All rows, in the order of the issue's table; `results` is what a run's sections gave, each may be missing."""
    filtered = _first(results.get("verbs"), verb="filter", answer="one node", nodes=5000, pods=20_000)
    grown = results.get("growth")
    packer = _first([results.get("packer")], nodes=5000)
    restart = _first([results.get("restart")], nodes=5000, pods=50_000)
    ratio = filtered and filtered["p50_ratio"]["median"]
    p99 = filtered and filtered["p99_pooled_over_echo_p50"]
    more = grown and grown["nodes"] == [1000, 15_000] and grown["ours_over_echo"]["median"]
    rows = [
        _row("filter p50, 5,000 × 8, 20,000 pods, one node", "≤ 1.0 × echo", ratio, 1.0, " × echo"),
        _row("filter p99, same", "≤ 2 × echo's p50", p99, 2.0, " × echo's p50"),
        _row("filter growth, 1,000 → 15,000 nodes", "≤ 1.0 × the echo's growth", more, 1.0, " × the echo's"),
        _row("decision alone, p99, 5,000 × 8, churn", "≤ 500 µs", packer and packer["p99_us"]["median"], 500, " µs"),
    ]
    for nodes, least in ((1000, 1.0), (5000, 1.3)):
        for variant, how in (("ours", "without the webhook"), ("ours, gated", "as the webhook makes pods")):
            through = _first(results.get("held"), nodes=nodes, variant=variant)
            figure = through and through["of_plain"]["median"]
            what = f"pods/s, {nodes:,} nodes, {how}"
            rows.append(_row(what, f"≥ {least} × plain", figure, least, " × plain", at_least=True))
    beside = _first(results.get("held"), nodes=5000, variant="ours, gated, 10,000 blocked pods beside")
    figure = beside and beside["of_plain"]["median"]
    what = "pods/s, 5,000 nodes, 10,000 blocked pods beside"
    rows.append(_row(what, "≥ 5 × plain", figure, 5, " × plain", at_least=True))
    rows += _decisions(_first([results.get("planning")], nodes=500, members=512, waiting=10_000, projects=100))
    gangs = _first([results.get("gangs")], nodes=500, members=512)
    rows += [
        _row("512-pod gang on 500 nodes, create to last bind", "≤ 10 s", gangs and gangs["gang_s"]["median"], 10, " s"),
        _row(
            "1-GPU reclaim on 500 full nodes, create to bind", "≤ 3 s", gangs and gangs["reclaim_s"]["median"], 3, " s"
        ),
    ]
    filled = _first(results.get("fill"), nodes=500, kind="jobs")
    rows += [
        _row("4,000 Jobs fill 500 × 8", "≤ 60 s", filled and filled["all_bound_s"], 60, " s"),
        _row("restart, 5,000 nodes, 50,000 pods", "≤ 10 s", restart and restart["ready_s"]["median"], 10, " s"),
        _row("memory, same", "≤ 500 MiB", restart and restart["rss_mib"]["median"], 500, " MiB"),
    ]
    return rows


def _decisions(measured: Json | None) -> list[Judged]:
    """The planner's own; where a thing was measured in several situations, the slowest counts."""
    of = {} if measured is None else measured["ms"]
    asked = (
        ("planning a 512-pod gang, 500 × 8", ("gang",), 50),
        ("80 GPUs on a full 500 × 8: unschedulable", ("hopeless, 80 × 1", "hopeless, 10 × 8"), 50),
        ("deciding a 1-GPU reclaim, 500 × 8, 4,000 pods", ("reclaim",), 50),
        ("one pass, 10,000 pending jobs of 100 projects", ("pass, no room", "pass, over limit"), 1000),
        ("a pod ends, same", ("end, no room", "end, over limit"), 20),
        ("a pod arrives, same", ("arrival, no room", "arrival, over limit"), 20),
    )
    return [
        _row(
            what, f"≤ {bound} ms", max((of[name]["median"] for name in names if name in of), default=None), bound, " ms"
        )
        for what, names, bound in asked
    ]


def _first(rows: Any, **wanted: object) -> Json | None:
    """The first of `rows` (None and missing ones count as none) that has all of `wanted`."""
    for row in rows or ():
        if row and all(row.get(key) == value for key, value in wanted.items()):
            found: Json = row
            return found
    return None


def _row(what: str, budget: str, figure: Any, bound: float, unit: str, *, at_least: bool = False) -> Judged:
    if not figure:
        return Judged(what, budget, "not measured", None)
    met = figure >= bound if at_least else figure <= bound
    # Small numbers (ratios) want two digits, times and sizes none to speak of.
    text = f"{figure:.2f}" if figure < 20 else f"{figure:.0f}"
    return Judged(what, budget, f"{text}{unit}", bool(met))
