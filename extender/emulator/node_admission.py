"""What each node has and what it has admitted; a kubelet's answer to a pod that is bound to it.

What is admitted already counts, whatever a scheduler believes: who gives one device away twice sees the second
pod fail.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from extender.emulator.devices import NodeDevices
from extender.emulator.kubelet_status import refusal, too_few_devices
from extender.emulator.pod_resources import amounts_of, pod_requests
from extender.model.names import GPU_RESOURCE

Json = dict[str, Any]


class NodeAdmission:
    """The books of all nodes that are played."""

    def __init__(self) -> None:
        self._allocatable: dict[str, dict[str, int]] = {}
        self._devices: dict[str, NodeDevices] = {}
        self._uids: dict[str, str | None] = {}  # node -> UID of its object
        self._used: dict[str, Counter[str]] = {}
        self._admitted: dict[str, tuple[str, dict[str, int]]] = {}  # pod UID -> (node, requests)

    def __contains__(self, node: str) -> bool:
        return node in self._allocatable

    @property
    def nodes(self) -> list[str]:
        return list(self._allocatable)

    def set_node(self, node: Json) -> None:
        """Take a node in, as the API server has it."""
        name, status = node["metadata"]["name"], node.get("status") or {}
        uid = node["metadata"].get("uid")
        if self._uids.setdefault(name, uid) != uid and not self.devices(name).is_held:
            del self._devices[name]  # another machine of that name, which may have fewer devices
        self._uids[name] = uid
        self._allocatable[name] = amounts_of(status.get("allocatable"))
        self.devices(name).grow(amounts_of(status.get("capacity")).get(GPU_RESOURCE, 0))

    def keep_nodes(self, names: set[str]) -> None:
        """Forget all other nodes."""
        for name in self._allocatable.keys() - names:
            del self._allocatable[name]

    def remove_node(self, name: str) -> None:
        self._allocatable.pop(name, None)

    def devices(self, node: str) -> NodeDevices:
        return self._devices.setdefault(node, NodeDevices(node))

    def used(self, node: str, resource: str) -> int:
        """What the admitted pods of a node ask for."""
        return self._used.get(node, Counter())[resource]

    def admit(self, pod: Json, *, runs: bool) -> tuple[str, str] | None:
        """Count `pod` on its node; else (reason, message) as a kubelet words its refusal. Idempotent.

        runs: it was admitted before we started, so it is counted whatever is left.
        """
        uid, node = pod["metadata"]["uid"], pod["spec"]["nodeName"]
        if uid in self._admitted:
            return None
        used = self._used.setdefault(node, Counter())
        requests = pod_requests(pod)
        if runs:
            self.devices(node).restore(pod)
        elif (refused := self._refusal(pod, requests, used)) is not None:
            return refused
        used.update(requests)
        self._admitted[uid] = (node, requests)
        return None

    def release(self, uid: str) -> None:
        admitted = self._admitted.pop(uid, None)
        if admitted is not None:
            node, requests = admitted
            self._used[node].subtract(requests)
            self.devices(node).take_back(uid)

    def _refusal(self, pod: Json, requests: dict[str, int], used: Counter[str]) -> tuple[str, str] | None:
        node = pod["spec"]["nodeName"]
        devices = self.devices(node)
        allocatable = self._allocatable.get(node, {})
        for resource, wanted in requests.items():
            # A kubelet drops what its node does not have before it looks; devices it counts one by one.
            capacity = None if resource == GPU_RESOURCE and devices.uuids else allocatable.get(resource)
            if capacity is not None and wanted > capacity - used[resource]:
                return refusal(resource, wanted, used[resource], capacity)
        if devices.uuids and (short := devices.give(pod)) is not None:
            wanted, available = short
            return too_few_devices(GPU_RESOURCE, wanted, available)
        return None
