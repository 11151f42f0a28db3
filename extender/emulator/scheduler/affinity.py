"""Node selectors, node affinity, taints and tolerations, by the rules of the Kubernetes API reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def matches_node(spec: Json, node: str, labels: Mapping[str, str]) -> bool:
    """Whether a pod's nodeSelector and required node affinity accept a node."""
    selector = spec.get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(matches_term(term, node, labels) for term in required.get("nodeSelectorTerms") or ())


def named_nodes(spec: Json) -> frozenset[str] | None:
    """The nodes that required affinity names by metadata.name, when every term does; else None.

    PreFilter leaves out all others before any filter runs, as for the pods of a DaemonSet.
    """
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    names: set[str] = set()
    for term in required.get("nodeSelectorTerms") or ():
        fields = [
            f for f in term.get("matchFields") or () if (f.get("key"), f.get("operator")) == ("metadata.name", "In")
        ]
        if not fields:
            return None
        names |= set.intersection(*(set(field.get("values") or ()) for field in fields))
    return frozenset(names) if required else None


def matches_term(term: Json, node: str, labels: Mapping[str, str]) -> bool:
    """Whether every requirement of one nodeSelectorTerm holds; an empty term matches nothing."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_holds(expression, labels) for expression in expressions) and all(
        _holds(field, {"metadata.name": node}) for field in fields
    )


def preference(spec: Json, node: str, labels: Mapping[str, str]) -> int:
    """The sum of the weights of the preferred node affinity terms that a node matches."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return sum(
        int(preferred.get("weight") or 0)
        for preferred in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        if matches_term(preferred.get("preference") or {}, node, labels)
    )


def tolerates(spec: Json, taint: Json) -> bool:
    """Whether any toleration of a pod covers `taint`."""
    return any(_covers(toleration, taint) for toleration in spec.get("tolerations") or ())


def _covers(toleration: Json, taint: Json) -> bool:
    effect = toleration.get("effect")
    if effect and effect != taint.get("effect"):
        return False
    key = toleration.get("key")
    if key and key != taint.get("key"):
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


def _holds(requirement: Json, labels: Mapping[str, str]) -> bool:
    key, values = requirement.get("key", ""), requirement.get("values") or ()
    have = labels.get(key)
    match requirement.get("operator"):
        case "In":
            return have in values
        case "NotIn":
            return have not in values
        case "Exists":
            return have is not None
        case "DoesNotExist":
            return have is None
        case "Gt":
            return _compare(have, values) > 0
        case "Lt":
            return _compare(have, values) < 0
    return False


def _compare(have: str | None, values: Any) -> int:
    """The sign of label minus value; 0 (neither Gt nor Lt) when one of them is no whole number."""
    try:
        left, right = int(have or ""), int(values[0])
    except (ValueError, IndexError, TypeError):
        return 0
    return (left > right) - (left < right)
