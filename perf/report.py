"""Results of a run as tables: for the terminal, for docs/performance.md, and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

BEGIN = "<!-- bench: everything down to the closing mark is written by `python -m perf --write` -->"
END = "<!-- /bench -->"


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """One table for each section that `results` has; the budgets last."""
    makers = (
        ("verbs", _verbs), ("growth", _growth), ("bind", _bind), ("packer", _packer), ("planning", _planning),
        ("restart", _restart), ("held", _held), ("fill", _fill), ("gangs", _gangs), ("budgets", _budgets),
    )  # fmt: skip
    for key, make in makers:
        if results.get(key):
            yield make(results[key])


def markdown(results: Mapping[str, Any]) -> str:
    """The part of docs/performance.md between the marks: machine, command, then every table."""
    about = results["about"]
    command = about["command"] + (" (small sizes: not for the record)" if about.get("quick") else "")
    machine = f"{about['cores']} cores ({about['processor']}), {about['memory_gib']} GiB, Linux {about['kernel']}"
    load = f"load average {about['load_before']} before and {about['load_after']} after"
    measured = f"Measured on {about['date']} with `{command}` in {about['minutes']} minutes"
    lines = [f"{measured}: {machine}, Python {about['python']}; {load}.", ""]
    for table in tables(results):
        lines += [
            f"### {table.title}",
            "",
            _line(table.columns),
            _line(["---:" if n else "---" for n in _index(table)]),
        ]
        lines += [_line(row) for row in table.rows]
        lines += ["", *([table.note, ""] if table.note else [])]
    return "\n".join(lines).rstrip() + "\n"


def replace_section(document: str, section: str) -> str:
    """`document` with `section` between the two marks. Raises ValueError when it lacks a mark."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the document lacks the marks that enclose the results")
    return f"{before}{BEGIN}\n\n{section.strip()}\n\n{END}{after}"


def to_json(results: Mapping[str, Any]) -> str:
    """Figures with six significant digits; keys in the order they were made, so that two files compare."""
    return json.dumps(_rounded(results), indent=1, ensure_ascii=False) + "\n"


def _verbs(rows: Sequence[Json]) -> Table:
    columns = (
        "verb", "answer", "nodes", "running pods", "echo p50 ms", "ours p50 ms", "p50 ratio", "CPU ratio",
        "p99 / echo p50", "echo's own", "echo req/s", "req/s ratio", "answer, bytes",
    )  # fmt: skip
    cells = [
        (
            row["verb"], row["answer"], _int(row["nodes"]), _int(row["pods"]), _ms(row["echo"]["p50_ms"]),
            _ms(row["ours"]["p50_ms"]), _spread(row["p50_ratio"]), _cpu(row), f"{row['p99_pooled_over_echo_p50']:.2f}",
            f"{row['echo_p99_over_p50']:.2f}", _int(row["echo"]["per_second"]), _spread(row["per_second_ratio"]),
            _int(row["ours"]["answer_bytes"]),
        )
        for row in rows
    ]  # fmt: skip
    note = (
        "Ratios are ours over the echo's, round by round: median (smallest–largest). p50 and p99 are of one "
        "connection, sequential, CPU what the server then used a call; req/s of 16 connections. `p99 / echo p50` is of "
        "all rounds together, `echo's own` the same for the echo."
    )
    return Table("filter and prioritize", columns, tuple(cells), note)


def _growth(row: Json) -> Table:
    few, many = row["nodes"]
    cells = tuple(
        (name, _ms(row["p50_ms"][f"{name} {few}"]), _ms(row["p50_ms"][f"{name} {many}"]), _spread(row[name]))
        for name in ("echo", "ours")
    )
    title = f"Growth of filter p50 from {few:,} to {many:,} nodes"
    note = (
        f"One-node answer, {row['pods']:,} running pods, all four servers in turns. "
        f"Ours over the echo's: {_spread(row['ours_over_echo'])}."
    )
    return Table(title, ("", f"p50 ms, {few:,}", f"p50 ms, {many:,}", "growth"), cells, note)


def _bind(row: Json) -> Table:
    cells = (
        ("p50 ms", _ms(row["echo"]["p50_ms"]), _ms(row["ours"]["p50_ms"]), _spread(row["p50_ratio"])),
        ("p99 ms", _ms(row["echo"]["p99_ms"]), _ms(row["ours"]["p99_ms"]), f"{_p99s(row):.2f}"),
        ("CPU a call, µs", _int(row["echo"]["cpu_us"]), _int(row["ours"]["cpu_us"]), _cpu(row)),
        ("requests/s, 16 connections", _int(row["echo"]["per_second"]), _int(row["ours"]["per_second"]),
         _spread(row["per_second_ratio"])),
    )  # fmt: skip
    title = f"bind ({row['nodes']:,} nodes, {row['pods']:,} running pods)"
    note = "Against a stub API server; the echo makes one POST to the same stub a call."
    return Table(title, ("", "echo", "ours", "ratio"), cells, note)


