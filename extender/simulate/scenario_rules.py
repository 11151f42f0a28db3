"""Cases that state rules in a sentence: each known sentence is put to the functions that it is about.

A sentence that is not known is reported as unsupported, never taken as kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from extender.cluster.picture import Picture
from extender.fairshare.order import Fill, job_key
from extender.fairshare.tree import QuotaTree
from extender.model.amounts import Amounts
from extender.model.gang import Gang, Member, MemberState, SubGroup
from extender.model.names import NodeName, PodUID, ProjectName
from extender.model.pod import Placement, Pod
from extender.model.queue import Queue
from extender.model.validate import Problem, group_problems, judge_queue, may_delete_queue
from extender.planning.settings import Settings
from extender.planning.victims import units
from extender.planning.view import View
from extender.simulate.scenario_world import UnsupportedError
from extender.wire import device_access

Json = Mapping[str, Any]

# Orders


def order_differences(body: Json) -> list[str]:
    """The rules that our orders do not keep."""
    found = []
    for rule in body["rules"]:
        check = next((check for start, check in _ORDERS.items() if str(rule).startswith(start)), None)
        if check is None:
            raise UnsupportedError(f"order rule: {rule}")
        if not check():
            found.append(f"not kept: {rule}")
    return found


def _jobs_in_order() -> bool:
    served = [
        job_key(100, Fill.ABOVE_MINIMUM, 9, "a"),
        job_key(50, Fill.BELOW_MINIMUM, 9, "a"),
        job_key(50, Fill.AT_MINIMUM, 5, "a"),
        job_key(50, Fill.ABOVE_MINIMUM, 1, "a"),
        job_key(50, Fill.ABOVE_MINIMUM, 2, "a"),
    ]
    return served == sorted(served)


def _pods_in_order() -> bool:
    members = [_member("p-0"), _member("p-1", order=1), _member("p-2", order=5), _member("p-3")]
    placed = [one.pod.name for one in _gang("p", members).waiting]
    return placed == ["p-2", "p-1", "p-0", "p-3"]


def _victims_in_order() -> bool:
    low = _running("low", priority=49, count=1, created=1)
    elastic = _running("elastic", priority=50, count=2, created=2)
    older = _running("older", priority=50, count=1, created=3)
    younger = _running("younger", priority=50, count=1, created=4)
    left = [name for portion in _portions([elastic, older, younger, low]) for name in portion]
    return left == ["low-0", "elastic-1", "younger-0", "older-0", "elastic-0"]


def _portions_hold() -> bool:
    return _portions([_running("p", priority=50, count=4, created=1, least=2)]) == [["p-3"], ["p-2"], ["p-0", "p-1"]]


_ORDERS: dict[str, Callable[[], bool]] = {
    "jobs of one queue": _jobs_in_order,
    "pods of a job": _pods_in_order,
    "victims": _victims_in_order,
    "an extra pod above the minimum": _portions_hold,
}


def _member(name: str, *, order: int | None = None, placement: Placement | None = None) -> Member:
    pod = Pod(PodUID(name), "rules", name, created=name.rpartition("-")[2].zfill(4), placement=placement)
    return Member(pod, MemberState.ACTIVE if placement else MemberState.PENDING, placement, order=order)


def _gang(name: str, members: list[Member], *, priority: int = 50, created: float = 0, least: int = 1) -> Gang:
    return Gang(name, ProjectName("q"), priority, created=created, min_member=least, members=tuple(members))


def _running(name: str, *, priority: int, count: int, created: float, least: int = 1) -> Gang:
    members = [_member(f"{name}-{at}", placement=Placement(NodeName("n"))) for at in range(count)]
    return _gang(name, members, priority=priority, created=created, least=least)


def _portions(gangs: list[Gang]) -> list[list[str]]:
    view = View(Picture(), QuotaTree(Amounts(), [Queue("q")]), gangs, Settings(), 0.0)
    return [
        sorted(member.pod.name for member in unit.members) for unit in units(view, view.jobs.values(), lambda _: False)
    ]


# Admission


def admission_differences(body: Json) -> list[str]:
    """The cases that admission answers otherwise."""
    found = []
    for number, case in enumerate(body["cases"], start=1):
        difference = _device_access(case) if case.keys() & {"env", "env_from_configmap", "pod"} else _objects(case)
        if difference:
            found.append(f"case {number}: {difference}")
    return found


def _device_access(case: Json) -> str:
    if "pod" in case:
        return _blinded(case)
    variable: dict[str, Any] = {"name": device_access.VARIABLE}
    if case.get("env_from_configmap"):
        variable["valueFrom"] = {"configMapKeyRef": {"name": "devices", "key": "visible"}}
    elif case["env"] is not None:
        variable["value"] = str(case["env"])
    env = [variable] if len(variable) > 1 else []
    accepted = not device_access.forbidden({"containers": [{"name": "main", "env": env}]})
    return "" if accepted is case["ok"] else f"ok {case['ok']} expected, {accepted} found"


def _blinded(case: Json) -> str:
    main, side = {"name": "main"}, {"name": "side container"}
    gpu = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    mig = {"resources": {"limits": {"nvidia.com/mig-1g.10gb": "1"}}}
    known: dict[str, tuple[list[Json], dict[str, str]]] = {
        "whole GPU in one container, CPU side container": ([{**main, **gpu}, side], {}),
        "fraction": ([main, side], {"gpu-fraction": "0.5"}),
        "MIG request": ([{**main, **mig}, side], {}),
        "CPU only": ([main, side], {}),
    }
    if case["pod"] not in known:
        raise UnsupportedError(f"admission of pod: {case['pod']}")
    containers, annotations = known[case["pod"]]
    everybody = [one["name"] for one in containers]
    meant = {
        "side container": ["side container"],
        "all but the fraction container": everybody[1:],
        "all": everybody,
    }
    expected = [name for word in case["injected_void"] for name in meant.get(word, [word])]
    got = device_access.containers_to_blind({"containers": containers}, annotations)
    return "" if got == expected else f"void for {expected} expected, {got} found"


def _objects(case: Json) -> str:
    if "queue" in case:
        return _queue(case)
    text = str(case.get("podgroup"))
    if text not in _GROUPS:
        raise UnsupportedError(f"admission of podgroup: {text}")
    subgroups, min_member, min_parts = _GROUPS[text]
    problems = group_problems(subgroups, min_member=min_member, min_parts=min_parts)
    if case["ok"] == "false on create, warning on update":
        right = any(one.refused_on_create for one in problems) and not any(one.refused_on_update for one in problems)
        return "" if right else f"{case['ok']} expected, {problems} found"
    accepted = not any(one.refused_on_create for one in problems)
    warned = bool(problems) or not str(case.get("note", "")).startswith("warning")
    return "" if accepted is case["ok"] and warned else f"ok {case['ok']} expected, {problems} found"


_LEAF = SubGroup("leaf", min_member=1)
_GROUPS: dict[str, tuple[list[SubGroup], int | None, int | None]] = {
    "min_subgroups and min_member both set at one level": ([_LEAF], 1, 1),
    "min_subgroups larger than the number of direct children": ([_LEAF], None, 2),
    "min_member on an inner subgroup": (
        [SubGroup("inner", min_member=1), SubGroup("leaf", "inner", min_member=1)],
        None,
        None,
    ),
    "leaf subgroup without min_member": ([SubGroup("leaf")], None, None),
    "subgroup names not unique": ([_LEAF, _LEAF], None, None),
    "subgroup parent unknown or cyclic": ([SubGroup("leaf", "nobody", min_member=1)], None, None),
    "min_member negative": ([], -1, None),
}


def _queue(case: Json) -> str:
    text, problem = str(case["queue"]), None
    condition = case.get("condition")
    if text == "without resources":
        verdict = judge_queue(has_resources=False)
    elif text == "parent missing":
        verdict = judge_queue(has_resources=True, parent="nobody")
    elif text.startswith("child quota"):
        verdict = judge_queue(
            has_resources=True, parent="above", known=["above"], gpu_quota_milli=2000, parent_gpu_quota_milli=1000
        )
    elif text == "delete while it has children":
        verdict, problem = judge_queue(has_resources=True), may_delete_queue(["child"])
    else:
        raise UnsupportedError(f"admission of queue: {text}")
    accepted = not verdict.is_refused and problem is None
    if accepted is not case["ok"] or verdict.is_orphan is not (condition == "Orphan"):
        return f"ok {case['ok']} expected, {_told(verdict.problems)} found"
    return ""


def _told(problems: tuple[Problem, ...]) -> str:
    return "; ".join(one.text for one in problems) or "no problem"
