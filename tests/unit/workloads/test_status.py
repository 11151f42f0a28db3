"""The state of a job in one word, and the figures written back on it (behaviour.md 2.5, 4.5, 6.13, 12.10)."""

from __future__ import annotations

from typing import Any

import pytest

from extender.workloads.status import RECORDED, calculate, is_preempted, pod_status

Json = dict[str, Any]


def pod(
    name: str = "p",
    phase: str = "Running",
    *,
    node: str = "n1",
    created: str = "2026-01-01T00:00:00Z",
    annotations: Json | None = None,
    gpus: object = None,
    metadata: Json | None = None,
    spec: Json | None = None,
    **status: Any,
) -> Json:
    container: Json = {"name": "main"}
    if gpus is not None:
        container["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "annotations": annotations or {},
            **(metadata or {}),
        },
        "spec": {"containers": [container], **({"nodeName": node} if node else {}), **(spec or {})},
        "status": {"phase": phase, **status},
    }


def waiting(reason: str) -> list[Json]:
    return [{"name": "main", "state": {"waiting": {"reason": reason}}}]


def ended(reason: str = "", code: int = 1) -> list[Json]:
    return [{"name": "main", "state": {"terminated": {"reason": reason, "exitCode": code}}}]


def init(*states: Json, **rest: Any) -> Json:
    containers = [{"name": f"i{number}"} for number in range(3)]
    return pod(
        phase="Pending",
        spec={"initContainers": containers},
        initContainerStatuses=[{"name": f"i{number}", "state": state} for number, state in enumerate(states)],
        **rest,
    )


DONE: Json = {"terminated": {"reason": "Completed", "exitCode": 0}}
DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
GOING = {"deletionTimestamp": "2026-01-01T00:01:00Z"}

PODS: dict[str, tuple[Json, str]] = {
    "waits for a seat": (pod(phase="Pending", node=""), "Pending"),
    "no status at all": ({"metadata": {"name": "p"}}, "Pending"),
    "bound, the kubelet has said nothing": (pod(phase="Pending"), "ContainerCreating"),
    "image being pulled": (pod(phase="Pending", containerStatuses=waiting("ContainerCreating")), "ContainerCreating"),
    "image not found": (pod(phase="Pending", containerStatuses=waiting("ErrImagePull")), "ErrImagePull"),
    "image not found again": (pod(phase="Pending", containerStatuses=waiting("ImagePullBackOff")), "ImagePullBackOff"),
    "runs": (pod(containerStatuses=[{"name": "main", "ready": True, "state": {"running": {}}}]), "Running"),
    "crashes again and again": (pod(containerStatuses=waiting("CrashLoopBackOff")), "CrashLoopBackOff"),
    "between two tries": (pod(containerStatuses=ended("Error")), "Error"),
    "first of three": (init({"running": {}}), "Init:0/3"),
    "second of three": (init(DONE, {"waiting": {"reason": "PodInitializing"}}), "Init:1/3"),
    "init failed": (init(DONE, {"terminated": {"exitCode": 1}}), "Init:Error"),
    "init crashes": (init({"waiting": {"reason": "CrashLoopBackOff"}}), "Init:CrashLoopBackOff"),
    "inits done": (init(DONE, DONE, DONE, containerStatuses=waiting("PodInitializing")), "PodInitializing"),
    "done": (pod(phase="Succeeded"), "Succeeded"),
    "failed": (pod(phase="Failed", containerStatuses=ended("Error")), "Error"),
    "failed and nobody knows why": (pod(phase="Failed"), "Error"),
    "out of memory": (pod(phase="Failed", containerStatuses=ended("OOMKilled", 137)), "OOMKilled"),
    "no such command": (pod(phase="Failed", containerStatuses=ended("StartError", 128)), "ContainerCannotRun"),
    "evicted": (pod(phase="Failed", conditions=DISRUPTED, containerStatuses=ended("Error", 137)), "Preempted"),
    "evicted by the kubelet": (pod(phase="Failed", reason="Evicted"), "Preempted"),
    "being evicted": (pod(metadata=GOING, conditions=DISRUPTED), "Terminating"),
    "done while going": (pod(phase="Succeeded", metadata=GOING), "Succeeded"),
    "node lost": (pod(metadata=GOING, reason="NodeLost"), "Unknown"),
    "kubelet silent": (pod(phase="Unknown"), "Unknown"),
}


@pytest.mark.parametrize(("one", "expected"), PODS.values(), ids=PODS)
def test_a_pod_in_one_word(one: Json, expected: str) -> None:
    assert pod_status(one) == expected


def test_a_restartable_init_container_counts_when_it_has_started() -> None:
    one = init({"running": {}}, {"running": {}})
    one["spec"]["initContainers"][0]["restartPolicy"] = "Always"
    assert pod_status(one) == "Init:0/3"
    one["status"]["initContainerStatuses"][0]["started"] = True
    assert pod_status(one) == "Init:1/3"