def _packer(row: Json) -> Table:
    cells = (
        ("p50", _spread(row["p50_us"], 0), _spread(row["p50_cpu_us"], 0)),
        ("p99", _spread(row["p99_us"], 0), _spread(row["p99_cpu_us"], 0)),
    )
    title = f"The decision alone ({row['nodes']:,} × 8, {row['pods']:,} running pods, churn)"
    note = (
        f"best_seat + reserve in process: {row['decisions']:,} decisions of {row['shapes']} shapes, one departure and "
        f"one arrival each; {row['refused']} refused. CPU time leaves out what other work on the machine took."
    )
    return Table(title, ("", "µs", "µs of CPU"), cells, note)


def _planning(row: Json) -> Table:
    nodes, gpus = row["nodes"], 8 * row["nodes"]
    members, waiting, projects = row["members"], row["waiting"], row["projects"]
    whats = {
        "gang": f"a gang of {members:,} one-GPU pods is seated, a third in use",
        "hopeless, 80 × 1": "80 pods of one GPU each are declared unschedulable, all in use",
        "hopeless, 10 × 8": "10 pods of eight GPUs each, same",
        "reclaim": f"a one-GPU pod is promised the place of one of {gpus:,}",
    }
    for why in ("no room", "over limit"):
        beside = f"with {waiting:,} jobs of {projects} projects pending: {why}"
        whats[f"first, {why}"] = f"a start, {beside}"
        whats[f"pass, {why}"] = "all that can be tried for all of them, same"
        whats[f"slice, {why}"] = "the longest part of that, done in slices as the service does it"
        whats[f"end, {why}"] = "a pod of another project ends, same"
        whats[f"arrival, {why}"] = "one more pod arrives, same"
    cells = tuple((what, _spread(row["ms"][name], 1)) for name, what in whats.items() if name in row["ms"])
    note = "The planner in process, from pods that are known to a decision: roster, quota tree and picture included."
    return Table(f"The planner alone ({nodes:,} × 8)", ("", "ms"), cells, note)


def _gangs(row: Json) -> Table:
    cells = (
        (f"{row['members']:,} gated pods that start together", _spread(row["gang_s"])),
        ("a one-GPU pod, all GPUs in use by another project", _spread(row["reclaim_s"])),
    )
    note = "kube-scheduler and the extender running; gates lifted and victims evicted by the planner."
    return Table(
        f"Gangs end to end ({row['nodes']:,} × 8)", ("from the first create to the last bind", "s"), cells, note
    )


def _restart(row: Json) -> Table:
    cells = (
        ("to /readyz 200, s", _spread(row["ready_s"])),
        ("resident memory at ready, MiB", _spread(row["rss_mib"], 0)),
        ("most resident memory until then, MiB", _spread(row["peak_mib"], 0)),
    )
    title = f"Restart ({row['nodes']:,} nodes, {row['pods']:,} pods)"
    return Table(title, ("", "median (smallest–largest)"), cells)


def _held(rows: Sequence[Json]) -> Table:
    columns = ("nodes", "extender", "pods/s", "of plain", "s from the scheduler's start to the last bound")
    cells = tuple(
        (_int(row["nodes"]), row["variant"], _spread(row["per_second"], 0), _spread(row["of_plain"]),
         _spread(row["total_s"], 1))
        for row in rows
    )  # fmt: skip
    note = (
        f"{rows[0]['pods']:,} one-GPU pods created while kube-scheduler is stopped, then let go; pods/s from the first "
        "bound to the last. *plain* is kube-scheduler without any extender; all have the same client limits, gates "
        "and profile (deploy/base) and score all nodes, but for *default sampling*."
    )
    return Table("Through the real kube-scheduler", columns, cells, note)


def _fill(rows: Sequence[Json]) -> Table:
    columns = ("what", "nodes", "count", "s until all are created", "s until all are bound")
    cells = tuple(
        (row["kind"], _int(row["nodes"]), _int(row["count"]), f"{row['created_s']:.1f}", f"{row['all_bound_s']:.1f}")
        for row in rows
    )
    note = (
        "One GPU each, kube-scheduler and the extender running; from the first create. Jobs: kube-controller-manager."
    )
    return Table("Filling a cluster end to end", columns, cells, note)


def _budgets(rows: Sequence[Json]) -> Table:
    met = {True: "met", False: "**not met**", None: "–"}
    cells = tuple((row["what"], row["budget"], row["figure"], met[row["met"]]) for row in rows)
    note = "Packing quality is judged by `runai-scheduler simulate`."
    return Table("Budgets", ("what", "budget", "figure", ""), cells, note)


def _cpu(row: Json) -> str:
    return _spread(row["cpu_ratio"]) if "cpu_ratio" in row else "–"


def _p99s(row: Json) -> float:
    return float(row["ours"]["p99_ms"] / row["echo"]["p99_ms"])


def _spread(value: Json, digits: int = 2) -> str:
    low, high = f"{value['low']:.{digits}f}", f"{value['high']:.{digits}f}"
    return f"{value['median']:.{digits}f} ({low}–{high})"


def _ms(value: float) -> str:
    return f"{value:.3f}"


def _int(value: float) -> str:
    return f"{round(value):,}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _index(table: Table) -> range:
    return range(len(table.columns))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
