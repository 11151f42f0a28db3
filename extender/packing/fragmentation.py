"""The default policy: place a pod where it strands the least GPU. docs/decisions/0004-packing.md has the evidence.

What a node wastes, in milli-GPU, from demand learned online (`demand.Tables`):

    W = max(what its devices' free rests will waste, free GPU that its CPU cannot feed)
        + a little for CPU that no GPU is left for
        + next_pod x free GPU that the next typical pod could not use (FGD's fragmentation measure)

The score falls with the growth of W that the pod causes, plus the price of the node's GPU model. It is cut to fifty
levels: finer scores follow noise, and equal nodes are filled in order. Source: packing.md sections 3 and 6.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp, floor

import numpy as np
from numpy.typing import NDArray

from extender.model.amounts import GPU
from extender.model.gpu import GpuRequest
from extender.packing.demand import Floats, Tables
from extender.packing.devices import choose
from extender.packing.score import Ints, NodeArrays, shares
from extender.packing.strategy import Strategy

_LEVELS = 50
_SCALE = 1000.0  # milli-GPU of waste that move the score by one unit of the logistic curve
_SPARE_CPU = 0.1  # weight of CPU that no GPU is left for
_PRICE = 0.3
_STEEPEST = 30.0  # beyond, the curve is flat in any case


def waste(free: NDArray[np.int32], cpu_milli: Ints, tables: Tables) -> Floats:
    """W of each node. free: [nodes, devices] milli-GPU; cpu_milli: [nodes] free, below 0 counts as 0."""
    cpu = np.maximum(cpu_milli, 0)
    total = free.sum(axis=1)
    spare_cpu = cpu / tables.kappa - total
    wasted: Floats = np.maximum(tables.wasted.take(free).sum(axis=1), -spare_cpu) + _SPARE_CPU * np.maximum(
        spare_cpu, 0.0
    )
    if tables.next_pod:
        level = np.searchsorted(tables.cpu_levels, cpu, side="right")
        # take() on the flat table is twice as fast as indexing with two arrays.
        usable = tables.usable_device.take(free + (level * (GPU + 1))[:, None]).sum(axis=1)
        usable += tables.usable_whole[level, (free == GPU).sum(axis=1)]
        wasted += tables.next_pod * (total - usable)
    return wasted


def scores(
    request: GpuRequest, cpu_milli: int, prices: Floats, nodes: NodeArrays, tables: Tables, before: Floats
) -> Ints:
    """0.._LEVELS a node, for nodes where the request fits.

    prices: one a node; before: `waste` of the nodes as they are. Cost: about twenty passes over [nodes, devices];
    for a handful of nodes it is the overhead of the numpy calls that counts (50 us).
    """
    free, taken = _taken(request, nodes)
    growth = waste(free, nodes.cpu_free - cpu_milli, tables) - before + _PRICE * prices * taken
    curve = _LEVELS / (1.0 + np.exp(np.clip(growth / _SCALE, -_STEEPEST, _STEEPEST)))
    # Two ways of adding up the same waste differ in the last bit: without this a level could, too.
    levels: Ints = np.floor(curve + 1e-9).astype(np.int64)
    return levels


def waste_of_one(free: list[int], cpu_milli: int, tables: Tables) -> float:
    """`waste` of one node, in a tenth of the time."""
    plain = tables.plain
    cpu = max(cpu_milli, 0)
    total = sum(free)
    spare_cpu = cpu / tables.kappa - total
    wasted = max(sum([plain.wasted[left] for left in free]), -spare_cpu) + _SPARE_CPU * max(spare_cpu, 0.0)
    if tables.next_pod:
        level = bisect_right(plain.cpu_levels, cpu)
        by_device = plain.usable_device[level]
        usable = sum([by_device[left] for left in free]) + plain.usable_whole[level][free.count(GPU)]
        wasted += tables.next_pod * (total - usable)
    return wasted


def score_of_one(
    request: GpuRequest,
    cpu_milli: int,
    price: float,
    free: list[int],
    cpu_free: int,
    gpu_memory_mib: int,
    tables: Tables,
    before: float,
) -> int | None:
    """The score of one node, None where the request does not fit: what one changed row costs (10 us)."""
    chosen = choose(request, free, gpu_memory_mib, Strategy.FRAGMENTATION)
    if chosen is None:
        return None
    taken = 0
    if chosen:
        share = request.share_on(gpu_memory_mib) if request.is_shared else GPU
        free = free.copy()
        for device in chosen:
            free[device] = max(free[device] - (share or GPU), 0)
        taken = (share or GPU) * len(chosen)
    growth = (waste_of_one(free, cpu_free - cpu_milli, tables) - before + _PRICE * price * taken) / _SCALE
    return floor(_LEVELS / (1.0 + exp(min(max(growth, -_STEEPEST), _STEEPEST))) + 1e-9)


def _taken(request: GpuRequest, nodes: NodeArrays) -> tuple[NDArray[np.int32], Ints | int]:
    """Free devices after the request took its own, the way `devices.choose` picks them, and milli-GPU taken."""
    free = nodes.free
    if request.is_whole:
        whole = free == GPU
        return np.where(whole & (whole.cumsum(axis=1) <= request.devices), 0, free), request.devices * GPU
    if not request.is_shared:
        return free, 0
    share = shares(request, nodes)
    rows = np.arange(len(free))
    bound = share if isinstance(share, int) else share[:, None]
    rest = np.where(free >= bound, free, GPU + 1)
    after = free.copy()
    for _ in range(request.devices):
        tightest = rest.argmin(axis=1)
        after[rows, tightest] = np.maximum(free[rows, tightest] - share, 0)
        rest[rows, tightest] = GPU + 1  # each device once
    return after, share * request.devices
