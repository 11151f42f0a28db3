"""The distinct states that nodes are in, as growing columns of numbers: what a score reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from extender.packing.score import Ints, NodeArrays

_FIRST_ENTRIES = 64
_FIRST_DEVICES = 8
_NUMBERS = 9  # the columns of one number an entry: see `view`


class States:
    """Entries 0 .. count - 1 are in use. What grows is copied, so a view is borrowed until the next `append`."""

    def __init__(self) -> None:
        self.count = 0
        self._free: NDArray[np.int32] = np.zeros((_FIRST_ENTRIES, _FIRST_DEVICES), dtype=np.int32)
        # One 2-D block: an entry's numbers are written together.
        self._numbers: Ints = np.zeros((_NUMBERS, _FIRST_ENTRIES), dtype=np.int64)
        self._mig: dict[str, Ints] = {}

    def view(self, start: int = 0) -> NodeArrays:
        """The entries from `start` on as what a score reads: no copies."""
        stop = self.count
        whole, total, memory, cpu, capacity, cpu_capacity, has, shareable, product = self._numbers[:, start:stop]
        return NodeArrays(
            free=self._free[start:stop],
            whole=whole,
            total_free=total,
            gpu_memory=memory,
            has_gpus=has.astype(np.bool_),
            shareable=shareable.astype(np.bool_),
            cpu_free=cpu,
            capacity=capacity,
            cpu_capacity=cpu_capacity,
            product=product,
            mig_free={resource: column[start:stop] for resource, column in self._mig.items()},
        )

    def append(self, free: Sequence[int], numbers: Sequence[int], mig: Mapping[str, int]) -> int:
        """One more state, and its number. free: a device each; mig: free slices by resource."""
        at = self.count
        self._grow(at + 1, len(free))
        self._free[at] = 0
        self._free[at, : len(free)] = free
        self._numbers[:, at] = numbers
        for resource in mig:
            if resource not in self._mig:
                self._mig[resource] = np.zeros(len(self._free), dtype=np.int64)
        for resource, column in self._mig.items():
            column[at] = mig.get(resource, 0)
        return at

    def keep(self, entries: Ints) -> None:
        """Let go of all but `entries`, which are numbered anew in the order given."""
        self.count = len(entries)
        self._free[: self.count] = self._free[entries]
        self._numbers[:, : self.count] = self._numbers[:, entries]
        for column in self._mig.values():
            column[: self.count] = column[entries]

    def _grow(self, count: int, devices: int) -> None:
        self.count = count
        rows, width = self._free.shape
        if count <= rows and devices <= width:
            return
        larger = 2 * rows if count > rows else rows
        self._free = np.pad(self._free, ((0, larger - rows), (0, max(devices - width, 0))))
        self._numbers = np.pad(self._numbers, ((0, 0), (0, larger - rows)))
        self._mig = {resource: np.pad(column, (0, larger - rows)) for resource, column in self._mig.items()}
