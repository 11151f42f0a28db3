"""bind's table: what is known about the pod, which node is asked for, what is done."""

from __future__ import annotations

from typing import Any

import pytest

from extender.cluster.picture import HoldState, Picture
from extender.model.names import NodeName
from extender.pods import bind
from extender.pods.bind import BindRequest, Done, Outcome, Refused, Unseen, Write
from tests.builders import (
    NAMESPACE,
    POLICY,
    gpus_held,
    held,
    is_sound,
    node,
    offer,
    placement_of,
    pod,
    queue,
    seat_of,
    state_of,
    uid,
    world,
)


def begin(picture: Picture, name: str, on: str = "n") -> Done | Refused | Unseen | Write:
    step = bind.begin(picture, BindRequest(NAMESPACE, name, uid(name), NodeName(on)), POLICY, now=50.0)
    assert is_sound(picture)
    return step


def seated(name: str = "p", on: str = "n", **request: Any) -> Picture:
    """Two nodes, and a seat for one pod, as filter leaves it."""
    picture = world(node("n", gpus=2), node("o", gpus=2))
    assert offer(picture, pod(name, **(request or {"gpus": 1})), on).nodes == (on,)
    return picture


def written(step: object) -> tuple[dict[str, str], dict[str, str]]:
    assert isinstance(step, Write)
    return step.annotations, step.labels


# begin


@pytest.mark.parametrize(
    ("request_", "annotations"),
    [
        pytest.param({"gpus": 2}, {"received-resource-type": "Regular", "runai-gpu": "0,1"}, id="whole"),
        pytest.param({"mig": {"1g.5gb": 1}}, {"received-resource-type": "Regular"}, id="mig"),
        pytest.param({"cpu": "1"}, {}, id="cpu only"),
    ],
)
def test_what_is_written(request_: dict[str, Any], annotations: dict[str, str]) -> None:
    picture = world(node("n", gpus=2, mig={"1g.5gb": 1}))
    offer(picture, pod("p", **request_))
    assert written(begin(picture, "p")) == (annotations, {})
    assert state_of(picture, "p") is HoldState.BINDING


def test_what_is_written_for_a_share() -> None:
    picture = seated(fraction="0.5")
    placed = placement_of(picture, "p")
    assert placed is not None
    (group,) = [group for _, group in placed.devices]
    assert written(begin(picture, "p")) == (
        {
            "received-resource-type": "Fraction",
            "runai-gpu": "0",
            "runai-gpu-share": "500",
            "runai-gpu-group": group,
        },
        {"runai-gpu-group": group},
    )


def test_what_is_written_for_shares_of_several_devices() -> None:
    picture = seated(fraction="0.5", devices=2)
    placed = placement_of(picture, "p")
    assert placed is not None
    first, second = (group for _, group in placed.devices)
    assert written(begin(picture, "p")) == (
        {
            "received-resource-type": "Fraction",
            "runai-gpu": "0,1",
            "runai-gpu-share": "500",
            "runai-gpu-group": f"{first},{second}",
        },
        {f"runai-gpu-group/{first}": first, f"runai-gpu-group/{second}": second},
    )


@pytest.mark.parametrize(
    "request_", [{"gpus": 2}, {"fraction": "0.5"}, {"fraction": "0.5", "devices": 2}, {"cpu": "1"}]
)
def test_what_is_written_reads_back_as_the_same_placement(request_: dict[str, Any]) -> None:
    picture = seated(**request_)
    step = begin(picture, "p")
    annotations, labels = written(step)
    notes = {**annotations}
    stored = pod("p", version=2, on="n", annotations=notes, labels=labels, **request_)
    assert isinstance(step, Write)
    assert stored.placement == step.placement
    picture.upsert_pod(stored)
    assert state_of(picture, "p") is HoldState.BOUND


def test_a_binding_under_way_is_written_again() -> None:
    picture = seated()
    first = begin(picture, "p")
    assert begin(picture, "p") == first
    assert held(picture, "n") == {0: 1000}


def test_a_binding_of_unknown_outcome_is_written_again_and_only_there() -> None:
    picture = seated()
    first = begin(picture, "p")
    bind.settle(picture, uid("p"), Outcome.UNKNOWN, seat_of(picture, uid("p")))
    refused = begin(picture, "p", "o")
    assert refused == Refused("a Binding of pod runai-team-a/p to node n is under way")
    assert begin(picture, "p") == first
    assert held(picture, "n") == {0: 1000}


def test_bound_already() -> None:
    picture = seated()
    picture.upsert_pod(pod("p", gpus=1, version=2, on="n", indices=[0]))
    assert begin(picture, "p") == Done()
    assert begin(picture, "p", "o") == Refused("pod runai-team-a/p is already bound to node n")


def test_a_restart_lost_the_seat() -> None:
    picture = world(node("n", gpus=2))
    picture.upsert_pod(pod("x", gpus=1, on="n", indices=[0]))
    picture.upsert_pod(pod("p", gpus=1))
    assert written(begin(picture, "p"))[0]["runai-gpu"] == "1"
    assert state_of(picture, "p") is HoldState.BINDING


def test_a_lost_seat_may_not_be_there_any_more() -> None:
    picture = world(node("n", gpus=1))
    picture.upsert_pod(pod("x", gpus=1, on="n", indices=[0]))
    picture.upsert_pod(pod("p", gpus=1))
    assert begin(picture, "p") == Refused("pod runai-team-a/p does not fit on node n any more")
    assert state_of(picture, "p") is None


