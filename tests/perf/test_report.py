from __future__ import annotations

import json
from typing import Any

import pytest

from perf import budgets, report


def _spread(median: float, low: float | None = None, high: float | None = None) -> dict[str, float]:
    return {"median": median, "low": median if low is None else low, "high": median if high is None else high}


def _results() -> dict[str, Any]:
    contestant = {"p50_ms": 0.2, "p99_ms": 0.5, "calls": 10, "per_second": 4000.4, "answer_bytes": 101, "cpu_us": 90.0}
    compared = {
        "echo": contestant, "ours": contestant, "p50_ratio": _spread(0.9, 0.8, 1.1), "cpu_ratio": _spread(1.0),
        "p99_over_echo_p50": _spread(2.5),
        "p99_pooled_over_echo_p50": 2.5, "echo_p99_over_p50": 2.0, "per_second_ratio": _spread(1.0),
    }  # fmt: skip
    held = {"pods": 1500, "total_s": _spread(6.0), "per_second": _spread(300.0)}
    return {
        "verbs": [{"verb": "filter", "answer": "one node", "nodes": 5000, "pods": 20_000, **compared}],
        "growth": {
            "nodes": [1000, 15_000], "pods": 20_000, "echo": _spread(8.0), "ours": _spread(2.0),
            "ours_over_echo": _spread(0.25), "p50_ms": {"echo 1000": 0.1, "echo 15000": 0.8, "ours 1000": 0.2,
                                                        "ours 15000": 0.4},
        },
        "bind": {"nodes": 5000, "pods": 20_000, **compared},
        "packer": {
            "nodes": 5000, "pods": 20_000, "shapes": 27, "decisions": 3500, "refused": 0, "p50_us": _spread(90.0),
            "p99_us": _spread(499.0), "p50_cpu_us": _spread(90.0), "p99_cpu_us": _spread(200.0),
        },
        "planning": {
            "nodes": 500, "members": 512, "waiting": 10_000, "projects": 100,
            "ms": {
                "gang": _spread(30.0), "hopeless, 80 × 1": _spread(20.0), "hopeless, 10 × 8": _spread(51.0),
                "reclaim": _spread(28.0), "first, no room": _spread(1400.0), "pass, no room": _spread(700.0),
                "end, no room": _spread(14.6), "arrival, no room": _spread(1.8), "first, over limit": _spread(1300.0),
                "pass, over limit": _spread(500.0), "end, over limit": _spread(20.1),
                "arrival, over limit": _spread(4.0),
            },
        },
        "gangs": {"nodes": 500, "members": 512, "gang_s": _spread(3.9), "reclaim_s": _spread(3.01)},
        "restart": {
            "nodes": 5000, "pods": 50_000, "ready_s": _spread(10.4), "rss_mib": _spread(480.0),
            "peak_mib": _spread(500.0),
        },
        "held": [
            {"nodes": nodes, "variant": variant, "of_plain": _spread(ratio), **held}
            for nodes in (1000, 5000)
            for variant, ratio in (("plain", 1.0), ("ours", 1.2), ("ours, gated, 10,000 blocked pods beside", 5.5))
        ],
        "fill": [{"nodes": 500, "kind": "jobs", "count": 4000, "created_s": 9.0, "all_bound_s": 59.0}],
        "about": {
            "date": "2026-01-01", "command": "make bench", "quick": False, "cores": 2, "processor": "some processor",
            "memory_gib": 24, "kernel": "6.8.0", "python": "3.11.7", "load_before": 0.1, "load_after": 1.2,
            "minutes": 9.9,
        },
    }  # fmt: skip


