"""What one node's pods hold of it: devices by index, MIG slices, CPU, memory. Plain counters, exact integers."""

from __future__ import annotations

from extender.errors import InvariantError
from extender.model.amounts import GPU
from extender.model.names import DEFAULT_POOL, PodUID
from extender.model.node import Node
from extender.model.pod import Placement, Pod


class NodeLedger:
    """Never leaves `cluster/`. `node` is None for a node that pods name and the API server does not have (yet).

    devices:    index → uid → (milli-GPU, group) of the pods on that device; a reservation pod holds none for itself.
    unindexed:  uid → whole devices of pods whose devices nobody recorded (other schedulers, static pods).
    """

    __slots__ = (
        "_free",
        "_held",
        "_is_now",
        "_node",
        "_reserving",
        "cpu_milli",
        "devices",
        "memory_mib",
        "mig",
        "pods",
        "unindexed",
    )

    def __init__(self, node: Node | None = None, *, is_now: bool = False) -> None:
        """is_now: a device that is reserved and that nobody shares any more is not free, as it will be in a moment."""
        self._node = node
        self._is_now = is_now
        self._reserving: dict[int, PodUID] = {}  # index → the pod that reserves the device
        self._held: dict[int, int] = {}  # index → milli-GPU held, the sums of `devices`
        self._free: list[int] | None = None  # kept until something changes: filter and bind ask again and again
        self.devices: dict[int, dict[PodUID, tuple[int, str]]] = {}
        self.unindexed: dict[PodUID, int] = {}
        self.mig: dict[str, int] = {}
        self.pods: dict[PodUID, tuple[Pod, Placement]] = {}
        self.cpu_milli = 0
        self.memory_mib = 0

    @property
    def node(self) -> Node | None:
        return self._node

    @node.setter
    def node(self, node: Node | None) -> None:
        self._node = node
        self._free = None

    @property
    def gpu_memory_mib(self) -> int:
        return self._node.gpu_memory_mib if self._node else 0

    @property
    def pool(self) -> str:
        return self._node.pool if self._node else DEFAULT_POOL

    def add(self, pod: Pod, placement: Placement) -> None:
        """Count `pod` here. Raises InvariantError when it is counted already: half of it would stay for ever."""
        if pod.uid in self.pods:
            raise InvariantError(f"pod {pod.key} ({pod.uid}) is counted twice on {placement.node}")
        self.pods[pod.uid] = (pod, placement)
        self._free = None
        self.cpu_milli += pod.cpu_milli
        self.memory_mib += pod.memory_mib
        if pod.reserves is not None and placement.devices:
            self._arrange(placement.devices[0][0])
            return
        share = pod.gpu.share_on(self.gpu_memory_mib)
        milli = GPU if share is None else share
        for index, group in placement.devices:
            self.devices.setdefault(index, {})[pod.uid] = (milli, group)
            self._held[index] = self._held.get(index, 0) + milli
        missing = pod.gpu.devices - len(placement.devices)
        if missing > 0:
            # A share without a known device holds a whole one: pessimistic, never over-committed.
            self.unindexed[pod.uid] = missing
        for resource, count in pod.gpu.mig:
            self.mig[resource] = self.mig.get(resource, 0) + count

    def remove(self, uid: PodUID) -> None:
        """Stop counting the pod; a pod that is not counted changes nothing."""
        counted = self.pods.pop(uid, None)
        if counted is None:
            return
        self._free = None
        pod, placement = counted
        self.cpu_milli -= pod.cpu_milli
        self.memory_mib -= pod.memory_mib
        if pod.reserves is not None and placement.devices:
            self._give_up(uid, placement.devices[0][0])
            self._arrange(placement.devices[0][0])
            return
        for index, _ in placement.devices:
            sharers = self.devices[index]
            milli, _ = sharers.pop(uid)
            self._held[index] -= milli
            if not sharers:
                del self.devices[index], self._held[index]
        self.unindexed.pop(uid, None)
        for resource, count in pod.gpu.mig:
            left = self.mig[resource] - count
            if left:
                self.mig[resource] = left
            else:
                del self.mig[resource]

    def _arrange(self, index: int) -> None:
        """Of the pods that reserve a device, the first by name holds it for its sharers; each other holds one more,
        which one nobody knows.
        """
        # Each with its own group: they differ where a device has been given up and opened again.
        claiming = sorted(
            (pod.name, pod.uid, seat.devices[0][1])
            for pod, seat in self.pods.values()
            if pod.reserves is not None and seat.devices and seat.devices[0][0] == index
        )
        for _, uid, _ in claiming:
            self._give_up(uid, index)
        for _, uid, group in claiming[:1]:
            self._reserving[index] = uid
            self.devices.setdefault(index, {})[uid] = (0, group)
            self._held.setdefault(index, 0)
        self.unindexed.update((uid, 1) for _, uid, _ in claiming[1:])

    def _give_up(self, uid: PodUID, index: int) -> None:
        self.unindexed.pop(uid, None)
        if self._reserving.get(index) == uid:
            del self._reserving[index]
            del self.devices[index][uid]
            if not self.devices[index]:
                del self.devices[index], self._held[index]

    def free(self) -> list[int]:
        """Milli-GPU free per device index: GPU for a device without sharers that may be opened, 0 for none.

        A reserved device without sharers counts as one that may be opened: its reservation is about to go. Until it
        has gone, kube-scheduler gives the device to no whole request, and a share may join it.
        With fewer devices allocatable than the node has slots, the lowest unused slots are offered. A node that
        lost devices under its pods offers nothing until what is left fits again (never a negative free).
        Read it; do not change it.
        """
        if self._free is None:
            self._free = self._count_free()
        return self._free

    def _count_free(self) -> list[int]:
        if self._node is None:
            return []
        free = [0] * self._node.gpu_slots
        # A device that the kubelet calls unhealthy is not allocatable any more, whoever holds it.
        offered = min(self._node.gpu_slots, self._node.gpus + self._sick())
        unused = offered - len(self._held) - sum(self.unindexed.values())
        if unused < 0:
            return free
        for index in range(len(free)):
            held = self._held.get(index)
            if held is not None:
                free[index] = max(0, GPU - held)
                if index in self._reserving and not held and self._is_now:
                    free[index] = 0 if self._is_closed(index) else GPU - 1  # for a share that joins
            elif unused > 0:
                free[index] = GPU
                unused -= 1
        return free

    def closed(self) -> list[int]:
        """Devices that no share may join: their reservation is on its way out, or they are not healthy."""
        return sorted(index for index in self._reserving if self._is_closed(index)) if self._reserving else []

    def opening(self) -> int:
        """Devices that are shared and not reserved yet: each is about to take the place of one more pod."""
        shared = (index for index, sharers in self.devices.items() if any(group for _, group in sharers.values()))
        return sum(1 for index in shared if index not in self._reserving)

    def _sick(self) -> int:
        reserving = (self.pods[uid][0].reserves for uid in self._reserving.values())
        return sum(1 for one in reserving if one is not None and not one.healthy)

    def _is_closed(self, index: int) -> bool:
        return self.pods[self._reserving[index]][0].is_leaving_device

    def group_of(self, index: int) -> str:
        """The group that sharers of device `index` carry, "" when nobody shares it."""
        sharers = self.devices.get(index, {})
        return min((group for _, group in sharers.values() if group), default="")
