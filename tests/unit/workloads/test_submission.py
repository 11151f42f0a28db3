"""A submission judged as a whole: what holds for templates, for bases, and for the namespace that it is in."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.workload import Origin, WorkloadKind
from extender.wire.workloads import parameters
from extender.workloads.submission import Sources, judge, type_of

I, T, D = WorkloadKind.INTERACTIVE, WorkloadKind.TRAINING, WorkloadKind.DISTRIBUTED  # noqa: E741
TEAM = "runai-team-a"
IMAGE: dict[str, Any] = {"image": {"value": "ubuntu"}}


def violations(
    spec: dict[str, Any], sources: Sources | None = None, kind: WorkloadKind = T, namespace: str = TEAM
) -> tuple[str, ...]:
    return judge(kind, parameters(kind), namespace, spec, sources or Sources(project="team-a")).violations


def test_values_come_from_workload_base_and_policy_and_say_so() -> None:
    sources = Sources(
        project="team-a",
        base={"usage": "Template", "image": {"value": "base"}, "cpu": {"value": "2"}},
        policy={"cpu": {"value": "1"}, "memory": {"value": "1G"}},
    )
    judged = judge(T, parameters(T), TEAM, {"baseWorkload": "t", "gpu": {"value": "1"}}, sources)
    assert not judged.violations
    assert {name: (one.value, one.origin) for name, one in judged.values.scalars.items()} == {
        "gpu": ("1", Origin.WORKLOAD),
        "image": ("base", Origin.BASE),
        "cpu": ("2", Origin.BASE),
        "memory": ("1G", Origin.POLICY),
    }


def test_a_base_that_a_changed_policy_forbids_is_refused_with_the_parameter() -> None:
    """Seed 001: a base with gpu 5 was valid until the policy's maximum became 3."""
    sources = Sources(project="team-a", base={**IMAGE, "gpu": {"value": "5"}}, policy={"gpu": {"rules": {"max": "3"}}})
    assert violations({"baseWorkload": "old"}, sources) == ("gpu: must be no greater than 3",)
    assert violations({"baseWorkload": "old", "gpu": {"value": "2"}}, sources) == ()


def test_a_clone_is_held_to_the_security_rules() -> None:
    """RUN-5676: what a job is cloned from is judged as what the clone says itself."""
    policy = {"allowPrivilegeEscalation": {"rules": {"canEdit": False}, "value": False}}
    cloned = {**IMAGE, "allowPrivilegeEscalation": {"value": True}}
    sources = Sources(project="team-a", base=cloned, policy=policy)
    assert violations({"baseWorkload": "old"}, sources) == ("allowPrivilegeEscalation: cannot be edited",)


def test_all_violations_are_told_at_once_and_sorted() -> None:
    policy = {"gpu": {"rules": {"max": "4"}}, "cpu": {"rules": {"required": True}}}
    found = violations({"gpu": {"value": "5"}, "tty": {"value": True}}, Sources(project="team-a", policy=policy))
    assert found == (
        "--stdin is required for containers with -t/--tty=true",
        "cpu: cannot be blank",
        "gpu: must be no greater than 4",
        "image: cannot be blank",
    )


@pytest.mark.parametrize(
    ("spec", "base", "named"),
    [
        ({"namePrefix": {"value": "b"}}, {"usage": "Template", "name": {"value": "a"}}, {"namePrefix": "b"}),
        ({"name": {"value": "b"}}, {"namePrefix": {"value": "a"}}, {"name": "b"}),
        ({}, {"usage": "Template", "name": {"value": "a"}}, {"name": "a"}),
        ({}, {"namePrefix": {"value": "a"}}, {"namePrefix": "a"}),
        ({}, {"name": {"value": "a"}}, {}),  # the job of the base itself has it
    ],
)
def test_a_name_comes_from_the_base_only_when_it_can_be_had(
    spec: dict[str, Any], base: dict[str, Any], named: dict[str, str]
) -> None:
    sources = Sources(project="team-a", base={**IMAGE, **base})
    judged = judge(T, parameters(T), TEAM, {"baseWorkload": "t", **spec}, sources)
    assert not judged.violations
    assert {name: judged.values.plain().get(name) for name in named} == named
    assert {"name", "namePrefix"} & judged.values.plain().keys() == named.keys()


