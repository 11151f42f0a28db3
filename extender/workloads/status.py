"""The state of a job and of its pods in one word (behaviour.md 6.13), and what is written back on the job (2.5).

For every kind whose pods we show: RunaiJob, Job, StatefulSet, Deployment, the kinds of the training operators, and a
pod that nobody made. The first that applies (4.5):

    a record of its end          TimedOut, Preempted or Deleted, until the job is told to run again
    what the job itself says     Succeeded, Failed, Preempted, ContainerCannotRun, Suspended, Terminating
    no pod                       Pending where there is a job, Deleted where there is none
    its pods                     one in trouble, else one that runs, else the newest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from extender.model import names
from extender.model.workload import Json
from extender.workloads import demand

PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"
CREATING, TERMINATING, SUSPENDED = "ContainerCreating", "Terminating", "Suspended"
DELETED, PREEMPTED, TIMED_OUT, UNKNOWN = "Deleted", "Preempted", names.TIMED_OUT, "Unknown"
CANNOT_RUN, ERROR = "ContainerCannotRun", "Error"

# Ends that an annotation alone records: nothing else on the object tells them.
RECORDED = frozenset({TIMED_OUT, PREEMPTED, DELETED})
ENDED = frozenset({*RECORDED, SUCCEEDED, FAILED, CANNOT_RUN, UNKNOWN})

# What runtimes and kubelets call it when a container could not be started at all.
_NOT_STARTED = frozenset({"ContainerCannotRun", "StartError", "RunContainerError"})
_EVICTED = frozenset({"Evicted", "Preempted", "Preempting"})
_CALM = frozenset({PENDING, CREATING, "PodInitializing", RUNNING, TERMINATING, SUCCEEDED, UNKNOWN})
_ROLE_LABELS = ("training.kubeflow.org/replica-type", "training.kubeflow.org/job-role")


@dataclass(frozen=True, slots=True)
class PodState:
    """One pod as people are shown it. type: its role in distributed training; node, node_ip: "" without a node."""

    name: str
    status: str
    type: str
    node: str
    node_ip: str
    created: str


@dataclass(frozen=True, slots=True)
class JobState:
    """status: one word of 6.13. annotations: what is written back on the job, the status among it. pods: by name."""

    status: str
    annotations: Mapping[str, str]
    pods: tuple[PodState, ...]


def calculate(job: Json | None, pods: Sequence[Json]) -> JobState:
    """The state of a job and its pods, all as the API server has them.

    job:  any workload object, None for one that is gone, or for a pod of its own.
    pods: those of the job, in any order. Cost: linear in their number, and a sort.
    """
    alive = [pod for pod in pods if not _is_finished(pod)]
    status = _job_status(job, pods, alive)
    nodes = sorted({_node(pod) for pod in alive} - {""})
    running = sum(_phase(pod) == "Running" for pod in alive)
    annotations = {
        names.CALCULATED_STATUS_ANNOTATION: status,
        names.RUNNING_PODS_ANNOTATION: str(running),
        names.PENDING_PODS_ANNOTATION: str(sum(_phase(pod) == "Pending" for pod in alive)),
        names.USED_NODES_ANNOTATION: ", ".join(nodes),
        **demand.figures(job if job is not None else _lone(pods), alive),
    }
    return JobState(status, annotations, tuple(sorted(map(_pod_state, pods), key=lambda one: one.name)))


def has_ended(job: Json) -> bool:
    """Whether the job itself says that it is complete or has failed."""
    return bool(_end(job, ()))


def pod_status(pod: Json) -> str:
    """The state of one pod in one word, as kubectl would show it, in the words of 6.13.

    A reason that a container gives beyond those, such as OOMKilled, is passed on as it is.
    """
    phase, status = _phase(pod), pod.get("status") or {}
    if phase == "Succeeded":
        return SUCCEEDED
    if phase == "Failed":
        return _failed_status(pod)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return UNKNOWN if status.get("reason") == "NodeLost" else TERMINATING
    if phase == "Unknown":
        return UNKNOWN
    if not _node(pod):
        return PENDING
    initializing = _init_status(pod)
    if initializing:
        return initializing
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        waiting, terminated = state.get("waiting"), state.get("terminated")
        if waiting is not None and waiting.get("reason"):
            return str(waiting["reason"])
        if terminated is not None and terminated.get("exitCode"):
            return _ended_with(terminated)
    return RUNNING if phase == "Running" else CREATING


def is_preempted(pod: Json) -> bool:
    """Whether the pod was, or is being, evicted: not its own failure, nor its owner's wish."""
    status = pod.get("status") or {}
    conditions = status.get("conditions") or ()
    return status.get("reason") in _EVICTED or any(
        one.get("type") == "DisruptionTarget" and one.get("status") == "True" for one in conditions
    )


