"""Versions of workloads and policies: whatever is written, there and back is the same object."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extender.model.workload import WorkloadKind
from extender.workloads.conversion import V1, V2, convert

Json = dict[str, Any]

LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
KEYS = st.sampled_from(["value", "items", "rules", "itemRules", "namePrefix", "jobNamePrefix", "gpu", "a"])
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3))
FIELDS = st.sampled_from(["gpu", "ports", "usage", "image", "later"])


def specs(prefix: str, *, entries: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """A spec of any fields, with the prefix of names as its version spells it or without."""
    fields = st.dictionaries(FIELDS, entries, max_size=4)
    return st.builds(lambda spec, own: {**spec, **own}, fields, st.dictionaries(st.just(prefix), entries, max_size=1))


def objects(version: str, kinds: list[str], spec: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {
            "apiVersion": st.just(version),
            "kind": st.sampled_from(kinds),
            "metadata": st.dictionaries(KEYS, ANYTHING, max_size=2),
            "spec": spec,
            "status": ANYTHING,
        }
    )


WORKLOADS = [kind.workload for kind in WorkloadKind]
POLICIES = [kind.policy for kind in WorkloadKind]
# A default of v1alpha1 is nested; everything else in an entry is free.
NESTED = st.builds(
    lambda entry, value: {**entry, **value},
    st.dictionaries(st.sampled_from(["rules", "items", "itemRules", "x"]), ANYTHING, max_size=3),
    st.dictionaries(st.just("value"), st.fixed_dictionaries({"value": ANYTHING}), max_size=1),
)
V1_OBJECTS = objects(V1, WORKLOADS, specs("jobNamePrefix", entries=ANYTHING)) | objects(
    V1, POLICIES, specs("jobNamePrefix", entries=NESTED | LEAVES)
)
V2_OBJECTS = objects(V2, WORKLOADS + POLICIES, specs("namePrefix", entries=ANYTHING))


@given(V1_OBJECTS)
def test_old_to_new_and_back(obj: Json) -> None:
    before = deepcopy(obj)
    assert convert(convert(obj, V2), V1) == before
    assert obj == before


@given(V2_OBJECTS)
def test_new_to_old_and_back(obj: Json) -> None:
    before = deepcopy(obj)
    assert convert(convert(obj, V1), V2) == before
    assert obj == before


@given(V1_OBJECTS | V2_OBJECTS)
def test_only_version_and_spec_change(obj: Json) -> None:
    other = convert(obj, V2 if obj["apiVersion"] == V1 else V1)
    assert other.keys() == obj.keys()
    assert {key: other[key] for key in ("kind", "metadata", "status")} == {
        key: obj[key] for key in ("kind", "metadata", "status")
    }
    assert len(other["spec"]) == len(obj["spec"])


def leaves(value: object) -> list[str]:
    """Every scalar below, by a walk that knows nothing of versions."""
    if isinstance(value, dict):
        return sorted(leaf for inner in value.values() for leaf in leaves(inner))
    if isinstance(value, list):
        return sorted(leaf for inner in value for leaf in leaves(inner))
    return [repr(value)]


@given(
    objects(V1, POLICIES, specs("jobNamePrefix", entries=ANYTHING))
    | objects(V2, POLICIES, specs("namePrefix", entries=ANYTHING))
)
def test_nothing_is_lost_even_of_what_no_schema_accepts(obj: Json) -> None:
    other = V2 if obj["apiVersion"] == V1 else V1
    assert leaves(convert(obj, other)["spec"]) == leaves(obj["spec"])


@given(st.lists(objects(V1, ["TrainingPolicy"], specs("jobNamePrefix", entries=NESTED | LEAVES)), max_size=3))
def test_a_list_converts_as_its_items_do(items: list[Json]) -> None:
    listed = {"apiVersion": V1, "kind": "TrainingPolicyList", "metadata": {}, "items": items}
    assert convert(listed, V2)["items"] == [convert(one, V2) for one in items]
