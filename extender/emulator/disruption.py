"""PodDisruptionBudgets: how many of the selected pods may go now.

A real cluster has a controller that keeps a budget's status; here it is computed when somebody asks to evict.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from extender.emulator.resources import DISRUPTION_BUDGETS, JSON, PODS, Registry
from extender.emulator.selectors import label_selector, selects
from extender.emulator.store import Record, Store


class Allowance(NamedTuple):
    """Pods that a budget counts: those it expects, those that are healthy, how many must stay, how many may go."""

    expected: int
    healthy: int
    desired: int
    allowed: int


def budgets_of(store: Store, pod: Record) -> list[Record]:
    """The budgets whose selector matches a pod."""
    labels = pod.obj["metadata"].get("labels") or {}
    return [
        budget
        for budget in store.records(DISRUPTION_BUDGETS, pod.namespace)
        if selects(label_selector((budget.obj.get("spec") or {}).get("selector")), labels)
    ]


def allowance(store: Store, registry: Registry, budget: Record) -> Allowance:
    """What a budget allows at this moment."""
    spec = budget.obj.get("spec") or {}
    requirements = label_selector(spec.get("selector"))
    pods = [
        pod.obj
        for pod in store.records(PODS, budget.namespace)
        if selects(requirements, pod.obj["metadata"].get("labels") or {})
        and (pod.obj.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]
    expected = _expected(store, registry, budget.namespace, pods)
    healthy = sum(is_healthy(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods)
    if "maxUnavailable" in spec:
        desired = max(0, expected - _scaled(spec["maxUnavailable"], expected))
    else:
        # A plain minAvailable counts pods, not what their owners want.
        low = spec.get("minAvailable", 1)
        expected = len(pods) if isinstance(low, int) else expected
        desired = _scaled(low, expected)
    return Allowance(expected, healthy, desired, max(0, healthy - desired) if expected else 0)


def is_healthy(pod: JSON) -> bool:
    """Whether a pod is Ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c.get("status") == "True" for c in conditions)


def _scaled(value: int | str, total: int) -> int:
    """A count, or a percentage of `total` rounded up."""
    return value if isinstance(value, int) else math.ceil(int(value.removesuffix("%")) * total / 100)


def _expected(store: Store, registry: Registry, namespace: str, pods: list[JSON]) -> int:
    """How many pods their owners want; a pod without an owner with replicas counts as itself."""
    expected = 0
    seen: set[str] = set()
    for pod in pods:
        owners = pod["metadata"].get("ownerReferences") or ()
        controller = next((owner for owner in owners if owner.get("controller")), None)
        if controller is None:
            expected += 1
        elif controller["uid"] not in seen:
            replicas = _replicas(store, registry, namespace, controller)
            if replicas is None:
                expected += 1
            else:
                seen.add(controller["uid"])
                expected += replicas
    return expected


def _replicas(store: Store, registry: Registry, namespace: str, owner: JSON) -> int | None:
    resource = registry.find_kind(owner["apiVersion"], owner["kind"])
    record = store.get(resource.storage, namespace, owner["name"]) if resource else None
    if record is None:
        return None
    spec = record.obj.get("spec")
    replicas = spec.get("replicas") if isinstance(spec, dict) else None
    return replicas if isinstance(replicas, int) else None
