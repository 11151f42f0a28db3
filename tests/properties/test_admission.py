"""The patch leads from the object to the filled one, and from there nowhere."""

from __future__ import annotations

import copy
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from extender.admission import policies
from extender.admission.defaults import Factors
from extender.admission.patch import difference
from extender.admission.pods import Context
from extender.admission.rules import mutate, validate
from extender.emulator.patching import json_patch
from extender.model.workload import WorkloadKind
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


# With policies: defaults of some parameters, locked or not, and pods that say some things themselves.

TRAINING = WorkloadKind.TRAINING
DEFAULTS: dict[str, Any] = {
    "image": "y:2",
    "imagePullPolicy": "Always",
    "command": "sleep 1",
    "arguments": "a 'b c'",
    "workingDir": "/w",
    "stdin": True,
    "tty": False,
    "gpu": "0.5",
    "cpu": "0.5",
    "cpuLimit": 2,
    "memory": "1Gi",
    "memoryLimit": "2Gi",
    "nodeType": "a100",
    "nodePools": ["a", "b"],
    "runAsUser": True,
    "runAsUid": 500,
    "runAsGid": 500,
    "supplementalGroups": "1;2",
    "allowPrivilegeEscalation": False,
    "hostIpc": False,
    "hostNetwork": True,
}
DEFAULT_ITEMS: dict[str, Any] = {
    "environment": {"A": "1", "B": "SECRET:s,k"},
    "labels": {"app": "policy"},
    "annotations": {"note": "policy"},
    "tolerations": {"t": {"key": "k", "operator": "Exists"}},
    "capabilities": {"c": "SYS_PTRACE"},
}


@st.composite
def policy_specs(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(st.sets(st.sampled_from([*DEFAULTS, *DEFAULT_ITEMS])))
    spec: dict[str, Any] = {}
    for name in sorted(chosen):
        rules = {"rules": {"canEdit": False}} if draw(st.booleans()) else {}
        if name in DEFAULTS:
            spec[name] = {"value": DEFAULTS[name], **rules}
        else:
            spec[name] = {"items": {label: {"value": one, **rules} for label, one in DEFAULT_ITEMS[name].items()}}
    return spec


CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "runAsUser": st.sampled_from([0, 500]),
        "allowPrivilegeEscalation": st.booleans(),
        "capabilities": st.just({"add": ["SYS_PTRACE"]}),
    },
)
CONTAINERS = st.fixed_dictionaries(
    {"name": st.just("c"), "image": st.sampled_from(["x", "x:1", ""])},
    optional={
        "imagePullPolicy": st.sampled_from(["Always", "IfNotPresent", "Never"]),
        "command": st.just(["run", "it all"]),
        "env": st.lists(st.sampled_from([{"name": "A", "value": "2"}, {"name": "C"}]), max_size=2),
        "resources": st.sampled_from(
            [{}, {"limits": {"nvidia.com/gpu": "1"}}, {"limits": {"cpu": "1"}}, {"requests": {"memory": "2Gi"}}]
        ),
        "stdin": st.booleans(),
        "securityContext": CONTEXTS,
    },
)
TALKING_PODS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({}, optional={"labels": st.just({"app": "mine"})}),
        "spec": st.fixed_dictionaries(
            {"schedulerName": st.just("runai-scheduler"), "containers": st.lists(CONTAINERS, min_size=1, max_size=2)},
            optional={
                "initContainers": st.lists(CONTAINERS, max_size=2),
                "nodeSelector": st.just({"zone": "a"}),
                "tolerations": st.just([{"key": "k", "operator": "Exists"}]),
                "hostNetwork": st.booleans(),
                "securityContext": CONTEXTS,
            },
        ),
    }
).map(lambda pod: orjson.loads(orjson.dumps(pod)))  # no part of which is there twice
SILENT_POD = {"metadata": {}, "spec": {"schedulerName": "runai-scheduler", "containers": [{"name": "c"}]}}


def judged_by(spec: Any) -> Context:
    obj = {"kind": TRAINING.policy, "metadata": {"name": "p", "namespace": "runai"}, "spec": spec}
    known = policies.read(TRAINING, obj)
    assert known.problem == ""
    return Context(
        "runai-a",
        factors=Factors(1000, 100),
        policies=lambda kind, namespace: [known] if (kind, namespace) == (TRAINING, "runai") else [],
    )


def filled(pod: Any, context: Context) -> Any:
    answer = mutate(Review("u", "CREATE", "Pod", "runai-a", pod), context)
    assert answer.refusals == ()
    return json_patch(copy.deepcopy(pod), copy.deepcopy(list(answer.patch)))


def is_kept(before: Any, after: Any) -> bool:
    """Whether everything that was said is still said: objects and lists only grow."""
    if isinstance(before, dict):
        return all(key in after and is_kept(value, after[key]) for key, value in before.items())
    if isinstance(before, list) and (not before or isinstance(before[0], dict)):
        return all(any(is_kept(one, other) for other in after) for one in before)
    return bool(before == after)


@given(TALKING_PODS, policy_specs())
def test_a_policy_adds_once_and_keeps_what_was_said(pod: Any, spec: Any) -> None:
    context = judged_by(spec)
    done = filled(pod, context)
    assert filled(done, context) == done
    of_each = ("containers", "initContainers")
    boxes, given_boxes = ([one for key in of_each for one in of["spec"].get(key, ())] for of in (done, pod))
    for container, was in zip(boxes, given_boxes, strict=True):
        usual = "Always" if was["image"] == "x" else "IfNotPresent"
        if was.get("imagePullPolicy") in (usual, None) or not was["image"]:  # nobody can tell who said it
            container.pop("imagePullPolicy", None)
            was = {key: value for key, value in was.items() if key != "imagePullPolicy"}
        assert is_kept({key: value for key, value in was.items() if value not in (False, "")}, container)
    rest = {key: value for key, value in pod["spec"].items() if key not in of_each and value is not False}
    assert is_kept(rest, done["spec"])
    assert is_kept(pod["metadata"], done["metadata"])


@given(policy_specs())
def test_who_says_nothing_breaks_no_locked_default(spec: Any) -> None:
    context = judged_by(spec)
    done = filled(SILENT_POD, context)
    assert validate(Review("u", "CREATE", "Pod", "runai-a", done), context).refusals == ()


@given(TALKING_PODS, policy_specs())
def test_what_is_refused_is_what_the_pod_said_itself(pod: Any, spec: Any) -> None:
    """Without the containers' and the pod's own words there is nothing left to refuse."""
    context = judged_by(spec)
    lines = validate(Review("u", "CREATE", "Pod", "runai-a", filled(pod, context)), context).refusals
    locked = {name for name, part in spec.items() if "rules" in part or "items" in part}
    assert {line.partition(":")[0].partition(".")[0] for line in lines} <= locked
