"""Who goes next: queues against their siblings at each level of the tree (behaviour.md 6.5), jobs in a queue (6.6)."""

from __future__ import annotations

import heapq
from enum import IntEnum
from itertools import count

from extender.fairshare.tree import RESOURCES, UNBOUNDED, QuotaTree, Standing, Triple, triple
from extender.model.amounts import NOTHING, Amounts

# Ratios of amounts below 2^50 differ by more than 2^-100 or not at all, so this keeps their order exactly, in integers.
_RATIO_SCALE = 1 << 101
_NO_SHARE_PENALTY = 1000 * _RATIO_SCALE  # what is used without any share weighs more than any overuse of a share

QueueKey = tuple[bool, bool, int, bool, int, int, Triple, tuple[float, str]]
JobKey = tuple[int, int, float, str]


class Fill(IntEnum):
    """How far a job has got towards its minimum; the order is the order of service."""

    BELOW_MINIMUM = 0
    AT_MINIMUM = 1
    ABOVE_MINIMUM = 2


def fill(placed: int, minimum: int) -> Fill:
    """The elastic state of a job that has `placed` of at least `minimum` pods."""
    if placed < minimum:
        return Fill.BELOW_MINIMUM
    return Fill.AT_MINIMUM if placed == minimum else Fill.ABOVE_MINIMUM


def job_key(priority: int, state: Fill, created: float, uid: str) -> JobKey:
    """Sort key of the jobs of one queue: smallest is served first. Victims are taken in the reverse order."""
    return (-priority, state, created, uid)


def queue_key(standing: Standing, request: Amounts, total: Amounts | Triple, victims: Amounts = NOTHING) -> QueueKey:
    """Sort key among siblings of a queue whose next job asks for `request`: smallest is served first.

    victims: what this queue would lose if the job were served. Valid for the tree's current shares and allocations.
    """
    asked, lost = triple(request), triple(victims)
    whole = total if isinstance(total, tuple) else triple(total)
    above_share = True  # of everything: who leaves some of a resource to others is not served last for that
    above_deserved = no_share = False
    with_job = without_job = 0
    for resource in RESOURCES:
        held = standing.allocated[resource]
        after = held + asked[resource]
        allocatable = standing.allocatable[resource]
        above_share = above_share and held > standing.fair[resource]
        above_deserved = above_deserved or after > standing.deserved[resource]
        no_share = no_share or (allocatable == 0 and after > 0)
        if allocatable >= UNBOUNDED:
            allocatable = whole[resource]
        with_job = max(with_job, _ratio(after - lost[resource], allocatable))
        without_job = max(without_job, _ratio(held, allocatable))
    gpu, cpu, memory = standing.allocatable
    return (
        above_share,
        above_deserved,
        -standing.queue.priority,
        no_share,
        with_job,
        without_job,
        (gpu, cpu, memory),
        standing.seniority,
    )


def saturation(allocated: int, fair: int) -> int:
    """How much of its share a queue holds: a number that compares with other saturations exactly, and only so."""
    return _ratio(allocated, fair)


def _ratio(part: int, whole: int) -> int:
    if part <= 0:
        return 0
    return part * _RATIO_SCALE // whole if whole > 0 else part * _NO_SHARE_PENALTY


class _Turn:
    __slots__ = ("key", "parent", "request", "standing", "waiting")

    def __init__(self, standing: Standing, parent: _Turn | None) -> None:
        self.standing = standing
        self.parent = parent
        self.request: Amounts | None = None  # of its next job; None: nothing waits here
        self.key: QueueKey | None = None
        self.waiting: list[tuple[QueueKey, int, _Turn]] = []  # heap of children; where the key changed it is skipped


class Turns:
    """Whose turn it is, project by project, as plans change what queues hold.

    Tell each project's next job with `offer`, ask `first`, and `offer` again after that project's allocation or next
    job changed. Only the queues on its path are weighed again: O(depth x log siblings) a turn.
    """

    def __init__(self, tree: QuotaTree) -> None:
        tree.refresh()
        self._total = triple(tree.total)
        self._turns: dict[int, _Turn] = {}
        self._root = _Turn(tree.root, None)
        self._entries = count()  # equal keys come again when a plan is undone: entries are told apart by number

    def offer(self, project: Standing, request: Amounts | None) -> None:
        """The next job of `project` asks for `request`; None when nothing of it waits any more."""
        turn = self._turn(project)
        turn.request = request
        while turn.parent is not None:
            above = turn.parent
            self._weigh(turn, above)
            first = _first(above)
            above.request = None if first is None else first.request
            turn = above

    def first(self) -> Standing | None:
        """The project whose next job comes next; None when nothing waits."""
        turn = self._root
        while turn.standing.children:
            below = _first(turn)
            if below is None:
                return None
            turn = below
        return None if turn is self._root else turn.standing

    def _turn(self, standing: Standing) -> _Turn:
        if standing.parent is None:
            return self._root
        turn = self._turns.get(id(standing))
        if turn is None:
            turn = self._turns[id(standing)] = _Turn(standing, self._turn(standing.parent))
        return turn

    def _weigh(self, turn: _Turn, above: _Turn) -> None:
        if turn.request is None:
            turn.key = None
            return
        key = queue_key(turn.standing, turn.request, self._total)
        if key != turn.key:
            turn.key = key
            heapq.heappush(above.waiting, (key, next(self._entries), turn))


def _first(turn: _Turn) -> _Turn | None:
    waiting = turn.waiting
    while waiting:
        key, _, below = waiting[0]
        if below.key is key:
            return below
        heapq.heappop(waiting)
    return None
