"""GPUs, CPU and memory as a pod says them, in the parameters of a workload."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from extender.admission.subject import Scalar, Subject
from extender.model import names
from extender.model.amounts import format_milli, parse_quantity
from extender.wire import pods
from extender.workloads import parse
from extender.workloads.objects.parts import decimal_text

Json = dict[str, Any]


def _read_gpu(subject: Subject) -> list[Any]:
    """All devices together: "2", "0.5", "1" for a half of each of two. By memory, or as MIG slices: how many."""
    request = pods.gpu_request(subject.pod)
    if request.memory_mib or request.mig:
        return [str(request.devices + sum(count for _, count in request.mig))]
    return [format_milli(request.gpu_milli_on(0)) if _says_gpus(subject) else None]


def _write_gpu(subject: Subject, value: Any) -> None:
    number = decimal_text(value)
    if "." in number:
        subject.annotate(names.GPU_FRACTION, number)
    elif number != "0":
        set_resource(subject.main, "limits", names.GPU_RESOURCE, number)


def _read_gpu_memory(subject: Subject) -> list[Any]:
    request = pods.gpu_request(subject.pod)
    return [f"{request.devices * request.memory_mib}Mi" if request.memory_mib else None]


def _write_gpu_memory(subject: Subject, value: Any) -> None:
    if not _says_gpus(subject):
        subject.annotate(names.GPU_MEMORY, str(parse.gpu_memory_mib(value, least=0)))


def _read_mig_profile(subject: Subject) -> list[Any]:
    return [name.removeprefix(names.MIG_PREFIX) for name, _ in pods.gpu_request(subject.pod).mig] or [None]


def _write_mig_profile(subject: Subject, value: Any) -> None:
    if not _says_gpus(subject):
        set_resource(subject.main, "limits", names.MIG_PREFIX + str(value).lower(), "1")


def _says_gpus(subject: Subject) -> bool:
    """Whether a pod says how many GPUs it asks for, be it none."""
    if any(key in subject.annotations for key in (names.GPU_FRACTION, names.GPU_MEMORY)):
        return True
    return any(
        name == names.GPU_RESOURCE or name.startswith(names.MIG_PREFIX)
        for one in subject.containers
        for where in ("requests", "limits")
        for name in ((one.get("resources") or {}).get(where) or {})
    )


def _of_pod(where: str, name: str, text: Callable[[Any], str]) -> Scalar:
    """Of the containers together. A default is for the main one: where that says nothing, there is an entry for it."""

    def read(subject: Subject) -> list[Any]:
        total = _total(subject.spec, where, name)
        is_open = _quantity(subject.main, where, name) is None
        return [*([None] if is_open else []), *([] if total is None else [text(total)])]

    def write(subject: Subject, value: Any) -> None:
        set_resource(subject.main, where, name, str(value))

    return Scalar(read, write)


def _total(spec: Json, where: str, name: str) -> Any:
    """What a pod takes at most at a time: its containers together, or an init container, or what is said for the pod.

    Init containers that go on beside the others (restartPolicy Always) count as those. None where nobody says anything;
    what is no quantity stays as it is, for the API server to refuse.
    """
    inits = spec.get("initContainers") or ()
    beside = [one for one in inits if one.get("restartPolicy") == "Always"]
    together = _given([*(spec.get("containers") or ()), *beside], where, name)
    alone = _given([spec, *(one for one in inits if one not in beside)], where, name)
    for one in (*together, *alone):
        if not _is_quantity(one):
            return one
    found = [(parse_quantity(one), one) for one in (*together, *alone)]
    if len(together) > 1:
        total = sum((amount for amount, _ in found[: len(together)]), Decimal())
        found = [(total, format(total, "f")), *found[len(together) :]]
    return max(found, key=lambda one: one[0], default=(0, None))[1]


def _given(holders: list[Json], where: str, name: str) -> list[Any]:
    found = (_quantity(one, where, name) for one in holders)
    return [one for one in found if one is not None]


def _quantity(holder: Json, where: str, name: str) -> Any:
    """A limit without a request is the request, as the API server has it."""
    resources = holder.get("resources") or {}
    given = (resources.get(where) or {}).get(name)
    return (resources.get("limits") or {}).get(name) if given is None and where == "requests" else given


def _is_quantity(text: Any) -> bool:
    try:
        parse_quantity(text)
    except ValueError:
        return False
    return True


def set_resource(container: Json, where: str, name: str, quantity: str) -> None:
    resources = container["resources"] = dict(container.get("resources") or {})
    resources[where] = {**(resources.get(where) or {}), name: quantity}


def _cores(quantity: Any) -> str:
    """A CPU quantity as a number: 500m is 0.5. What is none stays as it is, for the API server to refuse."""
    try:
        return decimal_text(quantity)
    except ValueError:
        return str(quantity)


COMPUTE: dict[str, Scalar] = {
    "gpu": Scalar(_read_gpu, _write_gpu),
    "gpuMemory": Scalar(_read_gpu_memory, _write_gpu_memory),
    "migProfile": Scalar(_read_mig_profile, _write_mig_profile),
    "cpu": _of_pod("requests", "cpu", _cores),
    "cpuLimit": _of_pod("limits", "cpu", _cores),
    "memory": _of_pod("requests", "memory", str),
    "memoryLimit": _of_pod("limits", "memory", str),
}
