"""Node selectors, required node affinity, taints and tolerations of objects → `model.constraint`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from extender.model.affinity import AffinityTerm, PodAffinity
from extender.model.constraint import ANYWHERE, Constraint, Requirement, Taint, Term, Toleration

Json = Mapping[str, Any]

# Every pod gets these two from the API server, and a node that is not ready takes no pods of ours in any case:
# left in, they would tell apart pods that fare alike.
_GIVEN_TO_ALL = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})


def parse_constraint(spec: Json) -> Constraint:
    """What a pod's spec demands of its node. Raises TypeError or AttributeError where the spec is not one."""
    selector = spec.get("nodeSelector")
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    tolerations = spec.get("tolerations")
    if not selector and required is None and not tolerations:
        return ANYWHERE
    constraint = Constraint(
        selector=tuple(sorted((str(key), str(value)) for key, value in (selector or {}).items())),
        terms=None if required is None else tuple(map(_term, required.get("nodeSelectorTerms") or ())),
        tolerations=tuple(_toleration(one) for one in tolerations or () if one.get("key") not in _GIVEN_TO_ALL),
    )
    return ANYWHERE if constraint == ANYWHERE else constraint


def parse_taints(spec: Json) -> tuple[Taint, ...]:
    """A node's taints, sorted. A malformed one is left out."""
    taints = [
        Taint(str(one.get("key") or ""), str(one.get("value") or ""), str(one.get("effect") or ""))
        for one in spec.get("taints") or ()
        if isinstance(one, Mapping)
    ]
    return tuple(sorted(taints, key=lambda one: (one.key, one.value, one.effect)))


def _term(term: Json) -> Term:
    return Term(
        labels=tuple(map(_requirement, term.get("matchExpressions") or ())),
        names=tuple(map(_requirement, term.get("matchFields") or ())),
    )


def parse_requirements(selector: Json) -> tuple[Requirement, ...]:
    """What a label selector demands; none of it holds for everybody. Raises TypeError or AttributeError."""
    equal = (Requirement(str(key), "In", (str(value),)) for key, value in (selector.get("matchLabels") or {}).items())
    return (*equal, *map(_requirement, selector.get("matchExpressions") or ()))


def _requirement(one: Json) -> Requirement:
    return Requirement(str(one.get("key")), str(one.get("operator")), tuple(map(str, one.get("values") or ())))


def _toleration(one: Json) -> Toleration:
    return Toleration(
        key=str(one.get("key") or ""),
        operator=str(one.get("operator") or "Equal"),
        value=str(one.get("value") or ""),
        effect=str(one.get("effect") or ""),
    )


def parse_affinity(spec: Json) -> PodAffinity | None:
    """Required inter-pod affinity as far as planning reads it: label equality, own namespace; None without any."""
    affinity = spec.get("affinity") or {}
    near, apart = _affinity_terms(affinity.get("podAffinity")), _affinity_terms(affinity.get("podAntiAffinity"))
    return PodAffinity(near, apart) if near or apart else None


def _affinity_terms(given: Json | None) -> tuple[AffinityTerm, ...]:
    terms = (given or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    return tuple(
        AffinityTerm(
            tuple(sorted((str(key), str(value)) for key, value in (selector.get("matchLabels") or {}).items())),
            str(term.get("topologyKey") or ""),
        )
        for term in terms
        if (selector := term.get("labelSelector") or {}).get("matchLabels")
        and not selector.get("matchExpressions")
        and not (term.get("namespaces") or term.get("namespaceSelector"))
    )
