"""Pods: what ours are given, and what is refused. A new rule is a function here and a line in one of the lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from extender.model import names
from extender.wire import pods

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What the rules know beside the object.

    namespace: the one of the request; an object that is being created may not say it.
    enforced:  the namespace makes every pod ours (annotation `runai/enforce-scheduler-name`).
    gates:     pods of ours are held back until the planner lifts the gate.
    """

    namespace: str
    enforced: bool = False
    gates: bool = True


Fill = Callable[[Json, Context], None]
Check = Callable[[Json, Context], str]


def is_ours(pod: Json) -> bool:
    """Whether the pod asks for this scheduler."""
    return bool(pod["spec"].get("schedulerName") == names.SCHEDULER_NAME)


def is_bound(pod: Json) -> bool:
    """Whether the pod comes with its node: nobody schedules it, and the API server allows it no gate."""
    return bool(pod["spec"].get("nodeName"))


def becomes_ours(pod: Json, context: Context) -> bool:
    """Whether the namespace makes a pod of another scheduler ours; one that comes with its node needs none."""
    return context.enforced and not is_bound(pod)


# Fills change the pod in place; each sees what those before it did. The pod is ours, or becomes so by the first.


def name_scheduler(pod: Json, context: Context) -> None:
    """In a namespace that enforces it, every pod is for this scheduler."""
    if becomes_ours(pod, context):
        pod["spec"]["schedulerName"] = names.SCHEDULER_NAME


def drop_forged_records(pod: Json, context: Context) -> None:  # noqa: ARG001  a fill's signature
    """What only the Binding may say goes: a pod that is just being created holds no device yet."""
    metadata = pod["metadata"]
    for field in ("annotations", "labels"):
        values = metadata.get(field) or {}
        for key in [key for key in values if _is_record(key)]:
            del values[key]


def add_gate(pod: Json, context: Context) -> None:
    """Hold the pod back until the planner has a seat for it; gates of others stay, in their order."""
    if not context.gates or is_bound(pod):
        return
    gates = pod["spec"].get("schedulingGates") or []
    if not any(gate.get("name") == names.SCHEDULING_GATE for gate in gates):
        pod["spec"]["schedulingGates"] = [*gates, {"name": names.SCHEDULING_GATE}]


FILLS: tuple[Fill, ...] = (name_scheduler, drop_forged_records, add_gate)


# Checks return the sentence for the pod's owner, "" when all is well.


def check_gpu_request(pod: Json, context: Context) -> str:  # noqa: ARG001  a check's signature
    """Whole devices, fractions, memory and MIG as behaviour.md 6.12 has them, in its words."""
    return pods.gpu_error(pod)


CHECKS: tuple[Check, ...] = (check_gpu_request,)


def _is_record(key: str) -> bool:
    return key in names.RECORD_ANNOTATIONS or key.startswith(names.GPU_GROUP_LABEL + "/")
