"""`runai-scheduler simulate`, as a user meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from extender.cli.commands import cli
from tests.simulate.files import nodes_csv, pods_csv

KEYS = {
    "policy",
    "mode",
    "seed",
    "allocated_percent_at_100",
    "allocated_percent_at_130",
    "lost_percent",
    "mean_allocated_percent",
    "steps",
    "warm_up_steps",
    "fragmentation_percent",
    "refused_though_fitting",
    "decisions",
    "decision_us",
}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    nodes = nodes_csv(tmp_path, *(f"n{number},32000,65536,{1 + number % 4},T4" for number in range(8)))
    pods = pods_csv(
        tmp_path, *(f"p{number},{500 * (number % 7)},100,1,{300 + 50 * (number % 15)}," for number in range(25))
    )
    return ["--nodes", str(nodes), "--pods", str(pods)]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["simulate", *arguments])


def told(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_object_and_nothing_else(files: list[str]) -> None:
    (one,) = told(run(*files, "--json"))
    assert set(one) == KEYS
    assert set(one["decision_us"]) == {"p50", "p99"}
    assert (one["mode"], one["seed"], one["lost_percent"]) == ("fill", 42, None)
    assert 70 < one["allocated_percent_at_100"] <= one["allocated_percent_at_130"] <= 100
    assert one["refused_though_fitting"] == 0


def test_churn(files: list[str]) -> None:
    (one,) = told(run(*files, "--json", "--churn", "0.9", "--steps", "300", "--policy", "spread"))
    assert set(one) == KEYS
    assert (one["mode"], one["policy"], one["decisions"], one["warm_up_steps"]) == ("churn", "spread", 300, 150)
    assert one["allocated_percent_at_100"] is None
    assert 0 <= one["lost_percent"] < 50
    assert 50 < one["mean_allocated_percent"] <= 100


def test_the_same_seed_twice_and_a_range(files: list[str]) -> None:
    runs = told(run(*files, "--json", "--seed", "3-4,3"))
    for one in runs:
        del one["decision_us"]
    assert [one["seed"] for one in runs] == [3, 4, 3]
    assert runs[0] == runs[2] != runs[1]


def test_a_table_for_people(files: list[str]) -> None:
    result = run(*files, "--seed", "1,2")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "fill, policy fragmentation" in result.stdout
    assert "mean" in result.stdout
    assert "Lost" not in result.stdout


WRONG = {
    "no files": ([], "--nodes FILE and --pods FILE are needed"),
    "seed": (["--seed", "x"], "--seed x: must be a number of 0 or more, a range such as 42-46"),
    "seeds backwards": (["--seed", "5-3"], "--seed 5-3: must be"),
    "too many seeds": (["--seed", "0-5000"], "more than 1000 seeds"),
    "policy": (["--policy", "best"], "--policy best: no such policy; must be one of fragmentation, binpack"),
    "no load": (["--inflate", "0"], "--inflate 0: must be above 0"),
    "not a number": (["--churn", "nan"], "--churn nan: must be above 0"),
    "steps of a fill": (["--steps", "10"], "--steps 10: only with --churn"),
    "both loads": (["--churn", "1", "--inflate", "1"], "--inflate 1: not with --churn"),
    "too few steps": (["--churn", "1", "--steps", "1"], "--steps 1: must be from 2"),
    "plot": (["--plot", "x.gif"], "--plot x.gif: a plot of kind '.gif'; must end in .png or .html"),
}


@pytest.mark.parametrize(("arguments", "sentence"), WRONG.values(), ids=WRONG)
def test_wrong_options(files: list[str], arguments: list[str], sentence: str) -> None:
    result = run(*(files if arguments else []), *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stdout == ""


def test_a_wrong_file_ends_with_2(files: list[str]) -> None:
    result = run("--nodes", files[3], "--pods", files[1], "--json")
    assert result.exit_code == 2
    assert "swapped" in result.stderr


def test_a_plot_without_matplotlib_is_refused_before_the_work(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(*files, "--plot", str(tmp_path / "x.png"))
    assert result.exit_code == 2
    assert "matplotlib is not installed; `pip install 'runai-scheduler[plot]'` brings it" in result.stderr
    none = run(*files, "--plot", str(tmp_path / "none" / "x.png"))
    assert "an existing one is needed" in none.stderr


@pytest.mark.parametrize("mode", [[], ["--churn", "0.9", "--steps", "300"]], ids=["fill", "churn"])
def test_plots(files: list[str], tmp_path: Path, mode: list[str]) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.png", "a.html", "b.html"):
        told(run(*files, *mode, "--json", "--seed", "1,2", "--plot", str(tmp_path / name)))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "allocated" in page
    assert "fragmentation" in page
    # Nothing is fetched when it is opened; the same run gives the same file.
    assert "<script" not in page
    assert "<image" not in page
    assert page == (tmp_path / "b.html").read_text(encoding="utf-8")
