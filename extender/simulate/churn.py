"""The churn benchmark: a cluster in service. One pod arrives a step, lives for an exponential time, and leaves.

Demand offered is rho × capacity. A pod that gets no seat is lost. From the empty cluster, the first half of the
steps is warm-up: only the second counts. Source: packing.md section 7.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush

from extender.pods import placement
from extender.pods.placement import Policy
from extender.simulate import arrivals
from extender.simulate.bench import Bench, Seat, Seater
from extender.simulate.fragmentation import Fragmentation
from extender.simulate.result import PROGRESS_EVERY, Mode, Progress, Result, Sample
from extender.simulate.workload import Workload

_SAMPLES = 200
# After three mean lifetimes 95 % of the pods of the empty start's making have gone; then as many to count.
_MEAN_LIFETIMES = 6


def default_steps(workload: Workload, rho: float) -> int:
    """Six mean lifetimes: three to reach the steady state, three to measure."""
    return math.ceil(_MEAN_LIFETIMES * arrivals.mean_lifetime(workload, rho))


def churn(
    workload: Workload,
    policy: Policy,
    *,
    seed: int,
    rho: float,
    steps: int,
    with_curve: bool = False,
    progress: Progress | None = None,
    seater: Seater = placement.best_seat,
) -> Result:
    """One run of `steps` arrivals (2 or more) at an offered demand of `rho` × capacity.

    `lost_percent` is the part of the GPU demand counted that got no seat; `mean_allocated_percent` the mean over
    the same steps. Raises InvariantError when the packer gives a seat that is not free.
    """
    stream = arrivals.churn_stream(workload, seed, rho, steps)
    bench = Bench(workload, stream.ranks, policy, seater=seater)
    measure = Fragmentation(workload, bench.hosts)
    warm_up = steps // 2
    leaving: list[tuple[float, int, Seat]] = []  # by time, then by step of arrival
    offered = lost = allocated = 0
    curve: list[Sample] = []
    every = max(1, steps // _SAMPLES)
    for step, index in enumerate(stream.tasks):
        while leaving and leaving[0][0] <= step:
            bench.leave(heappop(leaving)[2])
        seat = bench.arrive(index)
        if seat is not None:
            heappush(leaving, (step + stream.lifetimes[step], step, seat))
        if step >= warm_up:
            offered += workload.demand_milli[index]
            lost += 0 if seat is not None else workload.demand_milli[index]
            allocated += bench.books.allocated_milli
        if with_curve and step % every == 0:
            curve.append(Sample(step, bench.allocated_percent(), measure.percent(bench.books)))
        if progress is not None and step % PROGRESS_EVERY == 0:
            progress(step, steps)
    counted = steps - warm_up
    p50, p99 = bench.decision_us()
    return Result(
        mode=Mode.CHURN,
        policy=policy.gpu_strategy.value,
        seed=seed,
        fragmentation_percent=round(measure.percent(bench.books), 2),
        refused_though_fitting=bench.refused_though_fitting,
        decisions=bench.decisions,
        decision_us_p50=p50,
        decision_us_p99=p99,
        lost_percent=round(100 * lost / offered, 2) if offered else 0.0,
        mean_allocated_percent=round(100 * allocated / (counted * workload.capacity_milli), 2),
        steps=steps,
        warm_up_steps=warm_up,
        curve=tuple(curve),
    )