def _job_status(job: Json | None, pods: Sequence[Json], alive: Sequence[Json]) -> str:
    if job is None:
        return _status_of_lone(pods)
    record = ((job.get("metadata") or {}).get("annotations") or {}).get(names.CALCULATED_STATUS_ANNOTATION)
    end = _end(job, pods)
    if record in RECORDED and (end or _is_stopped(job)):
        return str(record)
    if end:
        return end
    if (job.get("metadata") or {}).get("deletionTimestamp"):
        return TERMINATING
    if _is_stopped(job):
        return TERMINATING if alive else SUSPENDED
    if alive:
        return _status_of(alive)
    newest = max(pods, key=_age, default=None)
    found = pod_status(newest) if newest is not None else PENDING
    # Another pod follows: of one that was preempted or is done, nothing is wrong.
    return PENDING if found in (SUCCEEDED, PREEMPTED) else found


def _end(job: Json, pods: Sequence[Json]) -> str:
    """How the job has ended, as its conditions say; "" while it has not."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("status") != "True":
            continue
        match condition.get("type"):
            case "Complete" | "Succeeded":
                return SUCCEEDED
            case "Failed" if condition.get("reason") == PREEMPTED:
                return PREEMPTED
            case "Failed":
                newest = max((pod for pod in pods if _phase(pod) == "Failed"), key=_age, default=None)
                return CANNOT_RUN if newest is not None and pod_status(newest) == CANNOT_RUN else FAILED
    return ""


def _is_stopped(job: Json) -> bool:
    """Whether it is told to run nothing: suspended, or scaled to 0."""
    spec = job.get("spec") or {}
    return bool(spec.get("suspend") or (spec.get("runPolicy") or {}).get("suspend")) or spec.get("replicas") == 0


def _status_of(alive: Sequence[Json]) -> str:
    """One word for pods that have not ended."""
    newest_first = [pod_status(pod) for pod in sorted(alive, key=_age, reverse=True)]
    troubled = [one for one in newest_first if one not in _CALM and not _is_step(one)]
    if troubled:
        return troubled[0]
    return RUNNING if RUNNING in newest_first else newest_first[0]


def _is_step(status: str) -> bool:
    """Init:1/3 is a step; Init:Error is trouble."""
    return status.startswith("Init:") and "/" in status


def _status_of_lone(pods: Sequence[Json]) -> str:
    newest = max(pods, key=_age, default=None)
    if newest is None:
        return DELETED
    found = pod_status(newest)
    # Nobody tries it again.
    return FAILED if _phase(newest) == "Failed" and found not in (PREEMPTED, CANNOT_RUN) else found


def _failed_status(pod: Json) -> str:
    if is_preempted(pod):
        return PREEMPTED
    status = pod.get("status") or {}
    for container in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        terminated = (container.get("state") or {}).get("terminated")
        if terminated is not None and terminated.get("exitCode"):
            return _ended_with(terminated)
    return str(status.get("reason") or ERROR)


def _ended_with(terminated: Json) -> str:
    reason = str(terminated.get("reason") or ERROR)
    return CANNOT_RUN if reason in _NOT_STARTED else reason


def _init_status(pod: Json) -> str:
    """Init:1/3, Init:Error and alike while init containers run; "" when they are done or there are none."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    declared = spec.get("initContainers") or ()
    stays = {one.get("name") for one in declared if one.get("restartPolicy") == "Always"}
    if not declared or _phase(pod) == "Running":
        return ""
    statuses = status.get("initContainerStatuses") or ()
    done = 0
    for container in statuses:
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        is_up = container.get("name") in stays and container.get("started")
        if is_up or (terminated is not None and not terminated.get("exitCode")):
            done += 1
        elif terminated is not None:
            return f"Init:{terminated.get('reason') or ERROR}"
        elif waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        else:
            return f"Init:{done}/{len(declared)}"
    return "" if done == len(declared) or not statuses else f"Init:{done}/{len(declared)}"


def _pod_state(pod: Json) -> PodState:
    metadata = pod.get("metadata") or {}
    labels = metadata.get("labels") or {}
    return PodState(
        name=str(metadata.get("name") or ""),
        status=pod_status(pod),
        type=str(next((labels[key] for key in _ROLE_LABELS if labels.get(key)), "")),
        node=_node(pod),
        node_ip=str((pod.get("status") or {}).get("hostIP") or ""),
        created=str(metadata.get("creationTimestamp") or ""),
    )


def _lone(pods: Sequence[Json]) -> Json | None:
    """A pod of its own as the job that it is: one template, once."""
    return {"spec": {"template": pods[0]}} if len(pods) == 1 else None


def _age(pod: Json) -> tuple[str, str]:
    metadata = pod.get("metadata") or {}
    return str(metadata.get("creationTimestamp") or ""), str(metadata.get("name") or "")


def _node(pod: Json) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _phase(pod: Json) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def _is_finished(pod: Json) -> bool:
    return _phase(pod) in ("Succeeded", "Failed")
