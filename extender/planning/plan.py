"""One plan: every decision in turn on one view, and what comes of it as values (behaviour.md 6.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from extender.cluster.picture import Picture
from extender.fairshare.tree import QuotaTree
from extender.model.gang import Gang
from extender.model.names import PodUID
from extender.model.pod import Placement
from extender.model.verdict import Verdict
from extender.planning import disrupt, explain
from extender.planning.allocate import allocate, fulfil
from extender.planning.lines import Feed
from extender.planning.settings import Settings
from extender.planning.view import Job, View


class Action(StrEnum):
    """The decisions, in the order in which a full plan takes them: the least disruptive first."""

    FULFIL = "fulfil"
    ALLOCATE = "allocate"
    CONSOLIDATION = "consolidation"
    RECLAIM = "reclaim"
    PREEMPT = "preempt"
    STALE_GANG_EVICTION = "stalegangeviction"


_DECISIONS: dict[Action, Callable[[View], None]] = {
    Action.FULFIL: fulfil,
    Action.ALLOCATE: allocate,
    Action.CONSOLIDATION: disrupt.consolidate,
    Action.RECLAIM: disrupt.reclaim,
    Action.PREEMPT: disrupt.preempt,
    Action.STALE_GANG_EVICTION: disrupt.evict_stale,
}


@dataclass(frozen=True, slots=True)
class PlannedSeat:
    """A member's place. bindable: it may start now; else the place is promised and others have to leave it first."""

    gang: str
    uid: PodUID
    placement: Placement
    bindable: bool


@dataclass(frozen=True, slots=True)
class Eviction:
    """A member that has to go. `message` is for its owner; `beneficiary` the gang it makes way for, "" for none."""

    gang: str
    uid: PodUID
    action: Action
    beneficiary: str
    message: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a gang waits, and how many wait before it in its queue."""

    gang: str
    verdict: Verdict
    position: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. Evicted members that also have a seat are moved there."""

    seats: tuple[PlannedSeat, ...]
    evictions: tuple[Eviction, ...]
    explanations: tuple[Explanation, ...]


def plan(
    picture: Picture,
    tree: QuotaTree,
    gangs: Iterable[Gang],
    settings: Settings,
    now: float,
    actions: Sequence[Action] = tuple(Action),
    feeds: Iterable[Feed] = (),
) -> Plan:
    """Decide for all gangs at once; `picture` and `tree` are as they were when this returns.

    tree: allocations count ACTIVE members; requests count ACTIVE, NOMINATED and PENDING ones.
    gangs: those that wait and those that hold something; for each ACTIVE, RELEASING and STUCK member the picture
    holds its placement, for NOMINATED ones it does not.
    feeds: more gangs that wait, which are looked at as far as their turn comes.
    The same arguments give the same plan. Cost: what the gangs that wait cost, a little for each that does not.
    """
    view = View(picture, tree, gangs, settings, now, feeds)
    try:
        for action in actions:
            view.action = action
            _DECISIONS[action](view)
        return _result(view)
    finally:
        view.close()


def _result(view: View) -> Plan:
    seats: list[PlannedSeat] = []
    evictions: list[Eviction] = []
    for key, job in view.touched.items():
        seats += (PlannedSeat(key, uid, seat.placement, not seat.promised) for uid, seat in job.seats.items())
        for uid in job.evicted:
            action = Action(view.causes[uid].action)
            evictions.append(Eviction(key, uid, action, view.beneficiary(uid), explain.eviction(view, job, uid)))
    return Plan(tuple(seats), tuple(evictions), tuple(_explanations(view)))


def _explanations(view: View) -> Iterable[Explanation]:
    for gang in view.orphans:
        if gang.waiting:
            yield Explanation(gang.key, explain.no_project(gang), 0)
    queues: dict[str, list[Job]] = {}
    for job in view.waiting:
        if job.verdict is not None:
            queues.setdefault(job.gang.queue, []).append(job)
    for jobs in queues.values():
        for position, job in enumerate(sorted(jobs, key=lambda job: job.gang.turn), start=1):
            assert job.verdict is not None
            yield Explanation(job.gang.key, job.verdict, position)
