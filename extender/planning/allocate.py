"""Allocate: queues in fair-share order, jobs in order, no eviction (behaviour.md 6.3, 6.5, 6.6)."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from extender.cluster.seats import is_free
from extender.fairshare.order import JobKey, Turns, job_key
from extender.model.amounts import Amounts
from extender.model.gang import Member
from extender.model.names import PodUID, ProjectName
from extender.model.verdict import Reason, Verdict
from extender.planning import explain
from extender.planning.lines import Feed
from extender.planning.place import next_members, place_next
from extender.planning.seating import Look
from extender.planning.view import Job, View


class Backlog:
    """Jobs that wait, as it is their turn: the queue by fair share, then the job by priority, elastic state and age.

    `jobs` are those that take part, and after them all that the view's feeds still have. Who is found hopeless is
    passed over without a turn. Cost: O(log jobs + depth x log queues) a turn.
    """

    def __init__(self, view: View, jobs: Iterable[Job], is_hopeless: Callable[[Job | Feed], bool]) -> None:
        self._view = view
        self._is_hopeless = is_hopeless
        self._turns = Turns(view.tree)
        self._waiting: dict[ProjectName, list[tuple[JobKey, Job | Feed]]] = {}
        for job in jobs:
            self._waiting.setdefault(job.gang.queue, []).append((turn_of(job), job))
        for feed in view.feeds:
            key = feed.next_key(view.jobs)
            if key is not None:
                self._waiting.setdefault(feed.line.queue, []).append((key, feed))
        for heap in self._waiting.values():
            heapq.heapify(heap)
            first = self._first(heap)
            if first is not None:
                self._offer(first)

    def take(self) -> Job | None:
        """The next job; None when nobody waits."""
        while (standing := self._turns.first()) is not None:
            heap = self._waiting[ProjectName(standing.queue.name)]
            job = self._first(heap)
            if job is not None:
                heapq.heappop(heap)
                return job
            self._turns.offer(standing, None)
        return None

    def done(self, job: Job, *, again: bool) -> None:
        """The job's turn is over; `again`: more of it waits. Its queue is weighed anew."""
        heap = self._waiting[job.gang.queue]
        if again:
            heapq.heappush(heap, (turn_of(job), job))
        following = self._first(heap)
        if following is not None:
            self._offer(following)
        else:
            self._turns.offer(job.standing, None)

    def _first(self, heap: list[tuple[JobKey, Job | Feed]]) -> Job | None:
        """Who comes first in a queue, with the hopeless gone from the top; a feed gives its next job."""
        while heap:
            first = heap[0][1]
            if self._is_hopeless(first):
                heapq.heappop(heap)
            elif isinstance(first, Job):
                return first
            else:
                job = self._view.open(first)
                key = first.next_key(self._view.jobs)
                heapq.heapreplace(heap, (turn_of(job), job))
                if key is not None:
                    heapq.heappush(heap, (key, first))
        return None

    def _offer(self, job: Job) -> None:
        self._turns.offer(job.standing, request_of(self._view, next_members(job)))


def fulfil(view: View) -> None:
    """Let members take the seats that earlier plans promised them, where those who held them have left by now, or
    other seats that have come free meanwhile.

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
        _go_elsewhere(view, job)


def _go_elsewhere(view: View, job: Job) -> None:
    """Give members that wait for others to leave seats that are free now, if there are enough for all of them."""
    before = view.mark()
    waiting = [uid for uid, seat in job.seats.items() if seat.promised]
    for uid in waiting:
        view.unseat(job, uid)
    left = len(waiting)
    while left > 0:
        given = place_next(view, job, Look.EXACT)
        if not given or any(job.seats[member.pod.uid].promised for member in given):
            view.rollback(before)
            return
        left -= len(given)


def _fulfil(view: View, job: Job, uid: PodUID) -> bool:
    seat = job.seats[uid]
    now = view.whatif.ledger_now(seat.placement.node)
    if now is None or not is_free(now, seat.member.pod, seat.placement):
        return False
    view.fulfil(job, uid)
    return True


def allocate(view: View) -> None:
    """Seat whoever can be seated without an eviction; the others get their verdict, as far as their turn comes."""
    no_room: dict[object, Verdict] = {}
    over: dict[object, Verdict] = {}

    def is_hopeless(one: Job | Feed) -> bool:
        # Within one pass capacity only shrinks: who asks for the same as one that failed fails too.
        if isinstance(one, Feed) and one.verdict is not None:
            return True
        known = no_room.get(signature(one)) or over.get(of_queue(one))
        if known is None:
            return False
        one.verdict = known
        return True

    backlog = Backlog(view, list(view.waiting), is_hopeless)
    given, most = 0, view.settings.most_seats
    while (most is None or given < most) and (job := backlog.take()) is not None:
        had = len(job.seats)
        job.verdict = attempt(view, job)
        given += len(job.seats) - had
        if job.verdict is not None:
            _condemn(view, job, no_room, over)
        backlog.done(job, again=job.verdict is None and bool(next_members(job)))


def _condemn(view: View, job: Job, no_room: dict[object, Verdict], over: dict[object, Verdict]) -> None:
    """The job got no seat: note of whom else that is true."""
    assert job.verdict is not None
    if explain.hangs_on_the_queue(job.verdict):
        over[of_queue(job)] = job.verdict
    elif job.verdict.reason is not Reason.NOT_ENOUGH_RESOURCES or _is_special(view, job):
        return
    elif not any(one.pod.gpu.memory_mib for one in job.gang.waiting):  # its price hangs on the queue
        no_room[signature(job)] = job.verdict
    if job.feed is not None and not job.seats:
        job.feed.verdict = job.verdict


def _is_special(view: View, job: Job) -> bool:
    """Whether the nodes it may have differ from those of others that ask for the same."""
    gang = job.gang
    bound = bool(job.seats or gang.active) or gang.has_affinity
    return bound or any(view.settings.cooling(one.pod) for one in gang.waiting)


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


def signature(one: Job | Feed) -> object:
    """Jobs of equal signature fare equally on the nodes."""
    if isinstance(one, Feed):
        return one.line.need
    if one.feed is not None:
        return (one.feed.line.need, len(one.seats)) if one.seats else one.feed.line.need
    gang = one.gang
    return (gang.asks, gang.min_member, gang.min_parts, gang.subgroups, gang.topology, gang.confined_to, len(one.seats))


def of_queue(one: Job | Feed) -> object:
    """Jobs of one queue for which this is equal may have the same."""
    it = one.line if isinstance(one, Feed) else one.gang
    return (it.queue, it.preemptible, signature(one))


def turn_of(job: Job) -> JobKey:
    """Sort key of the jobs of one queue: the smallest is served first."""
    return job_key(job.gang.priority, job.fill, job.gang.created, job.gang.key)
