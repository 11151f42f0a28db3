"""What the pods that arrive ask for, learned as they arrive, and the tables that scoring reads from it.

Nobody tells us the workload. Every pod is counted once, when it is first seen, and the tables are made anew each
time the count has doubled: rarely enough to cost nothing, early enough to matter (a cold start of a few dozen
pods). Between two makings the tables do not change, so a score depends on a node's state and a pod's shape alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from extender.model.amounts import GPU

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FIRST_TABLES_AT = 50
_TYPICAL = 0.95  # the commonest shapes that make up this much of all pods; the tail is noise
_UNKNOWN_KAPPA = 10.0  # milli-CPU per milli-GPU before anything was seen


@dataclass(frozen=True, slots=True, order=True)
class Ask:
    """One kind of pod: `devices` GPUs, `milli` of each (GPU when whole), and milli-CPU. CPU-only: no devices."""

    devices: int
    milli: int
    cpu_milli: int


@dataclass(frozen=True, slots=True)
class Tables:
    """What was learned, in the form that scoring reads.

    remainder: [GPU + 1] what stays unused, in the end, of a device with so much free, as demand keeps coming.
    kappa:     milli-CPU that typical work takes with each milli-GPU.
    milli, count: [groups] the distinct (share, devices) of typical GPU pods.
    cpu_levels: [levels] sorted milli-CPU of typical pods; weight: [levels + 1, groups] the probability that a
               typical pod is of the group and takes no more CPU than the level below which a node is.
    price:     by GPU product, how sought after it is: constrained demand per unit of capacity.
    """

    remainder: Floats
    kappa: float
    milli: Ints
    count: Ints
    cpu_levels: Ints
    weight: Floats
    price: dict[str, float] = field(default_factory=dict)


def _nothing_known() -> Tables:
    """Before any pod was seen: whole devices are worth keeping whole."""
    remainder = np.arange(GPU + 1, dtype=np.float64)
    remainder[GPU] = 0.0
    none = np.zeros(0, dtype=np.int64)
    return Tables(remainder, _UNKNOWN_KAPPA, none, none, none, np.zeros((1, 0)))


class Demand:
    """Counts pods and makes tables. `epoch` moves whenever `tables` did: scores from before are stale."""

    def __init__(self) -> None:
        self.tables = _nothing_known()
        self.epoch = 0
        self._counts: dict[Ask, int] = {}
        self._constrained: dict[tuple[str, ...], int] = {}
        self._total_milli = 0
        self._seen = 0
        self._next_tables_at = _FIRST_TABLES_AT

    def observe(self, ask: Ask, products: tuple[str, ...]) -> None:
        """Count one pod; `products` are the only GPU models that it accepts, none for any."""
        self._counts[ask] = self._counts.get(ask, 0) + 1
        self._seen += 1
        if ask.devices:
            milli = ask.devices * ask.milli
            self._total_milli += milli
            if products:
                self._constrained[products] = self._constrained.get(products, 0) + milli

    @property
    def is_due(self) -> bool:
        return self._seen >= self._next_tables_at

    def learn(self, capacity: dict[str, int]) -> None:
        """Make the tables anew from all that was seen. capacity: milli-GPU of the cluster by product.

        Cost: a few milliseconds; call it when `is_due`, which happens each time the count has doubled.
        """
        self._next_tables_at = 2 * self._seen
        self.epoch += 1
        typical = _typical(self._counts)
        with_gpus = {ask: share for ask, share in typical.items() if ask.devices}
        if not with_gpus:
            self.tables = _nothing_known()
            return
        groups = sorted({(ask.milli, ask.devices) for ask in with_gpus})
        levels = sorted({ask.cpu_milli for ask in with_gpus})
        weight = np.zeros((len(levels) + 1, len(groups)))
        for ask, share in with_gpus.items():
            weight[levels.index(ask.cpu_milli) + 1 :, groups.index((ask.milli, ask.devices))] += share
        self.tables = Tables(
            remainder=_remainder(with_gpus),
            kappa=_kappa(with_gpus),
            milli=np.array([milli for milli, _ in groups], dtype=np.int64),
            count=np.array([devices for _, devices in groups], dtype=np.int64),
            cpu_levels=np.array(levels, dtype=np.int64),
            weight=weight,
            price=self._price(capacity),
        )

    def _price(self, capacity: dict[str, int]) -> dict[str, float]:
        """Constrained demand falls on the products it accepts, by their capacity; 1 is the average load."""
        price = dict.fromkeys(capacity, 0.0)
        everything = sum(capacity.values())
        for products, milli in self._constrained.items():
            accepted = [product for product in products if capacity.get(product)]
            room = sum(capacity[product] for product in accepted)
            for product in accepted:
                price[product] += milli / self._total_milli * everything / room
        return price


def _typical(counts: dict[Ask, int]) -> dict[Ask, float]:
    """The commonest asks that together cover `_TYPICAL` of all pods, with probabilities; ties by ask."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    enough = _TYPICAL * sum(counts.values())
    kept: list[tuple[Ask, int]] = []
    covered = 0
    for ask, number in ordered:
        kept.append((ask, number))
        covered += number
        if covered >= enough:
            break
    return {ask: number / covered for ask, number in kept}


def _remainder(asks: dict[Ask, float]) -> Floats:
    """v(r) = mean of v(r - m) over the demands m <= r, and r where none fits: what one device ends up wasting."""
    demand: dict[int, float] = {}
    for ask, share in asks.items():
        demand[ask.milli] = demand.get(ask.milli, 0.0) + share * ask.devices
    sizes = np.array(sorted(demand), dtype=np.int64)
    weights = np.array([demand[int(size)] for size in sizes])
    below = np.cumsum(weights)
    fitting = np.searchsorted(sizes, np.arange(GPU + 1), side="right")
    remainder = np.zeros(GPU + 1)
    for free in range(GPU + 1):
        n = int(fitting[free])
        remainder[free] = weights[:n] @ remainder[free - sizes[:n]] / below[n - 1] if n else free
    return remainder


def _kappa(asks: dict[Ask, float]) -> float:
    """The demand-weighted median of milli-CPU per milli-GPU."""
    ratios = sorted(
        (ask.cpu_milli / (ask.devices * ask.milli), share * ask.devices * ask.milli) for ask, share in asks.items()
    )
    half = sum(weight for _, weight in ratios) / 2
    passed = 0.0
    for ratio, weight in ratios:
        passed += weight
        if passed >= half:
            return max(ratio, 0.001)
    return _UNKNOWN_KAPPA
