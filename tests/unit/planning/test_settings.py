"""What settings forbid is not planned: too many evictions or moves, protected pods, nodes that cool down."""

from __future__ import annotations

from typing import Any

from extender.model.names import NodeName
from extender.planning.plan import Action, Plan, plan
from extender.planning.settings import Settings
from extender.simulate.scenario_world import NOW, World

FOUR: dict[str, Any] = {
    "nodes": {"n1": {"gpus": 2}, "n2": {"gpus": 2}},
    "queues": [{"name": "q", "quota": 4}],
    "groups": [
        *({"name": name, "queue": "q", "priority": 50, "ask": {"gpu": 1}} for name in "abcd"),
        {"name": "p", "queue": "q", "priority": 100, "ask": {"gpu": 2}},
    ],
    "running": [
        {"pod": "a-0", "node": "n1"},
        {"pod": "b-0", "node": "n1"},
        {"pod": "c-0", "node": "n2"},
        {"pod": "d-0", "node": "n2"},
    ],
    "pending": ["p-0"],
}


def decide(action: Action, body: dict[str, Any] = FOUR, **settings: Any) -> Plan:
    world = World(body)
    gangs = world.gangs()
    return plan(world.picture(), world.tree(gangs), gangs, Settings(**settings), NOW, (action,))


def evicted(decided: Plan) -> set[str]:
    return {eviction.uid for eviction in decided.evictions}


def test_a_cap_on_evictions() -> None:
    assert evicted(decide(Action.PREEMPT)) == {"c-0", "d-0"}
    assert evicted(decide(Action.PREEMPT, most_evictions=2)) == {"c-0", "d-0"}
    assert evicted(decide(Action.PREEMPT, most_evictions=1)) == set()


def test_a_disruption_budget_turns_to_others() -> None:
    assert evicted(decide(Action.PREEMPT, may_evict=lambda pod: pod.name != "d-0")) == {"a-0", "b-0"}
    assert evicted(decide(Action.PREEMPT, may_evict=lambda pod: pod.name not in ("a-0", "d-0"))) == set()


def test_a_node_that_cools_down_is_left_out() -> None:
    decided = decide(Action.PREEMPT, cooling=lambda _: (NodeName("n2"),))
    assert [seat.placement.node for seat in decided.seats] == ["n1"]
    assert evicted(decided) == {"a-0", "b-0"}


def test_a_cap_on_moves() -> None:
    body = {
        **FOUR,
        "groups": [*FOUR["groups"][:2], {"name": "p", "queue": "q", "priority": 50, "ask": {"gpu": 2}}],
        "running": [{"pod": "a-0", "node": "n1"}, {"pod": "b-0", "node": "n2"}],
    }
    assert evicted(decide(Action.CONSOLIDATION, body)) == {"b-0"}
    assert evicted(decide(Action.CONSOLIDATION, body, most_moves=0)) == set()


def test_a_pod_is_moved_off_the_node_that_lacks_least_though_younger_ones_come_first() -> None:
    """Sixteen younger pods sit where moving them helps nobody."""
    nodes = {f"full{at:02}": {"gpus": 1} for at in range(20)}
    body = {
        "nodes": {**nodes, "n1": {"gpus": 4}, "spare": {"gpus": 1}},
        "queues": [{"name": "q", "quota": 30}],
        "groups": [
            {"name": "old", "queue": "q", "priority": 50, "ask": {"gpu": 1}},
            *({"name": f"young{at}", "queue": "q", "priority": 50, "ask": {"gpu": 1}} for at in range(20)),
            {"name": "p", "queue": "q", "priority": 50, "ask": {"gpu": 4}},
        ],
        "running": [
            {"pod": "old-0", "node": "n1"},
            *({"pod": f"young{at}-0", "node": f"full{at:02}"} for at in range(20)),
        ],
        "pending": ["p-0"],
    }
    decided = decide(Action.CONSOLIDATION, body)
    assert evicted(decided) == {"old-0"}
    assert {(seat.uid, seat.placement.node) for seat in decided.seats} == {("old-0", "spare"), ("p-0", "n1")}
