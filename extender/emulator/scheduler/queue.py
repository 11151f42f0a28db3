"""The scheduling queue: active, backing off, unschedulable, gated, in flight.

    add ──▶ gated ──(last gate removed)──▶ active ──pop──▶ in flight ──done──▶ (binding)
                                             ▲                 │
                      back-off ends          │                 ├── error ─────▶ back-off
    back-off ────────────────────────────────┘                 └── no node fits ──▶ unschedulable
       ▲                                                                               │
       └────────── a cluster event that may help, or five minutes ─────────────────────┘

A pod that no node takes waits for an event that its rejecting plugins subscribe to; one that came while the
pod was in flight counts too, else a wake-up between looking and parking would be lost. An error is never
parked: it comes back after 1-2-4-8-10 s, and nothing shortens that.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from extender.emulator.scheduler.cache import PodView

EXTENDER = "Extender"  # the pseudo-plugin that an extender's rejection is booked under

_FLUSH_EVERY_S = 30.0


class ClusterEvent(enum.Enum):
    NODE_ADD = enum.auto()
    NODE_DELETE = enum.auto()
    NODE_ALLOCATABLE = enum.auto()
    NODE_LABEL = enum.auto()
    NODE_TAINT = enum.auto()
    NODE_CONDITION = enum.auto()
    NODE_ANNOTATION = enum.auto()
    ASSIGNED_POD_ADD = enum.auto()
    ASSIGNED_POD_UPDATE = enum.auto()
    ASSIGNED_POD_DELETE = enum.auto()
    OWN_SPEC = enum.auto()  # the waiting pod itself: something that filters read
    OWN_OTHER = enum.auto()  # the waiting pod itself: status, annotations; our own status patch is one


_EVERYTHING = frozenset(ClusterEvent)
_HELPS: dict[str, frozenset[ClusterEvent]] = {
    EXTENDER: _EVERYTHING,
    "NodeUnschedulable": frozenset({ClusterEvent.NODE_ADD, ClusterEvent.NODE_TAINT, ClusterEvent.OWN_SPEC}),
    "TaintToleration": frozenset({ClusterEvent.NODE_ADD, ClusterEvent.NODE_TAINT, ClusterEvent.OWN_SPEC}),
    "NodeAffinity": frozenset({ClusterEvent.NODE_ADD, ClusterEvent.NODE_LABEL, ClusterEvent.OWN_SPEC}),
    "NodePorts": frozenset({ClusterEvent.NODE_ADD, ClusterEvent.ASSIGNED_POD_DELETE, ClusterEvent.OWN_SPEC}),
    "NodeResourcesFit": frozenset(
        {
            ClusterEvent.NODE_ADD,
            ClusterEvent.NODE_ALLOCATABLE,
            ClusterEvent.ASSIGNED_POD_DELETE,
            ClusterEvent.OWN_SPEC,
        }
    ),
}


@dataclass(slots=True)
class QueuedPod:
    """A pod on its way through the queue."""

    pod: PodView
    order: int  # arrival; breaks ties between equal priority and creation time
    rejections: int = 0
    errors: int = 0  # consecutive
    rejectors: frozenset[str] = frozenset()
    parked_at: float = 0.0
    events: list[ClusterEvent] = field(default_factory=list)  # seen while in flight

    def sort_key(self) -> tuple[int, str, int]:
        return (-self.pod.priority, self.pod.created, self.order)


class SchedulingQueue:
    """All pods that wait to be placed. Synchronous but for `pop`; one consumer."""

    def __init__(
        self,
        *,
        initial_backoff_s: float = 1.0,
        max_backoff_s: float = 10.0,
        backoff_window_s: float = 1.0,
        flush_after_s: float = 300.0,
        pops_from_backoff: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._initial_backoff_s = initial_backoff_s
        self._max_backoff_s = max_backoff_s
        self._backoff_window_s = backoff_window_s
        self._flush_after_s = flush_after_s
        self._pops_from_backoff = pops_from_backoff
        self._clock = clock or asyncio.get_running_loop().time
        self._orders = itertools.count()
        self._changed = asyncio.Event()
        # UID -> pod, one map a state; a heap entry counts only while its pod is in that state's map.
        self._active: dict[str, QueuedPod] = {}
        self._active_heap: list[tuple[tuple[int, str, int], str]] = []
        self._backing_off: dict[str, tuple[float, QueuedPod]] = {}
        self._parked: dict[str, QueuedPod] = {}
        self._gated: dict[str, QueuedPod] = {}
        self._in_flight: dict[str, QueuedPod] = {}
        self._flush_at = self._clock() + _FLUSH_EVERY_S

    @property
    def is_idle(self) -> bool:
        """Whether nothing moves before the next event or flush: no pod active, in flight or backing off."""
        return not (self._active or self._in_flight or self._backing_off)

    def counts(self) -> dict[str, int]:
        """How many pods are in each state."""
        return {
            "active": len(self._active),
            "backoff": len(self._backing_off),
            "unschedulable": len(self._parked),
            "gated": len(self._gated),
            "in_flight": len(self._in_flight),
        }

    def add(self, pod: PodView) -> None:
        """A pod that is seen for the first time."""
        queued = QueuedPod(pod, next(self._orders))
        if pod.is_gated:
            self._gated[pod.uid] = queued
        else:
            self._activate(queued)

    def update(self, pod: PodView) -> None:
        """A newer version of a waiting pod; one that the queue does not know is added, unless it is in
        flight.
        """
        uid = pod.uid
        if (gated := self._gated.get(uid)) is not None:
            gated.pod = pod
            if not pod.is_gated:
                del self._gated[uid]
                self._activate(gated)
            return
        for queued in (self._active.get(uid), self._parked.get(uid), self._in_flight.get(uid)):
            if queued is not None:
                event = _own_event(queued.pod, pod)
                queued.pod = pod
                if uid in self._active:
                    # The priority may have changed; the old heap entry is skipped when it surfaces.
                    self._activate(queued)
                elif uid in self._in_flight:
                    queued.events.append(event)
                else:
                    self._wake(queued, event)
                return
        if uid in self._backing_off:
            self._backing_off[uid][1].pod = pod
            return
        self.add(pod)

    def delete(self, uid: str) -> None:
        for state in (self._active, self._parked, self._gated, self._in_flight):
            state.pop(uid, None)
        self._backing_off.pop(uid, None)

    def on_event(self, event: ClusterEvent) -> None:
        """Something in the cluster changed: wake every parked pod that it may help."""
        for queued in self._in_flight.values():
            queued.events.append(event)
        for queued in list(self._parked.values()):
            self._wake(queued, event)

    async def pop(self) -> QueuedPod:
        """The next pod to schedule, as soon as there is one; it is then in flight until done, rejected or
        failed.
        """
        while True:
            now = self._clock()
            next_at = self._advance(now)
            while self._active_heap:
                key, uid = heapq.heappop(self._active_heap)
                queued = self._active.get(uid)
                if queued is not None and queued.sort_key() == key:
                    del self._active[uid]
                    queued.events.clear()
                    self._in_flight[uid] = queued
                    return queued
            self._changed.clear()
            try:
                async with asyncio.timeout(max(0.0, next_at - now)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def done(self, uid: str) -> None:
        """The pod is assumed: events no longer concern it."""
        self._in_flight.pop(uid, None)

    def reject(self, queued: QueuedPod, rejectors: Iterable[str]) -> None:
        """No node takes the pod: park it, or back off at once when a helpful event came meanwhile."""
        uid = queued.pod.uid
        if self._in_flight.pop(uid, None) is None:
            return  # deleted while in flight
        queued.rejections += 1
        queued.errors = 0
        queued.rejectors = frozenset(rejectors)
        queued.parked_at = self._clock()
        self._parked[uid] = queued
        for event in queued.events:
            if uid in self._parked:
                self._wake(queued, event)

    def fail(self, queued: QueuedPod) -> None:
        """The attempt ended in an error, from the scheduling or the binding cycle: back off."""
        self._in_flight.pop(queued.pod.uid, None)
        queued.errors += 1
        queued.parked_at = self._clock()
        self._back_off(queued)

    def _activate(self, queued: QueuedPod) -> None:
        self._active[queued.pod.uid] = queued
        heapq.heappush(self._active_heap, (queued.sort_key(), queued.pod.uid))
        self._changed.set()

    def _wake(self, queued: QueuedPod, event: ClusterEvent) -> None:
        # No rejector: nobody said why it failed, so anything may help.
        if queued.rejectors and not any(event in _HELPS.get(name, _EVERYTHING) for name in queued.rejectors):
            return
        del self._parked[queued.pod.uid]
        self._back_off(queued)

    def _back_off(self, queued: QueuedPod) -> None:
        until = self._backoff_end(queued)
        if until <= self._clock():
            self._activate(queued)
            return
        self._backing_off[queued.pod.uid] = (until, queued)
        self._changed.set()

    def _backoff_end(self, queued: QueuedPod) -> float:
        """When a pod may be tried again: 1, 2, 4, 8, 10 s, up to the end of that whole second."""
        failures = queued.errors or queued.rejections
        if failures == 0:
            return 0.0
        wait_s = min(self._max_backoff_s, self._initial_backoff_s * 2.0 ** (min(failures, 32) - 1))
        end = queued.parked_at + wait_s
        window = self._backoff_window_s
        return (math.floor(end / window) + 1) * window if window else end

    def _advance(self, now: float) -> float:
        """Move what is due to active; the time at which something is due next (at the latest, the flush)."""
        if now >= self._flush_at:
            self._flush_at = now + _FLUSH_EVERY_S
            for uid, queued in list(self._parked.items()):
                if now - queued.parked_at >= self._flush_after_s:
                    del self._parked[uid]
                    self._back_off(queued)
        for uid, (until, queued) in list(self._backing_off.items()):
            if until <= now:
                del self._backing_off[uid]
                self._activate(queued)
        if self._pops_from_backoff and not self._active:
            early = [queued for _, queued in self._backing_off.values() if not queued.errors]
            if early:
                first = min(early, key=lambda queued: self._backing_off[queued.pod.uid][0])
                del self._backing_off[first.pod.uid]
                self._activate(first)
        return min((self._flush_at, *(until for until, _ in self._backing_off.values())))


def _own_event(old: PodView, new: PodView) -> ClusterEvent:
    same = old.spec == new.spec and old.obj["metadata"].get("labels") == new.obj["metadata"].get("labels")
    return ClusterEvent.OWN_OTHER if same else ClusterEvent.OWN_SPEC