def test_who_is_preempted() -> None:
    assert is_preempted(pod(conditions=DISRUPTED))
    assert is_preempted(pod(phase="Failed", reason="Evicted"))
    assert not is_preempted(pod(metadata=GOING))
    assert not is_preempted(pod(conditions=[{"type": "DisruptionTarget", "status": "False"}]))


def job(
    kind: str = "RunaiJob", *, record: str = "", spec: Json | None = None, conditions: Any = (), **rest: Any
) -> Json:
    return {
        "kind": kind,
        "metadata": {"name": "j", "annotations": {"runai-calculated-status": record} if record else {}, **rest},
        "spec": {"template": {"spec": {"containers": [{"name": "main"}]}}, **(spec or {})},
        "status": {"conditions": list(conditions)},
    }


def condition(kind: str, reason: str = "", status: str = "True") -> Json:
    return {"type": kind, "status": status, "reason": reason}


OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"
FAILED_POD = pod("a", "Failed", created=OLD, containerStatuses=ended("Error"))
COMPLETE, FAILED = condition("Complete"), condition("Failed", "BackoffLimitExceeded")

JOBS: dict[str, tuple[Json | None, list[Json], str]] = {
    # What the job itself says.
    "complete": (job(conditions=[COMPLETE]), [pod(phase="Succeeded")], "Succeeded"),
    "its pods are gone": (job(conditions=[COMPLETE]), [], "Succeeded"),
    "Kubeflow's word for it": (job("MPIJob", conditions=[condition("Succeeded")]), [], "Succeeded"),
    "retries exhausted": (job(conditions=[FAILED]), [FAILED_POD], "Failed"),
    "no such command": (
        job(conditions=[FAILED]),
        [pod(phase="Failed", containerStatuses=ended("StartError"))],
        "ContainerCannotRun",
    ),
    "terminated after preemption": (job(conditions=[condition("Failed", "Preempted")]), [], "Preempted"),
    "a condition that does not hold": (job(conditions=[condition("Complete", status="False")]), [pod()], "Running"),
    "suspended": (job(spec={"suspend": True}), [], "Suspended"),
    "suspended, the pods are going": (job(spec={"suspend": True}), [pod(metadata=GOING)], "Terminating"),
    "a training operator's job suspended": (job("TFJob", spec={"runPolicy": {"suspend": True}}), [], "Suspended"),
    "scaled to 0": (job("StatefulSet", spec={"replicas": 0}), [], "Suspended"),
    "being deleted": (job(deletionTimestamp=NEW), [pod(metadata=GOING)], "Terminating"),
    # Records of an end.
    "time is up": (job(record="TimedOut", spec={"suspend": True}), [pod(metadata=GOING)], "TimedOut"),
    "time is up for a Build": (job("StatefulSet", record="TimedOut", spec={"replicas": 0}), [], "TimedOut"),
    "resumed": (job(record="TimedOut", spec={"suspend": False}), [pod()], "Running"),
    "scaled up again": (job("StatefulSet", record="TimedOut", spec={"replicas": 1}), [], "Pending"),
    "recorded as Running long ago": (job(record="Running"), [], "Pending"),
    "recorded as Failed, and another pod runs": (job("StatefulSet", record="Failed"), [pod()], "Running"),
    # Its pods.
    "no pod yet": (job(), [], "Pending"),
    "waits": (job(), [pod(phase="Pending", node="")], "Pending"),
    "failed, waits for the retry": (job(), [FAILED_POD], "Error"),
    "tried again": (job(), [FAILED_POD, pod("b", created=NEW)], "Running"),
    "the next of several": (job(), [pod(phase="Succeeded")], "Pending"),
    "preempted training goes back": (job(), [pod(phase="Failed", conditions=DISRUPTED)], "Pending"),
    "one of many waits": (job(), [pod("a"), pod("b", "Pending", node="", created=NEW)], "Running"),
    "one of many crashes": (
        job(),
        [pod("a", containerStatuses=waiting("CrashLoopBackOff")), pod("b", created=NEW)],
        "CrashLoopBackOff",
    ),
    "of several steps the newest": (
        job(),
        [init({"running": {}}), pod("q", "Pending", created=NEW)],
        "ContainerCreating",
    ),
    "of one age the last name": (job(), [pod("a", "Pending", node=""), pod("b", "Pending")], "ContainerCreating"),
    # A pod of its own.
    "a lone pod": (None, [pod()], "Running"),
    "a lone pod that failed": (None, [FAILED_POD], "Failed"),
    "a lone pod that was evicted": (None, [pod(phase="Failed", reason="Evicted")], "Preempted"),
    "nothing is left": (None, [], "Deleted"),
}


@pytest.mark.parametrize(("one", "pods", "expected"), JOBS.values(), ids=JOBS)
def test_a_job_in_one_word(one: Json | None, pods: list[Json], expected: str) -> None:
    state = calculate(one, pods)
    assert state.status == state.annotations["runai-calculated-status"] == expected
    assert calculate(one, pods[::-1]) == state
    if one is not None and expected not in RECORDED:
        one = {**one, "metadata": {**one["metadata"], "annotations": dict(state.annotations)}}
        assert calculate(one, pods) == state, "what was written back changes nothing"


