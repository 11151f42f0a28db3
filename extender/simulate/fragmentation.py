"""How much free GPU is of no use to a typical pod: the measure of "fragmentation gradient descent".

For node n and typical shape t, f_t is all of the node's free GPU when t cannot use the node at all (it asks for no
GPU, does not accept the node, lacks CPU, or lacks enough devices with its share free), else the sum of the devices'
free shares that are too small for t. F_n is the mean of f_t over the typical shapes, weighted by how common they are.
Source: Weng et al., USENIX ATC 2023; memory is left out there, and so here. MIG slices are not part of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from extender.model.gpu import GpuRequest
from extender.simulate.books import Books
from extender.simulate.workload import Accepts, Bools, Host, Task, Workload, allowed

_COVERED_PERCENT = 95


@dataclass(frozen=True, slots=True)
class Shape:
    """A typical request. `weight`: its part of the typical pods; all weights add up to 1."""

    cpu_milli: int
    gpu: GpuRequest
    accepts: Accepts
    weight: float


def typical(tasks: Sequence[Task]) -> list[Shape]:
    """The commonest shapes, until they cover 95 % of the pods; equals in the order in which they first occur."""
    counts = Counter((task.cpu_milli, task.gpu, task.accepts) for task in tasks if not task.gpu.mig)
    total, covered = counts.total(), 0
    chosen: list[tuple[tuple[int, GpuRequest, Accepts], int]] = []
    for shape, count in counts.most_common():
        if 100 * covered >= _COVERED_PERCENT * total:
            break
        chosen.append((shape, count))
        covered += count
    return [Shape(*shape, count / covered) for shape, count in chosen]


class Fragmentation:
    """Measures books whose rows are `hosts`. The typical workload is the trace's, not the inflated sequence."""

    def __init__(self, workload: Workload, hosts: Sequence[Host]) -> None:
        self._capacity = workload.capacity_milli
        self._shapes = typical(workload.tasks)
        self._accepted: dict[Accepts, Bools] = {
            accepts: allowed(accepts, hosts) for accepts in {shape.accepts for shape in self._shapes}
        }

    def percent(self, books: Books) -> float:
        """Sum of F_n over the nodes, percent of capacity. Cost: a pass over all devices for each typical share."""
        free = np.maximum(books.free, 0)
        total = free.sum(axis=1)
        usable = np.zeros(len(total))
        sums: dict[tuple[int, int], tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], ...]] = {}
        for shape in self._shapes:
            gpu = shape.gpu
            if not gpu.devices:
                continue
            key = (gpu.share_milli, gpu.memory_mib)
            if key not in sums:
                enough = books.free >= books.bound(gpu)
                sums[key] = (enough.sum(axis=1), np.where(enough, free, 0).sum(axis=1))
            devices, milli = sums[key]
            served = (devices >= gpu.devices) & (books.cpu >= shape.cpu_milli) & self._accepted[shape.accepts]
            usable += shape.weight * np.where(served, milli, 0)
        return float(100 * (total - usable).sum() / self._capacity)
