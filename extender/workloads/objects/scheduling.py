"""Where the pods may run, and who makes way for whom."""

from __future__ import annotations

from typing import Any

from extender.model import names
from extender.workloads.objects import metadata
from extender.workloads.objects.draft import Draft
from extender.workloads.objects.parts import items, without_empty

Json = dict[str, Any]

_NEAR = "kubernetes.io/hostname"
_HARD = "hard"


def add_scheduling(draft: Draft) -> None:
    """nodeType, nodePools, nodePool, tolerations, podAffinity…, preemptible.

    podAffinity without a topology means the same node; without a rule it is a preference, as a must may never fit.
    """
    values = draft.values
    draft.spec["schedulerName"] = names.SCHEDULER_NAME
    draft.spec["priorityClassName"] = metadata.priority_class(draft.submission)
    if values.get("nodeType"):
        draft.spec["nodeSelector"] = {names.NODE_TYPE_LABEL: str(values["nodeType"])}
    pools = node_pools(values)
    if pools:
        draft.annotations[names.NODE_POOLS_ANNOTATION] = " ".join(pools)
    draft.spec["tolerations"] = [_toleration(item) for _, _, item in items(values, "tolerations")]
    if values.get("podAffinity"):
        draft.spec["affinity"] = {"podAffinity": _affinity(draft)}


def node_pools(values: Json) -> list[str]:
    """In the order in which they are tried; the one of `nodePool` where `nodePools` says nothing."""
    return [str(one) for one in values.get("nodePools") or ([values["nodePool"]] if values.get("nodePool") else [])]


def _toleration(item: Json) -> Json:
    operator = str(item.get("operator") or "")
    return without_empty(
        {
            "key": item.get("key"),
            "operator": operator.capitalize(),
            "value": item.get("value"),
            "effect": item.get("effect"),
            "tolerationSeconds": item.get("seconds"),
        }
    )


def _affinity(draft: Draft) -> Json:
    values = draft.values
    term = {
        "labelSelector": {"matchLabels": {metadata.RELEASE_LABEL: draft.submission.job}},
        "topologyKey": str(values.get("podAffinityTopology") or _NEAR),
    }
    if str(values.get("podAffinitySchedulingRule") or "").lower() == _HARD:
        return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
