"""The nodes in order of merit for each shape of pod, kept up to date by touching only what changed.

A score depends on a node's state and a pod's shape alone. So each shape keeps one array of scores and the point
in the table's journal up to which it is right; before it is read, the rows written since are scored again in one
call. What learning or a change of rows makes stale is scored as a whole when it is next asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from extender.cluster.table import NodeTable
from extender.model.gpu import GpuRequest
from extender.packing import fragmentation, score
from extender.packing.demand import Demand, Floats
from extender.packing.score import Ints, NodeArrays
from extender.packing.strategy import Strategy

Values = TypeVar("Values", Ints, Floats)

_SHAPES = 512  # the least recently asked for goes; 8 bytes a node each
_ONE_BY_ONE = 6  # rows up to which plain Python beats numpy's fixed cost
_WHOLE_FROM = 4  # a quarter of the rows changed: scoring all of them costs no more


@dataclass(frozen=True, slots=True)
class Shape:
    """All of a pod that its score depends on. products: the only GPU models it accepts, sorted; none for any."""

    gpu: GpuRequest
    cpu_milli: int
    products: tuple[str, ...] = ()


@dataclass(slots=True)
class _Kept(Generic[Values]):
    """One figure a row, right up to `position` of the journal, as long as rows and tables are those of `stamp`."""

    values: Values
    position: int
    stamp: tuple[int, int]


class Ranking:
    """Scores by (shape, strategy). Borrow `values`: read at once, neither keep nor change."""

    def __init__(self, table: NodeTable, demand: Demand) -> None:
        self._table = table
        self._demand = demand
        self._scored: OrderedDict[tuple[Shape, Strategy], _Kept[Ints]] = OrderedDict()
        self._wasted: _Kept[Floats] | None = None

    def values(self, shape: Shape, strategy: Strategy) -> Ints:
        """One score a row of the table, INFEASIBLE where the shape does not fit; larger is better, ties remain."""
        key = (shape, strategy)
        scored = self._scored.get(key)
        changed = self._changed(scored)
        if scored is None or changed is None:
            nodes = self._table.arrays()
            scored = _Kept(self._score(shape, strategy, nodes, np.arange(len(nodes.free))), 0, self._stamp())
            self._scored[key] = scored
            if len(self._scored) > _SHAPES:
                self._scored.popitem(last=False)
        elif changed:
            self._score_again(shape, strategy, changed, scored.values)
        scored.position = self._table.position()
        self._scored.move_to_end(key)
        return scored.values

    def refresh(self) -> bool:
        """Bring one array of scores up to date, the one longest not asked for; False when all of them are.

        Work for idle moments: after learning, every shape is scored anew, and nobody should have to wait for it.
        """
        now = (self._stamp(), self._table.position())
        stale = next((key for key, one in self._scored.items() if (one.stamp, one.position) != now), None)
        if stale is not None:
            self.values(*stale)
        return stale is not None

    def _stamp(self) -> tuple[int, int]:
        return self._table.layout, self._demand.epoch

    def _changed(self, kept: _Kept[Any] | None) -> set[int] | None:
        """The rows of `kept` to bring up to date; None when all of them are to be made anew."""
        if kept is None or kept.stamp != self._stamp():
            return None
        changed = self._table.changed_since(kept.position)
        if changed is None or len(changed) * _WHOLE_FROM > len(kept.values):
            return None
        return set(changed)

    def _waste(self) -> Floats:
        """What each node wastes as it is: the same for every shape, so counted once per change."""
        kept = self._wasted
        changed = self._changed(kept)
        nodes, tables = self._table.arrays(), self._demand.tables
        if kept is None or changed is None:
            kept = self._wasted = _Kept(fragmentation.waste(nodes.free, nodes.cpu_free, tables), 0, self._stamp())
        elif len(changed) <= _ONE_BY_ONE:
            for row in changed:
                free, cpu = nodes.free[row].tolist(), int(nodes.cpu_free[row])
                kept.values[row] = fragmentation.waste_of_one(free, cpu, tables)
        else:
            rows = np.array(sorted(changed), dtype=np.int64)
            kept.values[rows] = fragmentation.waste(nodes.free[rows], nodes.cpu_free[rows], tables)
        kept.position = self._table.position()
        return kept.values

    def _score_again(self, shape: Shape, strategy: Strategy, rows: set[int], values: Ints) -> None:
        """Bring some rows of `values` up to date. For a handful, numpy's calls would cost more than their work."""
        if strategy is not Strategy.FRAGMENTATION or shape.gpu.mig or len(rows) > _ONE_BY_ONE:
            at = np.array(sorted(rows), dtype=np.int64)
            values[at] = self._score(shape, strategy, self._table.arrays().take(at), at)
            return
        nodes, tables, wasted = self._table.arrays(), self._demand.tables, self._waste()
        products = list(self._table.products)
        for row in rows:
            product = products[nodes.product[row]]
            score_: int | None = None
            if nodes.whole[row] >= 0 and (not shape.products or product in shape.products):
                score_ = fragmentation.score_of_one(
                    shape.gpu,
                    shape.cpu_milli,
                    tables.price.get(product, 0.0),
                    nodes.free[row].tolist(),
                    int(nodes.cpu_free[row]),
                    int(nodes.gpu_memory[row]),
                    tables,
                    float(wasted[row]),
                )
            values[row] = score.INFEASIBLE if score_ is None else score_

    def _score(self, shape: Shape, strategy: Strategy, nodes: NodeArrays, at: Ints) -> Ints:
        """Scores of `nodes`, which are the rows `at` of the table."""
        fits = score.fits(shape.gpu, nodes)
        if shape.products:
            accepted = [self._table.products[product] for product in shape.products if product in self._table.products]
            fits &= np.isin(nodes.product, accepted)
        if strategy is not Strategy.FRAGMENTATION:
            return np.where(fits, score.scores(shape.gpu, nodes, strategy), score.INFEASIBLE)
        out = np.full(len(fits), score.INFEASIBLE, dtype=np.int64)
        rows = np.flatnonzero(fits)  # in a full cluster few rows are worth the arithmetic
        if rows.size:
            tables = self._demand.tables
            fitting = nodes if rows.size == len(fits) else nodes.take(rows)
            before = self._waste()[at[rows]]
            prices = np.array([tables.price.get(product, 0.0) for product in self._table.products])[fitting.product]
            out[rows] = fragmentation.scores(shape.gpu, shape.cpu_milli, prices, fitting, tables, before)
        return out
