"""How placement is configured, and the seat search that filter and bind share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from extender.cluster.picture import Picture
from extender.cluster.seats import best_row, seat_in, shape_of
from extender.model.names import NodeName
from extender.model.pod import Placement, Pod
from extender.packing import score
from extender.packing.strategy import Strategy

# When a good part of all nodes is offered, the best seat nearly always is among them: finding one name in the list
# costs microseconds, indexing thousands of names costs more than the whole decision.
_FEW_OFFERED = 4


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the deciding code. Times in seconds."""

    gpu_strategy: Strategy = Strategy.FRAGMENTATION
    cpu_strategy: Strategy = Strategy.FRAGMENTATION
    reservation_ttl_s: float = 120.0  # twice the bind time-out that we ship
    slow_reservation_ttl_s: float = 900.0  # volumes may be provisioned between filter and bind

    def strategy_for(self, pod: Pod) -> Strategy:
        return self.cpu_strategy if pod.gpu.is_cpu_only else self.gpu_strategy

    def ttl_for(self, pod: Pod) -> float:
        return self.slow_reservation_ttl_s if pod.slow_volumes else self.reservation_ttl_s


def best_seat(picture: Picture, pod: Pod, offered: Sequence[str] | None, policy: Policy) -> Placement | None:
    """The best fitting place among `offered` node names; None when nothing fits. Nothing is reserved.

    offered: what kube-scheduler let pass, so CPU, memory and taints are settled. None: every node, for planning
    and simulation, with CPU, memory and the number of pods checked here.
    Ties go to the lowest node name. Cost: the rows that changed since this shape was last asked for, an argmax,
    and Python work for one node.
    """
    if offered is not None and len(offered) == 1:
        return seat_on(picture, pod, NodeName(offered[0]), policy)
    values = picture.ranking.values(shape_of(pod), policy.strategy_for(pod))
    table = picture.table
    rank = table.rank()
    if offered is None:
        room = table.arrays().has_room(pod.cpu_milli, pod.memory_mib)
        return _seat_in(picture, pod, np.where(room, values, score.INFEASIBLE), rank, policy)
    if len(offered) * _FEW_OFFERED > values.size:
        row = best_row(values, rank)
        if row is None:
            return None
        name = table.name_of[row]
        if name is not None and name in offered:
            return seat_on(picture, pod, name, policy)
    row_of = table.row_of
    rows = [row_of[NodeName(name)] for name in offered if name in row_of]
    among = np.full(values.size, score.INFEASIBLE, dtype=np.int64)
    among[rows] = values[rows]
    return _seat_in(picture, pod, among, rank, policy)


def seat_on(picture: Picture, pod: Pod, node: NodeName, policy: Policy) -> Placement | None:
    """The pod's devices on this very node, None when it does not fit or the node is unknown."""
    ledger = picture.ledger(node)
    if ledger is None or ledger.node is None:
        return None
    return seat_in(ledger, pod, node, policy.gpu_strategy)


def fitting(picture: Picture, pod: Pod, offered: Sequence[str]) -> list[str]:
    """The offered nodes that have the devices now, each once, in the order offered."""
    fits = score.fits(pod.gpu, picture.table.arrays())
    row_of = picture.table.row_of
    return [name for name in dict.fromkeys(offered) if name in row_of and fits[row_of[NodeName(name)]]]


def points(picture: Picture, pod: Pod, offered: Sequence[str], policy: Policy) -> list[tuple[str, int]]:
    """kube-scheduler's 0..10 for each offered node, each once, in the order offered; 0 for one we do not know."""
    values = score.points(pod.gpu, picture.table.arrays(), policy.strategy_for(pod)).tolist()
    row_of = picture.table.row_of
    return [(name, values[row_of[NodeName(name)]] if name in row_of else 0) for name in dict.fromkeys(offered)]


def _seat_in(picture: Picture, pod: Pod, values: score.Ints, rank: score.Ints, policy: Policy) -> Placement | None:
    row = best_row(values, rank)
    name = None if row is None else picture.table.name_of[row]
    return None if name is None else seat_on(picture, pod, name, policy)
