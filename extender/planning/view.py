"""The state that a plan is made on: the picture, the quota tree and every gang, with each edit undoable.

A `Job` is a gang as the plan has changed it so far. Every edit keeps three books in step: the ledgers (`WhatIf`), the
quota tree, and the job's own count of members that hold capacity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial

from extender.cluster import seats
from extender.cluster.picture import Picture
from extender.cluster.whatif import WhatIf
from extender.fairshare import capacity
from extender.fairshare.order import Fill
from extender.fairshare.tree import QuotaTree, Standing
from extender.model.amounts import NOTHING, Amounts
from extender.model.constraint import Constraint
from extender.model.gang import Gang, Member, MemberState, Part, cost
from extender.model.names import PodUID, ProjectName
from extender.model.pod import Placement, Pod
from extender.model.verdict import Verdict
from extender.packing.score import Ints
from extender.planning.lines import Feed
from extender.planning.settings import Settings
from extender.planning.topology import Domains

Mark = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Seat:
    """Capacity of one member: held when the plan began, or given by it.

    promised: only once others have left. given_in: the decision that gave it, "" for an earlier plan.
    """

    member: Member
    placement: Placement
    cost: Amounts
    promised: bool = False
    given_in: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a member was evicted: in which decision, and the key of the gang it was for, "" for none."""

    action: str
    beneficiary: str


class Job:
    """One gang in a plan. Only `View` changes it.

    seats:   what this plan (or an earlier one) has given to members that hold nothing yet, or that it moves.
    evicted: what this plan takes from members that hold something.
    held:    leaf → members that hold capacity or are promised some.
    feed:    what it was taken from when its turn came, None when it was given at the start.
    """

    __slots__ = ("evicted", "feed", "gang", "held", "moving", "seats", "standing", "verdict")

    def __init__(self, gang: Gang, standing: Standing, feed: Feed | None = None) -> None:
        self.gang = gang
        self.standing = standing
        self.feed = feed
        self.seats: dict[PodUID, Seat] = {}
        self.evicted: dict[PodUID, Seat] = {}
        self.held = dict(gang.held)
        self.verdict: Verdict | None = None
        self.moving: tuple[Member, ...] = ()  # evicted members for which another place is being sought

    def pending(self) -> list[Member]:
        """Members that wait and have no seat, in the order in which they are placed."""
        return [member for member in self.moving or self.gang.waiting if member.pod.uid not in self.seats]

    def active(self) -> list[Member]:
        """Members that run and that the plan lets be."""
        return [member for member in self.gang.active if member.pod.uid not in self.evicted]

    @property
    def fill(self) -> Fill:
        """How far it has got towards its minimum."""
        return fill_of(self.gang.tree, self.held)


def fill_of(tree: Part, held: Mapping[str, int]) -> Fill:
    """How far a gang of these parts has got that holds so many members of each leaf."""
    if not tree.is_met(held):
        return Fill.BELOW_MINIMUM
    above = any(held.get(leaf.name, 0) > leaf.min_member for leaf in tree.leaves())
    return Fill.ABOVE_MINIMUM if above else Fill.AT_MINIMUM


