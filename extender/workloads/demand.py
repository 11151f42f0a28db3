"""The GPUs that a job asks for and holds, as the annotations of behaviour.md 2.5 say them.

Two figures each: GPUs, in thousandths and exact, and GPU memory in MiB, which is all that a request by memory says
before its pod has a node. A request counts in one of the two, never in both, except that what is allocated by memory
has its share of the device on record by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from extender.model import gpu, names
from extender.model.amounts import count, format_milli
from extender.model.gpu import NO_GPU, GpuRequest, GpuRequestError
from extender.model.workload import Json

_ROLES = "ReplicaSpecs"  # how every kind of the training operators calls its map of roles


@dataclass(frozen=True, slots=True)
class Gpus:
    """milli: thousandths of GPUs. memory_mib: GPU memory of requests by memory."""

    milli: int = 0
    memory_mib: int = 0

    def __add__(self, other: Gpus) -> Gpus:
        return Gpus(self.milli + other.milli, self.memory_mib + other.memory_mib)

    def __mul__(self, number: int) -> Gpus:
        return Gpus(self.milli * number, self.memory_mib * number)

    def annotations(self, prefix: str) -> dict[str, str]:
        """As `<prefix>-gpus`, the shortest decimal, and `<prefix>-gpus-memory`, whole MiB."""
        return {f"{prefix}-gpus": format_milli(self.milli), f"{prefix}-gpus-memory": str(self.memory_mib)}


def total(gpus: Iterable[Gpus]) -> Gpus:
    return sum(gpus, Gpus())


def requested(pod: Json) -> Gpus:
    """What one pod, or one pod template, asks for; nothing when its request is none."""
    request = _request(pod)
    return Gpus(request.gpu_milli_on(0) if not request.memory_mib else 0, request.devices * request.memory_mib)


def allocated(pod: Json) -> Gpus:
    """What one pod has on its node; nothing while it has none."""
    if not (pod.get("spec") or {}).get("nodeName"):
        return Gpus()
    asked = requested(pod)
    record = _annotations(pod).get(names.GPU_SHARE_ANNOTATION) or ""
    if asked.memory_mib and record.isascii() and record.isdigit() and len(record) < 5:
        return Gpus(int(record) * _request(pod).devices, asked.memory_mib)
    return asked


def at_once(job: Json) -> Gpus | None:
    """What the job's pods ask for that run at the same time; None for a kind that does not tell."""
    spec = job.get("spec") or {}
    found = _of_roles(spec)
    if found is not None:
        return found
    template = spec.get("template")
    if not isinstance(template, dict):
        return None
    if _is_batch(job):
        pods = _number(spec, "parallelism", 1)
        completions = spec.get("completions")
        if isinstance(completions, int):
            pods = min(pods, completions)
    else:
        pods = _number(spec, "replicas", 1)
    return requested(template) * pods


def in_total(job: Json) -> Gpus | None:
    """What all the pods ask for that the job runs until its end: one for each completion (behaviour.md 12.10)."""
    spec = job.get("spec") or {}
    completions, template = spec.get("completions"), spec.get("template")
    if _is_batch(job) and isinstance(completions, int) and isinstance(template, dict):
        return requested(template) * completions
    return at_once(job)


def figures(job: Json | None, alive: Sequence[Json]) -> dict[str, str]:
    """The annotations about GPUs. alive: the pods that wait or run."""
    now = total(map(requested, alive))
    group = at_once(job) if job is not None else None
    everything = in_total(job) if job is not None else None
    return {
        **(now if group is None else group).annotations(names.PODGROUP_REQUESTED),
        **total(map(allocated, alive)).annotations(names.CURRENT_ALLOCATED),
        **now.annotations(names.CURRENT_REQUESTED),
        **(now if everything is None else everything).annotations(names.TOTAL_REQUESTED),
    }


def _is_batch(job: Json) -> bool:
    return job.get("kind") in ("Job", "RunaiJob")


def _of_roles(spec: Json) -> Gpus | None:
    """The sum over the roles of distributed training: of MPI the processes, and a launcher that asks for none."""
    roles = next((value for key, value in spec.items() if key.endswith(_ROLES) and isinstance(value, dict)), None)
    if roles is None:
        return None
    parts = [one for one in roles.values() if isinstance(one, dict)]
    return total(requested(one.get("template") or {}) * _number(one, "replicas", 1) for one in parts)


def _number(spec: Json, key: str, default: int) -> int:
    value = spec.get(key)
    return value if isinstance(value, int) and value >= 0 else default


def _annotations(pod: Json) -> Mapping[str, str]:
    return (pod.get("metadata") or {}).get("annotations") or {}


def _request(pod: Json) -> GpuRequest:
    resources: dict[str, int] = {}
    try:
        for container in (pod.get("spec") or {}).get("containers") or ():
            given = container.get("resources") or {}
            for name, quantity in {**(given.get("requests") or {}), **(given.get("limits") or {})}.items():
                if name == names.GPU_RESOURCE or name.startswith(names.MIG_PREFIX):
                    resources[name] = resources.get(name, 0) + count(quantity)
        return gpu.parse_gpu_request(_annotations(pod), resources)
    except (GpuRequestError, ValueError):
        return NO_GPU  # such a pod holds nothing: it is refused
