"""May this queue take this much more? Checked before any node is looked at (behaviour.md 6.8, vectors S5, S6, S8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from extender.model.amounts import NOTHING, Amounts, format_gb, format_milli
from extender.model.queue import Queue
from extender.model.verdict import Reason, Verdict, no


@dataclass(frozen=True, slots=True)
class Usage:
    """What a queue holds now, and how much of that cannot be taken back."""

    allocated: Amounts = NOTHING
    non_preemptible: Amounts = NOTHING


@dataclass(frozen=True, slots=True)
class _Resource:
    field: str
    limit_noun: str
    unit: str
    request_unit: str


_RESOURCES = (
    _Resource("gpu_milli", "GPUs", "GPUs", "GPUs"),
    _Resource("cpu_milli", "CPU cores", "cores", "CPU cores"),
    _Resource("memory_mib", "memory", "GB", "GB memory"),
)


def check(path: Iterable[tuple[Queue, Usage]], request: Amounts, *, preemptible: bool) -> Verdict | None:
    """None when `request` fits every queue of `path` (project first, then its ancestors), else the first refusal.

    Limits bind everybody; deserved quota binds what cannot be preempted. Resources asked for at zero are not
    checked. Exact integers: 0.1 and 0.2 fit a quota of 0.3.
    """
    queues = list(path)
    for queue, usage in queues:
        for resource in _RESOURCES:
            asked = getattr(request, resource.field)
            limit = getattr(queue.limit, resource.field)
            held = getattr(usage.allocated, resource.field)
            if asked > 0 and limit is not None and held + asked > limit:
                return no(Reason.OVER_LIMIT, _limit_text(queue.name, resource, limit, held, asked))
    if preemptible:
        return None
    for queue, usage in queues:
        for resource in _RESOURCES:
            asked = getattr(request, resource.field)
            quota = getattr(queue.deserved, resource.field)
            held = getattr(usage.non_preemptible, resource.field)
            if asked > 0 and quota is not None and held + asked > quota:
                return no(Reason.NON_PREEMPTIBLE_OVER_QUOTA, _quota_text(queue.name, resource, quota, held, asked))
    return None


def _limit_text(name: str, resource: _Resource, limit: int, held: int, asked: int) -> str:
    amount, unit = _format(resource), resource.unit
    return (
        f"{name} quota has reached the allowable limit of {resource.limit_noun}. "
        f"Limit is {amount(limit)} {unit}, currently {amount(held)} {unit} allocated "
        f"and workload requested {amount(asked)} {unit}"
    )


def _quota_text(name: str, resource: _Resource, quota: int, held: int, asked: int) -> str:
    amount, unit = _format(resource), resource.unit
    return (
        f"Non-preemptible workload is over quota. Workload requested {amount(asked)} {resource.request_unit}, "
        f"but {name} quota is {amount(quota)} {unit}, while {amount(held)} {unit} are already allocated "
        f"for non-preemptible pods. Use a preemptible workload to go over quota."
    )


def _format(resource: _Resource) -> Callable[[int], str]:
    return format_gb if resource.field == "memory_mib" else format_milli