class View:
    """One plan in the making. `close` puts the picture and the tree back as they were.

    tree: its allocations count active members; what is promised is added here.
    """

    def __init__(
        self,
        picture: Picture,
        tree: QuotaTree,
        gangs: Iterable[Gang],
        settings: Settings,
        now: float,
        feeds: Iterable[Feed] = (),
    ) -> None:
        self.picture = picture
        self.tree = tree
        self.settings = settings
        self.now = now
        self.whatif = WhatIf(picture)
        self.domains = Domains(picture)
        self.jobs: dict[str, Job] = {}
        self.by_queue: dict[ProjectName, list[Job]] = {}
        self.orphans: list[Gang] = []  # gangs of a project that does not exist
        self.feeds: list[Feed] = []  # more that wait: each becomes a job when its turn comes
        self.waiting: list[Job] = []  # gangs with members that held nothing when the plan began
        self.short: list[Job] = []  # gangs that held something then, and less than their minimum
        self.touched: dict[str, Job] = {}  # gangs given something or robbed of something, if only in a try
        self.has_affinity = False
        self.causes: dict[PodUID, Cause] = {}  # of every eviction that was ever tried; `Job.evicted` says which stand
        self.heirs: dict[str, str] = {}  # gang that gave up a promised seat → gang that has it now
        self.immovable: set[object] = set()  # signatures of those for whom nothing could be moved, whatever their queue
        self.action = ""  # the decision being taken
        self.serving = ""  # the gang it is taken for
        self._edits: list[Callable[[], None]] = []
        self._charges: list[tuple[Standing, Amounts, bool]] = []
        self._attainable_counts: dict[int, int] = {}
        self._constraints: dict[tuple[Constraint, object], Constraint] = {}
        self._least_gpu_memory, self._most_gpu_memory = picture.gpu_memory_mib(settings.pool)
        try:
            self._begin(gangs, feeds)
        except BaseException:
            self.close()
            raise

    def _begin(self, gangs: Iterable[Gang], feeds: Iterable[Feed]) -> None:
        self.tree.refresh()
        for gang in gangs:
            self._open(gang)
        for job in self.waiting:
            for member in job.gang.in_state(MemberState.NOMINATED):
                self._renew(job, member)
        for feed in feeds:
            if feed.line.queue in self.tree.projects:
                self.feeds.append(feed)
                continue
            while feed.next_key(self.jobs) is not None:
                self._open(feed.take())

    def open(self, feed: Feed) -> Job:
        """The next of a feed that has one takes part from now on."""
        gang = feed.take()
        self._open(gang, feed)
        return self.jobs[gang.key]

    def _open(self, gang: Gang, feed: Feed | None = None) -> None:
        self.has_affinity = self.has_affinity or gang.has_affinity
        standing = self.tree.projects.get(gang.queue)
        if standing is None:
            self.orphans.append(gang)
            return
        job = self.jobs[gang.key] = Job(gang, standing, feed)
        self.by_queue.setdefault(gang.queue, []).append(job)
        if MemberState.PENDING in gang.by_state or MemberState.NOMINATED in gang.by_state:
            self.waiting.append(job)
        if not gang.is_met and MemberState.ACTIVE in gang.by_state:
            self.short.append(job)
        for member in gang.by_state.get(MemberState.RELEASING, ()):
            ledger = None if member.placement is None else self.whatif.ledger(member.placement.node)
            if member.placement is not None and ledger is not None and member.pod.uid in ledger.pods:
                self.whatif.evict(member.pod, member.placement)

    def _renew(self, job: Job, member: Member) -> None:
        """Keep the promise of an earlier plan; where it cannot be kept any more, the member waits like any other."""
        placement = member.placement
        ledger = None if placement is None else self.whatif.ledger(placement.node)
        if placement is None or ledger is None or member.pod.uid in ledger.pods:
            return
        row = self.picture.table.row_of.get(placement.node)
        if row is None or not self.picture.allowed.row(self.constraint_of(job, member.pod))[row]:
            return  # cordoned since, or not ready any more
        if not seats.is_free(ledger, member.pod, placement):
            return
        if job.standing.admits(self.cost_on(member.pod, placement), preemptible=job.gang.preemptible):
            self.seat(job, member, placement, promised=True)

    def close(self) -> None:
        self.rollback((0, 0, 0))

    def mark(self) -> Mark:
        return (len(self._edits), len(self._charges), self.whatif.mark())

    def rollback(self, to: Mark) -> None:
        """Undo every edit since `to`."""
        while len(self._edits) > to[0]:
            self._edits.pop()()
        while len(self._charges) > to[1]:
            standing, amounts, preemptible = self._charges.pop()
            self.tree.release(standing, amounts, preemptible=preemptible)
        self.whatif.rollback(to[2])

    @contextmanager
    def tree_as_of(self, mark: Mark) -> Iterator[None]:
        """The quota tree as it was at `mark`, for questions that compare before and after."""
        since = self._charges[mark[1] :]
        for standing, amounts, preemptible in since:
            self.tree.release(standing, amounts, preemptible=preemptible)
        try:
            yield
        finally:
            for standing, amounts, preemptible in since:
                self.tree.allocate(standing, amounts, preemptible=preemptible)

    # Edits

    def seat(self, job: Job, member: Member, placement: Placement, *, promised: bool) -> None:
        """Give a member a seat."""
        uid = member.pod.uid
        taken = Seat(member, placement, self.cost_on(member.pod, placement), promised, self.action)
        self.whatif.place(member.pod, placement, promised=promised)
        self._charge(job, taken.cost)
        job.seats[uid] = taken
        self._count(job, member, 1)
        self._edits.append(partial(self._unset, job, member))

    def unseat(self, job: Job, uid: PodUID) -> None:
        """Take back a seat that nobody sits on yet."""
        seat = job.seats.pop(uid)
        self.whatif.unplace(seat.member.pod, seat.placement)
        self._charge(job, NOTHING - seat.cost)
        self._count(job, seat.member, -1)
        self._edits.append(partial(self._reset, job, seat))

    def fulfil(self, job: Job, uid: PodUID) -> None:
        """A promised seat may be taken now."""
        seat = job.seats[uid]
        self.whatif.fulfil(seat.member.pod, seat.placement)
        job.seats[uid] = replace(seat, promised=False)
        self._edits.append(partial(job.seats.__setitem__, uid, seat))

    def promise(self, job: Job, uid: PodUID) -> None:
        """A seat given in this plan waits for the rest of its gang."""
        seat = job.seats[uid]
        if seat.promised:
            return
        self.whatif.promise(seat.member.pod, seat.placement)
        job.seats[uid] = replace(seat, promised=True)
        self._edits.append(partial(job.seats.__setitem__, uid, seat))

    def evict(self, job: Job, member: Member) -> None:
        """An active member has to go."""
        assert member.placement is not None
        held = Seat(member, member.placement, self.cost_on(member.pod, member.placement))
        self.whatif.evict(member.pod, member.placement)
        self._charge(job, NOTHING - held.cost)
        job.evicted[member.pod.uid] = held
        self.causes[member.pod.uid] = Cause(self.action, self.serving)
        self._count(job, member, -1)
        self._edits.append(partial(self._readmit, job, member))

    def restore(self, job: Job, uid: PodUID) -> None:
        """An eviction of this plan is not needed: the member stays where it is."""
        held = job.evicted.pop(uid)
        self.whatif.restore(held.member.pod, held.placement)
        self._charge(job, held.cost)
        self._count(job, held.member, 1)
        self._edits.append(partial(self._expel, job, held))

    def _unset(self, job: Job, member: Member) -> None:
        del job.seats[member.pod.uid]
        self._count(job, member, -1)

    def _reset(self, job: Job, seat: Seat) -> None:
        job.seats[seat.member.pod.uid] = seat
        self._count(job, seat.member, 1)

    def _readmit(self, job: Job, member: Member) -> None:
        del job.evicted[member.pod.uid]
        self._count(job, member, 1)

    def _expel(self, job: Job, held: Seat) -> None:
        job.evicted[held.member.pod.uid] = held
        self._count(job, held.member, -1)

    def _count(self, job: Job, member: Member, by: int) -> None:
        leaf = job.gang.leaf_of(member)
        job.held[leaf] = job.held.get(leaf, 0) + by
        self.touched[job.gang.key] = job

    def _charge(self, job: Job, amounts: Amounts) -> None:
        self.tree.allocate(job.standing, amounts, preemptible=job.gang.preemptible)
        self._charges.append((job.standing, amounts, job.gang.preemptible))

    # Questions

    def beneficiary(self, uid: PodUID) -> str:
        """The gang that has what the evicted member leaves: whom it was evicted for, or who displaced that one."""
        key = self.causes[uid].beneficiary
        seen = {key}
        while key in self.heirs and not any(seat.promised for seat in self.jobs[key].seats.values()):
            key = self.heirs[key]
            if key in seen:
                break
            seen.add(key)
        return key

    @cached_property
    def attainable(self) -> Ints:
        """Milli-GPU of each row if everybody preemptible left: no decision of this plan can free more.

        Made when first asked for: what is given or taken later only moves within it. Cost: a look at every gang.
        """
        self.whatif.flush()
        table = self.picture.table
        most = table.gpu_free()
        for job in self.jobs.values():
            if not job.gang.preemptible:
                continue
            held = [(one.pod, one.placement) for one in job.active()]
            held += [(seat.member.pod, seat.placement) for seat in job.seats.values()]
            for pod, placement in held:
                row = None if placement is None else table.row_of.get(placement.node)
                if row is not None and placement is not None:
                    most[row] += self.cost_on(pod, placement).gpu_milli
        return most

    def attainable_count(self, gpu_milli: int) -> int:
        """How many members of this size the nodes could hold if everybody preemptible left, CPU left aside."""
        known = self._attainable_counts.get(gpu_milli)
        if known is None:
            known = self._attainable_counts[gpu_milli] = int((self.attainable // gpu_milli).clip(0).sum())
        return known

    def cost_on(self, pod: Pod, placement: Placement) -> Amounts:
        """What the pod costs its queue where it is."""
        if not pod.gpu.memory_mib:
            return cost(pod, 0)
        ledger = self.picture.ledger(placement.node)
        return cost(pod, ledger.gpu_memory_mib if ledger is not None else 0)

    def least_cost(self, pod: Pod) -> Amounts:
        """What the pod costs at least: a request by memory is a smaller share of a larger GPU."""
        return cost(pod, self._most_gpu_memory)

    def request(self, members: Iterable[Member]) -> Amounts:
        """What members that have no node yet count as: requests by memory by the smallest GPU there is."""
        total = NOTHING
        for member in members:
            total += cost(member.pod, self._least_gpu_memory)
        return total

    def constraint_of(self, job: Job, pod: Pod) -> Constraint:
        """The pod's own constraint with what its gang is confined to."""
        confined = job.gang.confined_to
        if not confined:
            return pod.constraint
        key = (pod.constraint, confined)
        if key not in self._constraints:
            self._constraints[key] = replace(pod.constraint, confined_to=confined)
        return self._constraints[key]

    def gpu_headroom(self, job: Job) -> int:
        """Milli-GPU that the job's queue and those above it may still take."""
        headroom = 1 << 62
        for standing in job.standing.path():
            headroom = min(headroom, standing.limit[0] - standing.allocated[0])
            if not job.gang.preemptible:
                headroom = min(headroom, standing.quota[0] - standing.non_preemptible[0])
        return headroom

    def refusal(self, job: Job, amounts: Amounts) -> Verdict | None:
        """Why limits or quotas refuse this much more, with the numbers; None when they do not."""
        return capacity.check(job.standing.usages(), amounts, preemptible=job.gang.preemptible)
