"""Scores as the table hands them over: built from nodes and pods, so that the arrays are the real ones."""

from __future__ import annotations

import pytest

from extender.cluster.picture import Picture
from extender.model.node import Node
from extender.model.pod import Pod
from extender.packing import score
from extender.packing.strategy import Strategy
from extender.pods import placement
from tests.builders import node, pod, world

PACK, SPREAD = Strategy.BINPACK, Strategy.SPREAD


def used(*pods: Pod, nodes: tuple[Node, ...]) -> Picture:
    picture = world(*nodes)
    for one in pods:
        picture.upsert_pod(one)
    return picture


def by_name(picture: Picture, values: score.Ints) -> dict[str, int]:
    listed = values.tolist()
    return {name: listed[row] for name, row in sorted(picture.table.row_of.items())}


def points(picture: Picture, subject: Pod, strategy: Strategy) -> dict[str, int]:
    return by_name(picture, picture.ranking.points(placement.shape_of(subject), strategy))


def order(picture: Picture, subject: Pod, strategy: Strategy) -> list[str]:
    """Names of the fitting nodes, best first, equals by name."""
    values = by_name(picture, picture.ranking.values(placement.shape_of(subject), strategy))
    return sorted((name for name in values if values[name] >= 0), key=lambda name: (-values[name], name))


THREE = (node("a", gpus=4), node("b", gpus=4), node("c", gpus=4))
BUSY = (
    pod("x", gpus=3, on="a", indices=(0, 1, 2)),  # a: 1 left
    pod("y", gpus=1, on="b", indices=(0,)),  # b: 3 left; c: 4 left
)


@pytest.mark.parametrize(
    ("subject", "strategy", "best_first"),
    [
        pytest.param(pod("p", gpus=1), PACK, ["a", "b", "c"], id="whole, bin-pack"),
        pytest.param(pod("p", gpus=1), SPREAD, ["c", "b", "a"], id="whole, spread"),
        pytest.param(pod("p", gpus=2), PACK, ["b", "c"], id="where it fits only"),
        pytest.param(pod("p", gpus=5), PACK, [], id="nowhere"),
        pytest.param(pod("p", fraction="0.5"), PACK, ["a", "b", "c"], id="a share with no shared device"),
        pytest.param(pod("p", fraction="0.5"), SPREAD, ["c", "b", "a"], id="a share, spread"),
        pytest.param(pod("p"), PACK, ["a", "b", "c"], id="cpu only, equal CPU"),
    ],
)
def test_the_order_of_nodes(subject: Pod, strategy: Strategy, best_first: list[str]) -> None:
    assert order(used(*BUSY, nodes=THREE), subject, strategy) == best_first


def test_a_share_fills_the_fullest_shared_device_of_all_nodes_first() -> None:
    sharers = (
        pod("s1", fraction="0.25", on="b", indices=(1,), gpu_groups=("g1",)),
        pod("s2", fraction="0.5", on="c", indices=(0,), gpu_groups=("g2",)),
    )
    picture = used(*BUSY, *sharers, nodes=THREE)
    assert order(picture, pod("p", fraction="0.5"), PACK) == ["c", "b", "a"]
    assert order(picture, pod("p", fraction="0.6"), PACK) == ["b", "a", "c"]
    assert order(picture, pod("p", fraction="0.5"), SPREAD) == ["c", "b", "a"]


def test_cpu_work_prefers_nodes_without_gpus_then_fuller_ones() -> None:
    picture = used(
        pod("load", cpu="8", on="cpu-2"),
        nodes=(node("cpu-1", gpus=0), node("cpu-2", gpus=0), node("gpu", gpus=8)),
    )
    assert order(picture, pod("p", cpu="1"), PACK) == ["cpu-2", "cpu-1", "gpu"]
    assert order(picture, pod("p", cpu="1"), SPREAD) == ["cpu-1", "cpu-2", "gpu"]


