"""The gangs that wait, in lines of those that ask for the same, and what they ask for in all."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass
from weakref import WeakValueDictionary

from extender.cluster.picture import Picture
from extender.model.amounts import NOTHING, Amounts
from extender.model.gang import Gang, MemberState, cost
from extender.model.names import ProjectName
from extender.planning.lines import Line, Need
from extender.planning.view import fill_of


@dataclass(frozen=True, slots=True)
class _Place:
    class_: object
    gang: Gang
    pools: tuple[str, ...]
    asked: dict[str, Amounts]  # pool → what its members that wait count as there


class Waiting:
    """The roster keeps it.

    version:   moves when a gang came or changed: what could not be decided before may be decided now.
    requested: (pool, project) → what gangs ask for, in each of the pools that they may go to.
    """

    def __init__(self, picture: Picture) -> None:
        self.version = 0
        self.requested: defaultdict[tuple[str, ProjectName], Amounts] = defaultdict(Amounts)
        self._picture = picture
        self._lines: dict[object, Line] = {}  # by class: gangs of one class stand in one line
        self._needs: WeakValueDictionary[object, Need] = WeakValueDictionary()
        self._places: dict[str, _Place] = {}

    def __len__(self) -> int:
        """How many gangs wait."""
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def lines(self) -> list[Line]:
        return list(self._lines.values())

    def position(self, key: str) -> int:
        """How many gangs of its queue come before a gang, and 1: its place in the order; 0 when it does not wait."""
        if key not in self._places:
            return 0
        gang = self._places[key].gang
        lines = [line for line in self._lines.values() if line.queue == gang.queue]
        return 1 + sum(bisect_left(line.turns, gang.turn) for line in lines)

    def join(self, gang: Gang, pools: tuple[str, ...], *, is_tardy: bool) -> None:
        """A gang waits for places in `pools`; is_tardy: in a line of its own, in nobody's way."""
        need = (
            gang.asks,
            gang.min_member,
            gang.min_parts,
            gang.subgroups,
            gang.topology,
            gang.confined_to,
            tuple(sorted(gang.held.items())),
            is_tardy,
            len(gang.in_state(MemberState.NOMINATED)),
            pools,
            gang.key if gang.has_affinity else "",  # of those with affinity, each has its own neighbours
        )
        class_ = (gang.queue, gang.priority, gang.preemptible, need)
        line = self._lines.get(class_)
        if line is None:
            line = self._lines[class_] = self._new_line(gang, pools, need)
        asks_memory = any(member.pod.gpu.memory_mib for member in gang.members)
        asked = {}
        for pool in pools:
            memory = self._picture.gpu_memory_mib(pool)[0] if asks_memory else 0
            asked[pool] = sum((cost(member.pod, memory) for member in gang.waiting), NOTHING)
        insort(line.turns, gang.turn)
        line.untold[gang.key] = None
        for pool, amounts in asked.items():
            self.requested[(pool, gang.queue)] += amounts
        self._places[gang.key] = _Place(class_, gang, pools, asked)
        self.version += 1

    def leave(self, key: str) -> None:
        """The gang waits no more, or as another; one that did not wait is no error."""
        place = self._places.pop(key, None)
        if place is None:
            return
        gang = place.gang
        for pool, amounts in place.asked.items():
            self.requested[(pool, gang.queue)] -= amounts
        line = self._lines[place.class_]
        del line.turns[bisect_left(line.turns, gang.turn)]
        line.untold.pop(key, None)
        if not line.turns:
            del self._lines[place.class_]

    def _new_line(self, gang: Gang, pools: tuple[str, ...], need: object) -> Line:
        known = self._needs.get(need)
        if known is None:
            known = self._needs[need] = Need()
        fill = fill_of(gang.tree, gang.held)
        return Line(gang.queue, gang.priority, gang.preemptible, fill, pools, known)
