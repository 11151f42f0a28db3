"""What the planner remembers of lines that were refused keeps nobody waiting who could start."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from extender.cluster import audit
from extender.cluster.picture import HoldState, Picture
from extender.model import names
from extender.model.pod import Pod
from extender.model.queue import PodGroup, Project
from extender.planning.planner import Planner
from extender.planning.settings import Settings
from tests.builders import node, pod, queue, world

QUEUES = ("a", "b", "c")
ASKS: tuple[dict[str, Any], ...] = (
    {"gpus": 1}, {"gpus": 2}, {"fraction": "0.5"}, {"gpu_memory": 30_000}, {"gpus": 1, "cpu": "40"},
)  # fmt: skip

EVENTS = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from(QUEUES), st.sampled_from(range(len(ASKS))), st.integers(1, 3)),
    st.tuples(st.just("arrive"), st.sampled_from(QUEUES), st.sampled_from(range(len(ASKS))), st.just(1)),
    st.tuples(st.sampled_from(("end", "leave")), st.integers(0, 20)),
    st.tuples(st.just("limit"), st.sampled_from(QUEUES), st.sampled_from((0, 1000, 3000, None))),
    st.tuples(st.sampled_from(("node", "node gone")), st.integers(0, 2)),
    st.tuples(st.just("take back")),
)


class Cluster:
    """A picture that changes event by event, and the planner that has followed it from the start."""

    def __init__(self) -> None:
        self.picture = world(node("n0", gpus=2), projects=[queue(name, deserved=1000) for name in QUEUES])
        for name in QUEUES:
            self.picture.upsert_namespace(name, name)
        self.planner = Planner(self.picture, Settings())
        self._numbers = count()
        self._clock = 0.0

    def happen(self, kind: str, *about: Any) -> None:
        match kind:
            case "arrive":
                self._arrive(*about)
            case "end" | "leave":
                there = [one for one in self.picture.pods.values() if (one.hold is None) == (kind == "leave")]
                if there:
                    self.picture.delete_pod(there[about[0] % len(there)].pod.uid)
            case "limit":
                name, limit = about
                self.picture.upsert_project(Project(queue(name, deserved=1000, limit=limit)))
            case "node":
                self.picture.upsert_node(node(f"n{about[0]}", gpus=2, gpu_memory=(40_960, 81_920)[about[0] % 2]))
            case "node gone":
                self.picture.delete_node(node(f"n{about[0]}").name)
            case _:
                self.planner.take_back(self._clock, self._clock)

    def settle(self) -> None:
        """Plan until there is nothing left to plan; who got a seat starts, who has to go is gone."""
        self._clock += 1.0
        self.planner.allocate(self._clock, self._clock)
        while self.planner.is_behind:
            self.planner.allocate(self._clock, self._clock)
        orders = self.planner.take_orders()
        for uid in orders.seated:
            record = self.picture.pods.get(uid)
            if record is not None and record.hold is not None and record.hold.state is HoldState.RESERVED:
                self.picture.confirm(uid, record.hold.placement)
        for eviction in orders.evictions:
            self.picture.delete_pod(eviction.uid)
        if orders.seated or orders.evictions:
            self.settle()

    def _arrive(self, name: str, ask: int, members: int) -> None:
        group = f"g{next(self._numbers)}" if members > 1 else ""
        if group:
            self.picture.upsert_group(PodGroup(name, group, min_member=members))
        for _ in range(members):
            made: Pod = pod(f"p{next(self._numbers)}", **ASKS[ask])
            self.picture.upsert_pod(replace(made, namespace=name, group=group, gates=(names.SCHEDULING_GATE,)))


def held(picture: Picture) -> set[str]:
    return {uid for uid, record in picture.pods.items() if record.hold is not None}


def told(planner: Planner) -> set[str]:
    """Gangs that wait, are promised nothing, and know why."""
    roster = planner.roster
    waiting = {key for key in planner.verdicts if key in roster.waiting}
    return {key for key in waiting if all(record.hold is None for record in roster.members(key))}


@given(st.lists(st.lists(EVENTS, min_size=1, max_size=4), min_size=1, max_size=12))
@example([[("limit", "a", 1000), ("arrive", "a", 0, 1), ("arrive", "a", 0, 1)], [("end", 0)]])
@settings(max_examples=300, deadline=None)
def test_who_follows_the_events_decides_like_who_sees_the_cluster_for_the_first_time(rounds: list[Any]) -> None:
    cluster = Cluster()
    for events in rounds:
        for event in events:
            cluster.happen(*event)
        cluster.settle()
        assert audit.check(cluster.picture) == []
        before, explained = held(cluster.picture), told(cluster.planner)
        newcomer = Planner(cluster.picture, Settings())
        newcomer.allocate(cluster._clock, cluster._clock)
        assert held(cluster.picture) == before, "somebody waits who could start"
        # Not why: what was remembered is still true, and by now perhaps a limit has been met as well.
        assert told(newcomer) == explained
