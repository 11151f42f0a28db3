"""Who could make way, in what portions and in what order (behaviour.md 6.9, 12.6).

A gang gives up members above its minimum one by one; its core, down to nothing, only as a whole. Among the gangs of a
queue the order is the exact reverse of the order of service: lowest priority, then members above the minimum, then
the youngest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from extender.fairshare.reclaim import Trade
from extender.fairshare.tree import Standing
from extender.model.amounts import NOTHING, Amounts
from extender.model.gang import Member, Part
from extender.model.names import PodUID
from extender.planning.view import Job, Seat, View


@dataclass(frozen=True, slots=True)
class Unit:
    """Members of one gang that leave together, and what their queue gets rid of by it.

    seats: those of them that only have a promise, with what they were promised.
    """

    job: Job
    members: tuple[Member, ...]
    seats: dict[PodUID, Seat]
    cost: Amounts
    is_core: bool


def units(view: View, jobs: Iterable[Job], is_protected: Callable[[Job], bool]) -> Iterator[Unit]:
    """What these gangs, all of one queue or of equal standing, could give up, who leaves first in front.

    is_protected: the gang keeps its core; members above its minimum may go all the same.
    The state is read as the iterator runs: a gang whose turn has not come may still change. Cost: a sort of the
    gangs, then what each unit taken costs.
    """
    ordered = sorted(jobs, key=lambda job: (job.gang.created, job.gang.key), reverse=True)
    ordered.sort(key=lambda job: job.gang.priority)
    for _, equals in groupby(ordered, key=lambda job: job.gang.priority):
        cores = []
        for job in equals:
            portions, core = _portions(job, view.action)
            may_go = view.settings.may_evict
            for portion in portions:
                if all(may_go(member.pod) for member in portion):
                    yield _unit(view, job, portion, is_core=False)
            if core and all(may_go(member.pod) for member in core) and not is_protected(job):
                cores.append((job, core))
        for job, core in cores:
            yield _unit(view, job, core, is_core=True)


def by_saturation(
    trade: Trade,
    standings: Iterable[Standing],
    units_in: Callable[[Standing], Iterator[Unit]],
    *,
    own_branch_first: bool = False,
    beyond: bool = False,
) -> Iterator[Unit]:
    """Victims for a trade: of the queue most above its share, then of whichever is so after that loss.

    Each unit is counted as taken in `trade`. A queue that may lose nothing more is left out from then on; with
    `beyond` only one that may lose nothing at all, for a choice among more victims than can be taken in the end. The
    tree must be as it was when the trade began while the iterator runs.
    """
    left = {standing.queue.name: standing for standing in standings}
    keys = {name: trade.victim_key(one, own_branch_first=own_branch_first) for name, one in left.items()}
    portions: dict[str, Iterator[Unit]] = {}
    while left:
        name = max(left, key=lambda one: keys[one])
        standing = left[name]
        # Losses only ever lower a key: one that is still the largest when made anew is the largest of all.
        fresh = trade.victim_key(standing, own_branch_first=own_branch_first)
        if fresh != keys[name]:
            keys[name] = fresh
            continue
        if not (beyond and name in portions) and not trade.may_lose(standing):
            del left[name]
            continue
        if name not in portions:
            portions[name] = units_in(standing)
        unit = next(portions[name], None)
        if unit is None:
            del left[name]
            continue
        trade.take(standing, unit.cost)
        yield unit


def evict(view: View, unit: Unit) -> None:
    """The unit leaves: running members are evicted, seats that nobody sits on yet are given up."""
    for member in unit.members:
        if member.pod.uid in unit.job.seats:
            view.unseat(unit.job, member.pod.uid)
        else:
            view.evict(unit.job, member)


def _portions(job: Job, action: str) -> tuple[list[tuple[Member, ...]], tuple[Member, ...]]:
    """What a gang has above its minimum, in portions, and its core.

    What others were evicted for stays when its time has come, and what `action` itself has given: two queues would
    take it from each other in turn. Such a gang has no core to give. What an earlier decision of this plan has given
    goes like anything else, and nobody has to be evicted for it.
    """
    fresh = [uid for uid, seat in job.seats.items() if seat.given_in == action or not (seat.promised or seat.given_in)]
    members = [one for one in _present(job) if one.pod.uid not in fresh]
    if len(members) <= 1 and not fresh and not job.gang.subgroups and job.gang.min_member == 1:
        return [], tuple(members)  # the commonest gang is one pod
    members.sort(key=lambda member: member.turn)
    portions = list(_surplus(job, job.gang.tree, members, dict(job.held)))
    above = {member.pod.uid for portion in portions for member in portion}
    return portions, () if fresh else tuple(one for one in members if one.pod.uid not in above)


def _present(job: Job) -> list[Member]:
    """Members that hold something or are promised something."""
    return job.active() + [seat.member for seat in job.seats.values()]


def _surplus(job: Job, part: Part, members: list[Member], held: dict[str, int]) -> Iterator[tuple[Member, ...]]:
    """Portions that `part` can spare, the first to leave first: single members, then optional parts as a whole."""
    if not part.children:
        here = [member for member in members if job.gang.leaf_of(member) == part.name]
        spare = max(0, held.get(part.name, 0) - part.min_member) if held.get(part.name, 0) >= part.min_member else 0
        for member in here[::-1][:spare]:
            yield (member,)
        return
    for child in part.children:
        yield from _surplus(job, child, members, held)
    met = [child for child in part.children if child.is_met(held)]
    for child in met[part.min_parts :][::-1]:
        leaves = {leaf.name: leaf.min_member for leaf in child.leaves()}
        counted = dict.fromkeys(leaves, 0)
        portion = []
        for member in members:
            leaf = job.gang.leaf_of(member)
            if leaf in leaves and counted[leaf] < leaves[leaf]:
                counted[leaf] += 1
                portion.append(member)
        if portion:
            yield tuple(portion)


def _unit(view: View, job: Job, members: tuple[Member, ...], *, is_core: bool) -> Unit:
    seats = {uid: job.seats[uid] for uid in (member.pod.uid for member in members) if uid in job.seats}
    total = NOTHING
    for member in members:
        seat = seats.get(member.pod.uid)
        if seat is not None:
            total += seat.cost
        elif member.placement is not None:
            total += view.cost_on(member.pod, member.placement)
    return Unit(job, members, seats, total, is_core)
