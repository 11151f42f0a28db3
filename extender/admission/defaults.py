"""CPU and memory for containers that have GPUs and say nothing of either: so much a GPU (behaviour.md 6.12, 12.10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from extender.admission import fractions
from extender.model.amounts import GPU, MIB, cpu_quantity, memory_quantity
from extender.wire import pods

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Factors:
    """What a container is given for each GPU: milli-CPU and MiB. 0: nothing."""

    cpu_request_milli: int = 0
    memory_request_mib: int = 0
    cpu_limit_milli: int = 0
    memory_limit_mib: int = 0


NO_FACTORS = Factors()


def fill(pod: Json, factors: Factors) -> None:
    """Give each container with GPUs requests (and limits) in proportion; `pod` (or a template) is changed in place.

    A part of a GPU gives that part of it, a MIG slice what its compute slices are of a device. GPU memory gives as much
    as a whole device: what part of one it is, only its node will tell.
    What is said of CPU, by the container or for the pod as a whole, is all that is said of it; and so for memory.
    """
    spec = pod["spec"]
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    shares = fractions.chosen(spec, annotations) if pods.shares_gpu(pod) else None
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        request = pods.container_gpu(container, annotations if container is shares else {})
        gpu_milli = request.gpu_milli_on(0)
        if gpu_milli <= 0:
            continue
        if not _says(spec, "cpu") and not _says(container, "cpu"):
            _set(container, "requests", "cpu", cpu_quantity(_part(factors.cpu_request_milli, gpu_milli)))
            _set(container, "limits", "cpu", cpu_quantity(_part(factors.cpu_limit_milli, gpu_milli)))
        if not _says(spec, "memory") and not _says(container, "memory"):
            _set(container, "requests", "memory", memory_quantity(_part(factors.memory_request_mib * MIB, gpu_milli)))
            _set(container, "limits", "memory", memory_quantity(_part(factors.memory_limit_mib * MIB, gpu_milli)))


def _part(factor: int, gpu_milli: int) -> int:
    """Up, as requests are."""
    return -(-factor * gpu_milli // GPU)


def _says(holder: Json, resource: str) -> bool:
    """Whether a container, or a pod for all of its own, requests or limits `resource`."""
    resources = holder.get("resources") or {}
    return any(resource in (resources.get(where) or {}) for where in ("requests", "limits"))


def _set(container: Json, where: str, resource: str, quantity: str) -> None:
    if quantity == "0":
        return
    resources = container["resources"] = dict(container.get("resources") or {})
    resources[where] = {**(resources.get(where) or {}), resource: quantity}
