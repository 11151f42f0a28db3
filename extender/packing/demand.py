"""What the pods that arrive ask for, learned as they arrive, and the tables that scoring reads from it.

Nobody tells us the workload. Every pod is counted once, when it is first seen, and the tables are made anew each
time the count has doubled: rarely enough to cost nothing, early enough to matter (a cold start of a few dozen
pods). Between two makings the tables do not change, so a score depends on a node's state and a pod's shape alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from extender.model.amounts import GPU
from extender.packing import remainder

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FIRST_TABLES_AT = 50
_LONGEST_WAIT = 50_000  # pods between two makings; from then on older pods count half as much each time
_TYPICAL = 0.95  # the commonest shapes that make up this much of all pods; the tail is noise
_UNKNOWN_KAPPA = 10.0  # milli-CPU per milli-GPU before anything was seen
_MOST_LEVELS = 64  # of CPU; more are joined upwards
_MOST_DEVICES = 256

# How much the next pod counts beside the end state. While a cluster only fills, the end state is what matters; when
# pods come and go, there is no end state and the next one decides.
_NEXT_WHEN_FILLING = 0.1
_NEXT_UNDER_CHURN = 2.0
_CHURN_AT = 0.2  # departures per arrival from which churn is in full swing


@dataclass(frozen=True, slots=True, order=True)
class Ask:
    """One kind of pod: `devices` GPUs, `milli` of each (GPU when whole), and milli-CPU. CPU-only: no devices."""

    devices: int
    milli: int
    cpu_milli: int


class PlainTables(NamedTuple):
    wasted: list[float]
    cpu_levels: list[int]
    usable_device: list[list[float]]
    usable_whole: list[list[float]]


@dataclass(frozen=True, slots=True)
class Tables:
    """What was learned, in the form that scoring reads.

    wasted:    [GPU + 1] what stays unused, in the end, of a device with so much free.
    kappa:     milli-CPU that typical work takes with each milli-GPU.
    cpu_levels: [levels] sorted milli-CPU of typical GPU pods.
    usable_device: [levels + 1, GPU + 1] by CPU level and free milli-GPU of a device: what of it the next typical
               pod could use, in expectation. usable_whole: [levels + 1, devices + 1] the same by whole free devices,
               for pods that ask for several.
    next_pod:  weight of what the next pod could not use.
    price:     by GPU product, how sought after it is: constrained demand per unit of capacity.
    """

    wasted: Floats
    kappa: float
    cpu_levels: Ints
    usable_device: Floats
    usable_whole: Floats
    next_pod: float
    price: dict[str, float] = field(default_factory=dict)
    # The same tables as lists: for one node, plain Python is several times faster than numpy's calls.
    plain: PlainTables = field(init=False, compare=False)

    def __post_init__(self) -> None:
        lists = (self.wasted, self.cpu_levels, self.usable_device, self.usable_whole)
        object.__setattr__(self, "plain", PlainTables(*(table.tolist() for table in lists)))


def _nothing_known() -> Tables:
    """Before any pod was seen: whole devices are worth keeping whole."""
    wasted = np.arange(GPU + 1, dtype=np.float64)
    wasted[GPU] = 0.0
    none = np.zeros(0, dtype=np.int64)
    return Tables(wasted, _UNKNOWN_KAPPA, none, np.zeros((1, GPU + 1)), np.zeros((1, _MOST_DEVICES + 1)), 0.0)


class Demand:
    """Counts pods and makes tables. `epoch` moves whenever `tables` did: scores from before are stale."""

    def __init__(self) -> None:
        self.tables = _nothing_known()
        self.epoch = 0
        self._counts: dict[Ask, float] = {}
        self._constrained: dict[tuple[str, ...], float] = {}
        self._total_milli = 0.0
        self._arrived = 0
        self._departed = 0
        self._next_tables_at = _FIRST_TABLES_AT

    def observe(self, ask: Ask, products: tuple[str, ...]) -> None:
        """Count one pod; `products` are the only GPU models that it accepts, none for any."""
        self._counts[ask] = self._counts.get(ask, 0) + 1
        self._arrived += 1
        milli = ask.devices * ask.milli
        self._total_milli += milli
        if products and milli:
            self._constrained[products] = self._constrained.get(products, 0) + milli

    def observe_end(self) -> None:
        """Count one pod that gave back its place."""
        self._departed += 1

    @property
    def is_due(self) -> bool:
        return self._arrived >= self._next_tables_at

    def learn(self, capacity: dict[str, int]) -> None:
        """Make the tables anew from all that was seen. capacity: milli-GPU of the cluster by product.

        Cost: some milliseconds; call it when `is_due`, which happens each time the count has doubled.
        """
        if self._arrived >= _LONGEST_WAIT:
            self._fade()
        self._next_tables_at = self._arrived + min(self._arrived, _LONGEST_WAIT)
        self.epoch += 1
        asks = {ask: share for ask, share in _typical(self._counts).items() if ask.devices}
        if not asks:
            self.tables = _nothing_known()
            return
        shares: dict[int, float] = {}
        for ask, probability in asks.items():
            shares[ask.milli] = shares.get(ask.milli, 0.0) + probability * ask.devices
        levels = _levels(sorted({ask.cpu_milli for ask in asks}))
        usable_device, usable_whole = _usable(asks, levels)
        churn = min(1.0, self._departed / self._arrived / _CHURN_AT)
        self.tables = Tables(
            wasted=remainder.wasted(shares),
            kappa=_kappa(asks),
            cpu_levels=levels,
            usable_device=usable_device,
            usable_whole=usable_whole,
            next_pod=_NEXT_WHEN_FILLING + (_NEXT_UNDER_CHURN - _NEXT_WHEN_FILLING) * churn,
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

    def _fade(self) -> None:
        self._counts = {ask: number / 2 for ask, number in self._counts.items() if number > 1}
        self._constrained = {products: milli / 2 for products, milli in self._constrained.items()}
        self._total_milli /= 2


def _typical(counts: dict[Ask, float]) -> dict[Ask, float]:
    """The commonest asks that together cover `_TYPICAL` of all pods, with probabilities; ties by ask."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    enough = _TYPICAL * sum(counts.values())
    kept: list[tuple[Ask, float]] = []
    covered = 0.0
    for ask, number in ordered:
        kept.append((ask, number))
        covered += number
        if covered >= enough:
            break
    return {ask: number / covered for ask, number in kept}


