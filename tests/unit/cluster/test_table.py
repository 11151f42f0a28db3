from __future__ import annotations

import pytest

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


def test_a_row_goes_with_its_node() -> None:
    table = filled("a", "b", "c")
    table.drop(NodeName("b"))
    table.drop(NodeName("b"))
    assert (len(table), table.name_of, table.arrays().whole.tolist()) == (2, ["a", "c"], [8, 8])
    table.write(NodeName("b"), NodeLedger(node("b", gpus=1)))
    assert table.arrays().whole.tolist() == [8, 1, 8]


def test_a_ledger_without_a_node_has_no_row() -> None:
    table = filled("a")
    table.write(NodeName("a"), NodeLedger())
    assert len(table) == 0


def test_rows_are_in_name_order_whatever_the_order_of_arrival() -> None:
    table = filled("c", "a", "b")
    assert table.name_of == ["a", "b", "c"]
    table.drop(NodeName("a"))
    table.write(NodeName("aa"), NodeLedger(node("aa", gpus=2)))
    assert table.row_of == {"aa": 0, "b": 1, "c": 2}
    assert table.arrays().whole.tolist() == [2, 8, 8]


def test_states_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extender.cluster.table._SPARE_STATES", 0)
    table = filled("a", "b")
    empty, ledger = NodeLedger(node("a")), NodeLedger(node("a"))
    numbers = set()
    for step in range(20):
        one = pod(f"p{step}", fraction="0.1", on="a", indices=[step % 8])
        assert one.placement is not None
        ledger.add(one, one.placement)
        for changed in (ledger, empty):
            table.write(NodeName("a"), changed)
            numbers.add(int(table.state_of()[0]))
            assert table.state_of()[1] == 0
            assert table.arrays().total_free.tolist() == [sum(changed.free()), 8000]
        assert table.present().sum() == 1
    # What no node is in any more is let go, so numbers are used again.
    assert table.state_count <= 6
    assert len(numbers) <= 7
    assert table.numbering > 2


def test_it_grows_in_both_directions() -> None:
    table = filled(*(f"n{number:03}" for number in range(200)))
    table.write(NodeName("wide"), NodeLedger(node("wide", gpus=16, mig={"1g.5gb": 2})))
    table.write(NodeName("later"), NodeLedger(node("later", gpus=1)))
    arrays = table.arrays()
    assert arrays.free.shape == (202, 16)
    assert arrays.total_free[table.row_of[NodeName("n199")]] == 8000
    assert arrays.total_free[table.row_of[NodeName("wide")]] == 16_000
    assert arrays.mig_free["nvidia.com/mig-1g.5gb"][table.row_of[NodeName("wide")]] == 2
