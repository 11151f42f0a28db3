"""The picture as JSON: what an operator or the demo wants to see of it."""

from __future__ import annotations

from typing import Any

from extender.cluster.picture import Picture, PodRecord
from extender.fairshare.capacity import Usage
from extender.model.amounts import GPU, Amounts
from extender.model.node import Node
from extender.model.queue import Quota

Json = dict[str, Any]


def take(picture: Picture) -> Json:
    """Nodes with every device and its sharers, pods with their holds and verdicts, queues with their usage.

    Amounts are integers: milli-GPU, milli-CPU, MiB. Sorted by name. Cost: O(nodes + pods).
    """
    return {
        "generation": picture.generation,
        "nodes": [_node(picture, node) for node in sorted(picture.nodes(), key=lambda node: node.name)],
        "pods": [
            _pod(picture, record)
            for record in sorted(picture.pods.values(), key=lambda one: (one.pod.key, one.pod.uid))
        ],
        "queues": [_queue(picture, name, usage) for name, usage in picture.quotas.holders()],
        "reservations": sum(1 for _ in picture.provisional()),
    }


def _node(picture: Picture, node: Node) -> Json:
    ledger = picture.ledger(node.name)
    assert ledger is not None
    gpus = []
    for index in sorted({*range(node.gpu_slots), *ledger.devices}):
        sharers = ledger.devices.get(index, {})
        gpus.append(
            {
                "device": index,
                "allocated_milli": sum(milli for milli, _ in sharers.values()),
                "gpu_group": ledger.group_of(index) or None,
                "sharers": sorted(pod.key for uid in sharers if (pod := picture.pods[uid].pod).reserves is None),
            }
        )
    return {
        "name": node.name,
        "gpu_product": node.gpu_product,
        "gpu_memory_mib": node.gpu_memory_mib,
        "allocatable_gpus": node.gpus,
        "unindexed_milli": GPU * sum(ledger.unindexed.values()),
        "schedulable": node.schedulable,
        "gpus": gpus,
    }


def _pod(picture: Picture, record: PodRecord) -> Json:
    pod, hold, verdict = record.pod, record.hold, record.verdict
    groups = [group for _, group in hold.placement.devices if group] if hold else []
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "phase": pod.phase.value,
        "project": picture.membership.project_of(pod),
        "pod_group": pod.group or None,
        "priority": picture.membership.priority_of(pod),
        "state": hold.state.value if hold else "none",
        "node": hold.placement.node if hold else None,
        "devices": list(hold.placement.indices) if hold else [],
        "gpu_group": ",".join(groups) or None,
        "reason": verdict.reason.value if verdict else None,
        "message": verdict.message if verdict else None,
    }


def _queue(picture: Picture, name: Any, usage: Usage) -> Json:
    project = picture.quotas.projects.get(name)
    return {
        "name": name,
        "exists": project is not None,
        "department": project.department if project else None,
        "deserved": _quota(project.queue.deserved) if project else None,
        "limit": _quota(project.queue.limit) if project else None,
        "allocated": _amounts(usage.allocated),
        "allocated_non_preemptible": _amounts(usage.non_preemptible),
    }


def _amounts(amounts: Amounts) -> Json:
    return {"gpu_milli": amounts.gpu_milli, "cpu_milli": amounts.cpu_milli, "memory_mib": amounts.memory_mib}


def _quota(quota: Quota) -> Json:
    return {"gpu_milli": quota.gpu_milli, "cpu_milli": quota.cpu_milli, "memory_mib": quota.memory_mib}
