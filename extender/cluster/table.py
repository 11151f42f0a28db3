"""Every node as one row of a few arrays: what a decision reads, refreshed row by row as ledgers change.

Nodes in the same state are alike to a score, and states come back: a pod ends and the node is as it was, equal nodes
fill in the same way. So a row is the number of its state and little more, and what is worth keeping is kept by state.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import repeat
from typing import cast

import numpy as np

from extender.cluster.ledger import NodeLedger
from extender.cluster.states import States
from extender.model.amounts import GPU
from extender.model.names import NodeName
from extender.model.pod import Pod
from extender.packing.score import Bools, Ints, NodeArrays

_FIRST_ROWS = 64
_SPARE_STATES = 4096  # states that no node is in any more, beside twice the rows, before they are let go


class NodeTable:
    """One row a node, in the order of their names: of equal scores, the first is the lowest name's.

    When nodes come or go the rows are put in order again before they are next read, so a row's number is borrowed.
    layout: moves when rows are put in order, and so get other numbers.
    states: numbered as they are first seen; `numbering` moves when they are numbered anew.
    """

    def __init__(self) -> None:
        self.products: dict[str, int] = {}  # GPU model → number
        self.numbering = 0
        self.layout = 0
        self._row_of: dict[NodeName, int] = {}
        self._name_of: list[NodeName] = []
        self._in_order = True
        self._states = States()
        self._number_of: dict[Hashable, int] = {}
        # [state, free MiB, free places for pods] a row: one 2-D block, a row's numbers are written together.
        self._rows: Ints = np.zeros((3, _FIRST_ROWS), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def row_of(self) -> dict[NodeName, int]:
        self._put_in_order()
        return self._row_of

    @property
    def name_of(self) -> list[NodeName]:
        self._put_in_order()
        return self._name_of

    def arrays(self) -> NodeArrays:
        """All rows, devices in any order. Cost: copies."""
        return self._states.view().take(self.state_of())

    def states(self, start: int = 0) -> NodeArrays:
        """The distinct states from number `start` on, those that no node is in any more among them."""
        return self._states.view(start)

    @property
    def state_count(self) -> int:
        return self._states.count

    def state_of(self) -> Ints:
        """The number of each row's state."""
        self._put_in_order()
        return self._rows[0, : len(self._name_of)]

    def present(self) -> Bools:
        """Which states some node is in."""
        return np.bincount(self.state_of(), minlength=self._states.count).astype(np.bool_)

    def gpu_free(self) -> Ints:
        """Milli-GPU of each row, of all its devices together."""
        return self._states.view().total_free.take(self.state_of())

    def memory_free(self) -> Ints:
        """MiB of each row, may be negative."""
        self._put_in_order()
        return self._rows[1, : len(self._name_of)]

    def has_room(self, pod: Pod) -> Bools:
        """Which rows have the CPU, the memory and a place for one more pod, and for those that reserve its shares."""
        reserving = pod.gpu.devices if pod.gpu.is_shared else 0
        cpu: Bools = (self._states.view().cpu_free >= pod.cpu_milli).take(self.state_of())
        _, memory_free, places = self._rows[:, : len(self.name_of)]
        room: Bools = cpu & (memory_free >= pod.memory_mib) & (places > reserving)
        return room

    def rows_of(self, names: Iterable[str]) -> list[int]:
        """The row of each name, -1 for one without a row. Cost: 30 ns a name."""
        return list(map(cast("dict[str, int]", self.row_of).get, names, repeat(-1)))

    def write(self, name: NodeName, ledger: NodeLedger) -> None:
        """Refresh the row of a node from its ledger, making the row when it is new. Cost: 5 us."""
        node = ledger.node
        if node is None:
            self.drop(name)
            return
        row = self._row_of.get(name)
        if row is None:
            row = self._new_row(name)
        free = ledger.free()
        mig = {resource: max(0, count - ledger.mig.get(resource, 0)) for resource, count in node.mig}
        product = self.products.setdefault(node.gpu_product, len(self.products))
        numbers = (
            free.count(GPU),
            sum(free),
            node.gpu_memory_mib,
            node.cpu_milli - ledger.cpu_milli,
            node.gpus * GPU,
            node.cpu_milli,
            node.gpu_slots > 0 or bool(node.mig),
            not node.is_sliced,
            product,
        )
        state = (*sorted(free), *numbers, *mig.items())
        number = self._number_of.get(state)
        if number is None:
            number = self._number_of[state] = self._states.append(free, numbers, mig)
        self._rows[:, row] = (number, node.memory_mib - ledger.memory_mib, node.pods - len(ledger.pods))
        if number > 2 * len(self._row_of) + _SPARE_STATES:
            self._number_anew()

    def drop(self, name: NodeName) -> None:
        """Forget the row of a node that went; a node without a row changes nothing."""
        if self._row_of.pop(name, None) is not None:
            self._in_order = False

    def capacity_by_product(self) -> dict[str, int]:
        """Milli-GPU of all nodes by GPU model."""
        arrays = self.arrays()
        milli = np.bincount(arrays.product, weights=arrays.capacity, minlength=len(self.products))
        return {product: int(milli[number]) for product, number in self.products.items()}

    def _number_anew(self) -> None:
        kept, states = np.unique(self.state_of(), return_inverse=True)
        self.state_of()[:] = states
        self._states.keep(kept)
        number_in = {old: new for new, old in enumerate(kept.tolist())}
        self._number_of = {state: number_in[number] for state, number in self._number_of.items() if number in number_in}
        self.numbering += 1

    def _new_row(self, name: NodeName) -> int:
        # Behind all rows, those of nodes that went included, until the next `_put_in_order`.
        row = self._row_of[name] = len(self._name_of)
        self._name_of.append(name)
        if row >= self._rows.shape[1]:
            self._rows = np.pad(self._rows, ((0, 0), (0, row)))
        self._in_order = False
        return row

    def _put_in_order(self) -> None:
        if self._in_order:
            return
        names = sorted(self._row_of)
        self._rows[:, : len(names)] = self._rows[:, [self._row_of[name] for name in names]]
        self._name_of = names
        self.layout += 1
        self._row_of = {name: row for row, name in enumerate(names)}
        self._in_order = True
