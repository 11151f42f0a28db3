"""The patch leads from the object to the filled one, and from there nowhere."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extender.admission.patch import difference
from extender.admission.pods import Context
from extender.admission.rules import mutate
from extender.emulator.patching import json_patch
from extender.wire.admission import Review

KEYS = st.sampled_from(["a", "b", "c/d", "e~f", "~1", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def same(one: Any, other: Any) -> bool:
    """Equality of JSON, where true is not 1."""
    return repr(_sorted(one)) == repr(_sorted(other))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


@given(OBJECTS, OBJECTS)
def test_applying_the_difference_gives_the_other(before: Any, after: Any) -> None:
    operations = difference(before, after)
    assert same(json_patch(copy.deepcopy(before), copy.deepcopy(operations)), after)
    assert bool(operations) is not same(before, after)


GATES = st.lists(st.sampled_from(["run.ai/queued", "x.example/a", "x.example/b"]), unique=True, max_size=3)
PODS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "annotations": st.dictionaries(st.sampled_from(["runai-gpu", "runai-gpu-share", "note"]), st.just("0")),
                "labels": st.dictionaries(st.sampled_from(["runai-gpu-group/g", "app"]), st.just("g")),
            },
        ),
        "spec": st.fixed_dictionaries(
            {"schedulerName": st.sampled_from(["runai-scheduler", "default-scheduler"])},
            optional={
                "nodeName": st.sampled_from(["", "n1"]),
                "schedulingGates": st.none() | GATES.map(lambda names: [{"name": name} for name in names]),
            },
        ),
    }
)


@given(PODS, st.booleans(), st.booleans())
def test_a_patched_pod_needs_no_patch_and_keeps_what_is_not_ours(pod: Any, enforced: bool, gates: bool) -> None:
    context = Context("runai-a", enforced=enforced, gates=gates)
    answer = mutate(Review("u", "CREATE", "Pod", "runai-a", pod), context)
    patched = json_patch(copy.deepcopy(pod), list(answer.patch))
    assert mutate(Review("u", "CREATE", "Pod", "runai-a", patched), context).patch == ()
    foreign = [one for one in pod["spec"].get("schedulingGates") or [] if "example" in one["name"]]
    assert [one for one in patched["spec"].get("schedulingGates") or [] if "example" in one["name"]] == foreign
    assert patched["metadata"].get("annotations", {}).get("note") == pod["metadata"].get("annotations", {}).get("note")
    is_ours = patched["spec"]["schedulerName"] == "runai-scheduler"
    assert is_ours or patched == pod
    if is_ours and gates and not patched["spec"].get("nodeName"):
        assert {"name": "run.ai/queued"} in patched["spec"]["schedulingGates"]
