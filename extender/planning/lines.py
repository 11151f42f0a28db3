"""Waiting gangs that ask for the same, in line: a plan makes a job only of those whose turn comes.

Where the first of a line finds no room, none of it does. So ten thousand blocked gangs cost what their lines cost, and
a line that was refused is not asked again until something has changed that could make a difference to it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

from extender.fairshare.order import Fill, JobKey, job_key
from extender.model.gang import Gang
from extender.model.names import ProjectName
from extender.model.verdict import Verdict

Turn = tuple[int, float, str]


class Need:
    """What gangs ask of the nodes: one object for all that ask for the same, so that it compares by identity."""

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nobody of a line can be seated: true as long as either of these stands, whatever else is true by then.

    opened:   as long as this stands, nothing has come free.
    standing: as long as this stands, the queue and those above it hold and may hold the same; None where the refusal
              does not hang on them.
    """

    verdict: Verdict
    opened: object
    standing: object | None


@dataclass(eq=False, slots=True)
class Line:
    """Gangs of one queue and priority that fare equally. The roster keeps it; whoever plans notes what came of it.

    turns:   of its gangs, whose turn comes first in front.
    told:    why they wait, as they were last told; untold: keys of those that were not.
    """

    queue: ProjectName
    priority: int
    preemptible: bool
    fill: Fill
    pools: tuple[str, ...]
    need: Need
    turns: list[Turn] = field(default_factory=list)
    untold: dict[str, None] = field(default_factory=dict)
    told: Verdict | None = None
    refusal: Refusal | None = None

    @property
    def first(self) -> str:
        """The key of its first gang."""
        return self.turns[0][2]

    @property
    def next_key(self) -> JobKey:
        """Sort key of its first gang."""
        _, created, key = self.turns[0]
        return job_key(self.priority, self.fill, created, key)


def in_front(lines: Iterable[Line], most: int) -> list[Line]:
    """So many lines, those first that come first in their queues; every queue has its part."""
    of_queue: dict[ProjectName, list[Line]] = {}
    for line in lines:
        of_queue.setdefault(line.queue, []).append(line)
    ranked = [
        (rank, queue, line)
        for queue, some in of_queue.items()
        for rank, line in enumerate(sorted(some, key=lambda one: one.next_key))
    ]
    ranked.sort(key=lambda one: one[:2])
    return [line for _, _, line in ranked[:most]]


class Feed:
    """The first `most` gangs of a line, one by one, for one plan. verdict: why those that are left are hopeless."""

    __slots__ = ("_at", "_gang_of", "_most", "line", "verdict")

    def __init__(self, line: Line, gang_of: Callable[[str], Gang], most: int, verdict: Verdict | None = None) -> None:
        self.line = line
        self.verdict = verdict
        self._gang_of = gang_of
        self._most = most
        self._at = 0

    @property
    def is_cut(self) -> bool:
        """Whether all that it may give were taken, and the line is longer."""
        return self._most <= self._at < len(self.line.turns)

    def next_key(self, known: Container[str]) -> JobKey | None:
        """Sort key of the next gang that is none of `known`; None when there is none."""
        turns = self.line.turns
        while self._at < min(len(turns), self._most):
            _, created, key = turns[self._at]
            if key not in known:
                return job_key(self.line.priority, self.line.fill, created, key)
            self._at += 1
        return None

    def take(self) -> Gang:
        """The gang that `next_key` spoke of."""
        self._at += 1
        return self._gang_of(self.line.turns[self._at - 1][2])
