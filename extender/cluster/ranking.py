"""The nodes in order of merit for each shape of pod, kept up to date by scoring only what was never seen.

A score depends on a node's state and a pod's shape alone. So each shape keeps one score for every state that the
table has numbered; what is new since it was last asked for is scored in one call, and a row's score is that of its
state. What learning or a new numbering makes stale is scored as a whole when it is next asked for.
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

_SHAPES = 512  # the least recently asked for goes; 8 bytes a state each
_ONE_BY_ONE = 6  # states up to which plain Python beats numpy's fixed cost


@dataclass(frozen=True, slots=True)
class Shape:
    """All of a pod that its score depends on. products: the only GPU models it accepts, sorted; none for any."""

    gpu: GpuRequest
    cpu_milli: int
    products: tuple[str, ...] = ()


@dataclass(slots=True)
class _Kept(Generic[Values]):
    """One figure for each of the first `count` states, right as long as numbering and tables are those of `stamp`."""

    values: Values
    count: int
    stamp: tuple[int, int]

    def make_room(self, count: int) -> None:
        if count > len(self.values):
            self.values = np.pad(self.values, (0, count))


class Ranking:
    """Scores by (shape, strategy)."""

    def __init__(self, table: NodeTable, demand: Demand) -> None:
        self._table = table
        self._demand = demand
        self._scored: OrderedDict[tuple[Shape, Strategy], _Kept[Ints]] = OrderedDict()
        self._wasted: _Kept[Floats] = _Kept(np.zeros(0), 0, (-1, -1))

    def values(self, shape: Shape, strategy: Strategy) -> Ints:
        """One score a row of the table, INFEASIBLE where the shape does not fit; larger is better, ties remain."""
        return self._of_states(shape, strategy).take(self._table.state_of())

    def fitting(self, shape: Shape) -> score.Bools:
        """Which rows have the devices for the shape now."""
        return score.fits(shape.gpu, self._table.states()).take(self._table.state_of())

    def points(self, shape: Shape, strategy: Strategy) -> Ints:
        """kube-scheduler's 0..10 a row."""
        table = self._table
        return score.points(shape.gpu, table.states(), strategy, table.present()).take(table.state_of())

    def refresh(self) -> bool:
        """Bring one shape's scores up to date, the one longest not asked for; False when all of them are."""
        now, count = self._stamp(), self._table.state_count
        stale = next((key for key, one in self._scored.items() if one.stamp != now or one.count != count), None)
        if stale is not None:
            self._of_states(*stale)
        return stale is not None

    def _of_states(self, shape: Shape, strategy: Strategy) -> Ints:
        key = (shape, strategy)
        kept, stamp, count = self._scored.get(key), self._stamp(), self._table.state_count
        if kept is None or kept.stamp != stamp:
            kept = self._scored[key] = _Kept(np.zeros(count, dtype=np.int64), 0, stamp)
            if len(self._scored) > _SHAPES:
                self._scored.popitem(last=False)
        if kept.count < count:
            kept.make_room(count)
            self._score_from(kept, shape, strategy, count)
            kept.count = count
        self._scored.move_to_end(key)
        return kept.values

    def _stamp(self) -> tuple[int, int]:
        return self._table.numbering, self._demand.epoch

    def _waste(self, count: int) -> Floats:
        """What a node in each state wastes as it is: the same for every shape."""
        kept, tables = self._wasted, self._demand.tables
        if kept.stamp != self._stamp():
            kept = self._wasted = _Kept(np.zeros(count), 0, self._stamp())
        new = count - kept.count
        if new > 0:
            kept.make_room(count)
            nodes = self._table.states(kept.count)
            if new <= _ONE_BY_ONE:
                for at, (free, cpu) in enumerate(zip(nodes.free.tolist(), nodes.cpu_free.tolist(), strict=True)):
                    kept.values[kept.count + at] = fragmentation.waste_of_one(free, cpu, tables)
            else:
                kept.values[kept.count : count] = fragmentation.waste(nodes.free, nodes.cpu_free, tables)
            kept.count = count
        return kept.values

    def _score_from(self, kept: _Kept[Ints], shape: Shape, strategy: Strategy, count: int) -> None:
        """Score the states that `kept` lacks. For a handful, numpy's calls would cost more than their work."""
        nodes = self._table.states(kept.count)
        if strategy is not Strategy.FRAGMENTATION:
            fits = self._fits(shape, nodes)
            kept.values[kept.count : count] = np.where(fits, score.scores(shape.gpu, nodes, strategy), score.INFEASIBLE)
            return
        before = self._waste(count)[kept.count : count]
        if count - kept.count <= _ONE_BY_ONE and not shape.gpu.mig:
            self._score_one_by_one(kept, shape, nodes, before)
            return
        out = kept.values[kept.count : count]
        out.fill(score.INFEASIBLE)
        at = np.flatnonzero(self._fits(shape, nodes))  # in a full cluster few are worth the arithmetic
        if at.size:
            tables = self._demand.tables
            fitting = nodes.take(at)
            prices = np.array([tables.price.get(product, 0.0) for product in self._table.products])[fitting.product]
            out[at] = fragmentation.scores(shape.gpu, shape.cpu_milli, prices, fitting, tables, before[at])

    def _score_one_by_one(self, kept: _Kept[Ints], shape: Shape, nodes: NodeArrays, before: Floats) -> None:
        tables, products = self._demand.tables, list(self._table.products)
        for at, free in enumerate(nodes.free.tolist()):
            product = products[nodes.product[at]] if products else ""
            score_: int | None = None
            if not shape.products or product in shape.products:
                score_ = fragmentation.score_of_one(
                    shape.gpu,
                    shape.cpu_milli,
                    tables.price.get(product, 0.0),
                    free,
                    int(nodes.cpu_free[at]),
                    int(nodes.gpu_memory[at]),
                    tables,
                    float(before[at]),
                )
            kept.values[kept.count + at] = score.INFEASIBLE if score_ is None else score_

    def _fits(self, shape: Shape, nodes: NodeArrays) -> Any:
        fits = score.fits(shape.gpu, nodes)
        if shape.products:
            accepted = [self._table.products[product] for product in shape.products if product in self._table.products]
            fits &= np.isin(nodes.product, accepted)
        return fits
