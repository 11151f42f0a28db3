"""CPU and memory of those who ask for GPUs alone (behaviour.md 12.10), and templates that are left as they are."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from extender.admission import rules
from extender.admission.defaults import Factors, fill
from extender.admission.pods import Context
from extender.emulator.patching import json_patch
from extender.wire.admission import Review

Json = dict[str, Any]
HERE = "runai-team-a"
FACTORS = Factors(cpu_request_milli=1000, memory_request_mib=100)
WITH_LIMITS = Factors(1000, 100, 2000, 400)
CONTEXT = Context(HERE, gates=False, wires=False, factors=FACTORS)
NO_DEFAULT: Json = {"cpu": None, "memory": None}


def container(name: str = "c", gpu: object = None, **resources: Json) -> Json:
    if gpu is not None:
        resources["limits"] = {"nvidia.com/gpu": gpu, **resources.get("limits", {})}
    return {"name": name, "resources": resources}


def pod(*containers: Json, annotations: Json | None = None, **spec: Any) -> Json:
    made = {"schedulerName": "runai-scheduler", "containers": list(containers) or [{"name": "c"}], **spec}
    return {"metadata": {"annotations": annotations or {}}, "spec": made}


def requests(obj: Json, factors: Factors = FACTORS, where: str = "requests") -> list[tuple[str | None, str | None]]:
    """CPU and memory of each container after `fill`, init containers last."""
    fill(obj, factors)
    spec = obj["spec"]
    found = [
        (one.get("resources") or {}).get(where) or {} for one in (*spec["containers"], *spec.get("initContainers", ()))
    ]
    return [(one.get("cpu"), one.get("memory")) for one in found]


CASES: dict[str, tuple[Json, list[tuple[str | None, str | None]]]] = {
    "no GPU": (pod(), [(None, None)]),
    "no GPU, said": (pod(container(gpu="0")), [(None, None)]),
    "two": (pod(container(gpu="2")), [("2", "200Mi")]),
    "two, as a number": (pod(container(gpu=2)), [("2", "200Mi")]),
    "half": (pod(annotations={"gpu-fraction": "0.5"}), [("500m", "50Mi")]),
    "an eighth": (pod(annotations={"gpu-fraction": "0.125"}), [("125m", "12800Ki")]),
    "a third, rounded up": (pod(annotations={"gpu-fraction": "0.3334"}), [("334m", "35022439")]),
    "half of each of two": (
        pod(annotations={"gpu-fraction": "0.5", "gpu-fraction-num-devices": "2"}),
        [("1", "100Mi")],
    ),
    "by memory: as a device": (pod(annotations={"gpu-memory": "2000"}), [("1", "100Mi")]),
    "by memory of two": (
        pod(annotations={"gpu-memory": "2000", "gpu-fraction-num-devices": "2"}),
        [("2", "200Mi")],
    ),
    "three of seven slices": (
        pod(container(limits={"nvidia.com/mig-3g.20gb": "1"})),
        [("429m", "44983911")],
    ),
    "whose GPU it is": (pod(container("a"), container("b", gpu="1")), [(None, None), ("1", "100Mi")]),
    "each its own": (pod(container("a", gpu="1"), container("b", gpu="3")), [("1", "100Mi"), ("3", "300Mi")]),
    "the named container": (
        pod(container("a"), container("b"), annotations={"gpu-fraction": "0.5", "gpu-fraction-container-name": "b"}),
        [(None, None), ("500m", "50Mi")],
    ),
    "an init container": (pod(initContainers=[container("i", gpu="1")]), [(None, None), ("1", "100Mi")]),
    "CPU said": (pod(container(gpu="2", requests={"cpu": "8"})), [("8", "200Mi")]),
    "memory said": (pod(container(gpu="2", requests={"memory": "1Gi"})), [("2", "1Gi")]),
    "a limit is a request": (pod(container(gpu="2", limits={"cpu": "1", "memory": "1Gi"})), [(None, None)]),
    "said for the pod": (pod(container(gpu="2"), resources={"requests": {"cpu": "1"}}), [(None, "200Mi")]),
    "no request at all": (pod(container(gpu="1"), annotations={"gpu-fraction": "0.5"}), [("1", "100Mi")]),
    "not a number": (pod(container(gpu="x")), [(None, None)]),
}


@pytest.mark.parametrize("case", CASES)
def test_requests(case: str) -> None:
    obj, expected = CASES[case]
    given = copy.deepcopy(obj)
    assert requests(given) == expected
    once = copy.deepcopy(given)
    assert requests(given) == expected
    assert given == once, "asked twice"


def test_limits_are_none_unless_there_are_factors_for_them() -> None:
    assert requests(pod(container(gpu="2")), where="limits") == [(None, None)]
    assert requests(pod(container(gpu="2")), WITH_LIMITS, "limits") == [("4", "800Mi")]
    # Beside a request of its author's a limit of ours could be the smaller of the two, which nobody would take.
    assert requests(pod(container(gpu="2", requests={"cpu": "8"})), WITH_LIMITS, "limits") == [(None, "800Mi")]


def test_nothing_is_added_without_factors() -> None:
    obj = pod(container(gpu="2"))
    fill(obj, Factors())
    assert obj == pod(container(gpu="2"))


# Workloads.


def job(*containers: Json, **template: Any) -> Json:
    return {"spec": {"template": pod(*containers, **template), "parallelism": 1}}


def review(obj: Json, *, old: Json | None = None, kind: str = "Job.batch", **given: Any) -> Review:
    return Review("u", "UPDATE" if old else "CREATE", kind, HERE, obj, old=old or {}, **given)


def applied(asked: Review, context: Context = CONTEXT) -> Json:
    answer = rules.mutate(asked, context)
    assert answer.refusals == ()
    done: Json = json_patch(copy.deepcopy(asked.obj), copy.deepcopy(list(answer.patch)))
    return done


def resources(obj: Json) -> Json:
    found: Json = obj["spec"]["template"]["spec"]["containers"][0]["resources"]
    return found


@pytest.mark.parametrize("kind", ["Job.batch", "StatefulSet.apps", "Deployment.apps", "RunaiJob.run.ai"])
def test_templates_are_filled_like_pods(kind: str) -> None:
    filled = applied(review(job(container(gpu="2")), kind=kind))
    assert resources(filled) == {"limits": {"nvidia.com/gpu": "2"}, "requests": {"cpu": "2", "memory": "200Mi"}}
    part = applied(review(job(container(gpu="500m")), kind=kind))
    assert resources(part) == {"limits": {}, "requests": {"cpu": "500m", "memory": "50Mi"}}


def test_the_pods_of_a_filled_template_need_nothing() -> None:
    template = applied(review(job(container(gpu="2"))))["spec"]["template"]
    assert rules.mutate(Review("u", "CREATE", "Pod", HERE, template), CONTEXT).patch == ()


def test_a_template_that_stays_as_it_was_is_left_alone() -> None:
    # Made before there were defaults: of a Job it cannot change any more, and we suspend Jobs ourselves.
    old = job(container(gpu="2"))
    suspended = {"spec": {**old["spec"], "suspend": True}}
    assert rules.mutate(review(suspended, old=old), CONTEXT).patch == ()
    bad = job(container(gpu="1"), annotations={"gpu-fraction": "0.5"})
    assert rules.validate(review({"spec": {**bad["spec"], "suspend": True}}, old=bad), CONTEXT).refusals == ()
    assert rules.validate(review(bad, old=old), CONTEXT).refusals


def test_the_same_yaml_applied_again_is_no_change() -> None:
    old = applied(review(job(container(gpu="500m"))))
    again = copy.deepcopy(old)  # kubectl merges what its file says into what there is
    resources(again)["limits"]["nvidia.com/gpu"] = "500m"
    assert applied(review(again, old=old)) == old
    more = replace(CONTEXT, factors=WITH_LIMITS)
    assert applied(review(again, old=old), more) == old, "settings that have changed meanwhile"


def test_a_changed_template_is_filled() -> None:
    old = applied(review(job(container(gpu="2")), kind="Deployment.apps"))
    changed = copy.deepcopy(old)
    changed["spec"]["template"]["spec"]["containers"].append(container("second", gpu="1"))
    filled = applied(review(changed, old=old, kind="Deployment.apps"))
    assert filled["spec"]["template"]["spec"]["containers"][1]["resources"]["requests"]["cpu"] == "1"


@pytest.mark.parametrize(
    ("by", "is_filled"),
    [
        (
            {
                "user": "system:serviceaccount:kube-system:deployment-controller",
                "groups": ("system:serviceaccounts:kube-system",),
            },
            False,
        ),
        ({"user": "system:kube-controller-manager"}, False),
        ({"groups": ("system:serviceaccounts:runai", "system:authenticated")}, False),
        ({"user": "alice", "groups": ("system:masters",)}, True),
        ({"groups": ("system:serviceaccounts:runai-team-a",)}, True),
    ],
    ids=["account", "one account for all", "ours", "somebody", "an account of the project"],
)
def test_a_replica_set_stays_as_its_deployment_says(by: Json, is_filled: bool) -> None:
    # A Deployment does not recognise a ReplicaSet whose template differs from its own: it makes another, and again.
    asked = review(job(container(gpu="1")), kind="ReplicaSet.apps", **by)
    assert bool(rules.mutate(asked, CONTEXT).patch) is is_filled
