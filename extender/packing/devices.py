"""Choosing devices inside one node (behaviour.md 6.12 and vector S9)."""

from __future__ import annotations

from collections.abc import Sequence

from extender.model.amounts import GPU
from extender.model.gpu import GpuRequest
from extender.packing.strategy import Strategy


def choose(request: GpuRequest, free: Sequence[int], gpu_memory_mib: int, strategy: Strategy) -> tuple[int, ...] | None:
    """Device indices for `request`, in index order, or None when it does not fit.

    free: milli-GPU free per device index; GPU (1000) is a device without sharers, 0 one that cannot be used.
    Whole GPUs take the lowest free devices. A share takes the fullest device that still fits, or the
    emptiest with the strategy spread; equals go to the lowest index. Cost: O(devices log devices).
    """
    if request.is_whole:
        whole = [index for index, left in enumerate(free) if left == GPU]
        return tuple(whole[: request.devices]) if len(whole) >= request.devices else None
    if not request.is_shared:
        return ()
    share = request.share_on(gpu_memory_mib)
    if share is None:
        return None
    fitting = [index for index, left in enumerate(free) if left >= share]
    if len(fitting) < request.devices:
        return None
    sign = -1 if strategy is Strategy.SPREAD else 1
    fitting.sort(key=lambda index: (sign * free[index], index))
    return tuple(sorted(fitting[: request.devices]))
