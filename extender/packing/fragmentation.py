"""The default policy: place a pod where it strands the least GPU. docs/decisions/0004-packing.md has the evidence.

Two estimates of what a node wastes, both in milli-GPU, both from demand learned online:

    W  what will be left unused once the node is as full as demand can make it: odd remainders of its devices,
       or devices that no CPU is left for, whichever is more; plus a little for CPU that no GPU is left for
    F  what the next typical pod could not use now (the fragmentation measure of FGD)

The score falls with the growth of W + F that the pod would cause there, plus the price of the node's GPU model.
It is cut to fifty levels, because the finer it is, the more noise it follows: equal nodes are filled in order.
Source: packing.md sections 3 and 6; Weng et al., USENIX ATC 2023 for F.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from extender.model.amounts import GPU
from extender.model.gpu import GpuRequest
from extender.packing.demand import Floats, Tables
from extender.packing.score import Ints, NodeArrays, shares

_LEVELS = 50
_SCALE = 1000.0  # milli-GPU of waste that move the score by one unit of the logistic curve
_SPARE_CPU = 0.1  # weight of CPU that no GPU is left for, beside GPU that no CPU is left for
_PRICE = 0.3
_STEEPEST = 30.0  # beyond, the curve is flat in any case


def scores(request: GpuRequest, cpu_milli: int, prices: Floats, nodes: NodeArrays, tables: Tables) -> Ints:
    """0.._LEVELS a node, whether the request fits there or not.

    prices: one a node, 0 where the model is nobody's favourite. Cost: some forty passes over [nodes] and a dozen
    over [nodes, groups]; for a handful of nodes it is the overhead of numpy calls that counts.
    """
    free = nodes.free
    fits_more, usable = _counts(free, tables)
    waste_of_device = tables.remainder[free].sum(axis=1)
    total = nodes.total_free
    cpu = np.maximum(nodes.cpu_free, 0)
    cpu_after = np.maximum(cpu - cpu_milli, 0)
    before = _stranded(waste_of_device, total, cpu, tables) + total - _usable_by_next(fits_more, usable, cpu, tables)

    if request.is_whole:
        taken: Ints | int = request.devices * GPU
        waste_of_device = waste_of_device - request.devices * tables.remainder[GPU]
        fits_more = fits_more - request.devices
        usable = usable - taken
    elif request.is_shared:
        share = shares(request, nodes)
        taken = share * request.devices
        free = free.copy()
        rows = np.arange(len(free))
        for _ in range(request.devices):
            device = _tightest(free, share)
            old = free[rows, device].astype(np.int64)
            new = np.maximum(old - share, 0)
            waste_of_device = waste_of_device + tables.remainder[new] - tables.remainder[old]
            was, stays = old[:, None] >= tables.milli, new[:, None] >= tables.milli
            fits_more = fits_more + stays.astype(np.int64) - was
            usable = usable + np.where(stays, new[:, None], 0) - np.where(was, old[:, None], 0)
            free[rows, device] = -1  # each device once
    else:
        taken = 0
    total_after = np.maximum(total - taken, 0)
    after = (
        _stranded(waste_of_device, total_after, cpu_after, tables)
        + total_after
        - _usable_by_next(fits_more, usable, cpu_after, tables)
    )
    cost = (after - before + _PRICE * prices * taken) / _SCALE
    curve = _LEVELS / (1.0 + np.exp(np.clip(cost, -_STEEPEST, _STEEPEST)))
    # Two ways of adding up the same waste differ in the last bit: without this a level could, too.
    levels: Ints = np.floor(curve + 1e-9).astype(np.int64)
    return levels


def _counts(free: NDArray[np.int32], tables: Tables) -> tuple[Ints, Ints]:
    """[nodes, groups]: devices that a share of the group fits on, and their free milli-GPU together."""
    fitting = free[:, None, :] >= tables.milli[None, :, None]
    return fitting.sum(axis=2), (free[:, None, :] * fitting).sum(axis=2, dtype=np.int64)


def _usable_by_next(fits_more: Ints, usable: Ints, cpu: Ints, tables: Tables) -> Floats:
    """Milli-GPU of each node that the next typical pod could use, in expectation."""
    level = np.searchsorted(tables.cpu_levels, cpu, side="right")
    reach = np.where(fits_more >= tables.count, usable, 0)
    expected: Floats = (tables.weight[level] * reach).sum(axis=1)
    return expected


def _stranded(waste_of_devices: Floats, total: Ints, cpu: Ints, tables: Tables) -> Floats:
    """Milli-GPU of each node that will be left over in the end."""
    for_cpu = cpu / tables.kappa  # what the CPU left can feed
    wasted: Floats = np.maximum(waste_of_devices, total - for_cpu) + _SPARE_CPU * np.maximum(for_cpu - total, 0.0)
    return wasted


def _tightest(free: NDArray[np.int32], share: Ints | int) -> Ints:
    """The fullest device of each node that the share fits on; any where there is none."""
    bound = share if isinstance(share, int) else share[:, None]
    device: Ints = np.where(free >= bound, free, GPU + 1).argmin(axis=1)
    return device