def _levels(cpu_milli: list[int]) -> Ints:
    """The distinct figures, or so many of them, evenly chosen and always the largest, that tables stay small."""
    if len(cpu_milli) > _MOST_LEVELS:
        steps = np.linspace(0, len(cpu_milli) - 1, _MOST_LEVELS).round().astype(int)
        cpu_milli = [cpu_milli[step] for step in steps]
    return np.array(cpu_milli, dtype=np.int64)


def _usable(asks: dict[Ask, float], levels: Ints) -> tuple[Floats, Floats]:
    """`usable_device` and `usable_whole`: a pod counts from the level of its own CPU on, not below."""
    per_device = np.zeros((len(levels) + 1, GPU + 1))
    per_count = np.zeros((len(levels) + 1, _MOST_DEVICES + 1))
    free, whole = np.arange(GPU + 1), np.arange(_MOST_DEVICES + 1)
    for ask, probability in asks.items():
        level = int(np.searchsorted(levels, ask.cpu_milli)) + 1
        if ask.devices == 1 or ask.milli < GPU:
            per_device[level:] += probability * np.where(free >= ask.milli, free, 0)
        else:
            per_count[level:] += probability * np.where(whole >= ask.devices, whole * GPU, 0)
    return per_device, per_count


def _kappa(asks: dict[Ask, float]) -> float:
    """The demand-weighted median of milli-CPU per milli-GPU."""
    demand = [
        (ask.cpu_milli / (ask.devices * ask.milli), share * ask.devices * ask.milli) for ask, share in asks.items()
    ]
    half = sum(weight for _, weight in demand) / 2
    passed = 0.0
    for ratio, weight in sorted(demand):
        passed += weight
        if passed >= half:
            return max(ratio, 0.001)
    return _UNKNOWN_KAPPA
