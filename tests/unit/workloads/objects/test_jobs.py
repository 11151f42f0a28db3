"""The rows "Lifecycle" of the table of parameters (behaviour.md 2.3), and what runs each kind (2.4)."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.workload import WorkloadKind
from extender.workloads.objects import Backend
from tests.submissions import rendered

Json = dict[str, Any]
K = WorkloadKind
KUBERNETES = {"backend": Backend.KUBERNETES}


@pytest.mark.parametrize(
    ("kind", "given", "expected", "restart"),
    [
        (K.INTERACTIVE, {}, ("run.ai/v1", "RunaiJob"), "Never"),
        (K.TRAINING, {}, ("run.ai/v1", "RunaiJob"), "Never"),
        (K.INTERACTIVE, KUBERNETES, ("apps/v1", "StatefulSet"), "Always"),
        (K.TRAINING, KUBERNETES, ("batch/v1", "Job"), "Never"),
    ],
)
def test_what_runs_it(kind: WorkloadKind, given: Json, expected: tuple[str, str], restart: str) -> None:
    found = rendered(kind, given=given)
    assert (found.job["apiVersion"], found.job["kind"]) == expected
    assert found.pod["restartPolicy"] == restart
    assert found.container["name"] == found.job["metadata"]["name"] == "j"


@pytest.mark.parametrize(
    ("values", "runai", "kubernetes"),
    [
        ({}, {}, {"completions": 1, "completionMode": "Indexed"}),
        ({"backoffLimit": 0}, {"backoffLimit": 0}, {"backoffLimit": 0, "completions": 1, "completionMode": "Indexed"}),
        (
            {"completions": 5, "parallelism": 2},
            {"completions": 5, "parallelism": 2},
            {"completions": 5, "parallelism": 2, "completionMode": "Indexed"},
        ),
        ({"ttlAfterFinish": "90s"}, {"ttlSecondsAfterFinished": 90}, None),
        ({"ttlAfterFinish": "1h30m"}, {"ttlSecondsAfterFinished": 5400}, None),
        ({"ttlAfterFinish": "0s"}, {"ttlSecondsAfterFinished": 0}, None),
    ],
)
def test_how_often_and_how_long_training_runs(values: Json, runai: Json, kubernetes: Json | None) -> None:
    assert without_template(rendered(**values).spec) == runai
    if kubernetes is not None:
        assert without_template(rendered(given=KUBERNETES, **values).spec) == kubernetes


def test_interactive_work_runs_once_whatever_is_said() -> None:
    found = rendered(K.INTERACTIVE, backoffLimit=9, completions=4, parallelism=2)
    assert without_template(found.spec) == {"parallelism": 1, "completions": 1, "backoffLimit": 0}


def test_a_stateful_set_has_one_pod() -> None:
    spec = without_template(rendered(K.INTERACTIVE, given=KUBERNETES).spec)
    assert spec == {"replicas": 1, "selector": {"matchLabels": {"release": "j"}}}


def test_terminate_after_preemption_is_said_on_the_job() -> None:
    found = rendered(terminateAfterPreemption=True)
    assert found.job["metadata"]["annotations"] == {"runai/terminate-after-preemption": "true"}
    assert "annotations" not in rendered().job["metadata"]


def without_template(spec: Json) -> Json:
    return {key: value for key, value in spec.items() if key != "template"}
