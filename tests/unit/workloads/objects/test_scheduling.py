"""The rows "Identity" and "Scheduling" of the table of parameters (behaviour.md 2.3), and the labels of 2.4."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.workload import WorkloadKind
from extender.wire import pods
from extender.workloads.objects import Backend
from tests.submissions import Rendered, rendered

Json = dict[str, Any]
K = WorkloadKind


def as_pod(found: Rendered) -> Any:
    """What the scheduler makes of a pod of the job."""
    metadata = {"uid": "u", "name": "p", "namespace": "runai-team-a", **found.template["metadata"]}
    return pods.parse({"metadata": metadata, "spec": found.pod})


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (K.INTERACTIVE, {}, "build"),
        (K.INTERACTIVE, {"preemptible": True}, "interactive-preemptible"),
        (K.TRAINING, {}, ""),
        (K.TRAINING, {"preemptible": True}, ""),  # 12.8: without interactive it is ignored
        (K.INFERENCE, {}, "inference"),
        (K.DEPLOYMENT, {}, "inference"),
    ],
)
def test_the_class_is_one_for_the_scheduler_and_for_kubectl(kind: WorkloadKind, values: Json, expected: str) -> None:
    found = rendered(kind, **values)
    assert found.labels.get("priorityClassName", "") == expected
    assert found.job["metadata"]["labels"].get("priorityClassName", "") == expected
    assert found.pod.get("priorityClassName", "") == expected
    assert as_pod(found).priority_class == expected


def test_job_and_pods_say_what_they_belong_to() -> None:
    found = rendered(K.INTERACTIVE, labels={"team": "vision", "n": 3})
    expected = {
        "app": "runaijob",
        "createdBy": "RunaiJob",
        "heritage": "runai-scheduler",
        "project": "team-a",
        "runai/queue": "team-a",
        "release": "j",
        "run.ai/workload-kind": "Interactive",
        "priorityClassName": "build",
    }
    assert found.labels == found.job["metadata"]["labels"] == {"n": "3", "team": "vision"} | expected
    assert found.one("ConfigMap")["metadata"]["labels"] == expected | {"runai/job-config": "true"}


def test_a_label_of_the_submitters_does_not_let_another_project_pay() -> None:
    found = rendered(labels={"runai/queue": "team-b", "project": "team-b", "kai.scheduler/queue": "team-b"})
    assert as_pod(found).queue_label == "team-a"


def test_annotations_are_the_pods() -> None:
    found = rendered(annotations={"a": "1"}, username="ann")
    assert found.annotations == {"a": "1", "user": "ann"}
    assert found.job["metadata"]["annotations"] == {"user": "ann"}


@pytest.mark.parametrize(
    ("values", "given", "expected"),
    [
        ({}, {"user": "ann"}, {"user": "ann"}),
        ({"username": "bob"}, {"user": "ann"}, {"user": "bob"}),
        ({"userId": "7"}, {}, {"run.ai/user-id": "7"}),
    ],
)
def test_who_submitted_it(values: Json, given: Json, expected: Json) -> None:
    assert rendered(given=given, **values).job["metadata"]["annotations"] == expected


def test_node_type() -> None:
    assert rendered(nodeType="dgx").pod["nodeSelector"] == {"run.ai/type": "dgx"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ()),
        ({"nodePools": ["b", "a"]}, ("b", "a")),
        ({"nodePool": "old"}, ("old",)),
        ({"nodePool": "old", "nodePools": ["new"]}, ("new",)),
    ],
)
def test_node_pools_in_their_order(values: Json, expected: tuple[str, ...]) -> None:
    assert as_pod(rendered(**values)).pools == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"operator": "Equal", "key": "k", "value": "v", "effect": "NoSchedule", "seconds": 30, "name": "n"},
            {"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule", "tolerationSeconds": 30},
        ),
        ({"operator": "Exists"}, {"operator": "Exists"}),
        ({"operator": "exists", "effect": "NoExecute", "seconds": 0}, None),
    ],
)
def test_tolerations(item: Json, expected: Json | None) -> None:
    expected = expected or {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}
    assert rendered(tolerations={"t": item}).pod["tolerations"] == [expected]


def test_pod_affinity_is_to_the_pods_of_the_job() -> None:
    soft = rendered(podAffinity=True).pod["affinity"]["podAffinity"]
    (one,) = soft["preferredDuringSchedulingIgnoredDuringExecution"]
    assert one["podAffinityTerm"] == {
        "labelSelector": {"matchLabels": {"release": "j"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    hard = rendered(podAffinity=True, podAffinitySchedulingRule="hard", podAffinityTopology="rack").pod["affinity"]
    assert hard["podAffinity"] == {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"release": "j"}}, "topologyKey": "rack"}
        ]
    }
    assert "affinity" not in rendered(podAffinitySchedulingRule="hard", podAffinityTopology="rack").pod


@pytest.mark.parametrize("backend", list(Backend))
def test_every_pod_is_for_our_scheduler(backend: Backend) -> None:
    for kind in K:
        assert (
            rendered(kind, given={"backend": backend, "job_type": "PyTorch"}).pod["schedulerName"] == "runai-scheduler"
        )
