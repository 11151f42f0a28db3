"""What if these pods went and those came? Tried on the picture itself, and undone without a trace.

Planning reads the same arrays, kept scores and device choice as every other decision, so a trial changes the ledgers
and lets the table follow. It is safe because deciding is synchronous: nobody looks before `rollback` has been called.

The arrays then show the *future*: pods that leave are gone from them and promised seats are taken. What fits *now*
is less: who leaves still holds its devices. Only the few nodes where the two differ are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Set
from enum import Enum, auto

from extender.cluster.ledger import NodeLedger
from extender.cluster.picture import Picture
from extender.model.names import NodeName, PodUID
from extender.model.pod import Placement, Pod


class _Step(Enum):
    ADD = auto()
    REMOVE = auto()
    LEAVE = auto()
    STAY = auto()
    PROMISE = auto()
    UNPROMISE = auto()


_OPPOSITE = {
    _Step.ADD: _Step.REMOVE,
    _Step.REMOVE: _Step.ADD,
    _Step.LEAVE: _Step.STAY,
    _Step.STAY: _Step.LEAVE,
    _Step.PROMISE: _Step.UNPROMISE,
    _Step.UNPROMISE: _Step.PROMISE,
}


class WhatIf:
    """One trial. `mark` before something that may fail, `rollback(mark)` when it did; in the end `rollback()`."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self._done: list[tuple[_Step, Pod, Placement]] = []
        self._unwritten: set[NodeName] = set()
        self._leaving: dict[NodeName, dict[PodUID, tuple[Pod, Placement]]] = {}
        self._promised: dict[NodeName, dict[PodUID, None]] = {}

    def mark(self) -> int:
        return len(self._done)

    def rollback(self, to: int = 0) -> None:
        """Undo everything since `to`, the last first. Cost: a few dictionary operations a step."""
        while len(self._done) > to:
            step, pod, placement = self._done.pop()
            self._apply(_OPPOSITE[step], pod, placement)
        if not to:
            self.flush()

    def place(self, pod: Pod, placement: Placement, *, promised: bool) -> None:
        """The pod takes this seat; promised: it waits until whoever holds it now has left."""
        self._do(_Step.ADD, pod, placement)
        if promised:
            self._do(_Step.PROMISE, pod, placement)

    def promise(self, pod: Pod, placement: Placement) -> None:
        """A seat taken in this trial is to wait after all, with the rest of its gang."""
        self._do(_Step.PROMISE, pod, placement)

    def fulfil(self, pod: Pod, placement: Placement) -> None:
        """A promised seat may be taken now."""
        self._do(_Step.UNPROMISE, pod, placement)

    def unplace(self, pod: Pod, placement: Placement) -> None:
        """Give up a seat that nobody sits on yet."""
        self._do(_Step.REMOVE, pod, placement)
        if self.is_promised(pod.uid, placement.node):
            self._do(_Step.UNPROMISE, pod, placement)

    def evict(self, pod: Pod, placement: Placement) -> None:
        """The pod leaves: its capacity is free in the future and taken now."""
        self._do(_Step.REMOVE, pod, placement)
        self._do(_Step.LEAVE, pod, placement)

    def restore(self, pod: Pod, placement: Placement) -> None:
        """An eviction of this trial proved unnecessary: the pod stays where it is."""
        self._do(_Step.STAY, pod, placement)
        self._do(_Step.ADD, pod, placement)

    def flush(self) -> None:
        """Let the table follow the ledgers. Call it before arrays or scores are read."""
        if self._unwritten:
            table = self.picture.table
            for name in self._unwritten:
                ledger = self.picture.ledger(name)
                if ledger is not None:
                    table.write(name, ledger)
            self._unwritten.clear()

    def contended(self) -> Set[NodeName]:
        """Nodes where what fits now differs from what will fit."""
        lingering = self.picture.sharing.lingering()
        if not lingering and not self._promised:
            return self._leaving.keys()  # asked again and again
        return {*self._leaving, *self._promised, *lingering}

    def is_promised(self, uid: PodUID, node: NodeName) -> bool:
        return uid in self._promised.get(node, ())

    def ledger(self, node: NodeName) -> NodeLedger | None:
        """The node's ledger as it will be; read it only."""
        return self.picture.ledger(node)

    def ledger_now(self, node: NodeName) -> NodeLedger | None:
        """The node's ledger as it is, with the pods that leave and without promised seats. Cost: O(its pods)."""
        future = self.picture.ledger(node)
        if future is None:
            return None
        promised: Collection[PodUID] = self._promised.get(node, ())
        leaving = self._leaving.get(node, {})
        now = NodeLedger(future.node, is_now=True)
        for pod, placement in future.pods.values():
            if pod.uid not in promised and pod.uid not in leaving:  # it may come back here, on another device
                now.add(pod, placement)
        for pod, placement in leaving.values():
            now.add(pod, placement)
        return now

    def _do(self, step: _Step, pod: Pod, placement: Placement) -> None:
        self._apply(step, pod, placement)
        self._done.append((step, pod, placement))

    def _apply(self, step: _Step, pod: Pod, placement: Placement) -> None:
        node = placement.node
        match step:
            case _Step.ADD | _Step.REMOVE:
                ledger = self.picture.ledger(node)
                if ledger is None:
                    return  # a node that has gone holds nothing anybody could be given
                if step is _Step.ADD:
                    ledger.add(pod, placement)
                else:
                    ledger.remove(pod.uid)
                self._unwritten.add(node)
            case _Step.LEAVE:
                self._leaving.setdefault(node, {})[pod.uid] = (pod, placement)
            case _Step.STAY:
                del self._leaving[node][pod.uid]
                if not self._leaving[node]:
                    del self._leaving[node]
            case _Step.PROMISE:
                self._promised.setdefault(node, {})[pod.uid] = None
            case _Step.UNPROMISE:
                del self._promised[node][pod.uid]
                if not self._promised[node]:
                    del self._promised[node]
