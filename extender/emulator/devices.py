"""The GPUs of one node: what the NVIDIA device plugin lists, and whom a kubelet's device manager gave them to.

A container is given the lowest free devices when its pod is admitted (a real kubelet takes any, or asks the
plugin) and keeps them until the pod has finished or is gone. Devices of an init container go on to the
containers after it. What was given is in the pod's status, so that kubelets that start anew find it there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from extender.emulator.pod_resources import amounts_of
from extender.model.names import GPU_RESOURCE

Json = dict[str, Any]
Held = Mapping[str, tuple[str, ...]]  # container -> UUIDs of its devices

_NAMESPACE = uuid.UUID("8a3ad9b2-3c36-4bd1-9c5c-1f0e2f6f5b11")


class Health(StrEnum):
    """HEALTHY and UNHEALTHY devices are listed by the plugin; VANISHED ones no longer are."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
    VANISHED = "Vanished"


def device_uuid(node: str, index: int) -> str:
    """The UUID of a fake node's device: always the same, in the form of the driver's."""
    return f"GPU-{uuid.uuid5(_NAMESPACE, f'{node}/{index}')}"


class NodeDevices:
    """The devices of one node, in order of their index. Changed by the kubelet's event loop only."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._health: dict[str, Health] = {}
        self._held: dict[str, Held] = {}  # pod UID -> its containers

    def grow(self, count: int) -> None:
        """Have at least `count` devices. Never fewer: a drop of the node's capacity may be one that vanished."""
        for index in range(len(self._health), count):
            self._health[device_uuid(self._node, index)] = Health.HEALTHY

    @property
    def uuids(self) -> list[str]:
        return list(self._health)

    @property
    def capacity(self) -> int:
        return sum(health is not Health.VANISHED for health in self._health.values())

    @property
    def allocatable(self) -> int:
        return sum(health is Health.HEALTHY for health in self._health.values())

    @property
    def is_held(self) -> bool:
        return any(self._held.values())

    def health(self, device: str) -> Health:
        return self._health.get(device, Health.VANISHED)

    def reported_health(self, device: str) -> str:
        """As in the pod's status; a kubelet calls what the plugin lists no longer healthy, and so do we."""
        return str(Health.UNHEALTHY if self.health(device) is Health.UNHEALTHY else Health.HEALTHY)

    def set_health(self, device: str, health: Health) -> None:
        """Raises KeyError when the node never had that device."""
        if device not in self._health:
            raise KeyError(f"{self._node} has no device {device}; it has {', '.join(self._health) or 'none'}")
        self._health[device] = health

    def held_by(self, uid: str) -> Held:
        """The devices of a pod's containers, empty when it has none."""
        return self._held.get(uid, {})

    def holders(self, device: str) -> list[str]:
        """UIDs of the pods that hold a device; more than one only where two were given it before we looked."""
        return [uid for uid, held in self._held.items() if any(device in devices for devices in held.values())]

    def give(self, pod: Json) -> tuple[int, int] | None:
        """Give a new pod its devices, or nothing and (devices asked for, devices available) where they run out."""
        free = [device for device in self._free() if self._health[device] is Health.HEALTHY]
        held: dict[str, tuple[str, ...]] = {}
        reusable: list[str] = []
        for container, count, keeps in _wants(pod):
            fresh = count - len(reusable)
            if fresh > len(free):
                return fresh, len(free)
            devices = reusable[:count]
            for device in free[: max(0, fresh)]:
                free.remove(device)
                devices.append(device)
                reusable.append(device)
            if keeps:
                reusable = [device for device in reusable if device not in devices]
            held[container] = tuple(devices)
        if held:
            self._held[pod["metadata"]["uid"]] = held
        return None

    def restore(self, pod: Json) -> None:
        """Count a pod that runs already: with what its status says, else with the lowest devices that are left."""
        uid = pod["metadata"]["uid"]
        recorded = recorded_devices(pod)
        if recorded:
            self._held[uid] = recorded
            return
        free = self._free()
        held = {}
        for container, count, keeps in _wants(pod):
            if keeps:
                held[container] = tuple(free[:count])
                free = free[count:]
        if held:
            self._held[uid] = held

    def take_back(self, uid: str) -> None:
        self._held.pop(uid, None)

    def _free(self) -> list[str]:
        taken = {device for held in self._held.values() for devices in held.values() for device in devices}
        return [device for device in self._health if device not in taken]


def recorded_devices(pod: Json) -> dict[str, tuple[str, ...]]:
    """What a pod's status says that its containers were given."""
    found = {}
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        for resource in container.get("allocatedResourcesStatus") or ():
            if resource.get("name") == GPU_RESOURCE:
                found[container["name"]] = tuple(one["resourceID"] for one in resource.get("resources") or ())
    return found


def _wants(pod: Json) -> Iterator[tuple[str, int, bool]]:
    """(container, devices, whether it keeps them) of those that ask for GPUs, in the order in which they start."""
    spec = pod["spec"]
    for container in spec.get("initContainers") or ():
        if count := _gpus(container):
            yield container["name"], count, container.get("restartPolicy") == "Always"
    for container in spec["containers"]:
        if count := _gpus(container):
            yield container["name"], count, True


def _gpus(container: Json) -> int:
    resources = container.get("resources") or {}
    return amounts_of({**(resources.get("requests") or {}), **(resources.get("limits") or {})}).get(GPU_RESOURCE, 0)
