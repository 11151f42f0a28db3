"""Find the fewest who must make way for one gang: grow a set of victims until it fits, then give back the needless.

Victims come in a fixed order. The shortest run of them that makes room is found by doubling and halving; then each is
let back in where it was, or (if allowed) somewhere else, unless that takes the room away again. Several nodes are
emptied at once when a gang needs it, because the gang is only tried as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from extender.cluster.seats import is_free
from extender.fairshare.tree import triple
from extender.model.amounts import Amounts
from extender.model.names import PodUID
from extender.model.pod import Placement
from extender.planning.place import next_members, place_next
from extender.planning.seating import Look, seat_at
from extender.planning.victims import Unit, evict
from extender.planning.view import Job, Mark, Seat, View

_GLOBAL_CHECKS = 500  # members of the gang x victims left, up to which each victim is questioned over the whole gang


@dataclass(frozen=True, slots=True)
class Rules:
    """What a solution must obey.

    is_fair:    asked of the units that lose something, with the quota tree as it was before.
    move:       victims may be placed elsewhere, which is no loss.
    only_moves: all of them must be.
    most:       members evicted or moved at most, None for any number.
    """

    is_fair: Callable[[Sequence[Unit]], bool]
    move: bool = True
    only_moves: bool = False
    most: int | None = None


def solve(view: View, job: Job, victims: Iterator[Unit], rules: Rules) -> bool:
    """Seat the job's next members in place of `victims`, taken in the order given; nothing changes on failure.

    Cost: O(log victims) attempts to place the gang, except for `only_moves`, where every further victim is tried.
    """
    promised = {unit_job.gang.key: len(unit_job.seats) for unit_job in view.touched.values() if unit_job.seats}
    if not _solve(view, job, victims, rules):
        return False
    for key, seats in promised.items():
        if key != job.gang.key and len(view.jobs[key].seats) < seats:
            view.heirs[key] = job.gang.key
    return True


def _solve(view: View, job: Job, victims: Iterator[Unit], rules: Rules) -> bool:
    start = view.mark()
    shortage = _shortage(view, job)
    if shortage <= 0 and place_next(view, job, Look.EXACT):
        return True  # somebody else's victims left enough
    chosen: list[Unit] = []
    step, tried = 1, 0
    while True:
        with view.tree_as_of(start):
            more = _enough(victims, shortage) if not chosen else list(islice(victims, step))
        if not more:
            view.rollback(start)
            return False
        for unit in more:
            evict(view, unit)
        chosen += more
        if _attempt(view, job, chosen, rules, start):
            if rules.only_moves or len(chosen) - tried <= 1:
                return True
            shortest = _shortest(view, job, chosen, tried, start)
            return _again(view, job, chosen[:shortest], rules, start) or _again(view, job, chosen, rules, start)
        tried = len(chosen)
        if rules.only_moves:
            if rules.most is not None and sum(len(unit.members) for unit in chosen) >= rules.most:
                view.rollback(start)
                return False
        else:
            step *= 2


def _shortage(view: View, job: Job) -> int:
    """Milli-GPU that must come free at least."""
    view.whatif.flush()
    free = int(view.picture.table.gpu_free().sum())
    asked = sum(view.least_cost(member.pod).gpu_milli for member in next_members(job) if not member.pod.gpu.mig)
    return asked - free


def _enough(victims: Iterator[Unit], shortage: int) -> list[Unit]:
    """The first victims whose GPUs make up the shortage: with fewer there is nothing to try."""
    taken: list[Unit] = []
    for unit in victims:
        taken.append(unit)
        shortage -= unit.cost.gpu_milli
        if shortage <= 0:
            break
    return taken


# How those who were chosen are let back in: the oldest first, and for each of them all of the job seated anew.
_LET_BACK = ((True, True),)
_LET_BACK_OR_MOVE = ((True, False), (False, False), (True, True))  # all must find a place: who comes first matters more


def _attempt(view: View, job: Job, chosen: Sequence[Unit], rules: Rules, start: Mark) -> bool:
    """With `chosen` gone already: place the gang, give back, move, judge. Undone as far as placing on failure.

    Seats that are free now are better, but where victims must find room too they may be theirs.
    """
    before, had = view.mark(), frozenset(job.seats)
    tried: list[dict[PodUID, Placement]] = []
    for look in (Look.CALM_FIRST, Look.FUTURE) if rules.only_moves else (Look.CALM_FIRST,):
        if not place_next(view, job, look):
            continue
        places = {uid: seat.placement for uid, seat in job.seats.items()}
        if places in tried:
            view.rollback(before)
            continue
        tried.append(places)
        seated = view.mark()
        for oldest_first, thoroughly in _LET_BACK_OR_MOVE if rules.only_moves and len(chosen) > 1 else _LET_BACK:
            order = chosen[::-1] if oldest_first else chosen
            gone = _spare(view, job, order, rules, had, thoroughly=thoroughly)
            if _is_right(view, chosen, gone[::-1] if oldest_first else gone, rules, start):
                for uid in job.seats.keys() - had:
                    view.promise(job, uid)
                return True
            view.rollback(seated)
        view.rollback(before)
    return False


def _is_right(view: View, chosen: Sequence[Unit], lost: Sequence[Unit], rules: Rules, start: Mark) -> bool:
    """lost: of those chosen, in the same order, who has no place any more."""
    evicted = sum(len(unit.members) for unit in chosen if any(m.pod.uid in unit.job.evicted for m in unit.members))
    if (rules.most is not None and evicted > rules.most) or (rules.only_moves and lost):
        return False
    with view.tree_as_of(start):
        return rules.is_fair(lost)


def _again(view: View, job: Job, chosen: Sequence[Unit], rules: Rules, start: Mark) -> bool:
    view.rollback(start)
    for unit in chosen:
        evict(view, unit)
    return _attempt(view, job, chosen, rules, start)


def _shortest(view: View, job: Job, chosen: Sequence[Unit], low: int, start: Mark) -> int:
    """How many of the first of `chosen` suffice; the first `low` do not."""
    high = len(chosen)
    while high - low > 1:
        middle = (low + high) // 2
        view.rollback(start)
        for unit in chosen[:middle]:
            evict(view, unit)
        if place_next(view, job, Look.CALM_FIRST):
            high = middle
        else:
            low = middle
    return high


def _spare(
    view: View, job: Job, order: Sequence[Unit], rules: Rules, had: frozenset[PodUID], *, thoroughly: bool
) -> list[Unit]:
    """Let back in who need not have left, in the order given; then find others a new place. Returns the losses.

    had: members of the job that were seated before. thoroughly: seat all of the job anew for each of them.
    """
    thoroughly = thoroughly and len(job.seats) * len(order) <= _GLOBAL_CHECKS
    lost = [unit for unit in order if not _let_back(view, job, unit, had, thoroughly=thoroughly)]
    if not rules.move:
        return lost
    return [unit for unit in lost if not _move(view, unit)]


def _let_back(view: View, job: Job, unit: Unit, had: frozenset[PodUID], *, thoroughly: bool) -> bool:
    """Restore the unit where it was, if the gang still fits: as it is seated, or on other devices or nodes."""
    before = view.mark()
    if _restore(view, unit, job):
        return True
    view.rollback(before)
    nodes = {member.placement.node for member in unit.members if member.placement is not None}
    given = [seat for uid, seat in job.seats.items() if uid not in had]
    beside = [seat for seat in given if seat.placement.node in nodes]
    for seat in beside:
        view.unseat(job, seat.member.pod.uid)
    if beside and _restore(view, unit, job) and all(_seat_again(view, job, seat) for seat in beside):
        return True
    view.rollback(before)
    if not thoroughly or unit.job is job:
        return False
    for seat in given:
        view.unseat(job, seat.member.pod.uid)
    if _restore(view, unit, job) and place_next(view, job, Look.CALM_FIRST):
        return True
    view.rollback(before)
    return False


def _restore(view: View, unit: Unit, helped: Job) -> bool:
    """Put every member of the unit back in its place; False, half done, when one of them has lost it."""
    job = unit.job
    for member in unit.members:
        uid = member.pod.uid
        before = unit.seats.get(uid) or job.evicted[uid]
        ledger = view.whatif.ledger(before.placement.node)
        if ledger is None or not _may_return(job, before.cost, helped):
            return False
        if not is_free(ledger, member.pod, before.placement):
            return False
        if uid in unit.seats:
            view.seat(job, member, before.placement, promised=unit.seats[uid].promised)
        else:
            view.restore(job, uid)
    return unit.is_core or job.gang.tree.is_met(job.held)  # nobody stays on beside a core that left


def _may_return(job: Job, amounts: Amounts, helped: Job) -> bool:
    """What a queue held before it may hold again, whatever its limit, unless `helped` has the same queue above it."""
    shared = set(helped.standing.path())
    return all(
        standing.allocated[resource] + more <= standing.limit[resource]
        for standing in job.standing.path()
        if standing in shared
        for resource, more in enumerate(triple(amounts))
        if more > 0
    )


def _may_hold(job: Job, amounts: Amounts) -> bool:
    return job.standing.admits(amounts, preemptible=job.gang.preemptible)


def _seat_again(view: View, job: Job, seat: Seat) -> bool:
    placement = seat_at(view, seat.member.pod, seat.placement.node)
    if placement is None or not _may_hold(job, view.cost_on(seat.member.pod, placement)):
        return False
    view.seat(job, seat.member, placement, promised=True)
    return True


def _move(view: View, unit: Unit) -> bool:
    """Find another place for every member of the unit that cannot stay where it is."""
    job, before = unit.job, view.mark()
    if unit.seats:
        return False  # it was promised a place only: it waits for another one like everybody
    for member in unit.members:
        held = job.evicted[member.pod.uid]
        ledger = view.whatif.ledger(held.placement.node)
        if ledger is not None and _may_hold(job, held.cost) and is_free(ledger, member.pod, held.placement):
            view.restore(job, member.pod.uid)
    job.moving = tuple(member for member in unit.members if member.pod.uid in job.evicted)
    try:
        while any(member.pod.uid not in job.seats for member in job.moving):
            given = place_next(view, job, Look.EXACT)
            if not given:
                view.rollback(before)
                return False
            for member in given:
                view.promise(job, member.pod.uid)
    finally:
        job.moving = ()
    if unit.is_core or job.gang.tree.is_met(job.held):
        return True
    view.rollback(before)
    return False
