"""May a project take back what others hold? Conditions of reclaim (behaviour.md 6.7) and protection by run time (6.9).

Queues are compared where they are siblings: the two that stand directly below the lowest queue which both reclaimer
and victim belong to. A `Trade` keeps its own losses beside the tree, so a search for victims changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction

from extender.fairshare.order import saturation
from extender.fairshare.tree import RESOURCES, QuotaTree, Standing, triple
from extender.model.amounts import Amounts

Place = tuple[bool, bool, int, int]
VictimKey = tuple[int, tuple[Place, ...], tuple[float, str]]


class Trade:
    """One job's claim on what other projects hold, and the losses agreed on so far.

    Ask `is_entitled` once; then, victim by victim, `may_lose` and `take`; at the end `is_fair`. The tree's allocations
    must stay as they were while the trade is open: apply the evictions afterwards, or undo them before asking.
    """

    __slots__ = ("_asked", "_lost", "_multiplier", "_preemptible", "reclaimer")

    def __init__(
        self,
        tree: QuotaTree,
        reclaimer: Standing,
        request: Amounts,
        *,
        preemptible: bool,
        multiplier: Fraction = Fraction(1),
    ) -> None:
        """request: what the whole job (or the part that is placed now) asks for.

        multiplier: at least 1; how much less saturated than those it takes from an over-saturated reclaimer must stay.
        """
        tree.refresh()
        self.reclaimer = reclaimer
        self._asked = triple(request)
        self._preemptible = preemptible
        self._multiplier = multiplier
        self._lost: dict[Standing, list[int]] = {}

    def is_entitled(self) -> bool:
        """Does the project stay within its fair share, and what cannot be preempted within quota, at every level?"""
        for resource in RESOURCES:
            asked = self._asked[resource]
            if asked <= 0:
                continue
            if self.reclaimer.allocated[resource] + asked > self.reclaimer.fair[resource]:
                return False
            if self._preemptible:
                continue
            if any(
                standing.non_preemptible[resource] + asked > standing.quota[resource]
                for standing in self.reclaimer.path()
            ):
                return False
        return True

    def may_lose(self, victim: Standing) -> bool:
        """May this project lose one more job, given what was taken already? Decided before that loss is counted.

        Yes where its side holds more of a resource than its allocatable share, or more than it deserves while the
        reclaimer's side ends within what it deserves of everything.
        """
        if victim is self.reclaimer:
            return False
        ours, theirs = sides(self.reclaimer, victim)
        holds = self._left(theirs)
        if any(holds[resource] > theirs.allocatable[resource] for resource in RESOURCES):
            return True
        if all(holds[resource] <= theirs.deserved[resource] for resource in RESOURCES):
            return False
        ends = self._left(ours)
        return all(ends[resource] + self._asked[resource] <= ours.deserved[resource] for resource in RESOURCES)

    def take(self, victim: Standing, amounts: Amounts) -> None:
        """Count a loss of `victim`, on its path to the root."""
        self._count(victim, amounts, 1)

    def give_back(self, victim: Standing, amounts: Amounts) -> None:
        """The exact opposite of `take`: a victim that turned out not to be needed, or that was placed elsewhere."""
        self._count(victim, amounts, -1)

    def is_fair(self) -> bool:
        """After all losses: where our side ends above its share, is it still less saturated than who lost to it?

        Asked at every level of the reclaimer's path, against each sibling that lost something, for each resource that
        the request asks for or the sibling lost.
        """
        numerator, denominator = self._multiplier.as_integer_ratio()
        for ours in self.reclaimer.path():
            ends = self._left(ours)
            for theirs, lost in self._lost.items():
                if theirs.parent is not ours.parent or theirs is ours or not any(lost):
                    continue
                for resource in RESOURCES:
                    if self._asked[resource] <= 0 and not lost[resource]:
                        continue
                    held, fair = ends[resource] + self._asked[resource], ours.fair[resource]
                    left, share = theirs.allocated[resource] - lost[resource], theirs.fair[resource]
                    # held/fair x multiplier >= left/share, without dividing: a share of 0 makes ours infinite.
                    if held > fair and share > 0 and held * share * numerator >= left * fair * denominator:
                        return False
        return True

    def victim_key(self, victim: Standing, *, own_branch_first: bool = False) -> VictimKey:
        """The largest key loses next, level by level from the top; among equals the youngest.

        The order of service backwards: who is above share, who is above quota, lower priority, the most saturated.

        own_branch_first: rather those inside departments of the reclaimer's path which the request would take above
        their share. To try again with, where the first choice was not fair.
        """
        return (
            self._relief(victim) if own_branch_first else 0,
            tuple(self._place(standing) for standing in reversed(list(victim.path()))),
            victim.seniority,
        )

    def _relief(self, victim: Standing) -> int:
        inside = set(victim.path())
        return sum(
            any(self._left(ours)[resource] + self._asked[resource] > ours.fair[resource] for resource in RESOURCES)
            for ours in self.reclaimer.path()
            if ours in inside
        )

    def _place(self, standing: Standing) -> Place:
        left = self._left(standing)
        return (
            all(left[resource] > standing.fair[resource] for resource in RESOURCES),
            any(left[resource] > standing.deserved[resource] for resource in RESOURCES),
            -standing.queue.priority,
            self._saturation(standing),
        )

    def _saturation(self, standing: Standing) -> int:
        left = self._left(standing)
        return max(
            (
                saturation(left[resource], standing.fair[resource])
                for resource in RESOURCES
                if self._asked[resource] > 0
            ),
            default=0,
        )

    def _left(self, standing: Standing) -> list[int]:
        lost = self._lost.get(standing)
        if lost is None:
            return standing.allocated
        return [standing.allocated[resource] - lost[resource] for resource in RESOURCES]

    def _count(self, victim: Standing, amounts: Amounts, sign: int) -> None:
        taken = triple(amounts)
        for standing in victim.path():
            lost = self._lost.setdefault(standing, [0, 0, 0])
            for resource in RESOURCES:
                lost[resource] += sign * taken[resource]


def sides(one: Standing, other: Standing) -> tuple[Standing, Standing]:
    """The two siblings through which `one` and `other`, neither above the other, hang below what they share."""
    while one.depth > other.depth:
        one = _above(one)
    while other.depth > one.depth:
        other = _above(other)
    while one.parent is not other.parent:
        one, other = _above(one), _above(other)
    return one, other


class RuntimeScope(StrEnum):
    """Whose reclaim minimum run time protects a victim."""

    QUEUE = "queue"  # of its own queue
    LCA = "lca"  # of the queue on its side below the lowest common ancestor: neighbours agree among themselves


def preempt_min_runtime_s(victim: Standing) -> float:
    """How long pods of this project run before another job of the project may preempt them."""
    for standing in victim.path():
        if standing.queue.preempt_min_runtime_s is not None:
            return standing.queue.preempt_min_runtime_s
    return 0.0


def reclaim_min_runtime_s(victim: Standing, reclaimer: Standing, scope: RuntimeScope = RuntimeScope.LCA) -> float:
    """How long pods of `victim` run before `reclaimer`, another project, may take from it."""
    start = victim if scope is RuntimeScope.QUEUE else sides(reclaimer, victim)[1]
    for standing in start.path():
        if standing.queue.reclaim_min_runtime_s is not None:
            return standing.queue.reclaim_min_runtime_s
    return 0.0


def _above(standing: Standing) -> Standing:
    assert standing.parent is not None, "the root has no siblings"
    return standing.parent
