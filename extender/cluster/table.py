"""Every node as one row of a few arrays: what a decision reads, refreshed row by row as ledgers change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from extender.cluster.ledger import NodeLedger
from extender.model.amounts import GPU
from extender.model.names import NodeName
from extender.model.node import Node
from extender.packing.score import NodeArrays

_FIRST_ROWS = 64
_FIRST_DEVICES = 8
_LONGEST_JOURNAL = 100_000


class NodeTable:
    """Rows of nodes that exist. A row's number is stable until its node goes; freed rows are used again.

    rank: position of the row's name among all names: ties go to the lowest, whatever the order of arrival.
    """

    def __init__(self) -> None:
        self.row_of: dict[NodeName, int] = {}
        self.name_of: list[NodeName | None] = []
        self.products: dict[str, int] = {}  # GPU model → number
        self.layout = 0  # moves when rows come, go or widen
        self._journal: list[int] = []
        self._journal_starts_at = 0
        self._vacant: list[int] = []
        self._rank_is_stale = True
        self._allocate(_FIRST_ROWS, _FIRST_DEVICES)

    def _allocate(self, rows: int, devices: int) -> None:
        self._free: NDArray[np.int32] = np.zeros((rows, devices), dtype=np.int32)
        # One 2-D block: a row's numbers are written together.
        self._columns: NDArray[np.int64] = np.zeros((10, rows), dtype=np.int64)
        self._rank: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self._mig: dict[str, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self.row_of)

    def arrays(self) -> NodeArrays:
        """The arrays a score reads: views of the rows in use, vacant rows fit nothing."""
        rows = len(self.name_of)
        whole, total, memory, cpu, capacity, cpu_capacity, has, ram, pods, product = self._columns[:, :rows]
        return NodeArrays(
            free=self._free[:rows],
            whole=whole,
            total_free=total,
            gpu_memory=memory,
            has_gpus=has.astype(np.bool_),
            cpu_free=cpu,
            capacity=capacity,
            cpu_capacity=cpu_capacity,
            memory_free=ram,
            pods_free=pods,
            product=product,
            mig_free={resource: column[:rows] for resource, column in self._mig.items()},
        )

    def rank(self) -> NDArray[np.int64]:
        """Position of each row's name in name order; vacant rows come last."""
        if self._rank_is_stale:
            order = sorted(
                range(len(self.name_of)), key=lambda row: (self.name_of[row] is None, self.name_of[row] or "")
            )
            self._rank[order] = np.arange(len(order))
            self._rank_is_stale = False
        return self._rank[: len(self.name_of)]

    def smallest_gpu_memory_mib(self) -> int:
        """Memory of the smallest GPU of all nodes, 0 when no node says."""
        memory = self._columns[2][: len(self.name_of)]
        known = memory[memory > 0]
        return int(known.min()) if known.size else 0

    def write(self, name: NodeName, ledger: NodeLedger) -> None:
        """Refresh the row of a node from its ledger, making the row when it is new."""
        node = ledger.node
        if node is None:
            self.drop(name)
            return
        row = self.row_of.get(name)
        if row is None:
            row = self._new_row(name)
        free = ledger.free()
        if len(free) > self._free.shape[1]:
            self._grow(self._free.shape[0], len(free))
        self._free[row] = 0
        self._free[row, : len(free)] = free
        self._columns[:, row] = (
            free.count(GPU),
            sum(free),
            node.gpu_memory_mib,
            node.cpu_milli - ledger.cpu_milli,
            node.gpus * GPU,
            node.cpu_milli,
            node.gpu_slots > 0 or bool(node.mig),
            node.memory_mib - ledger.memory_mib,
            node.pods - len(ledger.pods),
            self.products.setdefault(node.gpu_product, len(self.products)),
        )
        if node.mig or self._mig:
            self._write_mig(row, node, ledger)
        self._changed(row)

    def _write_mig(self, row: int, node: Node, ledger: NodeLedger) -> None:
        offered = dict(node.mig)
        for resource in offered.keys() | self._mig.keys():
            column = self._mig.get(resource)
            if column is None:
                column = self._mig[resource] = np.zeros(self._free.shape[0], dtype=np.int64)
            column[row] = max(0, offered.get(resource, 0) - ledger.mig.get(resource, 0))

    def drop(self, name: NodeName) -> None:
        """Forget the row of a node that went; a node without a row changes nothing."""
        row = self.row_of.pop(name, None)
        if row is None:
            return
        self.name_of[row] = None
        self._vacant.append(row)
        self._rank_is_stale = True
        self._free[row] = 0
        self._columns[:, row] = 0
        self._columns[0, row] = -1  # fewer than no whole devices: not even a CPU-only pod fits a vacant row
        for column in self._mig.values():
            column[row] = 0
        self.layout += 1

    def position(self) -> int:
        """Where the journal of changed rows ends now."""
        return self._journal_starts_at + len(self._journal)

    def changed_since(self, position: int) -> list[int] | None:
        """The rows written since `position`, with repeats; None when the journal does not go back that far."""
        start = position - self._journal_starts_at
        return self._journal[start:] if start >= 0 else None

    def capacity_by_product(self) -> dict[str, int]:
        """Milli-GPU of all nodes by GPU model."""
        arrays = self.arrays()
        milli = np.bincount(arrays.product, weights=arrays.capacity, minlength=len(self.products))
        return {product: int(milli[number]) for product, number in self.products.items()}

    def _changed(self, row: int) -> None:
        self._journal.append(row)
        if len(self._journal) > _LONGEST_JOURNAL:
            # Whoever has not looked for so long scores all rows again, which costs no more by now.
            half = len(self._journal) // 2
            del self._journal[:half]
            self._journal_starts_at += half

    def _new_row(self, name: NodeName) -> int:
        if self._vacant:
            row = self._vacant.pop()
            self.name_of[row] = name
        else:
            row = len(self.name_of)
            self.name_of.append(name)
            if row >= self._free.shape[0]:
                self._grow(2 * self._free.shape[0], self._free.shape[1])
        self.row_of[name] = row
        self.layout += 1
        self._rank_is_stale = True
        return row

    def _grow(self, rows: int, devices: int) -> None:
        free, columns, mig = self._free, self._columns, self._mig
        used = free.shape[0]
        self._allocate(rows, devices)
        self.layout += 1
        self._rank_is_stale = True
        self._free[:used, : free.shape[1]] = free
        self._columns[:, :used] = columns
        for resource, column in mig.items():
            self._mig[resource] = np.zeros(rows, dtype=np.int64)
            self._mig[resource][:used] = column
