"""The PodGroup that is made for each kind of workload: behaviour.md 6.11."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.pod import Owner, Pod
from extender.wire import grouping
from extender.wire.resources import parse_podgroup
from tests.builders import pod

Json = dict[str, Any]


def workload(kind: str, spec: Json | None = None, **metadata: Any) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": kind,
        "metadata": {"name": "w", "uid": "w-uid", "namespace": "runai-team-a", **metadata},
        "spec": spec or {},
    }


def made(*chain: Json, member: Pod | None = None) -> Json:
    """The group of the outermost of `chain`; every one that is made can be read back."""
    group = grouping.pod_group(chain[-1], chain, member or pod("p", owner="Job"))
    parse_podgroup(group)
    return group


def roles(**replicas: int) -> Json:
    return {role: {"replicas": number} for role, number in replicas.items()}


@pytest.mark.parametrize(
    ("obj", "minimum"),
    [
        pytest.param(workload("Job", {"parallelism": 4}), 1, id="pods of a Job are independent"),
        pytest.param(
            workload("Job", annotations={"kai.scheduler/batch-min-member": "4"}), 4, id="unless an annotation says more"
        ),
        pytest.param(workload("Job", annotations={"kai.scheduler/batch-min-member": "many"}), 1, id="and can be read"),
        pytest.param(workload("StatefulSet", {"replicas": 3}), 1, id="StatefulSet"),
        pytest.param(workload("MPIJob", {"mpiReplicaSpecs": roles(Launcher=1, Worker=4)}), 5, id="MPIJob"),
        pytest.param(
            workload(
                "MPIJob",
                {"mpiReplicaSpecs": roles(Launcher=1, Worker=4), "launcherCreationPolicy": "WaitForWorkersReady"},
            ),
            4,
            id="a launcher that waits for the workers",
        ),
        pytest.param(
            workload("PyTorchJob", {"pytorchReplicaSpecs": {"Master": {}, "Worker": {"replicas": 7}}}), 8, id="replicas"
        ),
        pytest.param(
            workload(
                "PyTorchJob",
                {"pytorchReplicaSpecs": roles(Master=1, Worker=8), "elasticPolicy": {"minReplicas": 2}},
            ),
            3,
            id="an elastic PyTorchJob",
        ),
        pytest.param(
            workload(
                "TFJob",
                {"tfReplicaSpecs": roles(PS=2, Worker=8), "runPolicy": {"schedulingPolicy": {"minAvailable": 6}}},
            ),
            6,
            id="minAvailable",
        ),
        pytest.param(workload("TFJob", {"tfReplicaSpecs": roles(Worker=0)}), 1, id="never nothing"),
        pytest.param(
            workload("RayCluster", {"workerGroupSpecs": [{"minReplicas": 2, "numOfHosts": 2}, {"replicas": 9}]}),
            5,
            id="RayCluster: the head and the fewest workers",
        ),
        pytest.param(
            workload(
                "JobSet",
                {"replicatedJobs": [{"replicas": 2, "template": {"spec": {"parallelism": 3}}}, {"template": {}}]},
            ),
            7,
            id="JobSet",
        ),
        pytest.param(workload("Anything", {"replicas": "x", "fooReplicaSpecs": None}), 1, id="a kind nobody knows"),
    ],
)
def test_the_minimum_of_a_kind(obj: Json, minimum: int) -> None:
    assert made(obj)["spec"]["minMember"] == minimum


def test_the_group_is_named_after_its_owner_and_goes_with_it() -> None:
    group = made(workload("Job", labels={"user": "joe"}))
    assert group["metadata"] == {
        "name": "pg-w-w-uid",
        "namespace": "runai-team-a",
        "labels": {"app.kubernetes.io/managed-by": "runai-scheduler", "user": "joe"},
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "w", "uid": "w-uid"}],
    }


@pytest.mark.parametrize(
    ("obj", "member", "expected"),
    [
        pytest.param(workload("Job", labels={"priorityClassName": "build"}), {}, "build", id="label of the workload"),
        pytest.param(
            workload("Job", {"template": {"metadata": {"labels": {"priorityClassName": "build"}}}}),
            {"priority_class": "train"},
            "build",
            id="label of its pods",
        ),
        pytest.param(workload("Job"), {"priority_class": "inference"}, "inference", id="the pods' own class"),
        pytest.param(workload("Job"), {}, "train", id="by default train"),
        pytest.param(workload("StatefulSet"), {"owner": "StatefulSet"}, "build", id="of a StatefulSet build"),
        pytest.param(workload("Deployment"), {"owner": "ReplicaSet"}, "inference", id="of a Deployment inference"),
    ],
)
def test_the_class(obj: Json, member: Json, expected: str) -> None:
    assert made(obj, member=pod("p", **{"owner": "Job", **member}))["spec"]["priorityClassName"] == expected


def test_node_pools_in_their_order() -> None:
    obj = workload("Job", labels={"kai.scheduler/node-pool": "c"}, annotations={"run.ai/node-pools": "b a"})
    assert made(obj)["spec"]["nodePools"] == ["b", "a"]


def test_what_labels_and_annotations_say() -> None:
    obj = workload(
        "Job",
        labels={
            "runai/queue": "team-b",
            "kai.scheduler/preemptibility": "non-preemptible",
            "kai.scheduler/node-pool": "a100",
        },
        annotations={
            "kai.scheduler/preemption-delay": "5m",
            "kai.scheduler/staleness-grace-period": "-1s",
            "kai.scheduler/topology": "dc",
            "kai.scheduler/topology-required-placement": "zone",
        },
    )
    assert made(obj)["spec"] == {
        "minMember": 1,
        "queue": "team-b",
        "priorityClassName": "train",
        "preemptibility": "non-preemptible",
        "nodePools": ["a100"],
        "preemptionDelay": "5m",
        "stalenessGracePeriod": "-1s",
        "topologyConstraint": {"topology": "dc", "requiredTopologyLevel": "zone"},
    }


def test_what_cannot_be_read_is_left_out() -> None:
    obj = workload(
        "Job",
        labels={"kai.scheduler/preemptibility": "maybe"},
        annotations={"kai.scheduler/preemption-delay": "-5m", "kai.scheduler/staleness-grace-period": "soon"},
    )
    assert made(obj)["spec"] == {"minMember": 1, "priorityClassName": "train"}


def test_the_outermost_owner_wins() -> None:
    inner = workload("Job", labels={"runai/queue": "inner", "priorityClassName": "build"})
    outer = {**workload("MPIJob", labels={"runai/queue": "outer"}), "apiVersion": "kubeflow.org/v2beta1"}
    group = made(inner, outer)
    assert (group["spec"]["queue"], group["spec"]["priorityClassName"]) == ("outer", "build")
    assert group["metadata"]["ownerReferences"][0]["kind"] == "MPIJob"


@pytest.mark.parametrize(
    ("value", "where", "skipped"),
    [("true", "metadata", True), ("true", "template", True), ("false", "metadata", False), (None, "metadata", False)],
)
def test_who_asks_to_be_left_alone(value: str | None, where: str, skipped: bool) -> None:
    annotations = {} if value is None else {"kai.scheduler/skip-podgrouper": value}
    template = {"template": {"metadata": {"annotations": annotations}}} if where == "template" else {}
    obj = workload("Job", template, **({"annotations": annotations} if where == "metadata" else {}))
    assert grouping.skips([obj]) is skipped


@pytest.mark.parametrize(
    ("owner", "path"),
    [
        (Owner("Job", "j", "u", "batch/v1"), "/apis/batch/v1/namespaces/n/jobs/j"),
        (Owner("MPIJob", "j", "u", "kubeflow.org/v1"), "/apis/kubeflow.org/v1/namespaces/n/mpijobs/j"),
        (Owner("Job", "j", "u", "batch.example.com/v1"), None),
        (Owner("Node", "n1", "u", "v1"), None),
    ],
)
def test_where_a_workload_is_read(owner: Owner, path: str | None) -> None:
    assert grouping.path_of("n", owner) == path