def test_a_lost_seat_is_judged_anew() -> None:
    picture = world(node("n"), projects=[queue(limit=0)])
    picture.upsert_pod(pod("p", gpus=1))
    step = begin(picture, "p")
    assert isinstance(step, Refused)
    assert step.error.startswith("OverLimit: team-a quota has reached")
    picture.upsert_pod(pod("bad", fraction="7"))
    assert begin(picture, "bad") == Refused(
        "InvalidGpuRequest: gpu-fraction annotation value must be a positive number smaller than 1.0"
    )


def test_another_node_moves_the_seat() -> None:
    picture = seated()
    assert isinstance(begin(picture, "p", "o"), Write)
    assert (held(picture, "n"), held(picture, "o")) == ({}, {0: 1000})


def test_another_node_without_room() -> None:
    picture = seated()
    picture.upsert_pod(pod("x", gpus=2, on="o", indices=[0, 1]))
    assert isinstance(begin(picture, "p", "o"), Refused)
    assert (held(picture, "n"), gpus_held(picture)) == ({}, (2000, 0))


def test_a_node_that_does_not_exist() -> None:
    picture = seated()
    picture.delete_node(NodeName("n"))
    assert begin(picture, "p") == Refused("node n does not exist")
    assert gpus_held(picture) == (0, 0)


def test_a_pod_nobody_has_shown_us() -> None:
    assert begin(world(node("n")), "p") == Unseen()


def test_a_deleted_pod() -> None:
    picture = seated()
    picture.delete_pod(uid("p"))
    assert begin(picture, "p") == Refused("pod runai-team-a/p (p-uid) is deleted")


@pytest.mark.parametrize("changed", [{"fraction": "0.9"}, {"fraction": "0.5", "devices": 2}])
def test_a_request_that_grew_since_filter_is_checked_again(changed: dict[str, Any]) -> None:
    picture = world(node("n", gpus=1))
    picture.upsert_pod(pod("x", fraction="0.5", on="n", indices=[0], gpu_groups=["g"]))
    assert offer(picture, pod("p", fraction="0.5", version=1)).nodes == ("n",)
    picture.upsert_pod(pod("p", version=2, **changed))
    assert isinstance(begin(picture, "p"), Refused)


def test_writing_an_unknown_binding_again_makes_it_binding() -> None:
    picture = seated()
    begin(picture, "p")
    bind.settle(picture, uid("p"), Outcome.UNKNOWN, seat_of(picture, uid("p")))
    begin(picture, "p")
    assert state_of(picture, "p") is HoldState.BINDING


@pytest.mark.parametrize("outcome", [None, Outcome.UNKNOWN])
def test_a_node_that_does_not_exist_does_not_undo_a_binding_elsewhere(outcome: Outcome | None) -> None:
    picture = seated()
    begin(picture, "p")
    if outcome is not None:
        bind.settle(picture, uid("p"), outcome, seat_of(picture, uid("p")))
    begin(picture, "p", "ghost")
    assert held(picture, "n") == {0: 1000}


# settle


@pytest.mark.parametrize(
    ("outcome", "state", "devices"),
    [
        (Outcome.STORED, HoldState.BOUND, {0: 1000}),
        (Outcome.UNKNOWN, HoldState.UNKNOWN, {0: 1000}),
        (Outcome.REFUSED, None, {}),
        (Outcome.GONE, None, {}),
    ],
)
def test_outcomes(outcome: Outcome, state: HoldState | None, devices: dict[int, int]) -> None:
    picture = seated()
    begin(picture, "p")
    for _ in range(2):
        bind.settle(picture, uid("p"), outcome, seat_of(picture, uid("p")))
        assert (state_of(picture, "p"), held(picture, "n")) == (state, devices)
    assert picture.is_gone(uid("p")) == (outcome is Outcome.GONE)
    assert is_sound(picture)


@pytest.mark.parametrize("outcome", [Outcome.STORED, Outcome.UNKNOWN, Outcome.REFUSED])
def test_the_watch_was_faster(outcome: Outcome) -> None:
    picture = seated()
    begin(picture, "p")
    picture.upsert_pod(pod("p", gpus=1, version=2, on="o", indices=[1]))
    bind.settle(picture, uid("p"), outcome, seat_of(picture, uid("p")))
    assert (held(picture, "n"), held(picture, "o")) == ({}, {1: 1000})
    assert state_of(picture, "p") is HoldState.BOUND


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_pod_went_meanwhile(outcome: Outcome) -> None:
    picture = seated()
    begin(picture, "p")
    picture.delete_pod(uid("p"))
    bind.settle(picture, uid("p"), outcome, seat_of(picture, uid("p")))
    assert (held(picture, "n"), gpus_held(picture)) == ({}, (0, 0))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_pod_finished_meanwhile(outcome: Outcome) -> None:
    picture = seated()
    begin(picture, "p")
    picture.upsert_pod(pod("p", gpus=1, version=2, phase="Failed"))
    bind.settle(picture, uid("p"), outcome, seat_of(picture, uid("p")))
    assert (held(picture, "n"), gpus_held(picture)) == ({}, (0, 0))
