"""What did not work rests, and is tried again later: for twice as long each time.

Times are the planner's monotonic seconds; `clock` is set by whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from math import inf

from extender.cluster.picture import Picture
from extender.model.names import NodeName, PodUID
from extender.model.pod import Pod

FIRST_COOLING_S = 1.0  # kube-scheduler may not have seen a new node yet, or that somebody has left it
_LONGEST_COOLING_S = 60.0
_FIRST_IN_VAIN_S = 30.0
_FIRST_ABSENCE_S = 60.0  # a pod that did not come for its seat: nobody else could have it meanwhile
_LONGEST_S = 3600.0

_Rest = tuple[float, float]  # until when, and how long
_NONE: _Rest = (0.0, 0.0)


class Rests:
    """Nodes rest for a pod, pods that did not come or may not be evicted rest, gangs rest from disrupting others."""

    def __init__(self, picture: Picture) -> None:
        self.clock = 0.0
        self._picture = picture
        self._nodes: dict[PodUID, dict[NodeName, _Rest]] = {}
        self._absent: dict[PodUID, _Rest] = {}
        self._protected: dict[PodUID, _Rest] = {}
        self._in_vain: dict[str, _Rest] = {}
        self._next_end = inf

    def has_ended(self) -> bool:
        """Whether a rest is over since this was last asked: what could not be decided may be now."""
        if self.clock < self._next_end:
            return False
        self._next_end = min((until for until in self._ends() if until > self.clock), default=inf)
        return True

    # What did not work

    def turned_down(self, uid: PodUID, node: NodeName, first_s: float) -> None:
        """The node of the pod's seat was not offered, or of no use."""
        nodes = self._nodes.setdefault(uid, {})
        cooling_s = max(first_s, min(2 * nodes.get(node, _NONE)[1], _LONGEST_COOLING_S))
        nodes[node] = (self._until(cooling_s), cooling_s)

    def did_not_come(self, uid: PodUID) -> None:
        """A pod let its seat expire."""
        self._absent[uid] = self._longer(self._absent.get(uid), _FIRST_ABSENCE_S)

    def has_come(self, uid: PodUID) -> bool:
        """kube-scheduler asks for the pod; whether it was resting."""
        return self._absent.pop(uid, None) is not None

    def is_protected(self, uid: PodUID, first_s: float) -> None:
        """The API server did not let the pod go."""
        self._protected[uid] = self._longer(self._protected.get(uid), first_s)

    def was_in_vain(self, key: str, first_s: float = _FIRST_IN_VAIN_S) -> None:
        """Others made way for a gang, or were to, and it did not help."""
        self._in_vain[key] = self._longer(self._in_vain.get(key), first_s)

    # What a plan asks

    def cooling(self, pod: Pod) -> Collection[NodeName]:
        """Nodes that the pod is not to be sent to for now."""
        if self._absent.get(pod.uid, _NONE)[0] > self.clock:
            return self._picture.table.row_of.keys()
        return self.avoided(pod.uid)

    def avoided(self, uid: PodUID) -> Sequence[NodeName]:
        """Nodes that were of no use to the pod a moment ago."""
        nodes = self._nodes.get(uid)
        return tuple(node for node, (until, _) in nodes.items() if until > self.clock) if nodes else ()

    def may_evict(self, pod: Pod) -> bool:
        return self._protected.get(pod.uid, _NONE)[0] <= self.clock

    def may_disrupt(self, key: str) -> bool:
        return self._in_vain.get(key, _NONE)[0] <= self.clock

    def forget(self, knows_gang: Callable[[str], bool]) -> None:
        """Drop what is about pods and gangs that have gone."""
        for notes in (self._nodes, self._protected, self._absent):
            for uid in [uid for uid in notes if uid not in self._picture.pods]:
                del notes[uid]
        for key in [key for key in self._in_vain if not knows_gang(key)]:
            del self._in_vain[key]

    def _longer(self, before: _Rest | None, first_s: float) -> _Rest:
        length_s = first_s if before is None else min(2 * before[1], _LONGEST_S)
        return self._until(length_s), length_s

    def _until(self, length_s: float) -> float:
        until = self.clock + length_s
        self._next_end = min(self._next_end, until)
        return until

    def _ends(self) -> Iterator[float]:
        for notes in (self._protected, self._absent):
            yield from (until for until, _ in notes.values())
        yield from (until for until, _ in self._in_vain.values())
        yield from (until for nodes in self._nodes.values() for until, _ in nodes.values())
