"""The planner on the live picture: seats, promises, evictions, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from extender.cluster import audit
from extender.cluster.picture import HoldState, Picture
from extender.model import names
from extender.model.names import NodeName, PodUID
from extender.model.pod import Owner, Phase, Placement, Pod
from extender.model.queue import PodGroup, Project
from extender.model.verdict import Reason
from extender.planning.planner import Planner
from extender.planning.roster import Roster
from extender.planning.settings import Settings
from extender.pods import bind
from extender.pods.bind import BindRequest
from extender.pods.filter import filter_pod
from extender.pods.release import expire
from tests.builders import NAMESPACE, POLICY, node, pod, queue, uid, world

GATE = (names.SCHEDULING_GATE,)


def gated(name: str, group: str = "", **given: Any) -> Pod:
    return replace(pod(name, **{"gpus": 1, **given}), gates=GATE, group=group)


def grouped(picture: Picture, name: str, least: int) -> None:
    picture.upsert_group(PodGroup(NAMESPACE, name, min_member=least))


def planner(picture: Picture, **settings: Any) -> Planner:
    return Planner(picture, Settings(**settings))


def state(picture: Picture, name: str) -> HoldState | None:
    hold = picture.pods[uid(name)].hold
    return None if hold is None else hold.state


def seated(made: Planner) -> set[PodUID]:
    return set(made.take_orders().seated)


def test_a_gang_is_seated_as_a_whole_or_not_at_all() -> None:
    picture = world(node("a", gpus=2), node("b", gpus=1))
    made = planner(picture)
    grouped(picture, "g", 3)
    for name in ("g0", "g1"):
        picture.upsert_pod(gated(name, "g"))
    made.allocate(0.0, 0.0)
    assert seated(made) == set()
    assert made.verdicts[f"{NAMESPACE}/g"].reason is Reason.GANG_INCOMPLETE
    picture.upsert_pod(gated("g2", "g"))
    made.allocate(0.0, 0.0)
    assert seated(made) == {uid("g0"), uid("g1"), uid("g2")}
    assert made.verdicts == {}
    assert audit.check(picture) == []
    picture.upsert_pod(gated("late", "h"))
    made.allocate(0.0, 0.0)  # its PodGroup may be on its way
    made.allocate(5.0, 5.0)
    assert seated(made) == set()
    assert picture.pods[uid("late")].verdict is not None


def test_nothing_moved_nothing_is_planned() -> None:
    picture = world(node("a", gpus=1))
    made = planner(picture)
    for name in ("p", "q"):
        picture.upsert_pod(gated(name))
    made.allocate(0.0, 0.0)
    assert len(seated(made)) == 1
    assert not made.is_behind
    made.allocate(1.0, 1.0)
    assert made.take_orders().refused == {}


def test_others_make_way_and_the_place_is_held_for_whom_it_was_freed() -> None:
    picture = world(node("n", gpus=2), projects=[queue("a", deserved=1000), queue("b", deserved=1000)])
    for namespace in ("a", "b"):
        picture.upsert_namespace(namespace, namespace)
    made = planner(picture)
    for index, name in enumerate(("a0", "a1")):
        picture.upsert_pod(replace(pod(name, gpus=1, on="n", indices=[index]), namespace="a"))
    picture.upsert_pod(replace(gated("b0"), namespace="b"))
    made.allocate(0.0, 0.0)
    assert made.may_take_back
    made.take_back(0.0, 0.0)
    orders = made.take_orders()
    assert [one.uid for one in orders.evictions] == [uid("a1")]
    assert "a/a1 was preempted by workload b/b0" in orders.evictions[0].message
    assert (orders.seated, state(picture, "b0")) == ({}, HoldState.PROMISED)
    # While the victim ends nobody else gets its place, whoever asks, and it is not evicted twice.
    made.take_back(1.0, 1.0)
    assert made.take_orders().evictions == []
    picture.delete_pod(uid("a1"))
    other = replace(pod("a2", gpus=1), namespace="a")
    assert filter_pod(picture, other, ["n"], POLICY, now=2.0, planner=made, today=2.0).nodes == ()
    made.allocate(2.0, 2.0)
    assert seated(made) == {uid("b0")}
    assert state(picture, "b0") is HoldState.RESERVED
    assert audit.check(picture) == []
    lifted = replace(picture.pods[uid("b0")].pod, gates=(), version=2)
    assert filter_pod(picture, lifted, ["n"], POLICY, now=2.0, planner=made, today=2.0).nodes == ("n",)


def test_the_evicted_are_told_the_workload_as_its_owner_knows_it() -> None:
    for owners, told in (((Owner("Job", "b"),) * 2, "runai-team-a/b"), ((Owner("Job", "b"), None), "runai-team-a/g")):
        picture = world(node("n", gpus=2))
        made = planner(picture)
        grouped(picture, "g", 2)
        for index, name in enumerate(("t0", "t1")):
            picture.upsert_pod(pod(name, gpus=1, on="n", indices=[index]))
        for name, owner in zip(("b-x", "b-y"), owners, strict=True):
            picture.upsert_pod(gated(name, "g", priority_class="build"))
            picture.upsert_pod(replace(picture.pods[uid(name)].pod, owner=owner))
        made.take_back(0.0, 0.0)
        assert {one.message.rpartition(" ")[2] for one in made.take_orders().evictions} == {told}


def test_an_eviction_that_is_refused_gives_the_promise_up() -> None:
    picture = world(node("n", gpus=1), projects=[queue("a", deserved=0), queue("b", deserved=1000)])
    for namespace in ("a", "b"):
        picture.upsert_namespace(namespace, namespace)
    made = planner(picture)
    picture.upsert_pod(replace(pod("a0", gpus=1, on="n", indices=[0]), namespace="a"))
    picture.upsert_pod(replace(gated("b0"), namespace="b"))
    made.take_back(0.0, 0.0)
    (eviction,) = made.take_orders().evictions
    made.eviction_failed(eviction, 0.0, rest_s=30.0)
    assert state(picture, "b0") is None
    made.take_back(1.0, 1.0)
    assert made.take_orders().evictions == []
    made.take_back(31.0, 31.0)
    assert [one.uid for one in made.take_orders().evictions] == [uid("a0")]


def test_a_planned_node_that_is_not_offered_costs_the_gang_its_seats() -> None:
    picture = world(node("a", gpus=2), node("b", gpus=2))
    made = planner(picture)
    grouped(picture, "g", 2)
    members = [replace(gated(name, "g"), gates=()) for name in ("g0", "g1")]
    for one in members:
        picture.upsert_pod(one)
    made.allocate(0.0, 0.0)
    hold = picture.pods[uid("g0")].hold
    assert hold is not None
    elsewhere = "b" if hold.placement.node == "a" else "a"
    asked = replace(members[0], nominated=hold.placement.node, version=2)
    answer = filter_pod(picture, asked, [elsewhere], POLICY, now=0.0, planner=made, today=0.0)
    assert answer.nodes == ()
    assert answer.verdict is not None
    assert answer.verdict.reason is Reason.NODE_NOT_OFFERED
    made.allocate(0.5, 0.5)
    # The node that refused one of them rests for it.
    record = picture.pods[uid("g0")]
    assert record.hold is not None
    assert record.hold.placement.node == elsewhere


def test_a_node_that_was_nominated_for_an_earlier_plan_is_passed_over() -> None:
    picture = world(node("a", gpus=1), node("b", gpus=1))
    made = planner(picture)
    grouped(picture, "g", 2)
    for name in ("g0", "g1"):
        picture.upsert_pod(replace(gated(name, "g"), gates=()))
    made.allocate(0.0, 0.0)
    record = picture.pods[uid("g0")]
    assert record.hold is not None
    planned = record.hold.placement.node
    other = "b" if planned == "a" else "a"
    asked = replace(record.pod, nominated=other, version=2)
    assert filter_pod(picture, asked, [other], POLICY, now=0.0, planner=made, today=0.0).nodes == ()
    assert filter_pod(picture, asked, ["a", "b"], POLICY, now=0.0, planner=made, today=0.0).nodes == (planned,)


def test_a_node_that_was_not_offered_is_tried_again_and_ever_more_rarely() -> None:
    picture = world(node("n", gpus=1))
    made = planner(picture)
    grouped(picture, "g", 1)
    picture.upsert_pod(gated("p", "g"))
    made.allocate(0.0, 0.0)
    for start, rest in ((0.0, 1.0), (10.0, 2.0), (20.0, 4.0)):
        assert seated(made) == {uid("p")}
        made.turned_down(uid("p"), NodeName("n"), start)
        for clock in (start, start + rest - 0.1):
            made.allocate(clock, clock)
            assert seated(made) == set()
        made.allocate(start + rest, start + rest)


def test_gangs_without_gates_are_planned_when_their_first_member_is_asked_for() -> None:
    picture = world(node("a", gpus=2))
    made = planner(picture)
    grouped(picture, "g", 2)
    first, second = (replace(gated(name, "g"), gates=()) for name in ("g0", "g1"))
    picture.upsert_pod(first)
    answer = filter_pod(picture, first, ["a"], POLICY, now=0.0, planner=made, today=0.0)
    assert answer.verdict is not None
    assert answer.verdict.reason is Reason.GANG_INCOMPLETE
    picture.upsert_pod(second)
    for one in (second, first):
        assert filter_pod(picture, one, ["a"], POLICY, now=0.0, planner=made, today=0.0).nodes == ("a",)
    assert audit.check(picture) == []


def test_gangs_below_their_minimum_end_after_their_grace() -> None:
    picture = world(node("n", gpus=2))
    made = planner(picture, stale_after_s=60.0)
    grouped(picture, "g", 2)
    for index, name in enumerate(("g0", "g1")):
        picture.upsert_pod(replace(pod(name, gpus=1, on="n", indices=[index]), group="g"))
    made.take_back(0.0, 0.0)
    picture.delete_pod(uid("g1"))
    for now, expected in ((1.0, []), (60.0, []), (61.0, [uid("g0")])):
        made.take_back(now, now)
        assert [one.uid for one in made.take_orders().evictions] == expected


def test_a_pod_that_is_bound_already_takes_no_seat() -> None:
    picture = world(node("n", gpus=2))
    made = planner(picture)
    picture.upsert_pod(gated("p"))
    made.allocate(0.0, 0.0)
    placement = picture.pods[uid("p")].hold
    assert placement is not None
    picture.confirm(uid("p"), placement.placement)
    made.allocate(0.0, 0.0)
    assert seated(made) == {uid("p")}
    assert state(picture, "p") is HoldState.BOUND
    assert picture.pods[uid("p")].hold is not None
    assert isinstance(placement.placement, Placement)


def test_where_kube_scheduler_is_behind_pods_without_gates_are_seated_ahead() -> None:
    picture = world(node("n", gpus=2))
    made = Planner(picture, Settings())
    made.roster = Roster(picture, ahead_from_nodes=1)
    picture.upsert_pod(pod("p", gpus=1))
    for now, expected in ((0.0, set()), (0.9, set()), (1.0, {uid("p")})):
        made.allocate(now, now)
        assert seated(made) == expected
    # Nobody came for the seat: something that we do not know holds the pod back, and it gets no other.
    picture.release(uid("p"))
    made.allocate(10.0, 10.0)
    made.allocate(12.0, 12.0)
    assert seated(made) == set()


def test_whom_kube_scheduler_refused_without_asking_us_is_helped_too() -> None:
    picture = world(node("n", gpus=1))
    made = planner(picture)
    picture.upsert_pod(pod("t", gpus=1, on="n", indices=[0]))
    waiting = pod("b", gpus=1, priority_class="build")
    picture.upsert_pod(waiting)
    made.take_back(0.0, 0.0)
    assert made.take_orders().evictions == []  # kube-scheduler may still find a place
    picture.upsert_pod(replace(waiting, unschedulable=True, version=2))
    made.take_back(1.0, 1.0)
    assert [one.uid for one in made.take_orders().evictions] == [uid("t")]


def test_who_does_not_come_for_a_seat_rests_and_others_are_served() -> None:
    picture = world(node("n", gpus=1))
    made = planner(picture)
    for name in ("p", "q"):
        picture.upsert_pod(gated(name))
    made.allocate(0.0, 0.0)
    assert seated(made) == {uid("p")}
    picture.upsert_pod(replace(picture.pods[uid("p")].pod, gates=(), unschedulable=True, version=2))
    for start, rest in ((120.0, 60.0), (300.0, 120.0)):
        assert list(expire(picture, now=start)) == [uid("p")]
        made.seat_expired(uid("p"), start)
        made.allocate(start, start)
        assert seated(made) == {uid("q")}
        picture.release(uid("q"))
        made.take_back(start + rest - 1, start + rest - 1)
        assert seated(made) == {uid("q")}
        picture.release(uid("q"))
        made.take_back(start + rest, start + rest)
        assert seated(made) == {uid("p")}


def test_a_gang_waits_for_its_podgroup_before_it_starts_by_halves() -> None:
    picture = world(node("a", gpus=2))
    made = planner(picture)
    for name in ("g0", "g1", "g2"):
        picture.upsert_pod(gated(name, "g"))
    made.allocate(0.0, 0.0)
    assert seated(made) == set()
    grouped(picture, "g", 3)
    made.allocate(1.0, 1.0)
    assert seated(made) == set()
    picture.upsert_pod(gated("h0", "h"))
    for now, expected in ((1.0, set()), (5.9, set()), (6.0, {uid("h0")})):
        made.allocate(now, now)
        assert seated(made) == expected


def test_nobody_makes_way_again_and_again_for_whom_it_does_not_help() -> None:
    nodes = [node(f"n{number}", gpus=1) for number in range(6)]
    picture = world(*nodes, projects=[queue("a", deserved=0), queue("b", deserved=6000)])
    for namespace in ("a", "b"):
        picture.upsert_namespace(namespace, namespace)
    made = planner(picture)
    for number in range(6):
        one = pod(f"a{number}", gpus=1, on=f"n{number}", indices=[0])
        picture.upsert_pod(replace(one, namespace="a"))
    subject = replace(pod("b0", gpus=1), namespace="b")
    evicted = 0
    for now in map(float, range(0, 400, 2)):
        made.take_back(now, now)
        for eviction in made.take_orders().evictions:
            evicted += 1
            picture.delete_pod(eviction.uid)
        # Of all nodes kube-scheduler never offers the one that was freed.
        hold = picture.pods[uid("b0")].hold if uid("b0") in picture.pods else None
        taken = hold.placement.node if hold is not None else ""
        others = [one.name for one in nodes if one.name != taken]
        asked = replace(subject, nominated=taken)
        filter_pod(picture, asked, others, POLICY, now=now, planner=made, today=now)
    assert 1 <= evicted <= 5


def test_an_error_in_the_middle_leaves_no_trace() -> None:
    picture = world(node("n1", gpus=1), node("n2", gpus=1))
    made = planner(picture)
    picture.upsert_pod(pod("ending", gpus=1, on="n1", indices=[0]))
    picture.upsert_pod(replace(pod("ending", gpus=1, on="n1", indices=[0]), deleting=True, version=2))
    picture.upsert_pod(gated("p"))

    def broken(_: Pod) -> bool:
        raise RuntimeError("broken")

    made._settings = replace(made._settings, cooling=broken)
    with pytest.raises(RuntimeError, match="broken"):
        made.allocate(0.0, 0.0)
    assert audit.check(picture) == []
    assert picture.ledger(NodeName("n1")).free() == [0]  # type: ignore[union-attr]


def test_who_has_a_seat_but_no_node_yet_gives_it_back_without_an_eviction() -> None:
    picture = world(node("n", gpus=1), projects=[queue("a", deserved=0), queue("b", deserved=1000)])
    for namespace in ("a", "b"):
        picture.upsert_namespace(namespace, namespace)
    made = planner(picture)
    picture.upsert_pod(replace(gated("a0"), namespace="a"))
    made.allocate(0.0, 0.0)
    assert seated(made) == {uid("a0")}
    picture.upsert_pod(replace(gated("b0"), namespace="b"))
    made.take_back(1.0, 1.0)
    orders = made.take_orders()
    assert orders.evictions == []
    made.allocate(2.0, 2.0)
    assert (state(picture, "a0"), state(picture, "b0")) == (None, HoldState.RESERVED)


def test_bind_starts_no_member_of_a_gang_that_gave_up_its_seats() -> None:
    picture = world(node("a", gpus=2), node("b", gpus=2))
    made = planner(picture)
    grouped(picture, "g", 2)
    members = [replace(gated(name, "g"), gates=()) for name in ("g0", "g1")]
    for one in members:
        picture.upsert_pod(one)
    first = filter_pod(picture, members[0], ["a", "b"], POLICY, now=0.0, planner=made, today=0.0).nodes[0]
    hold = picture.pods[uid("g1")].hold
    assert hold is not None
    made.turned_down(uid("g1"), hold.placement.node, 0.0)
    step = bind.begin(picture, BindRequest(NAMESPACE, "g0", uid("g0"), NodeName(first)), POLICY, now=0.0)
    assert isinstance(step, bind.Refused)
    assert "starts as a whole" in step.error


def test_who_is_deleted_while_others_make_way_for_it_leaves_no_trace() -> None:
    picture = world(node("n", gpus=2), projects=[queue("a", deserved=0), queue("b", deserved=2000)])
    for namespace in ("a", "b"):
        picture.upsert_namespace(namespace, namespace)
    made = planner(picture)
    for index in range(2):
        picture.upsert_pod(replace(pod(f"a{index}", gpus=1, on="n", indices=[index]), namespace="a"))
        picture.upsert_pod(replace(gated(f"b{index}"), namespace="b"))
    made.take_back(0.0, 0.0)
    assert {state(picture, name) for name in ("b0", "b1")} == {HoldState.PROMISED}
    for now, gone in ((1.0, "b0"), (2.0, "b1")):
        picture.upsert_pod(replace(picture.pods[uid(gone)].pod, deleting=True, version=2))
        made.allocate(now, now)
        made.take_back(now, now)
        assert audit.check(picture) == []
        assert state(picture, gone) is None
    picture.delete_pod(uid("b0"))
    made.allocate(3.0, 3.0)
    assert audit.check(picture) == []


def test_limits_hold_while_those_who_make_way_are_still_there() -> None:
    nodes = node("n", gpus=1), node("free", gpus=1)
    picture = world(*nodes, projects=[queue("team-a", deserved=1000, limit=1000)])
    made = planner(picture)
    picture.upsert_pod(pod("train", gpus=1, on="n", indices=[0]))
    picture.upsert_pod(gated("build", priority_class="build"))
    made.take_back(0.0, 0.0)
    assert [one.uid for one in made.take_orders().evictions] == [uid("train")]
    for now in (1.0, 2.0):
        made.allocate(now, now)  # there is a free GPU, but the limit is in use
        assert state(picture, "build") is HoldState.PROMISED
    picture.delete_pod(uid("train"))
    made.allocate(3.0, 3.0)
    assert seated(made) == {uid("build")}


def test_a_seat_stands_that_is_newer_than_what_kube_scheduler_knows() -> None:
    picture = world(node("x", gpus=1), node("y", gpus=1))
    made = planner(picture)
    picture.upsert_pod(pod("x0", gpus=1, on="x", indices=[0]))
    picture.upsert_pod(pod("y0", gpus=1, on="y", indices=[0]))
    for name in ("b1", "b2", "b3"):
        picture.upsert_pod(replace(pod(name, gpus=1), unschedulable=True))
    made.allocate(0.0, 0.0)
    for name in ("x0", "y0"):
        picture.delete_pod(uid(name))
    made.allocate(1.0, 1.0)
    assert seated(made) == {uid("b1"), uid("b2")}
    taken = picture.pods[uid("b2")].hold
    assert taken is not None
    # It began to try b2 when only the other node was free. Nobody behind b2 gets its place for that.
    other = "x" if taken.placement.node == "y" else "y"
    asked = picture.pods[uid("b2")].pod
    assert filter_pod(picture, asked, [other], POLICY, now=1.0, planner=made, today=1.0).nodes == ()
    assert seated(made) == {uid("b2")}  # to be nominated and touched once more
    made.allocate(1.1, 1.1)
    assert state(picture, "b2") is HoldState.RESERVED
    again = replace(asked, nominated=taken.placement.node, version=2)
    assert filter_pod(picture, again, ["x", "y"], POLICY, now=2.0, planner=made, today=2.0).nodes == (
        taken.placement.node,
    )


def test_who_waits_for_others_goes_where_there_is_room_meanwhile() -> None:
    picture = world(node("n", gpus=2), node("other", gpus=2))
    made = planner(picture)
    for at, name in enumerate(("t0", "t1")):
        picture.upsert_pod(pod(name, gpus=1, on="n", indices=[at]))
    for at, name in enumerate(("k0", "k1")):
        picture.upsert_pod(pod(name, gpus=1, priority_class="build", on="other", indices=[at]))
    grouped(picture, "g", 2)
    for name in ("b0", "b1"):
        picture.upsert_pod(gated(name, "g", priority_class="build"))
    made.take_back(0.0, 0.0)
    orders = made.take_orders()
    assert {one.uid for one in orders.evictions} == {uid("t0"), uid("t1")}
    picture.delete_pod(uid("k0"))
    made.allocate(1.0, 1.0)  # room for one of the two: both go on waiting
    assert {state(picture, name) for name in ("b0", "b1")} == {HoldState.PROMISED}
    picture.delete_pod(uid("k1"))
    made.allocate(2.0, 2.0)
    assert seated(made) == {uid("b0"), uid("b1")}
    assert {picture.pods[uid(name)].hold.placement.node for name in ("b0", "b1")} == {"other"}  # type: ignore[union-attr]
    assert not any(made.is_served(one) for one in orders.evictions)  # nobody has to leave for it any more
    assert audit.check(picture) == []


def test_all_who_wait_are_looked_at_in_slices_before_the_first_is_again() -> None:
    names_ = [f"q{number}" for number in range(3)]
    picture = world(node("n", gpus=1), projects=[queue(name, deserved=1000) for name in names_])
    picture.upsert_pod(pod("held", gpus=1, priority_class="build", on="n", indices=[0], queue="q0"))
    for name in names_:
        picture.upsert_namespace(name, name)
        for gpus in (1, 2):
            picture.upsert_pod(replace(gated(f"{name}-{gpus}", gpus=gpus), namespace=name))
    made = planner(picture)
    looked: list[tuple[str, ...]] = []
    decide = made._decide

    def watched(actions: Any, lines: Any, holding: Any, *times: float) -> bool:
        if len(actions) > 2:
            looked.append(tuple(line.first for line in lines))
        return decide(actions, lines, holding, *times)

    made._decide = watched  # type: ignore[method-assign]
    for now in (0.0, 1.0, 2.0):
        made.take_back(now, now, most_lines=2)
        assert made.is_sweeping == (now < 2.0)
        # Somebody new every time: it has to wait for the next sweep, or nobody else would ever have a turn.
        picture.upsert_pod(replace(gated(f"new-{now:g}", gpus=3 + int(now)), namespace="q0"))
    assert [len(one) for one in looked] == [2, 2, 2]
    assert len({key for one in looked for key in one}) == 6
    assert all("1" in key for key in looked[0])  # those come first who come first in their queues


def test_so_many_are_seated_at_once_and_all_of_them_in_their_first_pool() -> None:
    # One line of 300 equal pods: more than a plan takes, and room for all in the pool that is tried first.
    nodes = [node(f"a{number}", gpus=8, pool="a") for number in range(38)] + [node("b", gpus=8, pool="b")]
    picture = world(*nodes, projects=[])
    picture.upsert_project(Project(queue("team-a"), default_pools=("a", "b")))
    made = planner(picture)
    for number in range(300):
        picture.upsert_pod(gated(f"p{number:03}"))
    made.allocate(0.0, 0.0)
    assert 0 < len(seated(made)) < 300
    assert made.is_behind
    made.take_back(0.0, 0.0)  # nobody makes way for whom there is room
    while made.is_behind:
        made.allocate(0.0, 0.0)
    holds = [record.hold for record in picture.pods.values()]
    assert {hold.placement.node[0] for hold in holds if hold is not None} == {"a"}
    assert None not in holds


def moving() -> tuple[Picture, Planner]:
    """One GPU free on each of two nodes, and a pod that needs two: somebody has to move."""
    picture = world(node("n1", gpus=2), node("n2", gpus=2))
    made = planner(picture)
    for name in ("one", "two"):
        owner = Owner("Job", name, f"{name}-job", "batch/v1")
        picture.upsert_pod(replace(pod(name, gpus=1, on=f"n{1 + (name == 'two')}", indices=[0]), owner=owner))
    picture.upsert_pod(gated("wide", gpus=2))
    made.take_back(0.0, 0.0)
    return picture, made


def test_the_place_of_a_moved_pod_is_held_for_its_successor() -> None:
    picture, made = moving()
    (eviction,) = made.take_orders().evictions
    moved = picture.pods[eviction.uid].pod
    other = next(name for name in ("n1", "n2") if moved.placement and name != moved.placement.node)
    # Somebody who would have liked the place meanwhile.
    picture.upsert_pod(gated("greedy", priority_class="inference"))
    made.allocate(1.0, 1.0)
    assert seated(made) == set()
    picture.delete_pod(moved.uid)
    made.allocate(2.0, 2.0)
    assert seated(made) == {uid("wide")}
    again = replace(moved, uid=PodUID("again"), name="again", placement=None, gates=GATE, version=0)
    picture.upsert_pod(replace(again, phase=Phase.PENDING))
    made.allocate(3.0, 3.0)
    assert seated(made) == {PodUID("again")}
    hold = picture.pods[PodUID("again")].hold
    assert hold is not None
    assert hold.placement.node == other
    assert {record.pod.name for record in picture.pods.values()} == {"one", "two", "wide", "greedy", "again"} - {
        moved.name
    }
    assert audit.check(picture) == []


def test_the_place_of_a_moved_pod_is_held_for_a_while_and_not_when_it_stays() -> None:
    for how in ("nobody comes", "it stays"):
        picture, made = moving()
        (eviction,) = made.take_orders().evictions
        stand_in = PodUID(f"{eviction.uid}/moved")
        made.allocate(500.0, 500.0)  # for as long as the pod is there
        assert picture.pods[stand_in].hold is not None
        if how == "it stays":
            made.eviction_failed(eviction, 501.0, rest_s=10.0)
        else:
            picture.delete_pod(eviction.uid)
            expire(picture, now=619.0)
            assert stand_in in picture.pods
            expire(picture, now=621.0)
        assert stand_in not in picture.pods
        made.allocate(622.0, 622.0)
        assert audit.check(picture) == []


def test_who_waits_is_told_when_its_project_is_deleted() -> None:
    picture = world(node("n", gpus=1))
    made = planner(picture)
    picture.upsert_pod(gated("p", gpus=2))
    made.allocate(0.0, 0.0)
    (key,) = made.verdicts
    assert made.verdicts[key].reason is Reason.NOT_ENOUGH_RESOURCES
    picture.delete_project("team-a")
    made.allocate(1.0, 1.0)
    assert made.verdicts[key].reason is Reason.QUEUE_DOES_NOT_EXIST
    assert made.take_orders().refused[key].reason is Reason.QUEUE_DOES_NOT_EXIST


def test_a_clock_that_is_set_back_makes_nobody_wait_for_its_podgroup_for_hours() -> None:
    picture = world(node("a", gpus=1))
    made = planner(picture)
    picture.upsert_pod(gated("g0", "g"))
    made.allocate(10_000.0, 0.0)
    assert seated(made) == set()
    made.allocate(6_000.0, 6.0)
    assert seated(made) == {uid("g0")}


def test_many_who_wait_for_others_keep_nobody_from_having_others_make_way() -> None:
    picture = world(*(node(f"n{number:02}", gpus=8) for number in range(40)))
    made = planner(picture)
    for number in range(320):
        there = pod(f"t{number:03}", gpus=1, on=f"n{number // 8:02}", indices=[number % 8])
        picture.upsert_pod(there)
    grouped(picture, "g", 300)
    for number in range(300):
        picture.upsert_pod(gated(f"g{number:03}", "g", priority_class="build"))
    made.take_back(0.0, 0.0)
    assert len(made.take_orders().evictions) == 300
    picture.upsert_pod(gated("late", priority_class="build"))
    made.allocate(1.0, 1.0)
    assert not made.is_behind
    made.take_back(1.0, 1.0)
    assert len(made.take_orders().evictions) == 1
