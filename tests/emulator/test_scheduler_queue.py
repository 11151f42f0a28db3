"""The scheduling queue in virtual time: states, back-off, and which event wakes whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from extender.emulator.scheduler.cache import PodView
from extender.emulator.scheduler.queue import EXTENDER, ClusterEvent, SchedulingQueue

Json = dict[str, Any]


class Clock:
    def __init__(self) -> None:
        self.now = 100.8

    def __call__(self) -> float:
        return self.now


def pod(
    name: str, *, priority: int = 0, created: str = "2025-01-01T00:00:00Z", gated: bool = False, **more: Any
) -> PodView:
    gates = {"schedulingGates": [{"name": "g"}]} if gated else {}
    metadata = {"name": name, "namespace": "ns", "uid": name, "creationTimestamp": created, **more}
    return PodView({"metadata": metadata, "spec": {"priority": priority, **gates}})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def queue(clock: Clock) -> SchedulingQueue:
    return SchedulingQueue(clock=clock)


async def names(queue: SchedulingQueue) -> list[str]:
    """Everything that can be popped now."""
    popped = []
    while queue.counts()["active"] or await _due(queue):
        queued = await queue.pop()
        popped.append(queued.pod.name)
        queue.done(queued.pod.uid)
    return popped


async def _due(queue: SchedulingQueue) -> bool:
    queue._advance(queue._clock())
    return bool(queue.counts()["active"])


async def test_order_is_priority_then_creation_then_arrival(queue: SchedulingQueue) -> None:
    queue.add(pod("late", created="2025-01-01T00:00:09Z"))
    queue.add(pod("first"))
    queue.add(pod("second"))
    queue.add(pod("urgent", priority=5, created="2025-01-01T00:00:09Z"))
    assert await names(queue) == ["urgent", "first", "second", "late"]


async def test_a_raised_priority_moves_a_pod_up(queue: SchedulingQueue) -> None:
    queue.add(pod("a"))
    queue.add(pod("b"))
    queue.update(pod("b", priority=9))
    assert await names(queue) == ["b", "a"]


async def test_pop_waits_for_a_pod(queue: SchedulingQueue) -> None:
    popping = asyncio.create_task(queue.pop())
    await asyncio.sleep(0)
    queue.add(pod("a"))
    assert (await popping).pod.name == "a"


async def test_errors_back_off_to_the_end_of_whole_seconds(queue: SchedulingQueue, clock: Clock) -> None:
    queue.add(pod("a"))
    at = []
    for _ in range(6):
        while not await _due(queue):
            clock.now = round(clock.now + 0.1, 1)
        at.append(clock.now)
        queue.fail(await queue.pop())
    # As observed on kube-scheduler: calls at 0, 1.2, 4.2, 9.2, 18.2, 29.2 s.
    assert [round(when - at[0], 1) for when in at] == [0, 1.2, 4.2, 9.2, 18.2, 29.2]


async def test_an_event_does_not_shorten_an_error_back_off(queue: SchedulingQueue) -> None:
    queue.add(pod("a"))
    queue.fail(await queue.pop())
    queue.on_event(ClusterEvent.NODE_ADD)
    assert await names(queue) == []


async def test_a_rejected_pod_waits_for_an_event_and_then_for_its_back_off(
    queue: SchedulingQueue, clock: Clock
) -> None:
    queue.add(pod("a"))
    queue.reject(await queue.pop(), {EXTENDER})
    assert queue.is_idle
    queue.on_event(ClusterEvent.ASSIGNED_POD_DELETE)
    assert queue.counts()["backoff"] == 1
    clock.now += 2
    assert await names(queue) == ["a"]


async def test_back_off_counts_from_the_rejection_not_from_the_event(queue: SchedulingQueue, clock: Clock) -> None:
    queue.add(pod("a"))
    queue.reject(await queue.pop(), {EXTENDER})
    clock.now += 60
    queue.on_event(ClusterEvent.ASSIGNED_POD_DELETE)
    assert await names(queue) == ["a"]


@pytest.mark.parametrize(
    ("plugin", "event", "wakes"),
    [
        (EXTENDER, ClusterEvent.OWN_OTHER, True),
        (EXTENDER, ClusterEvent.NODE_ANNOTATION, True),
        ("NodeResourcesFit", ClusterEvent.ASSIGNED_POD_DELETE, True),
        ("NodeResourcesFit", ClusterEvent.NODE_LABEL, False),
        ("NodeResourcesFit", ClusterEvent.OWN_OTHER, False),
        ("NodeAffinity", ClusterEvent.NODE_LABEL, True),
        ("NodeAffinity", ClusterEvent.ASSIGNED_POD_DELETE, False),
        ("TaintToleration", ClusterEvent.NODE_TAINT, True),
        ("TaintToleration", ClusterEvent.NODE_CONDITION, False),
        ("NodePorts", ClusterEvent.ASSIGNED_POD_DELETE, True),
    ],
)
async def test_only_what_may_help_wakes(queue: SchedulingQueue, plugin: str, event: ClusterEvent, wakes: bool) -> None:
    queue.add(pod("a"))
    queue.reject(await queue.pop(), {plugin})
    queue.on_event(event)
    assert queue.counts()["backoff"] == int(wakes)


async def test_an_event_while_in_flight_is_not_lost(queue: SchedulingQueue) -> None:
    queue.add(pod("a"))
    queued = await queue.pop()
    queue.on_event(ClusterEvent.NODE_ADD)
    queue.reject(queued, {EXTENDER})
    assert queue.counts()["backoff"] == 1


async def test_a_pod_deleted_while_in_flight_stays_away(queue: SchedulingQueue) -> None:
    queue.add(pod("a"))
    queued = await queue.pop()
    queue.delete("a")
    queue.reject(queued, {EXTENDER})
    assert queue.counts() == {"active": 0, "backoff": 0, "unschedulable": 0, "gated": 0, "in_flight": 0}


async def test_gated_pods_ignore_everything_but_their_gates(queue: SchedulingQueue) -> None:
    queue.add(pod("a", gated=True))
    queue.on_event(ClusterEvent.NODE_ADD)
    queue.update(pod("a", gated=True, annotations={"a": "b"}))
    assert await names(queue) == []
    queue.update(pod("a"))
    assert await names(queue) == ["a"]


async def test_five_minutes_in_the_pool_are_enough(queue: SchedulingQueue, clock: Clock) -> None:
    queue.add(pod("a"))
    queue.reject(await queue.pop(), {EXTENDER})
    clock.now += 299
    assert await names(queue) == []
    clock.now += 32  # the pool is looked at every 30 s
    assert await names(queue) == ["a"]


async def test_an_idle_queue_may_pop_early_from_the_back_off_but_never_errors(clock: Clock) -> None:
    queue = SchedulingQueue(clock=clock, pops_from_backoff=True)
    queue.add(pod("rejected"))
    queue.add(pod("failed"))
    queue.reject(await queue.pop(), {EXTENDER})
    queue.fail(await queue.pop())
    queue.on_event(ClusterEvent.NODE_ADD)
    assert await names(queue) == ["rejected"]
