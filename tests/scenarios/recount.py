"""What is placed where, counted from API objects alone, and what could still be placed.

The judge of every scenario. It reads the rules from the documents, not from the product's code, and shares none
with it: a fault there must not be repeated here. Slow and plain on purpose.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

Json = dict[str, Any]

GPU = 1000
_UNITS = {"m": Fraction(1, 1000), "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_OF_OWNER = {"StatefulSet": "build", "ReplicaSet": "inference"}
_PRIORITY = {"inference": 125, "build": 100, "interactive-preemptible": 75, "train": 50}


def number(text: Any) -> Fraction:
    """A Kubernetes quantity."""
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text))
    assert match, f"not a quantity: {text}"
    return Fraction(match[1]) * Fraction(_UNITS[match[2]] if match[2] else 1)


@dataclass
class Wish:
    """What a pod asks for: `devices` whole, or `milli` or `mib` of each; in-tree resources by name."""

    devices: int = 0
    milli: int = 0
    mib: int = 0
    resources: dict[str, Fraction] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return bool(self.devices) and not self.milli and not self.mib

    def share_on(self, memory: int) -> int | None:
        """Milli-GPU of each device where a device has `memory` MiB; None where it cannot be."""
        if self.is_whole:
            return GPU
        if not self.mib:
            return self.milli
        return ceil(Fraction(self.mib * GPU, memory)) if memory >= self.mib else None

    def mig_milli(self) -> int:
        slices = 0
        for name, count in self.resources.items():
            match = re.match(r"nvidia\.com/mig-(\d)g", name)
            if match:
                slices += int(count) * ceil(Fraction(int(match[1]) * GPU, 7))
        return slices


def wish_of(pod: Json) -> Wish:
    """Of a valid pod with plain containers; scenarios use no other."""
    annotations = pod["metadata"].get("annotations") or {}
    wish = Wish()
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        for name, quantity in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            wish.resources[name] = wish.resources.get(name, Fraction(0)) + number(quantity)
    wish.resources["pods"] = Fraction(1)
    wish.devices = int(wish.resources.get("nvidia.com/gpu", 0))
    shared = int(annotations.get("gpu-fraction-num-devices", 1))
    if "gpu-fraction" in annotations:
        wish.devices, wish.milli = shared, ceil(Fraction(annotations["gpu-fraction"]) * GPU)
    elif "gpu-memory" in annotations:
        wish.devices, wish.mib = shared, int(annotations["gpu-memory"])
    return wish


@dataclass
class NodeCount:
    name: str
    allocatable: dict[str, Fraction]
    slots: int
    memory: int
    used: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    devices: dict[int, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))  # index → pod → milli
    whole: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))  # index → pods with all of it
    unindexed: int = 0
    sharers: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))  # group → pod → its UUID
    reserving: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # group → UUIDs held for it

    def free(self) -> list[int]:
        return [GPU - sum(self.devices.get(index, {}).values()) for index in range(self.slots)]

    def has_room(self, wish: Wish) -> bool:
        """Whether in-tree resources and devices would do for one more such pod."""
        if any(self.used[name] + amount > self.allocatable.get(name, 0) for name, amount in wish.resources.items()):
            return False
        share = wish.share_on(self.memory) if wish.devices else 0
        return share is not None and sum(1 for left in self.free() if left >= share > 0) >= wish.devices


@dataclass
class Held:
    gpu_milli: int = 0
    gpu_milli_kept: int = 0  # of pods that cannot be preempted


class Recount:
    """Everything counted once, from lists of API objects."""

    def __init__(
        self,
        *,
        nodes: Iterable[Json],
        pods: Iterable[Json],
        projects: Iterable[Json],
        departments: Iterable[Json] = (),
        groups: Iterable[Json] = (),
        namespaces: Iterable[Json] = (),
        config_maps: Iterable[Json] = (),
    ) -> None:
        """config_maps: all there are; those of sharers are told by their labels."""
        self.problems: list[str] = []
        self.projects = {one["metadata"]["name"]: one.get("spec") or {} for one in projects}
        self.departments = {one["metadata"]["name"]: one.get("spec") or {} for one in departments}
        self._groups = {(one["metadata"]["namespace"], one["metadata"]["name"]): one["spec"] for one in groups}
        self._labels = {
            one["metadata"]["name"]: (one["metadata"].get("labels") or {}).get("runai/queue") for one in namespaces
        }
        self.nodes = {node["metadata"]["name"]: _node(node) for node in nodes}
        self.held: dict[str, Held] = defaultdict(Held)
        self.bound: list[Json] = []
        self.reserving: list[Json] = []  # pods that hold a device for others, on a node that exists
        self.pending: list[Json] = []
        self.finished: list[Json] = []
        for pod in pods:
            if pod["metadata"]["namespace"] == "runai-reservation":
                self._count_reservation(pod)
            else:
                self._count(pod)
        self._judge()
        self._judge_sharing(config_maps)

    def project_of(self, pod: Json) -> str | None:
        metadata = pod["metadata"]
        group = self._group_of(pod)
        labels = metadata.get("labels") or {}
        namespace = metadata["namespace"]
        named = group.get("queue") or labels.get("runai/queue") or labels.get("project") or self._labels.get(namespace)
        return named or (namespace[len("runai-") :] if namespace.startswith("runai-") else None)

    def is_kept(self, pod: Json) -> bool:
        """Whether the pod must not be preempted, and so never goes over quota."""
        owners = [owner["kind"] for owner in pod["metadata"].get("ownerReferences") or () if owner.get("controller")]
        names = [
            self._group_of(pod).get("priorityClassName"),
            (pod["metadata"].get("labels") or {}).get("priorityClassName"),
            *(_OF_OWNER.get(kind) for kind in owners),
        ]
        return next((_PRIORITY[name] for name in names if name in _PRIORITY), 50) >= 100

    def cost(self, pod: Json, memory: int) -> int:
        """Milli-GPU that the pod costs its project where devices have `memory` MiB."""
        wish = wish_of(pod)
        share = wish.share_on(memory)
        return wish.devices * (GPU if share is None else share) + wish.mig_milli()

    def could_place(self, pod: Json) -> str | None:
        """A node that would take this pending pod now, with its project's consent; None when there is none."""
        project = self.project_of(pod)
        if project not in self.projects or pod["metadata"].get("deletionTimestamp"):
            return None
        smallest = min((node.memory for node in self.nodes.values() if node.memory), default=0)
        asked, spec = self.cost(pod, smallest), self.projects[project]
        department = spec.get("department") or "default"
        members = [name for name, one in self.projects.items() if (one.get("department") or "default") == department]
        for budget, owners in ((spec, [project]), (self.departments.get(department), members)):
            if budget is None or not asked:
                continue
            limit = budget.get("maxAllowedGpus", -1)
            if limit != -1 and sum(self.held[one].gpu_milli for one in owners) + asked > Fraction(str(limit)) * GPU:
                return None
            kept = sum(self.held[one].gpu_milli_kept for one in owners)
            if self.is_kept(pod) and kept + asked > Fraction(str(budget.get("deservedGpus", 0))) * GPU:
                return None
        wish = wish_of(pod)
        if pod["spec"].get("nodeSelector"):
            return None
        alone = next((node.name for node in self.nodes.values() if node.has_room(wish)), None)
        return alone if alone is None or self._has_company(pod, wish) else None

    def _has_company(self, pod: Json, wish: Wish) -> bool:
        """Whether all that the pod's gang lacks would fit together. Members of gangs ask for the same whole devices."""
        key = self._group_key(pod)
        lacking = self._groups.get(key, {}).get("minMember", 1)
        lacking -= sum(1 for one in self.bound if self._group_key(one) == key)
        if lacking <= 1:
            return True
        waiting = sum(1 for one in self.pending if self._group_key(one) == key)
        whole = sum(sum(1 for left in node.free() if left == GPU) // wish.devices for node in self.nodes.values())
        return waiting >= lacking and whole >= lacking

    def differences(self, snapshot: Mapping[str, Any]) -> list[str]:
        """Where the service's own picture says otherwise."""
        found: list[str] = []
        seen = {node["name"]: node for node in snapshot["nodes"]}
        if seen.keys() != self.nodes.keys():
            found.append(f"nodes: snapshot {sorted(seen)}, API {sorted(self.nodes)}")
        for name, node in self.nodes.items():
            theirs = {
                gpu["device"]: (gpu["allocated_milli"], tuple(gpu["sharers"]))
                for gpu in seen.get(name, {}).get("gpus", ())
                if gpu["sharers"]
            }
            ours = {index: (sum(pods.values()), tuple(sorted(pods))) for index, pods in node.devices.items() if pods}
            found.extend(
                f"{name}/{index}: snapshot {theirs.get(index)}, API {ours.get(index)}"
                for index in sorted(theirs.keys() | ours.keys())
                if theirs.get(index) != ours.get(index)
            )
            if seen.get(name, {}).get("unindexed_milli", 0) != node.unindexed:
                found.append(f"{name}: unindexed {seen.get(name, {}).get('unindexed_milli')}, API {node.unindexed}")
        queues = {
            queue["name"]: (queue["allocated"]["gpu_milli"], queue["allocated_non_preemptible"]["gpu_milli"])
            for queue in snapshot["queues"]
        }
        for project in sorted(queues.keys() | self.held.keys()):
            held = self.held[project]
            if queues.get(project, (0, 0)) != (held.gpu_milli, held.gpu_milli_kept):
                found.append(f"project {project}: snapshot {queues.get(project)}, API {held}")
        placed = {(one["namespace"], one["name"], one["uid"]): one["node"] for one in snapshot["pods"] if one["node"]}
        truth = {
            (pod["metadata"]["namespace"], pod["metadata"]["name"], pod["metadata"]["uid"]): pod["spec"]["nodeName"]
            for pod in (*self.bound, *self.reserving)
        }
        found.extend(
            f"pod {'/'.join(key)}: snapshot on {placed.get(key)}, API on {truth.get(key)}"
            for key in sorted(placed.keys() | truth.keys())
            if placed.get(key) != truth.get(key)
        )
        return found

    def _group_key(self, pod: Json) -> tuple[str, Any]:
        metadata = pod["metadata"]
        return metadata["namespace"], (metadata.get("annotations") or {}).get("scheduling.k8s.io/group-name")

    def _group_of(self, pod: Json) -> Json:
        return self._groups.get(self._group_key(pod), {})

    def _count(self, pod: Json) -> None:
        node_name = pod["spec"].get("nodeName")
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self.finished.append(pod)
            return
        if not node_name:
            self.pending.append(pod)
            return
        self.bound.append(pod)
        key = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        node = self.nodes.get(node_name)
        if node is None:
            self.problems.append(f"{key} is bound to node {node_name}, which does not exist")
            return
        wish = wish_of(pod)
        for name, amount in wish.resources.items():
            node.used[name] += amount
        annotations = pod["metadata"].get("annotations") or {}
        indices = [int(part) for part in annotations.get("runai-gpu", "").split(",") if part]
        if len(indices) != wish.devices or len(set(indices)) != len(indices):
            self.problems.append(f"{key} asks for {wish.devices} devices and is recorded on {indices}")
            node.unindexed += GPU * wish.devices
            indices = []
        share = wish.share_on(node.memory) if wish.devices else 0
        if wish.devices and not wish.is_whole:
            groups = annotations.get("runai-gpu-group", "").split(",")
            uuids = annotations.get("runai-gpu-uuid", "").split(",")
            for group, uuid in zip(groups, uuids, strict=False):
                node.sharers[group][key] = uuid
        if share is None:
            self.problems.append(f"{key} does not fit a device of {node_name}")
            share = GPU
        for index in indices:
            if not 0 <= index < node.slots:
                self.problems.append(f"{key} is recorded on device {index} of {node_name}, which has {node.slots}")
            node.devices[index][key] = share
            if wish.is_whole:
                node.whole[index].append(key)
        self._check_words(pod, key, wish, annotations)
        project = self.project_of(pod)
        if project is None:
            self.problems.append(f"{key} runs and belongs to no project")
            return
        cost = self.cost(pod, node.memory)
        self.held[project].gpu_milli += cost
        if self.is_kept(pod):
            self.held[project].gpu_milli_kept += cost

    def _count_reservation(self, pod: Json) -> None:
        node = self.nodes.get(pod["spec"]["nodeName"])
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed") or node is None:
            self.problems.append(f"reservation {pod['metadata']['name']} is left, and holds nothing")
            return
        self.reserving.append(pod)
        for name, amount in wish_of(pod).resources.items():
            node.used[name] += amount
        group = (pod["metadata"].get("labels") or {}).get("runai-gpu-group", "")
        uuid = (pod["metadata"].get("annotations") or {}).get("run.ai/reserve_for_gpu_index", "")
        node.reserving[group].append(uuid)

    def _judge_sharing(self, config_maps: Iterable[Json]) -> None:
        """Each shared device has one reservation, each reservation sharers, who were told its very device."""
        for node in self.nodes.values():
            held = [uuid for uuids in node.reserving.values() for uuid in uuids]
            if len(set(held)) < len(held):
                self.problems.append(f"{node.name}: one device is reserved twice: {sorted(held)}")
            for group in sorted(node.sharers.keys() | node.reserving.keys()):
                told, uuids = node.sharers.get(group, {}), node.reserving.get(group, [])
                if len(uuids) != 1 or not told:
                    self.problems.append(f"{node.name}: {group} is shared by {sorted(told)} and reserved as {uuids}")
                elif set(told.values()) != set(uuids):
                    self.problems.append(f"{node.name}: {group} is {uuids[0]}, its sharers were told {told}")
        living = {pod["metadata"]["uid"] for pod in (*self.bound, *self.pending)}
        for one in config_maps:
            labels = one["metadata"].get("labels") or {}
            if labels.get("app.kubernetes.io/component") != "shared-gpu":
                continue
            owners = [owner["uid"] for owner in one["metadata"].get("ownerReferences") or ()]
            if not living.intersection(owners):
                self.problems.append(f"ConfigMap {one['metadata']['name']} belongs to no pod that lives")

    def _check_words(self, pod: Json, key: str, wish: Wish, annotations: Mapping[str, str]) -> None:
        """The Binding's annotations and labels are complete: nothing but the object is needed to rebuild."""
        if wish.devices:
            kind = "Regular" if wish.is_whole else "Fraction"
            if annotations.get("received-resource-type") != kind:
                self.problems.append(f"{key}: received-resource-type is {annotations.get('received-resource-type')}")
        labels = pod["metadata"].get("labels") or {}
        groups = [value for name, value in labels.items() if name.split("/")[0] == "runai-gpu-group"]
        wanted = 0 if wish.is_whole else wish.devices
        if len(groups) != wanted or len(set(groups)) != len(groups):
            self.problems.append(f"{key}: {wanted} runai-gpu-group labels are due, found {groups}")

    def _judge(self) -> None:
        for node in self.nodes.values():
            for index, sharers in sorted(node.devices.items()):
                if sum(sharers.values()) > GPU:
                    self.problems.append(f"{node.name}/{index} is over 1: {sharers}")
                if node.whole[index] and len(sharers) > 1:
                    self.problems.append(
                        f"{node.name}/{index}: {node.whole[index]} whole, and others: {sorted(sharers)}"
                    )
            for name, amount in node.used.items():
                if amount > node.allocatable.get(name, 0):
                    self.problems.append(f"{node.name}: {name} {amount} of {node.allocatable.get(name, 0)}")
        for project, held in self.held.items():
            spec = self.projects.get(project)
            if spec is None:
                continue
            limit = spec.get("maxAllowedGpus", -1)
            if limit != -1 and held.gpu_milli > Fraction(str(limit)) * GPU:
                self.problems.append(f"project {project} holds {held.gpu_milli}, its limit is {limit}")
            if held.gpu_milli_kept > Fraction(str(spec.get("deservedGpus", 0))) * GPU:
                self.problems.append(f"project {project} keeps {held.gpu_milli_kept}, it deserves {spec}")


def _node(node: Json) -> NodeCount:
    status, labels = node.get("status") or {}, node["metadata"].get("labels") or {}
    allocatable = {name: number(text) for name, text in (status.get("allocatable") or {}).items()}
    return NodeCount(
        node["metadata"]["name"],
        allocatable,
        slots=int(allocatable.get("nvidia.com/gpu", 0)),
        memory=int(labels.get("nvidia.com/gpu.memory", 0)),
    )
