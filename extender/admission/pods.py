"""Pods: what ours are given, and what is refused. A new rule is a function here and a line in one of the lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from extender.admission import defaults, fractions, policies
from extender.admission.defaults import NO_FACTORS, Factors
from extender.admission.subject import Subject
from extender.model import names
from extender.model.gpu import sharing_disabled
from extender.wire import device_access, pods

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What the rules know beside the object.

    namespace: the one of the request; an object that is being created may not say it.
    enforced:  the namespace makes every pod ours (annotation `runai/enforce-scheduler-name`).
    gates:     pods of ours are held back until the planner lifts the gate.
    sharing:   pods may ask for a part of a GPU. wires: their containers are told which one it is.
    guarded:   nobody may name devices by environment variable.
    factors:   CPU and memory for those who ask for GPUs alone.
    policies:  the administrator's, of every namespace.
    request_uid: of the review: tells pods apart that have no name yet.
    maker:     the kind of the controller that makes the pod; "" for somebody's own.
    """

    namespace: str
    enforced: bool = False
    gates: bool = True
    sharing: bool = True
    wires: bool = True
    guarded: bool = False
    factors: Factors = NO_FACTORS
    policies: policies.Lookup = policies.none
    request_uid: str = ""
    maker: str = ""


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


def take_quantities(pod: Json, context: Context) -> None:  # noqa: ARG001  a fill's signature
    """A quantity such as 0.5 of a GPU becomes the annotation. Raises RefusedError."""
    fractions.take_quantities(pod)


def apply_policy(pod: Json, context: Context) -> None:
    """What the policy of its kind gives and it leaves open. Raises RefusedError, MalformedError."""
    policies.fill(Subject(pod), context.maker, context.namespace, context.policies)


def add_cpu_and_memory(pod: Json, context: Context) -> None:
    """Containers that ask for GPUs alone get CPU and memory in proportion."""
    defaults.fill(pod, context.factors)


def wire_share(pod: Json, context: Context) -> None:
    """The container that has a part of a GPU reads from a ConfigMap of its own which device that is."""
    if context.wires and pods.shares_gpu(pod):
        fractions.wire(pod, context.namespace, context.request_uid)
    else:
        fractions.unwire(pod)  # a name that only we give would pass for ours


def blind(pod: Json, context: Context) -> None:
    """With the guard on, containers without a GPU are told that they see none."""
    if not context.guarded:
        return
    spec = pod["spec"]
    blinded = device_access.containers_to_blind(spec, pod["metadata"].get("annotations") or {})
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        known = [one.get("name") for one in container.get("env") or ()]
        if container.get("name") in blinded and device_access.VARIABLE not in known:
            variable = {"name": device_access.VARIABLE, "value": device_access.NO_DEVICES}
            container["env"] = [*(container.get("env") or ()), variable]


FILLS: tuple[Fill, ...] = (
    name_scheduler,
    drop_forged_records,
    take_quantities,
    apply_policy,
    add_cpu_and_memory,
    wire_share,
    blind,
    add_gate,
)


def broken_rules(pod: Json, context: Context) -> tuple[str, ...]:
    """The rules of the policy that it breaks, a line each. Raises RefusedError, MalformedError."""
    return policies.violations(Subject(pod), context.maker, context.namespace, context.policies)


# Checks return the sentence for the pod's owner, "" when all is well.


def check_gpu_request(pod: Json, context: Context) -> str:  # noqa: ARG001  a check's signature
    """Whole devices, fractions, memory and MIG as behaviour.md 6.12 has them, in its words."""
    return pods.gpu_error(pod)


def check_sharing(pod: Json, context: Context) -> str:
    """Whether GPUs are shared here at all, and by a container that exists."""
    if not pods.shares_gpu(pod):
        return ""
    if not context.sharing:
        metadata = pod.get("metadata") or {}
        return sharing_disabled(context.namespace, metadata.get("name") or metadata.get("generateName") or "")
    if context.wires and is_bound(pod):
        return "a pod that comes with its node (spec.nodeName) cannot share a GPU: nobody would hold one for it"
    return fractions.container_error(pod)


def check_devices(pod: Json, context: Context) -> str:
    """With the guard on, devices are given by request only."""
    if not context.guarded:
        return ""
    spec = pod["spec"]
    given = {
        key: [
            {**container, "env": [one for one in container.get("env") or () if not fractions.is_wired(one, pod)]}
            for container in spec.get(key) or ()
        ]
        for key in ("initContainers", "containers")
    }
    return device_access.forbidden(given)


CHECKS: tuple[Check, ...] = (check_gpu_request, check_sharing, check_devices)


def _is_record(key: str) -> bool:
    return key in names.RECORD_ANNOTATIONS or key.startswith(names.GPU_GROUP_LABEL + "/")
