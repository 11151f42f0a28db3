from __future__ import annotations

import pytest

from extender.cluster.ledger import NodeLedger
from extender.model.node import Node
from extender.model.pod import Placement, Pod
from tests.builders import node, pod


def ledger(on: Node | None, *pods: Pod) -> NodeLedger:
    made = NodeLedger(on)
    for one in pods:
        assert one.placement is not None
        made.add(one, one.placement)
    return made


@pytest.mark.parametrize(
    ("on", "pods", "free"),
    [
        pytest.param(node("n", gpus=2), (), [1000, 1000], id="empty"),
        pytest.param(node("n", gpus=2), (pod("p", gpus=1, on="n", indices=[1]),), [1000, 0], id="one whole"),
        pytest.param(node("n", gpus=2), (pod("p", fraction="0.3", on="n", indices=[0]),), [700, 1000], id="a share"),
        pytest.param(
            node("n", gpus=1),
            (pod("p", fraction="0.8", on="n", indices=[0]), pod("q", fraction="0.8", on="n", indices=[0])),
            [0],
            id="over-committed by hand: nothing, never less",
        ),
        pytest.param(node("n", gpus=3), (pod("p", gpus=1, on="n"),), [1000, 1000, 0], id="a device nobody recorded"),
        pytest.param(node("n", gpus=2), (pod("p", gpus=2, on="n"),), [0, 0], id="none left for shares either"),
        pytest.param(
            node("n", gpus=2),
            (pod("p", fraction="0.5", on="n", indices=[1]), pod("q", gpus=1, on="n")),
            [0, 500],
            id="a share beside a device nobody recorded",
        ),
        pytest.param(node("n", gpus=1, slots=3), (), [1000, 0, 0], id="two of three unhealthy"),
        pytest.param(
            node("n", gpus=1, slots=3), (pod("p", gpus=1, on="n", indices=[2]),), [0, 0, 0], id="shrunk, still fits"
        ),
        pytest.param(
            node("n", gpus=1, slots=3),
            (pod("p", fraction="0.1", on="n", indices=[1]), pod("q", fraction="0.1", on="n", indices=[2])),
            [0, 0, 0],
            id="shrunk under its pods: nothing is offered",
        ),
        pytest.param(node("n", gpus=0, slots=2), (pod("p", fraction="0.1", on="n", indices=[0]),), [0, 0], id="none"),
        pytest.param(node("n", gpus=2), (pod("p", gpus=1, on="n", indices=[7]),), [1000, 0], id="an index beyond"),
        pytest.param(None, (pod("p", gpus=1, on="n"),), [], id="no such node"),
    ],
)
def test_what_is_free(on: Node | None, pods: tuple[Pod, ...], free: list[int]) -> None:
    assert ledger(on, *pods).free() == free


def test_adding_and_removing_leaves_nothing() -> None:
    everything = (
        pod("a", gpus=2, on="n", indices=[0, 1], cpu="2", memory="1Gi"),
        pod("b", fraction="0.5", on="n", indices=[2], gpu_groups=["g"]),
        pod("c", gpu_memory=1024, on="n", indices=[2], gpu_groups=["g"]),
        pod("d", gpus=1, on="n"),
        pod("e", mig={"1g.5gb": 2}, on="n", cpu="500m"),
    )
    made = ledger(node("n", gpus=8, mig={"1g.5gb": 7}), *everything)
    assert (made.cpu_milli, made.memory_mib, made.mig) == (2500, 1024, {"nvidia.com/mig-1g.5gb": 2})
    assert made.unindexed == {"d-uid": 1}
    for one in everything:
        made.remove(one.uid)
        made.remove(one.uid)  # again: no error, no change
    assert (made.devices, made.unindexed, made.mig, made.pods, made.cpu_milli, made.memory_mib) == (
        {},
        {},
        {},
        {},
        0,
        0,
    )
    assert made.free() == NodeLedger(made.node).free()


def test_a_share_without_a_device_holds_a_whole_one() -> None:
    made = ledger(node("n", gpus=2), pod("p", fraction="0.1", on="n"))
    assert made.free() == [1000, 0]


def test_a_share_by_memory_on_an_unknown_gpu_holds_a_whole_one() -> None:
    made = ledger(node("n", gpus=1, gpu_memory=None), pod("p", gpu_memory=1024, on="n", indices=[0]))
    assert made.devices[0]["p-uid"][0] == 1000


def test_the_group_of_a_device_is_its_sharers() -> None:
    made = ledger(
        node("n", gpus=2),
        pod("p", fraction="0.1", on="n", indices=[0], gpu_groups=["g"]),
        pod("q", gpus=1, on="n", indices=[1]),
    )
    assert [made.group_of(index) for index in (0, 1, 5)] == ["g", "", ""]


def test_placement_indices() -> None:
    assert Placement("n", ((0, "g"), (3, "h"))).indices == (0, 3)  # type: ignore[arg-type]
