"""`make bench`: every promised figure in one run, as a ratio to a do-nothing extender wherever that makes sense.

    python -m perf [--quick] [--only verbs,bind,…] [--json FILE] [--write docs/performance.md]

Absolute times are this machine's; the ratios are the result. Sections: verbs, growth, bind, packer, planning, restart,
held, fill, gangs (the last three where the control-plane binaries are). About fifteen minutes on two cores; `--quick`
under one.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from perf import budgets, packer, planning, report, restart, verbs
from perf.load import Limits

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Effort:
    """Sizes of a run."""

    nodes: list[int]
    pods: list[int]
    verbs: Limits
    growth: tuple[int, int, int]  # few nodes, many nodes, running pods
    bind: tuple[int, int, Limits]
    packer: tuple[int, int, int, int]  # nodes, running pods, rounds, steps a round
    planning: tuple[int, int, int, int, int]  # nodes, members of a gang, waiting jobs, their projects, rounds
    restart: tuple[int, int, int]  # nodes, pods, rounds
    held: tuple[list[int], int, int, int]  # nodes, pods, rounds, blocked pods
    fill: tuple[int, tuple[str, ...]]
    gangs: tuple[int, int, int]  # nodes, members, rounds


FULL = Effort(
    nodes=[100, 1000, 5000, 15_000],
    pods=[0, 20_000],
    verbs=Limits(rounds=5, sequential=150, concurrent=256, seconds=0.4),
    growth=(1000, 15_000, 20_000),
    bind=(5000, 20_000, Limits(rounds=7, sequential=100, concurrent=200, seconds=1.0)),
    packer=(5000, 20_000, 7, 500),
    restart=(5000, 50_000, 3),
    planning=(500, 512, 10_000, 100, 7),
    held=([1000, 5000], 1500, 2, 10_000),
    fill=(500, ("pods", "jobs")),
    gangs=(500, 512, 3),
)
QUICK = Effort(
    nodes=[100, 1000],
    pods=[1000],
    verbs=Limits(rounds=3, sequential=40, concurrent=64, seconds=0.2),
    growth=(100, 1000, 1000),
    bind=(100, 0, Limits(rounds=3, sequential=30, concurrent=48, seconds=0.2)),
    packer=(500, 1000, 3, 100),
    restart=(100, 1000, 1),
    planning=(50, 64, 500, 10, 2),
    held=([100], 100, 1, 200),
    fill=(20, ("pods",)),
    gangs=(20, 64, 1),
)


def main() -> None:
    options = _options()
    console = Console(width=200 if options.wide else None)
    began, load_before = time.monotonic(), os.getloadavg()[0]

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    results = _measure(QUICK if options.quick else FULL, options.only, say)
    results["budgets"] = [row.as_json() for row in budgets.judge(results)]
    results["about"] = _about(options.quick, began, load_before)
    for table in report.tables(results):
        _print(console, table)
    if options.json:
        options.json.write_text(report.to_json(results))
    if options.write:
        options.write.write_text(report.replace_section(options.write.read_text(), report.markdown(results)))
    if failed := results.get("failed"):
        sys.exit(f"these sections failed: {', '.join(failed)}")


def _measure(effort: Effort, only: list[str], say: Callable[[str], None]) -> Json:
    """Run the sections named by `only`, all without it, in the order of the tables."""
    sections: dict[str, Callable[[], object]] = {
        "verbs": lambda: verbs.verbs(effort.nodes, effort.pods, effort.verbs, say),
        "growth": lambda: verbs.growth(*effort.growth, effort.verbs, say),
        "bind": lambda: verbs.bind(*effort.bind, say),
        "packer": lambda: packer.decisions(*effort.packer, say),
        "planning": lambda: planning.planning(*effort.planning, say),
        "restart": lambda: restart.restart(*effort.restart, say),
    }
    from tests.e2e.controlplane import binaries_directory, missing_binaries

    missing = missing_binaries()
    if missing:
        say(f"NOT MEASURED: the real kube-scheduler; {binaries_directory()} lacks {', '.join(missing)}")
    else:
        from perf import gangs, held

        sections["held"] = lambda: held.held(*effort.held, say)
        sections["fill"] = lambda: held.fill(*effort.fill, say)
        sections["gangs"] = lambda: gangs.gangs(*effort.gangs, say)
    results: Json = {}
    for name, measure in sections.items():
        if not only or name in only:
            try:
                results[name] = measure()
            except Exception as error:
                # Ten minutes of figures are not lost to one section; the exit status tells.
                traceback.print_exc()
                results.setdefault("failed", {})[name] = f"{type(error).__name__}: {error}"[:500]
    return results


def _options() -> argparse.Namespace:
    names = ("verbs", "growth", "bind", "packer", "planning", "restart", "held", "fill", "gangs")

    def section_names(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(names)}")
        return chosen

    parser = argparse.ArgumentParser(prog="python -m perf", description="Ratios to a do-nothing extender.")
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute: to try it")
    parser.add_argument("--only", type=section_names, default=[], metavar="NAME,…", help=f"of {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the marks of this document")
    parser.add_argument("--wide", action="store_true", help="tables of up to 200 columns, whatever the terminal")
    return parser.parse_args()


def _about(quick: bool, began: float, load_before: float) -> Json:
    """What the figures depend on. No host name: it says nothing."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": "make bench" + (" ARGS=--quick" if quick else ""),
        "quick": quick,
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "load_before": round(load_before, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "minutes": round((time.monotonic() - began) / 60, 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _print(console: Console, table: report.Table) -> None:
    shown = Table(title=table.title, caption=table.note, title_justify="left", caption_justify="left")
    for number, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if number else "left")
    for row in table.rows:
        shown.add_row(*(cell.replace("**", "") for cell in row))
    console.print(shown)


if __name__ == "__main__":
    main()
