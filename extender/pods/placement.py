"""How placement is configured, and the seat search that filter and bind share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extender.cluster.picture import Picture
from extender.cluster.seats import best_row, seat_in, shape_of
from extender.model.names import NodeName
from extender.model.pod import Placement, Pod
from extender.packing import score
from extender.packing.strategy import Strategy


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


def best_seat(
    picture: Picture, pod: Pod, offered: Sequence[str] | None, policy: Policy, within: score.Bools | None = None
) -> Placement | None:
    """The best fitting place among `offered` node names; None when nothing fits. Nothing is reserved.

    offered: what kube-scheduler let pass, so CPU, memory and taints are settled. None: every node, for planning
    and simulation, with CPU, memory and the number of pods checked here. within: the rows that may be taken.
    Ties go to the lowest node name. Cost: the rows that changed since this shape was last asked for, an argmax,
    and Python work for one node.
    """
    values = picture.ranking.values(shape_of(pod), policy.strategy_for(pod))
    if within is not None:
        values = np.where(within, values, score.INFEASIBLE)
    table = picture.table
    if offered is None:
        room = table.has_room(pod)
        return _seat_in(picture, pod, np.where(room, values, score.INFEASIBLE), policy)
    # Nearly always the best of all nodes is among those offered: finding one name in the list costs microseconds,
    # looking up thousands of names costs more than the whole decision.
    row = best_row(values)
    if row is None:
        return None
    name = table.name_of[row]
    if name in offered and (seat := seat_on(picture, pod, name, policy)) is not None:
        return seat
    rows = [row for row in table.rows_of(offered) if row >= 0]
    among = np.full(values.size, score.INFEASIBLE, dtype=np.int64)
    among[rows] = values[rows]
    return _seat_in(picture, pod, among, policy)


def seat_on(picture: Picture, pod: Pod, node: NodeName, policy: Policy) -> Placement | None:
    """The pod's devices on this very node, None when it does not fit or the node is unknown."""
    ledger = picture.ledger(node)
    if ledger is None or ledger.node is None:
        return None
    return seat_in(ledger, pod, node, policy.gpu_strategy)


def fitting(picture: Picture, pod: Pod, offered: Sequence[str], within: score.Bools | None = None) -> list[str]:
    """The offered nodes that have the devices now, in the order offered. within: the rows that may be taken."""
    fits = picture.ranking.fitting(shape_of(pod))
    if within is not None:
        fits &= within
    return list(compress(offered, _of_each(fits, picture, offered)))


def points(picture: Picture, pod: Pod, offered: Sequence[str], policy: Policy) -> list[tuple[str, int]]:
    """kube-scheduler's 0..10 for each offered node, in the order offered; 0 for one we do not know."""
    values = picture.ranking.points(shape_of(pod), policy.strategy_for(pod))
    return list(zip(offered, _of_each(values, picture, offered), strict=True))


def _of_each(values: NDArray[Any], picture: Picture, offered: Iterable[str]) -> list[Any]:
    """The value of each offered node's row, zero for a node that has none."""
    # One zero more at the end: that is what the number -1, of no row, picks.
    return list(map([*values.tolist(), 0].__getitem__, picture.table.rows_of(offered)))


def _seat_in(picture: Picture, pod: Pod, values: score.Ints, policy: Policy) -> Placement | None:
    while (row := best_row(values)) is not None:
        seat = seat_on(picture, pod, picture.table.name_of[row], policy)
        if seat is not None:
            return seat
        # What no array says, as that the node has no place for the pod that reserves the device.
        values = values.copy()
        values[row] = score.INFEASIBLE
    return None
