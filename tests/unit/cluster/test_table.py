from __future__ import annotations

from extender.cluster.ledger import NodeLedger
from extender.cluster.table import NodeTable
from extender.model.names import NodeName
from tests.builders import node, pod


def filled(*names: str, gpus: int = 8) -> NodeTable:
    table = NodeTable()
    for name in names:
        table.write(NodeName(name), NodeLedger(node(name, gpus=gpus)))
    return table


def test_a_row_says_what_the_ledger_says() -> None:
    table = NodeTable()
    ledger = NodeLedger(node("n", gpus=4, slots=5, mig={"1g.5gb": 3}))
    for one in (pod("p", gpus=1, on="n", indices=[0], cpu="4"), pod("q", fraction="0.5", on="n", indices=[1])):
        assert one.placement is not None
        ledger.add(one, one.placement)
    table.write(NodeName("n"), ledger)
    arrays = table.arrays()
    assert sorted(arrays.free[0].tolist()) == [0, 0, 0, 0, 0, 500, 1000, 1000]
    assert (arrays.whole[0], arrays.total_free[0], arrays.capacity[0]) == (2, 2500, 4000)
    assert (arrays.cpu_free[0], arrays.cpu_capacity[0], arrays.gpu_memory[0]) == (60_000, 64_000, 40_960)
    assert arrays.has_gpus[0]
    assert {name: column.tolist() for name, column in arrays.mig_free.items()} == {"nvidia.com/mig-1g.5gb": [3]}


def test_rows_are_used_again() -> None:
    table = filled("a", "b", "c")
    row = table.row_of[NodeName("b")]
    table.drop(NodeName("b"))
    table.drop(NodeName("b"))
    assert len(table) == 2
    assert table.arrays().whole[row] == -1
    table.write(NodeName("d"), NodeLedger(node("d", gpus=1)))
    assert table.row_of[NodeName("d")] == row
    assert table.arrays().whole[row] == 1


def test_a_ledger_without_a_node_has_no_row() -> None:
    table = filled("a")
    table.write(NodeName("a"), NodeLedger())
    assert len(table) == 0


def test_rank_is_name_order_whatever_the_order_of_arrival() -> None:
    table = filled("c", "a", "b")
    ranked = sorted(table.row_of, key=lambda name: int(table.rank()[table.row_of[name]]))
    assert ranked == ["a", "b", "c"]
    table.drop(NodeName("a"))
    table.write(NodeName("aa"), NodeLedger(node("aa")))
    ranked = sorted(table.row_of, key=lambda name: int(table.rank()[table.row_of[name]]))
    assert ranked == ["aa", "b", "c"]


def test_it_grows_in_both_directions() -> None:
    table = filled(*(f"n{number:03}" for number in range(200)))
    table.write(NodeName("wide"), NodeLedger(node("wide", gpus=16, mig={"1g.5gb": 2})))
    table.write(NodeName("later"), NodeLedger(node("later", gpus=1)))
    arrays = table.arrays()
    assert arrays.free.shape == (202, 16)
    assert arrays.total_free[table.row_of[NodeName("n199")]] == 8000
    assert arrays.total_free[table.row_of[NodeName("wide")]] == 16_000
    assert arrays.mig_free["nvidia.com/mig-1g.5gb"][table.row_of[NodeName("wide")]] == 2


def test_growing_after_a_drop_keeps_vacant_rows_vacant() -> None:
    table = filled("a", "b")
    table.drop(NodeName("a"))
    table.write(NodeName("b"), NodeLedger(node("b", gpus=16)))
    assert table.arrays().whole.tolist() == [-1, 16]


def test_the_smallest_gpu() -> None:
    table = NodeTable()
    assert table.smallest_gpu_memory_mib() == 0
    for name, memory in (("a", 40_960), ("b", 16_384), ("c", None)):
        table.write(NodeName(name), NodeLedger(node(name, gpu_memory=memory)))
    assert table.smallest_gpu_memory_mib() == 16_384
    table.drop(NodeName("b"))
    assert table.smallest_gpu_memory_mib() == 40_960
