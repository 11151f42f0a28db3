"""How placement is configured, and the seat search that filter and bind share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from extender.cluster.picture import Picture
from extender.model.names import NodeName
from extender.model.pod import Placement, Pod
from extender.packing import devices, score
from extender.packing.strategy import Strategy

# kube-scheduler has filtered before us, so the best seat is nearly always offered. Looking a few names up in the
# offered list costs microseconds; indexing thousands of names costs more than the whole decision.
_TRIES_BEFORE_INDEXING = 4


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the deciding code. Times in seconds."""

    gpu_strategy: Strategy = Strategy.BINPACK
    cpu_strategy: Strategy = Strategy.BINPACK
    reservation_ttl_s: float = 120.0  # twice the bind time-out that we ship
    slow_reservation_ttl_s: float = 900.0  # volumes may be provisioned between filter and bind

    def strategy_for(self, pod: Pod) -> Strategy:
        return self.cpu_strategy if pod.gpu.is_cpu_only else self.gpu_strategy

    def ttl_for(self, pod: Pod) -> float:
        return self.slow_reservation_ttl_s if pod.slow_volumes else self.reservation_ttl_s


def best_seat(picture: Picture, pod: Pod, offered: Sequence[str], policy: Policy) -> Placement | None:
    """The best fitting place among `offered` node names; None when nothing fits. Nothing is reserved.

    Ties go to the lowest node name. Cost: a few array passes over all nodes, Python work for one node.
    """
    if len(offered) == 1:
        return seat_on(picture, pod, NodeName(offered[0]), policy)
    values = score.scores(pod.gpu, picture.table.arrays(), policy.strategy_for(pod))
    rank = picture.table.rank()
    for _ in range(_TRIES_BEFORE_INDEXING):
        row = _best_row(values, rank)
        if row is None:
            return None
        name = picture.table.name_of[row]
        if name is not None and name in offered:
            return seat_on(picture, pod, name, policy)
        values[row] = score.INFEASIBLE
    row_of = picture.table.row_of
    rows = [row_of[NodeName(name)] for name in offered if name in row_of]
    mask = np.ones(values.size, dtype=np.bool_)
    mask[rows] = False
    values[mask] = score.INFEASIBLE
    row = _best_row(values, rank)
    best = None if row is None else picture.table.name_of[row]
    return seat_on(picture, pod, best, policy) if best is not None else None


def seat_on(picture: Picture, pod: Pod, node: NodeName, policy: Policy) -> Placement | None:
    """The pod's devices on this very node, None when it does not fit or the node is unknown."""
    ledger = picture.ledger(node)
    if ledger is None or ledger.node is None:
        return None
    if any(dict(ledger.node.mig).get(name, 0) - ledger.mig.get(name, 0) < count for name, count in pod.gpu.mig):
        return None
    chosen = devices.choose(pod.gpu, ledger.free(), ledger.gpu_memory_mib, policy.gpu_strategy)
    if chosen is None:
        return None
    if not pod.gpu.is_shared:
        return Placement(node, tuple((index, "") for index in chosen))
    return Placement(node, tuple((index, ledger.group_of(index) or new_group(pod, node, index)) for index in chosen))


def new_group(pod: Pod, node: NodeName, index: int) -> str:
    """The id of a device that starts to be shared: the same inputs give the same id, another sharer another."""
    return hashlib.sha256(f"{node}/{index}/{pod.uid}".encode()).hexdigest()[:16]


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


def _best_row(values: score.Ints, rank: score.Ints) -> int | None:
    """The row with the largest score, the lowest name among equals: a strict winner."""
    best = values.max(initial=score.INFEASIBLE)
    if best == score.INFEASIBLE:
        return None
    ties = np.flatnonzero(values == best)
    return int(ties[rank[ties].argmin()])