def test_distributed_work_takes_its_job_type_from_the_base() -> None:
    sources = Sources(project="team-a", base={"usage": "Template", "jobType": "PyTorch", **IMAGE})
    assert violations({"baseWorkload": "t"}, sources, D) == ()
    assert violations({"baseWorkload": "t"}, Sources(project="team-a", base=IMAGE), D) != ()


def test_of_a_template_only_the_form_is_judged() -> None:
    assert violations({"usage": "Template", "jupyter": {"value": True}}, Sources(), I, "runai") == ()
    port = {"items": {"web": {"value": {"external": 80}}}}  # a policy may fill in the container's port
    assert violations({"usage": "Template", "ports": port}, Sources()) == ()
    assert violations({"usage": "Template", "gpu": {"value": "much"}}, Sources()) == ("gpu: must be a number",)
    assert violations({"usage": "Template", "baseWorkload": "other"}, Sources()) == (
        "baseWorkload: cannot be set on a template",
    )


def test_a_misspelt_base_says_what_was_meant() -> None:
    """Seed 001 writes `baseWorload`."""
    (found,) = violations({**IMAGE, "baseWorload": "team-a"})
    assert found == "baseWorload: unknown field (did you mean baseWorkload?)"


@pytest.mark.parametrize(
    ("namespace", "project", "says"),
    [
        ("runai", "", "usage: must be Template in the namespace runai"),
        ("default", "", "namespace: default belongs to no project"),
    ],
)
def test_a_workload_is_submitted_in_the_namespace_of_a_project(namespace: str, project: str, says: str) -> None:
    (found,) = violations(IMAGE, Sources(project=project), T, namespace)
    assert found.startswith(says)


def test_problems_of_sources_are_among_the_violations() -> None:
    missing = "baseWorkload: t not found in team-a or in global templates"
    assert violations(IMAGE, Sources(project="team-a", problems=(missing,))) == (missing,)


@pytest.mark.parametrize(
    ("kind", "plain", "shown"),
    [
        (I, {}, "Interactive"),
        (I, {"preemptible": True}, "Interactive-Preemptible"),
        (T, {}, "Train"),
        (D, {}, "Distributed"),
        (WorkloadKind.DEPLOYMENT, {}, "Inference"),
    ],
)
def test_people_are_shown_the_type_of_behaviour_4_4(kind: WorkloadKind, plain: dict[str, Any], shown: str) -> None:
    assert type_of(kind, plain) == shown


@pytest.mark.parametrize(
    ("master", "says"),
    [
        ({"masterEnvironment": {"items": {"PROXY": {"value": "-"}}}}, "masterEnvironment.PROXY: cannot be removed"),
        ({"masterEnvironment": {"items": {"PROXY": {"value": "x"}}}}, "masterEnvironment.PROXY: cannot be edited"),
        ({"masterEnvironment": {"items": {"OTHER": {"value": "x"}}}}, "masterEnvironment.OTHER: cannot be added"),
        ({"masterEnvironment": {"items": {"PROXY": {"value": "http://p"}}}}, ""),
        (
            {"masterExtendedResources": {"items": {"rdma": {"value": {"resource": "rdma/hca", "quantity": 9}}}}},
            "masterExtendedResources.rdma: cannot be added",
        ),
        ({"masterNoPvcs": {"value": True}}, "masterNoPvcs: must be false, as data cannot be removed"),
        ({"masterNoPvcs": {"value": False}}, ""),
    ],
)
def test_a_master_is_held_to_what_holds_for_its_workers(master: dict[str, Any], says: str) -> None:
    locked = {"canEdit": False, "canRemove": False}
    policy = {
        "environment": {"rules": {"canAdd": False}, "items": {"PROXY": {"rules": locked, "value": "http://p"}}},
        "extendedResources": {"rules": {"canAdd": False}},
        "pvcs": {"items": {"data": {"rules": locked, "value": {"claimName": "c", "existingPvc": True, "path": "/d"}}}},
    }
    spec = {"jobType": "PyTorch", **IMAGE, **master}
    found = violations(spec, Sources(project="team-a", policy=policy), D)
    assert found == ((says,) if says else ())


@pytest.mark.parametrize(
    "spec",
    [
        {"annotations": {"items": {"run.ai/node-pools": {"value": "a b"}}}},
        {"labels": {"items": {"kai.scheduler/node-pool": {"value": "a"}}}},
    ],
)
def test_node_pools_are_chosen_by_their_parameter_alone(spec: dict[str, Any]) -> None:
    (found,) = violations({**IMAGE, **spec})
    assert found.endswith(": follows from nodePools")
