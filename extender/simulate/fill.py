"""The fill benchmark: pods arrive at an empty cluster until their demand is 1.3 times what it has; none leaves.

A pod that gets no seat is dropped and never tried again. Source: packing.md section 2; Weng et al., USENIX ATC 2023.
"""

from __future__ import annotations

from extender.pods import placement
from extender.pods.placement import Policy
from extender.simulate import arrivals
from extender.simulate.bench import Bench, Seater
from extender.simulate.fragmentation import Fragmentation
from extender.simulate.result import PROGRESS_EVERY, Mode, Progress, Result, Sample
from extender.simulate.workload import Workload

_FRAGMENTATION_AT = 100


class Track:
    """Allocation against arrived load, both in milli-GPU, one entry an arrival."""

    def __init__(self, capacity_milli: int) -> None:
        self._capacity = capacity_milli
        self._arrived: list[int] = []
        self._allocated: list[int] = []

    def append(self, arrived_milli: int, allocated_milli: int) -> None:
        self._arrived.append(arrived_milli)
        self._allocated.append(allocated_milli)

    def percent_at(self, load: int, *, most: float) -> float | None:
        """The published "value at x %": the mean of round(allocated %, 2) over arrivals whose load rounds to x.

        On small clusters a pod may step over x: then the last value before counts, for x up to `most` (the load
        that was drawn); None beyond it, and before the first arrival.
        """
        values = [
            round(100 * allocated / self._capacity, 2)
            for arrived, allocated in zip(self._arrived, self._allocated, strict=True)
            if self._rounded(arrived) == load
        ]
        if values:
            return round(sum(values) / len(values), 2)
        if load > most:
            return None
        before = [at for at, arrived in enumerate(self._arrived) if self._rounded(arrived) < load]
        return round(100 * self._allocated[before[-1]] / self._capacity, 2) if before else None

    def _rounded(self, arrived: int) -> int:
        """Percent, halves up, in integers: a float would round 99.5 this way or that."""
        return (200 * arrived + self._capacity) // (2 * self._capacity)


def fill(
    workload: Workload,
    policy: Policy,
    *,
    seed: int,
    inflate: float = 1.3,
    with_curve: bool = False,
    progress: Progress | None = None,
    seater: Seater = placement.best_seat,
) -> Result:
    """One run to a load of `inflate` × capacity. Cost: about a decision of the packer for each arrival.

    Fragmentation is measured once, after the last arrival up to 100 % load; with the curve, at every percent.
    Raises InvariantError when the packer gives a seat that is not free.
    """
    order = arrivals.fill_order(workload, seed, inflate)
    bench = Bench(workload, order.ranks, policy, seater=seater)
    measure = Fragmentation(workload, bench.hosts)
    track = Track(workload.capacity_milli)
    curve: list[Sample] = []
    fragmentation: float | None = None
    arrived, sampled = 0, -1
    for number, index in enumerate(order.tasks):
        arrived += workload.demand_milli[index]
        if fragmentation is None and 100 * arrived > _FRAGMENTATION_AT * workload.capacity_milli:
            fragmentation = measure.percent(bench.books)
        bench.arrive(index)
        track.append(arrived, bench.books.allocated_milli)
        percent = 100 * arrived // workload.capacity_milli
        if with_curve and percent > sampled:
            sampled = percent
            load = 100 * arrived / workload.capacity_milli
            curve.append(Sample(load, bench.allocated_percent(), measure.percent(bench.books)))
        if progress is not None and number % PROGRESS_EVERY == 0:
            progress(number, len(order.tasks))
    p50, p99 = bench.decision_us()
    return Result(
        mode=Mode.FILL,
        policy=policy.gpu_strategy.value,
        seed=seed,
        fragmentation_percent=round(measure.percent(bench.books) if fragmentation is None else fragmentation, 2),
        refused_though_fitting=bench.refused_though_fitting,
        decisions=bench.decisions,
        decision_us_p50=p50,
        decision_us_p99=p99,
        allocated_percent_at_100=track.percent_at(100, most=100 * inflate),
        allocated_percent_at_130=track.percent_at(130, most=100 * inflate),
        curve=tuple(curve),
    )
