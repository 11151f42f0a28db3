"""What docs/policies.md shows is so."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from extender.model.workload import WorkloadKind
from extender.wire import workloads
from extender.workloads.policy import problems
from extender.workloads.values import compose
from tests.unit.workloads.specs import items, scalars

PAGE = (Path(__file__).parents[3] / "docs" / "policies.md").read_text()
PARAMETERS = workloads.parameters(WorkloadKind.TRAINING)


def test_the_example_is_a_policy_and_does_what_the_page_says() -> None:
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    policy = yaml.safe_load(example.group(1))["spec"]
    assert problems(PARAMETERS, policy) == ()
    image = scalars(image="registry.example.com/train:1")
    assert compose(PARAMETERS, image, None, policy).values.plain() == {
        "gpu": "1",
        "runAsUser": True,
        "cpu": "4",
        "image": "registry.example.com/train:1",
        "ports": {"admin": {"container": 30100, "external": 30100, "serviceType": "NodePort"}},
    }
    wrong = scalars(gpu="5", runAsUser=False) | items("ports", admin=None, mine={"container": 1})
    assert compose(PARAMETERS, wrong, None, policy).violations == (
        "gpu: must be no greater than 4",
        "ports.admin: cannot be removed",
        "ports.mine.container: must be no less than 30000",
        "runAsUser: cannot be edited",
    )


def test_the_refusals_are_those_of_the_page() -> None:
    policy = {
        "gpu": {"rules": {"mn": "1", "max": "4"}, "value": "5"},
        "image": {"rules": {"min": 1}},
        "memory": {"rules": {"min": "2Gi", "max": "2G"}},
    }
    shown = PAGE.rpartition("```\n")[0].rpartition("```\n")[2]
    assert list(problems(PARAMETERS, policy)) == shown.splitlines()
