"""The decisions that make others give way: consolidate, reclaim, preempt, and the end of stale gangs (6.3, 6.7, 6.9).

Each goes through the waiting jobs in fair-share order once. A job that could not be helped keeps the verdict that it
has, unless it was turned away for a reason of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from extender.fairshare.order import queue_key
from extender.fairshare.reclaim import Trade, preempt_min_runtime_s, reclaim_min_runtime_s, sides
from extender.fairshare.tree import Standing
from extender.model.gang import Member, MemberState
from extender.model.names import NodeName, ProjectName
from extender.packing.strategy import Strategy
from extender.planning import explain
from extender.planning.allocate import Backlog, of_queue, request_of, signature, turn_of
from extender.planning.lines import Feed
from extender.planning.place import next_members
from extender.planning.solve import Rules, solve
from extender.planning.victims import Unit, by_saturation, units
from extender.planning.view import Job, View

_NODES = 16  # that consolidation tries to empty one by one
_CHOICE = 512  # victims to choose from beyond those that may all be taken


def consolidate(view: View) -> None:
    """Move preemptible members so that a preemptible job fits; only if every one of them has a new place."""

    def help_(job: Job, members: list[Member]) -> bool:
        return job.gang.preemptible and _by_moving(view, job, members, view.jobs.values())

    _for_each(view, help_)


def _by_moving(view: View, job: Job, members: list[Member], jobs: Iterable[Job]) -> bool:
    """Make room for the job by moving members of `jobs`, who lose nothing by it."""
    if _strategy_of(view, members) is Strategy.SPREAD:
        return False
    if not job.standing.admits(request_of(view, members, least=True), preemptible=job.gang.preemptible):
        return False  # moving others changes nothing about what the queue may hold
    asks = signature(job)
    if asks in view.immovable or _is_short(view, members):
        return False
    may_move = view.settings.may_move
    others = [
        other
        for other in jobs
        if other is not job and other.gang.preemptible and all(may_move(one.pod) for one in other.gang.active)
    ]
    rules = Rules(lambda _: True, only_moves=True, most=view.settings.most_moves)
    # In order of victims first; then node by node, those first that lack least.
    helped = solve(view, job, units(view, others, lambda _: False), rules) or any(
        solve(view, job, iter(there), rules) for there in _by_node(view, others)
    )
    if helped:
        view.immovable.clear()
    else:
        view.immovable.add(asks)
    return helped


def reclaim(view: View) -> None:
    """Take back for a queue within its share what other queues hold beyond theirs."""

    def help_(job: Job, members: list[Member]) -> bool:
        gang = job.gang

        def trade() -> Trade:
            return Trade(
                view.tree,
                job.standing,
                request_of(view, members),
                preemptible=gang.preemptible,
                multiplier=view.settings.saturation_multiplier,
            )

        if not trade().is_entitled():
            return False

        def units_in(standing: Standing) -> Iterator[Unit]:
            least_s = reclaim_min_runtime_s(standing, job.standing, view.settings.runtime_scope)
            jobs = (one for one in view.by_queue[ProjectName(standing.queue.name)] if one.gang.preemptible)
            return units(view, jobs, lambda one: _runs_since_less(view, one, least_s))

        def is_fair(lost: Sequence[Unit]) -> bool:
            judged = trade()
            for unit in lost:
                if not judged.may_lose(unit.job.standing):
                    return False
                judged.take(unit.job.standing, unit.cost)
            return judged.is_fair() and not _would_return(view, job, members, lost)

        others = [
            standing
            for name, standing in view.tree.projects.items()
            if standing is not job.standing and name in view.by_queue and any(standing.allocated)
        ]

        def by_moving() -> bool:
            # For what consolidation does not help: others may not lose what they have, but they may have it elsewhere.
            theirs = (one for one in view.jobs.values() if one.gang.queue != gang.queue)
            return _by_moving(view, job, members, theirs)

        rules = Rules(is_fair, most=view.settings.most_evictions)
        judged = trade()
        if not any(judged.may_lose(standing) for standing in others):
            return solve(view, job, iter(()), rules) or by_moving()
        # First whom fairness names. Where those make no room together, because they sit on different nodes, or it
        # would not be fair to somebody above, choose among more; what is not needed is given back in either case.
        return (
            any(
                solve(view, job, victims, rules)
                for victims in (
                    by_saturation(trade(), others, units_in),
                    islice(by_saturation(trade(), others, units_in, beyond=True), _CHOICE),
                    by_saturation(trade(), others, units_in, own_branch_first=True),
                )
            )
            or by_moving()
        )

    _for_each(view, help_)


def preempt(view: View) -> None:
    """Within a queue, make preemptible work of strictly lower priority give way."""

    def help_(job: Job, _: list[Member]) -> bool:
        least_s = preempt_min_runtime_s(job.standing)
        below = (
            other
            for other in view.by_queue[job.gang.queue]
            if other.gang.preemptible and other.gang.priority < job.gang.priority
        )
        victims = units(view, below, lambda one: _runs_since_less(view, one, least_s))
        rules = Rules(lambda _: True, most=view.settings.most_evictions)
        return solve(view, job, victims, rules)

    _for_each(view, help_)


def evict_stale(view: View) -> None:
    """Gangs that have held less than their minimum for longer than their grace give up what they hold."""
    view.serving = ""
    for job in view.short:
        gang = job.gang
        grace_s = view.settings.stale_after_s if gang.stale_after_s is None else gang.stale_after_s
        if grace_s < 0 or gang.in_state(MemberState.DONE) or not job.active():
            continue
        if (
            gang.tree.is_met(job.held)
            or view.now - (view.now if gang.stale_since is None else gang.stale_since) < grace_s
        ):
            continue
        for uid in list(job.seats):
            view.unseat(job, uid)
        for member in job.active():
            view.evict(job, member)
        job.verdict = explain.incomplete(job)


def _by_node(view: View, jobs: Iterable[Job]) -> Iterator[list[Unit]]:
    """What could leave each of the nodes that have most free GPU and somebody who can leave."""
    there: dict[NodeName, list[Unit]] = {}
    for unit in units(view, jobs, lambda _: False):
        nodes = {member.placement.node for member in unit.members if member.placement is not None}
        if len(nodes) == 1 and not unit.seats:
            there.setdefault(nodes.pop(), []).append(unit)
    view.whatif.flush()
    table, free = view.picture.table, view.picture.table.gpu_free()
    ordered = sorted(
        (name for name in there if name in table.row_of), key=lambda name: (-int(free[table.row_of[name]]), name)
    )
    return (there[name] for name in ordered[:_NODES])


def _would_return(view: View, job: Job, members: list[Member], lost: Sequence[Unit]) -> bool:
    """Whether a victim would be served before the queue it made way for, and so take its place back at once.

    What the reclaiming queue serves first may be another job of its own: that one's turn is what counts. Asked with
    the tree as it was before the losses; `members` are those of the job that it was helped with.
    """
    waiting = [one for one in view.by_queue[job.gang.queue] if one.gang.waiting and one.pending() and not one.seats]
    head = min([*waiting, job], key=turn_of)
    request = request_of(view, members if head is job else next_members(head))
    for unit in lost:
        view.tree.release(unit.job.standing, unit.cost, preemptible=True)
    try:
        for unit in lost:
            ours, theirs = sides(job.standing, unit.job.standing)
            if queue_key(theirs, unit.cost, view.tree.total) < queue_key(ours, request, view.tree.total):
                return True
        return False
    finally:
        for unit in lost:
            view.tree.allocate(unit.job.standing, unit.cost, preemptible=True)


def _for_each(view: View, help_: Callable[[Job, list[Member]], bool]) -> None:
    """Offer help to every job that waits, in order. Jobs of one queue that ask for the same as one that failed are
    passed over until somebody has been helped, which may have changed what is free.
    """
    failed: set[object] = set()

    def kind(one: Job | Feed) -> object:
        return (one.line if isinstance(one, Feed) else one.gang).priority, of_queue(one)

    backlog = Backlog(view, list(_waiting(view)), lambda one: kind(one) in failed)
    while (job := backlog.take()) is not None:
        members = next_members(job)
        if not members:
            backlog.done(job, again=False)
            continue
        if job.gang.waits_until is not None and view.now < job.gang.waits_until:
            job.verdict = explain.too_early(job)
        elif not view.settings.may_disrupt(job.gang.key):
            job.verdict = explain.in_vain(job)
        else:
            view.serving = job.gang.key
            if _is_attainable(view, members) and help_(job, members):
                job.verdict = None
                failed.clear()
            else:
                failed.add(kind(job))
        backlog.done(job, again=False)


def _waiting(view: View) -> Iterator[Job]:
    return (job for job in view.waiting if job.pending() and not job.evicted)


def _runs_since_less(view: View, job: Job, seconds: float) -> bool:
    started = job.gang.started_at
    return seconds > 0 and started is not None and view.now - started < seconds


def _is_attainable(view: View, members: Sequence[Member]) -> bool:
    """Whether the nodes could hold the largest of these so many times if everybody preemptible left."""
    largest = max(view.least_cost(member.pod).gpu_milli for member in members)
    if not largest or any(member.pod.gpu.mig for member in members):
        return True
    count = sum(view.least_cost(member.pod).gpu_milli == largest for member in members)
    return view.attainable_count(largest) >= count


def _strategy_of(view: View, members: Iterable[Member]) -> Strategy:
    return view.settings.strategy_for(next(iter(members)).pod)


def _is_short(view: View, members: Sequence[Member]) -> bool:
    """Whether there is less free in all than is asked for: moving cannot help then."""
    view.whatif.flush()
    gpu = sum(view.least_cost(member.pod).gpu_milli for member in members if not member.pod.gpu.mig)
    cpu = sum(member.pod.cpu_milli for member in members)
    memory = sum(member.pod.memory_mib for member in members)
    return (
        gpu > int(view.picture.table.gpu_free().sum())
        or cpu > int(view.picture.table.arrays().cpu_free.clip(0).sum())
        or memory > int(view.picture.table.memory_free().clip(0).sum())
    )
