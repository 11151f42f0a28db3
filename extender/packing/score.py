"""How good each node is for a request: whole arrays in, one array out, no Python work per node.

Scores are lexicographic keys packed into one int64, larger is better, so that a strict winner needs one argmax.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extender.model.amounts import GPU
from extender.model.gpu import GpuRequest
from extender.packing.strategy import Strategy

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

INFEASIBLE = -1
_LARGEST_FREE = 1 << 20  # above the free milli-GPU of any node (256 devices)
_LARGEST_CPU = 1 << 30
_PARTS = 1 << 20  # how finely best-fit tells nodes apart
_BIG_NODE_CPU = 128_000  # best-fit weighs CPU and GPU as parts of such a node, as published
_BIG_NODE_GPU = 8 * GPU


@dataclass(frozen=True, slots=True)
class NodeArrays:
    """What scoring reads, one row a node. Borrowed from the cluster's table: do not keep, do not write.

    free:       [nodes, devices] milli-GPU free; GPU is a device without sharers, 0 an unusable one.
    whole:      devices without sharers.        total_free: sum of `free` over the devices.
    gpu_memory: MiB of one device, 0 unknown.   has_gpus:   the node has devices at all, used or not.
    shareable:  several pods may be on one device.
    cpu_free:   milli-CPU, may be negative.     mig_free:   MIG slices by resource name.
    capacity:   milli-GPU in all.               cpu_capacity: milli-CPU in all.
    product:    number of the GPU model in `NodeTable.products`.
    """

    free: NDArray[np.int32]
    whole: Ints
    total_free: Ints
    gpu_memory: Ints
    has_gpus: Bools
    shareable: Bools
    cpu_free: Ints
    capacity: Ints
    cpu_capacity: Ints
    product: Ints
    mig_free: dict[str, Ints]

    def take(self, rows: Ints) -> NodeArrays:
        """Copies of some rows."""
        return NodeArrays(
            free=self.free[rows],
            whole=self.whole[rows],
            total_free=self.total_free[rows],
            gpu_memory=self.gpu_memory[rows],
            has_gpus=self.has_gpus[rows],
            shareable=self.shareable[rows],
            cpu_free=self.cpu_free[rows],
            capacity=self.capacity[rows],
            cpu_capacity=self.cpu_capacity[rows],
            product=self.product[rows],
            mig_free={resource: column[rows] for resource, column in self.mig_free.items()},
        )


def shares(request: GpuRequest, nodes: NodeArrays) -> Ints | int:
    """Milli-GPU that a shared request takes of each device: one number, or one a node for requests by memory.

    Nodes whose GPUs are too small or of unknown memory get GPU + 1, which fits nowhere.
    """
    if not request.memory_mib:
        return request.share_milli
    memory = np.maximum(nodes.gpu_memory, 1)
    share = -(-request.memory_mib * GPU // memory)
    return np.where(nodes.gpu_memory >= request.memory_mib, share, GPU + 1)


def fits(request: GpuRequest, nodes: NodeArrays) -> Bools:
    """Which nodes have the devices for `request` now (GPUs and MIG slices only: kube-scheduler checks the rest)."""
    if request.is_shared:
        share = shares(request, nodes)
        bound = share if isinstance(share, int) else share[:, None]
        fitting: Bools = ((nodes.free >= bound).sum(axis=1) >= request.devices) & nodes.shareable
    else:
        fitting = nodes.whole >= request.devices
    for resource, count in request.mig:
        free = nodes.mig_free.get(resource)
        fitting = fitting & (free >= count) if free is not None else np.zeros_like(fitting)
    return fitting


def scores(request: GpuRequest, nodes: NodeArrays, strategy: Strategy) -> Ints:
    """One score a node, whether `request` fits there or not; ties are left to the caller's node order.

    Best-fit: the least CPU and GPU left, each as a part of a node of 128 cores and 8 GPUs. Bin-pack: a share goes to
    the fullest device that fits, so shared devices fill before fresh ones are opened; then, as for whole GPUs, to the
    node with the least free GPU, then the least free CPU. CPU work goes to nodes without GPUs first. Spread is the
    reverse of bin-pack: most free first. Cost: a few passes over [nodes, devices].
    """
    binpack = strategy is not Strategy.SPREAD
    cpu = np.clip(nodes.cpu_free, 0, _LARGEST_CPU - 1)
    spare_cpu = _LARGEST_CPU - 1 - cpu if binpack else cpu
    if strategy is Strategy.BESTFIT:
        spare: Ints = 2 * _PARTS - cpu * _PARTS // _BIG_NODE_CPU - nodes.total_free * _PARTS // _BIG_NODE_GPU
        return np.maximum(spare, 0)
    if request.is_cpu_only:
        key = np.where(nodes.has_gpus, 0, _LARGEST_CPU) + spare_cpu
    elif request.is_shared:
        best_device = _device_key(request, nodes, binpack)
        total = _LARGEST_FREE - nodes.total_free if binpack else nodes.total_free
        key = (best_device * 2 * _LARGEST_FREE + total) * _LARGEST_CPU + spare_cpu
    else:
        free = nodes.whole * (GPU + 1) * 2 + nodes.total_free
        key = (2 * _LARGEST_FREE - free if binpack else free) * _LARGEST_CPU + spare_cpu
    return key


def _device_key(request: GpuRequest, nodes: NodeArrays, binpack: bool) -> Ints:
    """How full (binpack) or empty (spread) the last of the devices is that the share would take on each node."""
    share = shares(request, nodes)
    bound = share if isinstance(share, int) else share[:, None]
    enough = nodes.free >= bound
    if binpack:
        return GPU + 1 - _kth(np.where(enough, nodes.free, GPU + 1), request.devices)
    return -_kth(-np.where(enough, nodes.free, 0), request.devices)


def _kth(values: NDArray[np.int32], k: int) -> Ints:
    """The k-th smallest of each row; of rows with fewer columns, the largest: they do not fit anyway."""
    column = min(k, values.shape[1]) - 1
    kth: Ints = (values.min(axis=1) if k == 1 else np.partition(values, column, axis=1)[:, column]).astype(np.int64)
    return kth


def points(request: GpuRequest, nodes: NodeArrays, strategy: Strategy, present: Bools) -> Ints:
    """kube-scheduler's 0..10 a node (behaviour.md 12.11): 0 where the request does not fit or nothing is `present`.

    Bin-pack: 9 for the least free of the fitting nodes down to 0 for the most free, and 1 more where a share
    joins a device that is shared already. Spread: ten times the free share of the node's devices.
    """
    fitting = fits(request, nodes) & present
    out = np.zeros(len(fitting), dtype=np.int64)
    if not fitting.any():
        return out
    free = nodes.cpu_free if request.is_cpu_only else nodes.total_free
    if strategy is Strategy.SPREAD:
        total = np.maximum(nodes.cpu_capacity if request.is_cpu_only else nodes.capacity, 1)
        return np.where(fitting, np.clip((10 * free + total // 2) // total, 0, 10), out)
    least, most = int(free[fitting].min()), int(free[fitting].max())
    span = max(most - least, 1)
    fullness = (2 * 9 * (most - free) + span) // (2 * span) if most > least else 9
    out = np.where(fitting, fullness, 0)
    if request.is_shared:
        share = shares(request, nodes)
        bound = share if isinstance(share, int) else share[:, None]
        joins = ((nodes.free >= bound) & (nodes.free < GPU)).sum(axis=1) >= request.devices
        out = out + np.where(fitting & joins, 1, 0)
    return np.clip(out, 0, 10)
