from __future__ import annotations

from typing import Any

import pytest

from extender.cluster.picture import HoldState
from extender.model.names import NodeName
from extender.model.pod import Placement
from extender.model.verdict import Reason
from extender.packing.strategy import Strategy
from extender.pods.placement import Policy
from tests.builders import (
    free,
    gpus_held,
    held,
    node,
    offer,
    placement_of,
    pod,
    queue,
    state_of,
    uid,
    world,
)

TEXTS = {
    "cannot have both GPU fraction request and whole GPU resource request/limit": {"fraction": "0.5", "gpus": 1},
    "cannot request both GPU and GPU memory": {"fraction": "0.5", "gpu_memory": 1000},
    "cannot request multiple fractional devices without specifying fraction portion or gpu-memory": {"devices": 2},
    "gpu-memory annotation value must be a positive integer greater than 0": {"gpu_memory": "0"},
    "gpu-fraction annotation value must be a positive number smaller than 1.0": {"fraction": "1.0"},
    "fraction count annotation value must be a positive integer greater than 0": {"fraction": "0.5", "devices": "0"},
    "MPS is only supported with GPU fraction request": {"gpus": 1, "annotations": {"mps": "true"}},
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_malformed_request_is_refused_with_its_text(text: str) -> None:
    answer = offer(world(node("n")), pod("p", **TEXTS[text]))  # type: ignore[arg-type]
    assert answer.nodes == ()
    assert answer.verdict is not None
    assert answer.verdict.constant == f"InvalidGpuRequest: {text}"


@pytest.mark.parametrize("fraction", ["NaN", "-1", "1e309", "0.5,0.5", "1.0", "0", "½", " 0.5", "5" * 400])
def test_hostile_fractions_hold_nothing(fraction: str) -> None:
    picture = world(node("n"))
    assert offer(picture, pod("p", fraction=fraction)).nodes == ()
    assert (held(picture, "n"), gpus_held(picture)) == ({}, (0, 0))


def test_ten_thousand_annotations() -> None:
    noise = {f"example.com/{number}": "x" * 20 for number in range(10_000)}
    assert offer(world(node("n")), pod("p", fraction="0.5", annotations=noise)).nodes == ("n",)


# The seat


def test_the_answer_is_one_node_that_is_held_from_now_on() -> None:
    picture = world(node("a"), node("b"))
    assert offer(picture, pod("p", gpus=2), now=7.0).nodes == ("a",)
    hold = picture.pods[uid("p")].hold
    assert hold is not None
    assert (hold.state, hold.since, hold.expires) == (HoldState.RESERVED, 7.0, 127.0)
    assert placement_of(picture, "p") == Placement(NodeName("a"), ((0, ""), (1, "")))
    assert gpus_held(picture) == (2000, 0)


def test_no_two_pods_get_the_last_gpu() -> None:
    picture = world(node("n", gpus=1))
    assert offer(picture, pod("a", gpus=1)).nodes == ("n",)
    answer = offer(picture, pod("b", gpus=1))
    assert answer.nodes == ()
    assert answer.verdict is not None
    assert answer.verdict.reason is Reason.NOT_ENOUGH_RESOURCES
    assert answer.verdict.message == (
        "No nodes with enough resources were found: 1 node(s) didn't have enough resources: GPUs. Requested: 1 GPUs"
    )


def test_s8_tenths() -> None:
    picture = world(node("n"), projects=[queue(deserved=300)])
    assert offer(picture, pod("a", fraction="0.1", priority_class="build")).nodes
    assert offer(picture, pod("b", fraction="0.2", priority_class="build")).nodes
    answer = offer(picture, pod("c", fraction="0.0001", priority_class="build"))
    assert answer.verdict is not None
    assert answer.verdict.reason is Reason.NON_PREEMPTIBLE_OVER_QUOTA


def test_s9_fraction_packing() -> None:
    picture = world(node("n", gpus=3))
    for name, fraction, index in (("g0", "0.5", 0), ("g1", "0.25", 1)):
        picture.upsert_pod(pod(name, fraction=fraction, on="n", indices=[index], gpu_groups=[name]))
    for name, fraction, index in (("a", "0.5", 0), ("b", "0.75", 1), ("c", "0.3", 2)):
        assert offer(picture, pod(name, fraction=fraction)).nodes == ("n",)
        placed = placement_of(picture, name)
        assert placed is not None
        assert placed.indices == (index,)
    assert held(picture, "n") == {0: 1000, 1: 1000, 2: 300}
    assert offer(picture, pod("w", gpus=1)).nodes == ()


def test_s16_no_project() -> None:
    answer = offer(world(node("n")), pod("p", namespace="plain"))
    assert answer.verdict is not None
    assert answer.verdict.constant == "QueueDoesNotExist: the pod has no project that exists"


@pytest.mark.parametrize(("fractions", "fit"), [(["0.1"] * 10, 10), (["0.3", "0.3", "0.4"], 3), (["0.33"] * 4, 3)])
def test_fractions_add_up_exactly(fractions: list[str], fit: int) -> None:
    picture = world(node("n", gpus=1))
    placed = [bool(offer(picture, pod(f"p{n}", fraction=each)).nodes) for n, each in enumerate(fractions)]
    assert sum(placed) == fit


def test_sharers_of_a_device_carry_one_group() -> None:
    picture = world(node("n", gpus=2))
    groups = set()
    for name in ("a", "b", "c"):
        offer(picture, pod(name, fraction="0.3"))
        placed = placement_of(picture, name)
        assert placed is not None
        groups.add(placed.devices)
    assert len(groups) == 1
    offer(picture, pod("d", fraction="0.5"))
    other = placement_of(picture, "d")
    assert other is not None
    assert other.devices not in groups
    assert other.indices == (1,)


def test_several_devices() -> None:
    picture = world(node("n", gpus=3))
    assert offer(picture, pod("a", fraction="0.5", devices=2)).nodes
    assert offer(picture, pod("b", fraction="0.5", devices=3)).nodes
    assert held(picture, "n") == {0: 1000, 1: 1000, 2: 500}
    placed = placement_of(picture, "b")
    assert placed is not None
    assert len({group for _, group in placed.devices}) == 3
    assert offer(picture, pod("c", fraction="0.1", devices=2)).nodes == ()
    assert gpus_held(picture) == (2500, 0)


def test_memory_goes_where_it_fits_and_is_paid_by_that_gpu() -> None:
    picture = world(
        node("a", gpus=1, gpu_memory=8192), node("b", gpus=1, gpu_memory=40_960), node("c", gpu_memory=None)
    )
    assert offer(picture, pod("p", gpu_memory=10_240)).nodes == ("b",)
    assert (held(picture, "b"), gpus_held(picture)) == ({0: 250}, (250, 0))
    assert offer(picture, pod("q", gpu_memory=50_000)).nodes == ()


def test_mig() -> None:
    picture = world(node("m", gpus=0, mig={"1g.5gb": 2}), node("n"))
    assert offer(picture, pod("a", mig={"1g.5gb": 1})).nodes == ("m",)
    assert offer(picture, pod("b", mig={"1g.5gb": 1})).nodes == ("m",)
    assert offer(picture, pod("c", mig={"1g.5gb": 1})).nodes == ()
    assert gpus_held(picture) == (286, 0)


def test_cpu_pods_stay_off_gpu_nodes() -> None:
    picture = world(node("a"), node("z", gpus=0))
    assert offer(picture, pod("p", cpu="1")).nodes == ("z",)
    assert offer(picture, pod("q", cpu="1"), "a").nodes == ("a",)


@pytest.mark.parametrize(
    ("strategy", "nodes"), [(Strategy.BINPACK, ["a", "a", "a"]), (Strategy.SPREAD, ["a", "b", "c"])]
)
def test_strategies(strategy: Strategy, nodes: list[str]) -> None:
    picture = world(node("a"), node("b"), node("c"))
    policy = Policy(gpu_strategy=strategy)
    assert [offer(picture, pod(f"p{n}", gpus=1), policy=policy).nodes[0] for n in range(3)] == nodes


# What is offered


@pytest.mark.parametrize(
    ("offered", "nodes"),
    [
        pytest.param(("b",), ("b",), id="only one, not the best"),
        pytest.param(("ghost",), (), id="a node we do not know"),
        pytest.param(("ghost", "c"), ("c",), id="beside one we know"),
        pytest.param(("c", "b", "a"), ("a",), id="in any order"),
        pytest.param(("b", "b", "c"), ("b",), id="twice"),
    ],
)
def test_only_offered_nodes_are_taken(offered: tuple[str, ...], nodes: tuple[str, ...]) -> None:
    picture = world(node("a"), node("b"), node("c"))
    assert offer(picture, pod("p", gpus=1), *offered).nodes == nodes


def test_nothing_offered() -> None:
    assert offer(world(), pod("p")).nodes == ()


def test_the_only_offered_node_among_hundreds() -> None:
    picture = world(*(node(f"n{number:03}", gpus=1) for number in range(300)))
    assert offer(picture, pod("p", gpus=1), "n250", "n299").nodes == ("n250",)


# Asked again


def test_asked_again_supersedes() -> None:
    picture = world(node("a"), node("b"))
    assert offer(picture, pod("p", gpus=1), "a").nodes == ("a",)
    assert offer(picture, pod("p", gpus=1), "b").nodes == ("b",)
    assert (held(picture, "a"), held(picture, "b")) == ({}, {0: 1000})
    assert gpus_held(picture) == (1000, 0)


def test_asked_again_on_a_full_node_gets_its_own_seat_back() -> None:
    picture = world(node("n", gpus=1), projects=[queue(limit=1000)])
    for _ in range(3):
        assert offer(picture, pod("p", gpus=1)).nodes == ("n",)


def test_asked_again_and_refused_holds_nothing() -> None:
    picture = world(node("n", gpus=1))
    offer(picture, pod("p", gpus=1))
    assert offer(picture, pod("p", gpus=1), "ghost").nodes == ()
    assert held(picture, "n") == {}


def test_an_annotation_changed_before_the_next_filter_counts() -> None:
    picture = world(node("n", gpus=1))
    offer(picture, pod("p", fraction="0.5", version=1))
    offer(picture, pod("p", fraction="0.8", version=2))
    assert held(picture, "n") == {0: 800}
    offer(picture, pod("p", fraction="0.1", version=1))  # the scheduler's copy is older than what we know
    assert held(picture, "n") == {0: 800}


@pytest.mark.parametrize("state", [HoldState.BINDING, HoldState.UNKNOWN])
def test_while_a_binding_is_under_way_its_node_is_the_answer(state: HoldState) -> None:
    picture = world(node("a", gpus=1), node("b"))
    offer(picture, pod("p", gpus=1), "a")
    picture.set_state(uid("p"), state)
    assert offer(picture, pod("p", gpus=1)).nodes == ("a",)
    answer = offer(picture, pod("p", gpus=1), "b")
    assert answer.verdict is not None
    assert answer.verdict.reason is Reason.ALREADY_BOUND
    assert (state_of(picture, "p"), held(picture, "a"), held(picture, "b")) == (state, {0: 1000}, {})


def test_a_bound_pod_is_not_placed_again() -> None:
    picture = world(node("a"), node("b"))
    picture.upsert_pod(pod("p", gpus=1, version=5, on="a", indices=[0]))
    answer = offer(picture, pod("p", gpus=1, version=4))
    assert answer.verdict is not None
    assert answer.verdict.reason is Reason.ALREADY_BOUND
    assert (held(picture, "a"), held(picture, "b")) == ({0: 1000}, {})


def test_a_deleted_pod_is_not_placed() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", gpus=1))
    picture.delete_pod(uid("p"))
    answer = offer(picture, pod("p", gpus=1, version=9))
    assert answer.verdict is not None
    assert answer.verdict.reason is Reason.POD_DELETED
    assert held(picture, "n") == {}


def test_the_verdict_is_remembered_until_it_is_a_yes() -> None:
    picture = world(node("n", gpus=1))
    offer(picture, pod("a", gpus=1))
    offer(picture, pod("b", gpus=1))
    verdict = picture.pods[uid("b")].verdict
    assert verdict is not None
    assert verdict.reason is Reason.NOT_ENOUGH_RESOURCES
    picture.delete_pod(uid("a"))
    offer(picture, pod("b", gpus=1))
    assert picture.pods[uid("b")].verdict is None


# With `answer: all`


def test_all_fitting_nodes_are_answered_and_one_is_held() -> None:
    picture = world(node("a", gpus=1), node("b"), node("c"), node("d", gpus=0))
    answer = offer(picture, pod("p", gpus=2), answer_all=True)
    assert answer.nodes == ["b", "c"]
    assert placement_of(picture, "p") is not None
    assert sum(sum(held(picture, name).values()) for name in "abcd") == 2000


def test_all_in_the_order_offered_without_what_we_do_not_know() -> None:
    picture = world(node("a"), node("b"))
    assert offer(picture, pod("p", gpus=1), "b", "ghost", "a", answer_all=True).nodes == ["b", "a"]


SHORTAGES: list[tuple[dict[str, Any], str]] = [
    ({"gpus": 9}, "9 GPUs"),
    ({"fraction": "0.5", "devices": 9}, "9 X 0.5 GPU"),
    ({"gpu_memory": 99_999}, "1 X 99999 MiB of GPU memory"),
    ({"mig": {"1g.5gb": 1}}, "1 nvidia.com/mig-1g.5gb"),
]


@pytest.mark.parametrize(("given", "asked"), SHORTAGES)
def test_a_shortage_tells_what_was_asked_for(given: dict[str, Any], asked: str) -> None:
    answer = offer(world(node("n")), pod("p", **given))
    assert answer.verdict is not None
    assert answer.verdict.message.endswith(f"Requested: {asked}")


def test_nothing_is_offered_on_a_node_that_shrank() -> None:
    picture = world(node("n", gpus=2))
    for index in range(2):
        picture.upsert_pod(pod(f"p{index}", fraction="0.1", on="n", indices=[index], gpu_groups=[str(index)]))
    picture.upsert_node(node("n", gpus=1, slots=2))
    assert offer(picture, pod("q", fraction="0.1")).nodes == ()
    assert free(picture, "n") == [0, 0]