def test_mig_fits_by_profile() -> None:
    picture = used(
        pod("taken", mig={"1g.5gb": 6}, on="m"),
        nodes=(node("m", gpus=0, mig={"1g.5gb": 7, "3g.20gb": 1}), node("n", gpus=8)),
    )
    assert order(picture, pod("p", mig={"1g.5gb": 1}), PACK) == ["m"]
    assert order(picture, pod("p", mig={"1g.5gb": 2}), PACK) == []
    assert order(picture, pod("p", mig={"1g.5gb": 1, "3g.20gb": 1}), PACK) == ["m"]
    assert order(picture, pod("p", mig={"2g.10gb": 1}), PACK) == []
    assert order(picture, pod("p", mig={"1g.5gb": 1}, gpus=1), PACK) == []


def test_more_than_any_machine_has_fits_nowhere() -> None:
    picture = used(nodes=THREE)
    for subject in (
        pod("p", gpus=2**61),
        pod("p", fraction="0.5", devices=999_999_999),
        pod("p", gpu_memory=999_999_999),
        pod("p", mig={"1g.5gb": 2**61}),
    ):
        assert order(picture, subject, PACK) == []


@pytest.mark.parametrize(
    ("pods", "subject", "strategy", "expected"),
    [
        # round(9 * (1 - (free - min) / (max - min))): free 1, 3, 4 of 4
        pytest.param(BUSY, pod("p", gpus=1), PACK, {"a": 9, "b": 3, "c": 0}, id="bin-pack"),
        pytest.param(BUSY, pod("p", gpus=2), PACK, {"a": 0, "b": 9, "c": 0}, id="bin-pack over the fitting ones"),
        pytest.param((), pod("p", gpus=1), PACK, {"a": 9, "b": 9, "c": 9}, id="bin-pack, all equal"),
        pytest.param(BUSY, pod("p", gpus=5), PACK, {"a": 0, "b": 0, "c": 0}, id="bin-pack, none fits"),
        # ten times the free share of its devices, rounded
        pytest.param(BUSY, pod("p", gpus=1), SPREAD, {"a": 3, "b": 8, "c": 10}, id="spread"),
        pytest.param(BUSY, pod("p", gpus=5), SPREAD, {"a": 0, "b": 0, "c": 0}, id="spread, none fits"),
    ],
)
def test_points_for_kube_scheduler(
    pods: tuple[Pod, ...], subject: Pod, strategy: Strategy, expected: dict[str, int]
) -> None:
    assert points(used(*pods, nodes=THREE), subject, strategy) == expected


def test_one_point_more_for_joining_a_shared_device() -> None:
    sharers = (
        pod("s1", fraction="0.5", on="a", indices=(0,), gpu_groups=("g1",)),
        pod("s2", gpus=1, on="c", indices=(0,)),
    )
    picture = used(*sharers, nodes=THREE)  # free: a 3.5, b 4, c 3
    assert points(picture, pod("p", fraction="0.5"), PACK) == {"a": 6, "b": 0, "c": 9}
    assert points(picture, pod("p", fraction="0.6"), PACK) == {"a": 5, "b": 0, "c": 9}
    assert points(picture, pod("p", fraction="0.5", devices=2), PACK) == {"a": 5, "b": 0, "c": 9}


def test_points_stay_between_0_and_10() -> None:
    picture = used(
        pod("s1", fraction="0.5", on="a", indices=(0,), gpu_groups=("g1",)), nodes=(node("a", gpus=1), node("b"))
    )
    assert points(picture, pod("p", fraction="0.5"), PACK) == {"a": 10, "b": 0}


def test_cpu_points_count_cpu() -> None:
    picture = used(
        pod("load", cpu="30", on="a"), pod("more", cpu="100", on="c"), nodes=(node("a"), node("b"), node("c"))
    )
    assert points(picture, pod("p"), SPREAD) == {"a": 5, "b": 10, "c": 0}
    assert points(picture, pod("p"), PACK) == {"a": 3, "b": 0, "c": 9}


def test_a_share_of_several_devices_prefers_shared_ones_for_all_of_them() -> None:
    picture = used(
        pod("s1", fraction="0.7", on="a", indices=(0,), gpu_groups=("g1",)),
        pod("s2", fraction="0.6", on="b", indices=(0,), gpu_groups=("g2",)),
        pod("s3", fraction="0.6", on="b", indices=(1,), gpu_groups=("g3",)),
        nodes=(node("a", gpus=2), node("b", gpus=2)),
    )
    assert order(picture, pod("p", fraction="0.25", devices=2), PACK)[0] == "b"
