"""The scheduler's own picture: nodes, the pods on them, and the pods it has decided about but not yet seen
bound.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from extender.emulator.pod_resources import amounts_of, host_ports, is_terminal, pod_requests

Json = dict[str, Any]


@dataclass(frozen=True)
class PodView:
    """One version of a pod; what needs computing is computed once. `obj` is never changed."""

    obj: Json

    @property
    def uid(self) -> str:
        return str(self.obj["metadata"]["uid"])

    @property
    def namespace(self) -> str:
        return str(self.obj["metadata"].get("namespace") or "default")

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def spec(self) -> Json:
        return self.obj.get("spec") or {}

    @property
    def node(self) -> str:
        """The node that the API server has on record, else ""."""
        return str(self.spec.get("nodeName") or "")

    @property
    def scheduler(self) -> str:
        return str(self.spec.get("schedulerName") or "default-scheduler")

    @property
    def priority(self) -> int:
        return int(self.spec.get("priority") or 0)

    @property
    def created(self) -> str:
        """RFC 3339 in UTC, so that text order is time order."""
        return str(self.obj["metadata"].get("creationTimestamp") or "")

    @property
    def nominated_node(self) -> str:
        return str((self.obj.get("status") or {}).get("nominatedNodeName") or "")

    @property
    def is_gated(self) -> bool:
        return bool(self.spec.get("schedulingGates"))

    @property
    def is_deleting(self) -> bool:
        return bool(self.obj["metadata"].get("deletionTimestamp"))

    @property
    def is_terminal(self) -> bool:
        return is_terminal(self.obj)

    @cached_property
    def requests(self) -> dict[str, int]:
        return pod_requests(self.obj)

    @cached_property
    def ports(self) -> frozenset[tuple[str, str, int]]:
        return host_ports(self.obj)


class NodeState:
    """A node and what is taken on it; `used` is kept by `add` and `remove`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.obj: Json | None = None  # None: pods name a node that is not (or no longer) there
        self.allocatable: dict[str, int] = {}
        self.labels: dict[str, str] = {}
        self.taints: list[Json] = []
        self.is_unschedulable = False
        self.pods: dict[str, PodView] = {}
        self.used: Counter[str] = Counter()

    def set(self, obj: Json | None) -> None:
        self.obj = obj
        obj = obj or {}
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        self.allocatable = amounts_of(status.get("allocatable"))
        self.labels = dict((obj.get("metadata") or {}).get("labels") or {})
        self.taints = list(spec.get("taints") or ())
        self.is_unschedulable = bool(spec.get("unschedulable"))

    def add(self, pod: PodView) -> None:
        self.remove(pod.uid)
        self.pods[pod.uid] = pod
        self.used.update(pod.requests)

    def remove(self, uid: str) -> None:
        pod = self.pods.pop(uid, None)
        if pod is not None:
            self.used.subtract(pod.requests)


class Cache:
    """All nodes and what is on them. An assumed pod counts until the watch confirms it, or `forget` gives
    it up.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, NodeState] = {}
        self._node_of: dict[str, str] = {}  # pod UID -> node that it counts on
        self._assumed: set[str] = set()  # UIDs decided here, not yet confirmed by the watch

    def nodes(self) -> list[NodeState]:
        """The nodes that exist, in the order in which they were first seen."""
        return [node for node in self._nodes.values() if node.obj is not None]

    def node(self, name: str) -> NodeState | None:
        state = self._nodes.get(name)
        return state if state is not None and state.obj is not None else None

    def set_node(self, name: str, obj: Json | None) -> None:
        """A node as it is now; None when it is gone (its pods stay counted until they are deleted)."""
        state = self._nodes.setdefault(name, NodeState(name))
        state.set(obj)
        if obj is None and not state.pods:
            del self._nodes[name]

    def set_pod(self, pod: PodView) -> None:
        """A pod that the watch shows on a node; confirms what was assumed."""
        self._assumed.discard(pod.uid)
        self._place(pod, pod.node)

    def assume(self, pod: PodView, node: str) -> None:
        """Count `pod` on `node` before the API server knows; no expiry, as in kube-scheduler 1.36."""
        self._assumed.add(pod.uid)
        self._place(pod, node)

    def forget(self, uid: str) -> bool:
        """Give an assumption up; False when it had been confirmed or given up already."""
        if uid not in self._assumed:
            return False
        self.remove_pod(uid)
        return True

    def remove_pod(self, uid: str) -> None:
        self._assumed.discard(uid)
        name = self._node_of.pop(uid, None)
        if name is None:
            return
        state = self._nodes[name]
        state.remove(uid)
        if state.obj is None and not state.pods:
            del self._nodes[name]

    def is_assumed(self, uid: str) -> bool:
        return uid in self._assumed

    def _place(self, pod: PodView, node: str) -> None:
        if self._node_of.get(pod.uid, node) != node:
            assumed = pod.uid in self._assumed
            self.remove_pod(pod.uid)
            if assumed:
                self._assumed.add(pod.uid)
        self._node_of[pod.uid] = node
        self._nodes.setdefault(node, NodeState(node)).add(pod)
