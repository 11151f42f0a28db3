"""Who arrives when: the order of the fill benchmark, the stream of the churn benchmark, and the tie-break order.

The draws are numpy's Generator(PCG64(seed)), where the published simulator used Go's math/rand: the same
distribution, not the same draw, so means over seeds compare and single seeds do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from extender.simulate.workload import Workload


@dataclass(frozen=True, slots=True)
class Order:
    """tasks: task indices in order of arrival. ranks: each host's place in the order that breaks ties, 0 first."""

    tasks: Sequence[int]
    ranks: Sequence[int]


@dataclass(frozen=True, slots=True)
class Stream:
    """One arrival a step: tasks[i] arrives at step i and, if placed, leaves at the first step after its lifetime.

    lifetimes: steps, not whole. mean_lifetime: what they were drawn with.
    """

    tasks: Sequence[int]
    lifetimes: Sequence[float]
    mean_lifetime: float
    ranks: Sequence[int]


def fill_order(workload: Workload, seed: int, inflate: float) -> Order:
    """The published arrival order (packing.md section 2) up to a demand of `inflate` × capacity.

    All tasks in random order; then random ones again while the demand is below that; then, when it is above,
    random ones are taken out until it is not.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    count = len(workload.tasks)
    order: list[int] = rng.permutation(count).tolist()
    total = sum(workload.demand_milli)
    # A fraction of what was written: 1.3 × 6,212,000 is not exactly a float.
    limit = Fraction(str(inflate)) * workload.capacity_milli
    while total < limit:
        index = int(rng.integers(count))
        # The stop rule looks at one GPU's share, not at all of the pod's GPUs: the original's slip, kept to compare.
        if total + _per_device(workload, index) > limit:
            break
        order.append(index)
        total += workload.demand_milli[index]
    while total > limit:
        total -= workload.demand_milli[order.pop(int(rng.integers(len(order))))]
    return Order(order, rng.permutation(len(workload.hosts)).tolist())


def churn_stream(workload: Workload, seed: int, rho: float, steps: int) -> Stream:
    """`steps` tasks drawn uniformly with replacement; exponential lifetimes whose mean offers `rho` × capacity."""
    rng = np.random.Generator(np.random.PCG64(seed))
    ranks = rng.permutation(len(workload.hosts)).tolist()
    mean = mean_lifetime(workload, rho)
    tasks = rng.integers(len(workload.tasks), size=steps).tolist()
    return Stream(tasks, rng.exponential(mean, size=steps).tolist(), mean, ranks)


def mean_lifetime(workload: Workload, rho: float) -> float:
    """Steps that a pod must live on average for the demand present at a time to be `rho` × capacity.

    Little's law with one arrival a step: demand present = mean lifetime × mean demand of a task.
    """
    return rho * workload.capacity_milli * len(workload.tasks) / sum(workload.demand_milli)


def _per_device(workload: Workload, index: int) -> int:
    return workload.demand_milli[index] // max(workload.tasks[index].gpu.devices, 1)
