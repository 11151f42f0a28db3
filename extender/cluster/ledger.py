"""What one node's pods hold of it: devices by index, MIG slices, CPU, memory. Plain counters, exact integers."""

from __future__ import annotations

from dataclasses import dataclass, field

from extender.model.amounts import GPU
from extender.model.names import PodUID
from extender.model.node import Node
from extender.model.pod import Placement, Pod


@dataclass(slots=True)
class NodeLedger:
    """Never leaves `cluster/`. `node` is None for a node that pods name and the API server does not have (yet).

    devices:    index → uid → (milli-GPU, group) of the pods on that device.
    unindexed:  uid → whole devices of pods whose devices nobody recorded (other schedulers, static pods).
    """

    node: Node | None = None
    devices: dict[int, dict[PodUID, tuple[int, str]]] = field(default_factory=dict)
    unindexed: dict[PodUID, int] = field(default_factory=dict)
    mig: dict[str, int] = field(default_factory=dict)
    pods: dict[PodUID, tuple[Pod, Placement]] = field(default_factory=dict)
    cpu_milli: int = 0
    memory_mib: int = 0

    @property
    def gpu_memory_mib(self) -> int:
        return self.node.gpu_memory_mib if self.node else 0

    def add(self, pod: Pod, placement: Placement) -> None:
        """Count `pod` here. The pod must not be counted already."""
        self.pods[pod.uid] = (pod, placement)
        share = pod.gpu.share_on(self.gpu_memory_mib)
        milli = GPU if share is None else share
        for index, group in placement.devices:
            self.devices.setdefault(index, {})[pod.uid] = (milli, group)
        missing = pod.gpu.devices - len(placement.devices)
        if missing > 0:
            # A share without a known device holds a whole one: pessimistic, never over-committed.
            self.unindexed[pod.uid] = missing
        for resource, count in pod.gpu.mig:
            self.mig[resource] = self.mig.get(resource, 0) + count
        self.cpu_milli += pod.cpu_milli
        self.memory_mib += pod.memory_mib

    def remove(self, uid: PodUID) -> None:
        """Stop counting the pod; a pod that is not counted changes nothing."""
        counted = self.pods.pop(uid, None)
        if counted is None:
            return
        pod, placement = counted
        for index, _ in placement.devices:
            sharers = self.devices.get(index)
            if sharers is not None:
                sharers.pop(uid, None)
                if not sharers:
                    del self.devices[index]
        self.unindexed.pop(uid, None)
        for resource, count in pod.gpu.mig:
            left = self.mig[resource] - count
            if left:
                self.mig[resource] = left
            else:
                del self.mig[resource]
        self.cpu_milli -= pod.cpu_milli
        self.memory_mib -= pod.memory_mib

    def free(self) -> list[int]:
        """Milli-GPU free per device index: GPU for a device without sharers that may be opened, 0 for none.

        With fewer devices allocatable than the node has slots, the lowest unused slots are offered. A node that
        lost devices under its pods offers nothing until what is left fits again (never a negative free).
        """
        if self.node is None:
            return []
        free = [0] * self.node.gpu_slots
        unused = self.node.gpus - len(self.devices) - sum(self.unindexed.values())
        if unused < 0:
            return free
        for index in range(len(free)):
            sharers = self.devices.get(index)
            if sharers is not None:
                free[index] = max(0, GPU - sum(milli for milli, _ in sharers.values()))
            elif unused > 0:
                free[index] = GPU
                unused -= 1
        return free

    def group_of(self, index: int) -> str:
        """The group that sharers of device `index` carry, "" when nobody shares it."""
        sharers = self.devices.get(index, {})
        return min((group for _, group in sharers.values() if group), default="")
