"""Versions of workloads and policies: behaviour 1.4, 1.5 and 2.2 as tables."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from extender.errors import MalformedError
from extender.model.workload import WorkloadKind
from extender.workloads.conversion import V1, V2, convert

Json = dict[str, Any]


def made(kind: str, version: str, **spec: Any) -> Json:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "one", "labels": {"jobNamePrefix": "no field"}},
        "spec": spec,
        "status": {"phase": "Submitted"},
    }


# what it is: spec of v1alpha1, spec of v2alpha1
WORKLOADS: dict[str, tuple[Json, Json]] = {
    "nothing": ({}, {}),
    "the prefix of names": ({"jobNamePrefix": {"value": "bob"}}, {"namePrefix": {"value": "bob"}}),
    "a full name": ({"name": {"value": "bob"}}, {"name": {"value": "bob"}}),
    "scalars are wrapped alike": ({"gpu": {"value": "1"}}, {"gpu": {"value": "1"}}),
    "plain texts": ({"usage": "Template", "baseWorkload": "b"}, {"usage": "Template", "baseWorkload": "b"}),
    "items, even one labelled like the prefix": (
        {"ports": {"items": {"jobNamePrefix": {"value": {"container": 80}}, "old": {"deleted": True}}}},
        {"ports": {"items": {"jobNamePrefix": {"value": {"container": 80}}, "old": {"deleted": True}}}},
    ),
    "unknown fields": (
        {"new": [1, None], "x": {"value": {"value": 1}}},
        {"new": [1, None], "x": {"value": {"value": 1}}},
    ),
    "a prefix of the wrong type": ({"jobNamePrefix": 7}, {"namePrefix": 7}),
}
POLICIES: dict[str, tuple[Json, Json]] = {
    "nothing": ({}, {}),
    "the prefix of names": (
        {"jobNamePrefix": {"rules": {"canEdit": False}, "value": {"value": "bob"}}},
        {"namePrefix": {"rules": {"canEdit": False}, "value": "bob"}},
    ),
    "a default": (
        {"gpu": {"rules": {"required": True, "min": "1", "max": "4"}, "value": {"value": "1"}}},
        {"gpu": {"rules": {"required": True, "min": "1", "max": "4"}, "value": "1"}},
    ),
    "a default of false": ({"tty": {"value": {"value": False}}}, {"tty": {"value": False}}),
    "a default that is an object": ({"mpiJob": {"value": {"value": {"a": 1}}}}, {"mpiJob": {"value": {"a": 1}}}),
    "a default that looks nested itself": (
        {"mpiJob": {"value": {"value": {"value": 1}}}},
        {"mpiJob": {"value": {"value": 1}}},
    ),
    "rules alone": ({"gpu": {"rules": {"max": "4"}}}, {"gpu": {"rules": {"max": "4"}}}),
    "options have values of their own": (
        {"image": {"rules": {"options": [{"value": "a", "displayed": "A"}]}}},
        {"image": {"rules": {"options": [{"value": "a", "displayed": "A"}]}}},
    ),
    "itemized": (
        {
            "ports": {
                "rules": {"canAdd": False},
                "itemRules": {"container": {"min": 30000}},
                "items": {"a": {"rules": {"canEdit": False}, "value": {"container": 30100}}},
            }
        },
        {
            "ports": {
                "rules": {"canAdd": False},
                "itemRules": {"container": {"min": 30000}},
                "items": {"a": {"rules": {"canEdit": False}, "value": {"container": 30100}}},
            }
        },
    ),
    "entries of the wrong type": ({"gpu": 1, "cpu": None, "ports": []}, {"gpu": 1, "cpu": None, "ports": []}),
}
# v1alpha1 as no schema accepts it → v2alpha1, and what comes back
STRAYS: dict[str, tuple[Json, Json, Json]] = {
    "no inner value": ({"gpu": {"value": "1"}}, {"gpu": {"value": "1"}}, {"gpu": {"value": {"value": "1"}}}),
    "more than the inner value": (
        {"gpu": {"value": {"value": "1", "why": "x"}}},
        {"gpu": {"value": {"value": "1", "why": "x"}}},
        {"gpu": {"value": {"value": {"value": "1", "why": "x"}}}},
    ),
}


@pytest.mark.parametrize("kind", WorkloadKind)
@pytest.mark.parametrize("case", WORKLOADS)
def test_a_workload_in_the_other_version(kind: WorkloadKind, case: str) -> None:
    old, new = (made(kind.workload, version, **spec) for version, spec in zip((V1, V2), WORKLOADS[case], strict=True))
    assert convert(old, V2) == new
    assert convert(new, V1) == old


@pytest.mark.parametrize("kind", WorkloadKind)
@pytest.mark.parametrize("case", POLICIES)
def test_a_policy_in_the_other_version(kind: WorkloadKind, case: str) -> None:
    old, new = (made(kind.policy, version, **spec) for version, spec in zip((V1, V2), POLICIES[case], strict=True))
    assert convert(old, V2) == new
    assert convert(new, V1) == old


@pytest.mark.parametrize("case", STRAYS)
def test_what_no_schema_accepts_is_kept(case: str) -> None:
    old, new, back = STRAYS[case]
    assert convert(made("TrainingPolicy", V1, **old), V2) == made("TrainingPolicy", V2, **new)
    assert convert(made("TrainingPolicy", V2, **new), V1) == made("TrainingPolicy", V1, **back)


@pytest.mark.parametrize("spec", [None, [], "text", 3])
def test_a_spec_that_is_no_object_passes(spec: Any) -> None:
    old = {"apiVersion": V1, "kind": "TrainingPolicy", "metadata": {"name": "one"}, "spec": spec}
    assert convert(old, V2) == {**old, "apiVersion": V2}


def test_no_spec_stays_none() -> None:
    assert convert({"apiVersion": V1, "kind": "TrainingWorkload"}, V2) == {"apiVersion": V2, "kind": "TrainingWorkload"}


def test_the_order_of_fields_stays() -> None:
    converted = convert(made("TrainingWorkload", V1, image={}, jobNamePrefix={}, gpu={}), V2)
    assert list(converted["spec"]) == ["image", "namePrefix", "gpu"]


def test_to_its_own_version_an_object_is_itself() -> None:
    policy = made("TrainingPolicy", V1, jobNamePrefix={"value": {"value": "bob"}})
    assert convert(policy, V1) == policy


def test_the_argument_is_not_changed() -> None:
    policy = made("TrainingPolicy", V1, jobNamePrefix={"value": {"value": "bob"}})
    before = deepcopy(policy)
    convert(policy, V2)
    assert policy == before


def test_a_list_with_items_that_leave_their_type_out() -> None:
    items = [
        {"metadata": {"name": "a"}, "spec": {"jobNamePrefix": {"value": "x"}}},
        made("TrainingWorkload", V1, jobNamePrefix={"value": "y"}),
    ]
    listed = {"apiVersion": V1, "kind": "TrainingWorkloadList", "metadata": {"resourceVersion": "7"}, "items": items}
    assert convert(listed, V2) == {
        "apiVersion": V2,
        "kind": "TrainingWorkloadList",
        "metadata": {"resourceVersion": "7"},
        "items": [
            {"metadata": {"name": "a"}, "spec": {"namePrefix": {"value": "x"}}},
            made("TrainingWorkload", V2, namePrefix={"value": "y"}),
        ],
    }


def test_both_spellings_that_are_stored_can_be_read_and_not_be_written_back() -> None:
    stored = made("TrainingWorkload", V2, namePrefix={"value": "a"}, jobNamePrefix={"value": "b"})
    read = convert(stored, V1)
    assert read == made("TrainingWorkload", V1, jobNamePrefix={"value": "a"}, namePrefix={"value": "b"})
    with pytest.raises(MalformedError, match="has two prefixes"):
        convert(read, V2)


@pytest.mark.parametrize("versions", [(V1, V2), (V2, V1)])
@pytest.mark.parametrize("spelling", ["jobNamePrefix", "namePrefix"])
def test_one_spelling_alone_is_understood_in_either_version(versions: tuple[str, str], spelling: str) -> None:
    given, asked = versions
    right = {V1: "jobNamePrefix", V2: "namePrefix"}[asked]
    prefix = {"value": "a"}
    converted = convert(made("TrainingWorkload", given, **{spelling: prefix}), asked)
    assert converted == made("TrainingWorkload", asked, **{right: prefix})


REFUSED: dict[str, tuple[Json, str, str]] = {
    "both spellings": (
        made("TrainingWorkload", V1, jobNamePrefix={"value": "a"}, namePrefix={"value": "a"}),
        V2,
        (
            "TrainingWorkload one has two prefixes for the names of its jobs: spec.jobNamePrefix belongs to "
            "run.ai/v1alpha1 and spec.namePrefix belongs to run.ai/v2alpha1; keep one of them"
        ),
    ),
    "both spellings, no name": (
        {"apiVersion": V1, "kind": "TrainingPolicy", "spec": {"jobNamePrefix": {}, "namePrefix": {}}},
        V2,
        (
            "this TrainingPolicy has two prefixes for the names of its jobs: spec.jobNamePrefix belongs to "
            "run.ai/v1alpha1 and spec.namePrefix belongs to run.ai/v2alpha1; keep one of them"
        ),
    ),
    "from a version that is none": (
        made("TrainingWorkload", "run.ai/v1"),
        V2,
        "apiVersion 'run.ai/v1' has no conversion; there are run.ai/v1alpha1 and run.ai/v2alpha1",
    ),
    "to a version that is none": (
        made("TrainingWorkload", V1),
        "v2alpha1",
        "apiVersion 'v2alpha1' has no conversion; there are run.ai/v1alpha1 and run.ai/v2alpha1",
    ),
    "an item that is no object": (
        {"apiVersion": V1, "kind": "TrainingPolicyList", "items": [3]},
        V2,
        "an item of TrainingPolicyList is 3; it must be an object",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_says_why(case: str) -> None:
    obj, version, why = REFUSED[case]
    with pytest.raises(MalformedError) as raised:
        convert(obj, version)
    assert str(raised.value) == why


@pytest.mark.parametrize("kind", ["Project", None, 3, "TrainingPolicyList"])
def test_other_kinds_have_no_conversion(kind: Any) -> None:
    with pytest.raises(MalformedError, match="has no conversion; there are DeploymentPolicy, DeploymentWorkload, "):
        convert({"apiVersion": V1, "kind": kind}, V2)
