"""`simulate --scenario`: recorded situations play out as they must, and the command says so."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from extender.cli.commands import cli
from extender.errors import ConfigError
from extender.simulate import scenario_file, scenario_run
from extender.simulate.scenario_file import Case

SITUATIONS = Path(__file__).parent / "situations"
CASES = [case for path in sorted(SITUATIONS.glob("*.yaml")) for case in scenario_file.read(path)]

ONE = """
id: one
mode: one-action:allocate
nodes: {n: {gpus: 1}}
queues: [{name: q, quota: 1}]
groups: [{name: g, queue: q, priority: 50, ask: {gpu: 1}}]
pending: [g-0]
expected: {g-0: %s}
"""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_situation(case: Case) -> None:
    outcome = scenario_run.run(case)
    assert not outcome.unsupported
    assert outcome.differences == []
    assert outcome.passed


def test_runs_are_deterministic() -> None:
    first = [scenario_run.run(case).to_json() for case in CASES]
    assert first == [scenario_run.run(case).to_json() for case in reversed(CASES)][::-1]


def play(tmp_path: Path, text: str, *options: str) -> tuple[int, str, str]:
    file = tmp_path / "cases.yaml"
    file.write_text(text)
    result = CliRunner().invoke(cli, ["simulate", "--scenario", str(file), *options])
    return result.exit_code, result.stdout, result.stderr


def test_one_object_a_case(tmp_path: Path) -> None:
    code, out, _ = play(tmp_path, ONE % "bind@n", "--json")
    assert code == 0
    assert orjson.loads(out) == {
        "id": "one",
        "kind": "schedule",
        "mode": "one-action:allocate",
        "passed": True,
        "actual": {"g-0": "bind@n"},
        "gpus_held": {"q": 1.0},
        "differences": [],
    }


def test_a_difference_is_told_and_fails(tmp_path: Path) -> None:
    code, out, _ = play(tmp_path, ONE % "pending")
    assert code == 1
    assert "g-0: pending expected, bind@n found" in out


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (ONE.replace("one-action:allocate", "one-action:dance"), "action dance"),
        (ONE.replace("priority: 50", "claims: 1"), "group key claims"),
        ("kind: e2e\nid: one\ncases: []\n", "kind e2e"),
        ("kind: order\nid: one\nrules: [the moon first]\n", "order rule"),
    ],
    ids=["action", "key", "kind", "rule"],
)
def test_what_is_not_known_is_never_skipped(tmp_path: Path, changed: str, what: str) -> None:
    code, out, _ = play(tmp_path, changed.replace("%s", "bind"), "--json")
    answer = orjson.loads(out)
    assert (code, answer["passed"]) == (1, False)
    assert what in answer["unsupported"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("id: a\nnodes: ]\n", ":2: not YAML"),
        ("id: a\n---\n- 1\n", ":3: a case must be a mapping"),
        ("nodes: {}\n", ":1: the case has no id"),
        ("", ":1: no case"),
        ("id: a\nkind: poem\n", ":1: a: kind 'poem'"),
        ((ONE % "bind").replace("gpus: 1", "gpus: many"), ":2: one: ValueError"),
    ],
    ids=["yaml", "mapping", "id", "empty", "kind", "figure"],
)
def test_an_unreadable_file_says_where(tmp_path: Path, text: str, place: str) -> None:
    code, _, err = play(tmp_path, text)
    assert code == 2
    assert place in err


def test_one_case_by_id(tmp_path: Path) -> None:
    both = ONE % "bind" + "---" + (ONE % "pending").replace("id: one", "id: two")
    assert play(tmp_path, both)[0] == 1
    assert play(tmp_path, both, "--id", "one")[0] == 0
    code, _, err = play(tmp_path, both, "--id", "three")
    assert code == 2
    assert "it has one, two" in err


def test_a_missing_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["simulate", "--scenario", str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    with pytest.raises(ConfigError):
        scenario_file.read(SITUATIONS / "ours.yaml", "nobody")