def test_counts_and_nodes_are_of_pods_that_live() -> None:
    pods = [
        pod("a", node="n2"),
        pod("b"),
        pod("c", "Pending", node=""),
        pod("d", "Failed"),
        pod("e", "Succeeded", node="n3"),
    ]
    found = calculate(job(), pods).annotations
    assert found["runai-running-pods"] == "2"
    assert found["runai-pending-pods"] == "1"
    assert found["runai-used-nodes"] == "n1, n2"
    assert calculate(job(), []).annotations["runai-used-nodes"] == ""


def test_pods_as_people_are_shown_them() -> None:
    role = {"labels": {"training.kubeflow.org/replica-type": "worker"}}
    pods = [pod("b", metadata=role, hostIP="10.0.0.7"), pod("a", "Pending", node="")]
    first, second = calculate(job("MPIJob"), pods).pods
    assert (first.name, first.status, first.type, first.node, first.node_ip) == ("a", "Pending", "", "", "")
    assert (second.name, second.status, second.type, second.node, second.node_ip) == (
        "b",
        "Running",
        "worker",
        "n1",
        "10.0.0.7",
    )
    assert second.created == OLD


# GPUs.

GROUP, HELD, NOW, TOTAL = (
    "runai-podgroup-requested",
    "runai-current-allocated",
    "runai-current-requested",
    "runai-total-requested",
)


def figures(one: Json | None, pods: list[Json]) -> dict[str, tuple[str, str]]:
    found = calculate(one, pods).annotations
    return {key: (found[f"{key}-gpus"], found[f"{key}-gpus-memory"]) for key in (GROUP, HELD, NOW, TOTAL)}


def template(gpus: object = None, **annotations: str) -> Json:
    container = {"name": "main", **({"resources": {"limits": {"nvidia.com/gpu": gpus}}} if gpus is not None else {})}
    return {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}


def test_whole_gpus_of_a_job_with_completions() -> None:
    one = job("Job", spec={"template": template("2"), "completions": 5, "parallelism": 3})
    pods = [pod("a", gpus=2), pod("b", "Pending", node="", gpus=2), pod("c", "Succeeded", gpus=2)]
    assert figures(one, pods) == {GROUP: ("6", "0"), HELD: ("2", "0"), NOW: ("4", "0"), TOTAL: ("10", "0")}


def test_fractions_are_exact() -> None:
    marks = {"gpu-fraction": "0.1"}
    one = job(spec={"template": template(**marks), "parallelism": 3, "completions": 3})
    pods = [pod(name, annotations=marks) for name in "abc"]
    assert figures(one, pods) == dict.fromkeys((GROUP, HELD, NOW, TOTAL), ("0.3", "0"))


def test_a_share_by_memory_is_gpus_once_it_is_on_one() -> None:
    marks = {"gpu-memory": "4000"}
    one = job("StatefulSet", spec={"template": template(**marks), "replicas": 2})
    placed = pod("a", annotations={**marks, "runai-gpu-share": "250"})
    forged = pod("b", annotations={**marks, "runai-gpu-share": "9" * 40})
    waits = pod("c", "Pending", node="", annotations={**marks, "runai-gpu-share": "250"})
    assert figures(one, [placed, waits])[HELD] == ("0.25", "4000")
    assert figures(one, [forged])[HELD] == ("0", "4000")
    assert figures(one, [placed, waits])[NOW] == ("0", "8000")
    assert figures(one, [])[GROUP] == figures(one, [])[TOTAL] == ("0", "8000")


def test_the_total_of_mpi_is_processes_times_gpus() -> None:
    """RUN-6399: the requested GPUs of an MPI job were shown as 0."""
    roles = {
        "Launcher": {"replicas": 1, "template": template()},
        "Worker": {"replicas": 4, "template": template(2)},
    }
    one = job("MPIJob", spec={"mpiReplicaSpecs": roles})
    assert figures(one, [])[TOTAL] == figures(one, [])[GROUP] == ("8", "0")
    assert figures(one, [])[NOW] == ("0", "0")


def test_a_lone_pod_and_a_kind_without_a_template() -> None:
    assert figures(None, [pod(gpus="1")]) == dict.fromkeys((GROUP, HELD, NOW, TOTAL), ("1", "0"))
    serving = {"kind": "Service", "metadata": {}, "spec": {}}
    assert figures(serving, [pod("a", gpus=1), pod("b", gpus=1)])[TOTAL] == ("2", "0")


def test_slices_and_what_is_no_request() -> None:
    slices = pod()
    slices["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/mig-3g.20gb": 2}}
    assert figures(None, [slices])[NOW] == ("0.858", "0")
    assert figures(None, [pod(annotations={"gpu-fraction": "2"})])[NOW] == ("0", "0")
    assert figures(None, [pod(gpus="0.5")])[NOW] == ("0", "0")
