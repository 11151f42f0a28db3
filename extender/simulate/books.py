"""Books beside the picture: what every node has left, kept from the answers alone.

They share no code with the picture or the packer on purpose: they are what both are checked against.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from extender.model.amounts import GPU
from extender.model.gpu import GpuRequest
from extender.model.node import Node
from extender.simulate.workload import Bools, Task

Ints = NDArray[np.int64]


class Books:
    """One row a node, in the order given. `allocated_milli` is the milli-GPU in use.

    free: milli-GPU free of each device; -1 where a node has no such device, so that nothing ever fits there.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        widest = max(node.gpus for node in nodes)
        self.free: NDArray[np.int32] = np.full((len(nodes), max(widest, 1)), -1, dtype=np.int32)
        for row, node in enumerate(nodes):
            self.free[row, : node.gpus] = GPU
        self.cpu: Ints = np.array([node.cpu_milli for node in nodes], dtype=np.int64)
        self.memory: Ints = np.array([node.memory_mib for node in nodes], dtype=np.int64)
        self.pods: Ints = np.array([node.pods for node in nodes], dtype=np.int64)
        self.gpu_memory: Ints = np.array([node.gpu_memory_mib for node in nodes], dtype=np.int64)
        resources = sorted({resource for node in nodes for resource, _ in node.mig})
        self.mig: dict[str, Ints] = {
            resource: np.array([dict(node.mig).get(resource, 0) for node in nodes], dtype=np.int64)
            for resource in resources
        }
        self.allocated_milli = 0

    def fits(self, task: Task, accepted: Bools | None) -> Bools:
        """Which nodes have room for `task`, among the `accepted` (None: all). Cost: one pass over all devices."""
        room = self.has_room(task)
        if accepted is not None:
            room &= accepted
        if task.gpu.devices:
            room &= (self.free >= self.bound(task.gpu)).sum(axis=1) >= task.gpu.devices
        for resource, count in task.gpu.mig:
            column = self.mig.get(resource)
            room &= (column >= count) if column is not None else False
        return room

    def has_room(self, task: Task) -> Bools:
        """Which nodes have the CPU, the memory and a place for one more pod, whatever their GPUs."""
        room: Bools = (self.cpu >= task.cpu_milli) & (self.memory >= task.memory_mib) & (self.pods >= 1)
        return room

    def bound(self, gpu: GpuRequest) -> int | Ints:
        """Milli-GPU that a device must have free: a number, or a column of one a node for requests by memory."""
        if not gpu.memory_mib:
            return gpu.share_milli or GPU
        share = -(-gpu.memory_mib * GPU // np.maximum(self.gpu_memory, 1))
        bound: Ints = np.where(self.gpu_memory >= gpu.memory_mib, share, GPU + 1)[:, None]
        return bound

    def objection(self, task: Task, row: int, devices: Sequence[int], accepted: Bools | None) -> str:
        """Why `task` cannot have these devices of this node, "" when it can."""
        if accepted is not None and not accepted[row]:
            return "the pod does not accept the node"
        for what, column, needed in (
            ("milli-CPU", self.cpu, task.cpu_milli),
            ("MiB", self.memory, task.memory_mib),
            ("pod slots", self.pods, 1),
            *((resource, self.mig.get(resource), count) for resource, count in task.gpu.mig),
        ):
            left = 0 if column is None else int(column[row])
            if left < needed:
                return f"{needed} {what} needed, {left} free"
        if len(devices) != task.gpu.devices or len(set(devices)) != len(devices):
            return f"{task.gpu.devices} devices needed, {list(devices)} given"
        share = self._share(task.gpu, row)
        for index in devices:
            left = int(self.free[row, index]) if 0 <= index < self.free.shape[1] else -1
            if left < share:
                return f"{share} milli-GPU needed, device {index} has {left}"
        return ""

    def take(self, task: Task, row: int, devices: Sequence[int]) -> None:
        self._move(task, row, devices, 1)

    def give_back(self, task: Task, row: int, devices: Sequence[int]) -> None:
        self._move(task, row, devices, -1)

    def _move(self, task: Task, row: int, devices: Sequence[int], sign: int) -> None:
        self.cpu[row] -= sign * task.cpu_milli
        self.memory[row] -= sign * task.memory_mib
        self.pods[row] -= sign
        if devices:
            share = self._share(task.gpu, row)
            for index in devices:
                self.free[row, index] -= sign * share
            self.allocated_milli += sign * share * len(devices)
        if task.gpu.mig:
            for resource, count in task.gpu.mig:
                self.mig[resource][row] -= sign * count
            self.allocated_milli += sign * GpuRequest(mig=task.gpu.mig).gpu_milli_on(0)

    def _share(self, gpu: GpuRequest, row: int) -> int:
        bound = self.bound(gpu)
        return bound if isinstance(bound, int) else int(bound[row, 0])