def test_each_budget_is_judged() -> None:
    judged = {row.what: (row.figure, row.met) for row in budgets.judge(_results())}
    assert judged == {
        "filter p50, 5,000 × 8, 20,000 pods, one node": ("0.90 × echo", True),
        "filter p99, same": ("2.50 × echo's p50", False),
        "filter growth, 1,000 → 15,000 nodes": ("0.25 × the echo's", True),
        "decision alone, p99, 5,000 × 8, churn": ("499 µs", True),
        "pods/s, 1,000 nodes, without the webhook": ("1.20 × plain", True),
        "pods/s, 1,000 nodes, as the webhook makes pods": ("not measured", None),
        "pods/s, 5,000 nodes, without the webhook": ("1.20 × plain", False),
        "pods/s, 5,000 nodes, as the webhook makes pods": ("not measured", None),
        "pods/s, 5,000 nodes, 10,000 blocked pods beside": ("5.50 × plain", True),
        "planning a 512-pod gang, 500 × 8": ("30 ms", True),
        "80 GPUs on a full 500 × 8: unschedulable": ("51 ms", False),
        "deciding a 1-GPU reclaim, 500 × 8, 4,000 pods": ("28 ms", True),
        "one pass, 10,000 pending jobs of 100 projects": ("700 ms", True),
        "a pod ends, same": ("20 ms", False),
        "a pod arrives, same": ("4.00 ms", True),
        "512-pod gang on 500 nodes, create to last bind": ("3.90 s", True),
        "1-GPU reclaim on 500 full nodes, create to bind": ("3.01 s", False),
        "4,000 Jobs fill 500 × 8": ("59 s", True),
        "restart, 5,000 nodes, 50,000 pods": ("10.40 s", False),
        "memory, same": ("480 MiB", True),
    }


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    nothing = {"about": _results()["about"]}
    assert {(row.figure, row.met) for row in budgets.judge(nothing)} == {("not measured", None)}


def test_other_sizes_judge_nothing() -> None:
    results = _results()
    results["verbs"][0]["nodes"] = 1000
    results["restart"]["pods"] = 1000
    results["growth"]["nodes"] = [100, 1000]
    results["planning"]["waiting"] = 500
    results["gangs"]["members"] = 64
    figures = [row.figure for row in budgets.judge(results)]
    assert figures.count("not measured") == 15  # the two of gated pods are in no result here


def test_every_section_has_a_table() -> None:
    results = _results()
    results["budgets"] = [row.as_json() for row in budgets.judge(results)]
    titles = [table.title for table in report.tables(results)]
    assert len(titles) == 10
    assert titles[-1] == "Budgets"
    for table in report.tables(results):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.title


def test_markdown() -> None:
    results = {key: value for key, value in _results().items() if key in ("restart", "about")}
    assert report.markdown(results) == (
        "Measured on 2026-01-01 with `make bench` in 9.9 minutes: 2 cores (some processor), 24 GiB, Linux 6.8.0, "
        "Python 3.11.7; load average 0.1 before and 1.2 after.\n"
        "\n"
        "### Restart (5,000 nodes, 50,000 pods)\n"
        "\n"
        "|  | median (smallest–largest) |\n"
        "| --- | ---: |\n"
        "| to /readyz 200, s | 10.40 (10.40–10.40) |\n"
        "| resident memory at ready, MiB | 480 (480–480) |\n"
        "| most resident memory until then, MiB | 500 (500–500) |\n"
    )


def test_the_section_is_replaced_and_nothing_else() -> None:
    document = f"# Title\n\nBefore.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n"
    once = report.replace_section(document, "new\n")
    assert once == f"# Title\n\nBefore.\n\n{report.BEGIN}\n\nnew\n\n{report.END}\n\nAfter.\n"
    assert report.replace_section(once, "new\n") == once


@pytest.mark.parametrize("document", ["no marks", report.BEGIN, f"{report.END}\n{report.BEGIN}"])
def test_a_document_without_marks_is_left_alone(document: str) -> None:
    with pytest.raises(ValueError, match="marks"):
        report.replace_section(document, "new")


def test_json_is_rounded_and_keeps_its_order() -> None:
    text = report.to_json({"b": [1.23456789, {"c": 2}], "a": "µ"})
    assert json.loads(text) == {"b": [1.23457, {"c": 2}], "a": "µ"}
    assert list(json.loads(text)) == ["b", "a"]
    assert "µ" in text
