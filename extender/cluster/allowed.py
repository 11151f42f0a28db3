"""Which nodes accept which pods, as one row of booleans for each class of constraint.

A row is judged again only for the nodes whose objects changed since it was last read, so a decision does no work
per node for selectors, affinity, taints, pools and node types.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from extender.cluster.table import NodeTable
from extender.model import names
from extender.model.constraint import Constraint
from extender.model.names import NodeName
from extender.model.node import Node
from extender.packing.score import Bools

_CLASSES = 256  # the least recently asked for goes; a byte a node each
_LONGEST_JOURNAL = 20_000


@dataclass(slots=True)
class _Row:
    accepts: Bools
    position: int
    layout: int


def labels_of(node: Node) -> dict[str, str]:
    """What constraints are judged by: the node's labels, and its pool, which nodes of the pool `default` lack."""
    return {**dict(node.labels), names.POOL_KEY: node.pool}


class AllowedNodes:
    """Borrow what `row` returns: read it at once, neither keep nor change it."""

    def __init__(self, table: NodeTable, node_of: Callable[[NodeName], Node | None]) -> None:
        self._table = table
        self._node_of = node_of
        self._rows: OrderedDict[Constraint, _Row] = OrderedDict()
        self._journal: list[NodeName] = []
        self._starts_at = 0

    def changed(self, name: NodeName) -> None:
        """The Node object of this name is another one now."""
        self._journal.append(name)
        if len(self._journal) > _LONGEST_JOURNAL:
            half = len(self._journal) // 2
            del self._journal[:half]
            self._starts_at += half

    def row(self, constraint: Constraint) -> Bools:
        """Which rows of the table accept pods of this class; False for unschedulable nodes."""
        row_of, layout = self._table.row_of, self._table.layout
        row = self._rows.get(constraint)
        end = self._starts_at + len(self._journal)
        if row is None or row.position < self._starts_at or row.layout != layout:
            names = list(row_of)
            row = _Row(np.zeros(len(row_of), dtype=np.bool_), end, layout)
        else:
            names = self._journal[row.position - self._starts_at :]
        for name in names:
            at = row_of.get(name)
            node = self._node_of(name)
            if at is not None and node is not None:
                row.accepts[at] = node.schedulable and constraint.accepts(name, labels_of(node), node.taints)
        row.position = end
        self._rows[constraint] = row
        self._rows.move_to_end(constraint)
        if len(self._rows) > _CLASSES:
            self._rows.popitem(last=False)
        return row.accepts
