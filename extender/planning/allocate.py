"""Allocate: queues in fair-share order, jobs in order, no eviction (behaviour.md 6.3, 6.5, 6.6)."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from extender.cluster.seats import is_free
from extender.fairshare.order import JobKey, Turns, job_key
from extender.model.amounts import Amounts
from extender.model.gang import Member
from extender.model.names import PodUID, ProjectName
from extender.model.verdict import Verdict
from extender.planning import explain
from extender.planning.place import next_members, place_next
from extender.planning.seating import Look
from extender.planning.view import Job, View


class Backlog:
    """Jobs that wait, as it is their turn: the queue by fair share, then the job by priority, elastic state and age.

    `jobs` are those that take part. Cost: O(log jobs + depth x log queues) a turn.
    """

    def __init__(self, view: View, jobs: Iterable[Job]) -> None:
        self._view = view
        self._turns = Turns(view.tree)
        self._waiting: dict[ProjectName, list[tuple[JobKey, Job]]] = {}
        for job in jobs:
            self._waiting.setdefault(job.gang.queue, []).append((turn_of(job), job))
        for heap in self._waiting.values():
            heapq.heapify(heap)
            self._offer(heap[0][1])

    def take(self, is_hopeless: Callable[[Job], bool]) -> Job | None:
        """The next job; None when nobody waits. Jobs found hopeless are passed over without another turn."""
        while (standing := self._turns.first()) is not None:
            heap = self._waiting[ProjectName(standing.queue.name)]
            while heap:
                job = heapq.heappop(heap)[1]
                if not is_hopeless(job):
                    return job
            self._turns.offer(standing, None)
        return None

    def done(self, job: Job, *, again: bool) -> None:
        """The job's turn is over; `again`: more of it waits. Its queue is weighed anew."""
        heap = self._waiting[job.gang.queue]
        if again:
            heapq.heappush(heap, (turn_of(job), job))
        if heap:
            self._offer(heap[0][1])
        else:
            self._turns.offer(job.standing, None)

    def _offer(self, job: Job) -> None:
        self._turns.offer(job.standing, request_of(self._view, next_members(job)))


def fulfil(view: View) -> None:
    """Let members take the seats that earlier plans promised them, where those who held them have left by now.

    Those that a gang's minimum needs start together; until all of them can, none does.
    """
    for job in view.waiting:
        promised = [uid for uid, seat in job.seats.items() if seat.promised]
        if not promised:
            continue
        before = view.mark()
        ready = [uid for uid in promised if _fulfil(view, job, uid)]
        waiting: dict[str, int] = {}
        for uid in promised:
            if job.seats[uid].promised:
                leaf = job.gang.leaf_of(job.seats[uid].member)
                waiting[leaf] = waiting.get(leaf, 0) + 1
        if ready and not job.gang.tree.is_met({leaf: held - waiting.get(leaf, 0) for leaf, held in job.held.items()}):
            view.rollback(before)


def _fulfil(view: View, job: Job, uid: PodUID) -> bool:
    seat = job.seats[uid]
    now = view.whatif.ledger_now(seat.placement.node)
    if now is None or not is_free(now, seat.member.pod, seat.placement):
        return False
    view.fulfil(job, uid)
    return True


def allocate(view: View) -> None:
    """Seat whoever can be seated without an eviction; the others get their verdict."""
    backlog = Backlog(view, view.waiting)
    no_room: dict[object, Verdict] = {}
    over: dict[object, Verdict] = {}

    def is_hopeless(job: Job) -> bool:
        # Within one pass capacity only shrinks: who asks for the same as one that failed fails too.
        asks = signature(job)
        known = no_room.get(asks) or over.get((job.gang.queue, job.gang.preemptible, asks))
        if known is None:
            return False
        job.verdict = known
        return True

    while (job := backlog.take(is_hopeless)) is not None:
        job.verdict = attempt(view, job)
        if job.verdict is not None:
            if explain.hangs_on_the_queue(job.verdict):
                over[(job.gang.queue, job.gang.preemptible, signature(job))] = job.verdict
            elif not job.seats and not job.gang.active and not _is_special(view, job):
                no_room[signature(job)] = job.verdict
        backlog.done(job, again=job.verdict is None and bool(next_members(job)))


def _is_special(view: View, job: Job) -> bool:
    """Whether the nodes it may have differ from those of others that ask for the same."""
    return any(one.pod.gpu.memory_mib or view.settings.cooling(one.pod) for one in job.gang.waiting)


def attempt(view: View, job: Job) -> Verdict | None:
    """Seat the job's next members; None when they got their seats."""
    members = next_members(job)
    if not members:
        return explain.incomplete(job)
    refused = refuse(view, job, members)
    if refused is not None:
        return refused
    if place_next(view, job, Look.EXACT):
        return None
    return explain.no_room(view, job, members)


def refuse(view: View, job: Job, members: list[Member]) -> Verdict | None:
    """Why limits or quotas forbid these members, whatever is free; None when they do not."""
    least = request_of(view, members, least=True)
    return None if job.standing.admits(least, preemptible=job.gang.preemptible) else view.refusal(job, least)


def request_of(view: View, members: list[Member], *, least: bool = False) -> Amounts:
    """What these members ask for together; least: where a request by memory is cheapest."""
    total = Amounts()
    for member in members:
        total += view.least_cost(member.pod) if least else view.request((member,))
    return total


def signature(job: Job) -> object:
    """Jobs of equal signature fare equally on the nodes."""
    gang = job.gang
    return (gang.asks, gang.min_member, gang.min_parts, gang.subgroups, gang.topology, gang.confined_to, len(job.seats))


def turn_of(job: Job) -> JobKey:
    """Sort key of the jobs of one queue: the smallest is served first."""
    return job_key(job.gang.priority, job.fill, job.gang.created, job.gang.key)
