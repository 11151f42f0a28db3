"""The in-tree filters and a simple in-tree score.

Left out against kube-scheduler: PodTopologySpread, inter-pod affinity, volumes, dynamic resources, image
locality. No scenario of this project needs them from the stand-in; `make e2e` has the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from extender.emulator.pod_resources import PODS, is_extended
from extender.emulator.scheduler.affinity import matches_node, preference, tolerates
from extender.emulator.scheduler.cache import NodeState, PodView

_UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a node does not take a pod: the plugin that said so and its texts, as kube-scheduler words them."""

    plugin: str
    reasons: tuple[str, ...]


_NODE_UNSCHEDULABLE = Rejection("NodeUnschedulable", ("node(s) were unschedulable",))
_NODE_AFFINITY = Rejection("NodeAffinity", ("node(s) didn't match Pod's node affinity/selector",))
_TAINT_TOLERATION = Rejection("TaintToleration", ("node(s) had untolerated taint(s)",))
_NODE_PORTS = Rejection("NodePorts", ("node(s) didn't have free ports for the requested pod ports",))


def reject(pod: PodView, node: NodeState, ignored_resources: frozenset[str] = frozenset()) -> Rejection | None:
    """The first filter that refuses `node`, or None when `pod` fits.

    ignored_resources: extended resources that an extender manages (`ignoredByScheduler`).
    """
    if node.is_unschedulable and not tolerates(pod.spec, _UNSCHEDULABLE_TAINT):
        return _NODE_UNSCHEDULABLE
    for taint in node.taints:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not tolerates(pod.spec, taint):
            return _TAINT_TOLERATION
    if not matches_node(pod.spec, node.name, node.labels):
        return _NODE_AFFINITY
    if pod.ports and any(_ports_clash(port, taken) for port in pod.ports for taken in _taken_ports(node)):
        return _NODE_PORTS
    short = tuple(
        "Too many pods" if resource == PODS else f"Insufficient {resource}"
        for resource, amount in pod.requests.items()
        if amount > node.allocatable.get(resource, 0) - node.used[resource]
        and not (is_extended(resource) and resource in ignored_resources)
    )
    return Rejection("NodeResourcesFit", short) if short else None


def in_tree_scores(pod: PodView, nodes: Sequence[NodeState]) -> dict[str, int]:
    """Node -> score: least allocated CPU and memory (x1), preferred affinity (x2), soft taints (x3)."""
    affinities = {node.name: preference(pod.spec, node.name, node.labels) for node in nodes}
    soft_taints = {
        node.name: sum(
            taint.get("effect") == "PreferNoSchedule" and not tolerates(pod.spec, taint) for taint in node.taints
        )
        for node in nodes
    }
    best_affinity = max(affinities.values(), default=0)
    most_taints = max(soft_taints.values(), default=0)
    scores: dict[str, int] = {}
    for node in nodes:
        affinity = 100 * affinities[node.name] // best_affinity if best_affinity else 0
        taints = 100 - 100 * soft_taints[node.name] // most_taints if most_taints else 100
        scores[node.name] = _least_allocated(pod, node) + 2 * affinity + 3 * taints
    return scores


def _least_allocated(pod: PodView, node: NodeState) -> int:
    free = 0
    for resource in ("cpu", "memory"):
        capacity = node.allocatable.get(resource, 0)
        left = capacity - node.used[resource] - pod.requests.get(resource, 0)
        free += 100 * max(0, left) // capacity if capacity else 0
    return free // 2


def _taken_ports(node: NodeState) -> set[tuple[str, str, int]]:
    return {port for pod in node.pods.values() for port in pod.ports}


def _ports_clash(wanted: tuple[str, str, int], taken: tuple[str, str, int]) -> bool:
    wildcard = "0.0.0.0"
    same_address = wanted[0] == taken[0] or wildcard in (wanted[0], taken[0])
    return same_address and wanted[1:] == taken[1:]
