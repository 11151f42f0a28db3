"""The four priority classes of workloads. 100 and more is non-preemptible and never over quota.

`preemptionPolicy: Never` everywhere: kube-scheduler's own preemption cannot see GPUs, parts of GPUs or
quotas, and would evict pods without making room. Evicting is the reclaimer's work.
"""

from __future__ import annotations

from extender.model.names import PRIORITY_CLASSES
from extender.wire.manifests.names import Json, metadata

_DESCRIPTIONS = {
    "inference": "Serving: never preempted, never over quota, first in the queue of its project.",
    "build": "Interactive work: never preempted, never over quota.",
    "interactive-preemptible": "Interactive work that may go over quota and may be preempted.",
    "train": "Training: may go over quota and may be preempted; the default where nothing else is said.",
}


def priority_classes() -> list[Json]:
    """The PriorityClass objects, highest first."""
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": metadata(name, namespaced=False),
            "value": value,
            "globalDefault": False,  # pods of other schedulers are not ours to rank
            "preemptionPolicy": "Never",
            "description": _DESCRIPTIONS[name],
        }
        for name, value in PRIORITY_CLASSES.items()
    ]
