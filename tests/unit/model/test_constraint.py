"""Which nodes a pod accepts."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.constraint import ANYWHERE, Constraint
from extender.wire.constraints import parse_affinity, parse_constraint, parse_taints

LABELS = {"zone": "east", "gpus": "8", "pool": "a"}


def required(*terms: Any) -> Any:
    node = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": node}}


def term(key: str, operator: str, *values: str) -> Any:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("spec", "accepted"),
    [
        ({}, True),
        ({"nodeSelector": {"zone": "east"}}, True),
        ({"nodeSelector": {"zone": "west"}}, False),
        ({"nodeSelector": {"zone": "east", "none": "x"}}, False),
        (required(term("zone", "In", "east", "west")), True),
        (required(term("zone", "NotIn", "east")), False),
        (required(term("none", "NotIn", "x")), True),
        (required(term("none", "Exists")), False),
        (required(term("none", "DoesNotExist")), True),
        (required(term("gpus", "Gt", "7")), True),
        (required(term("gpus", "Gt", "8")), False),
        (required(term("gpus", "Lt", "9")), True),
        (required(term("zone", "Gt", "1")), False),
        (required(term("zone", "Unheard")), False),
        (required(term("zone", "In", "west"), term("pool", "In", "a")), True),
        (required(), False),
        (required({}), False),
        (required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}), True),
        (required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}), False),
    ],
)
def test_selector_and_affinity(spec: Any, accepted: bool) -> None:
    assert parse_constraint(spec).accepts("n1", LABELS, ()) is accepted


@pytest.mark.parametrize(
    ("toleration", "accepted"),
    [
        (None, False),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "gpu", "value": "yes", "effect": "NoExecute"}, False),
        ({"operator": "Exists"}, True),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_taints(toleration: Any, accepted: bool) -> None:
    spec = {"tolerations": [toleration]} if toleration else {}
    taints = parse_taints({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]})
    assert parse_constraint(spec).accepts("n1", {}, taints) is accepted


def test_a_preference_keeps_nobody_out() -> None:
    taints = parse_taints({"taints": [{"key": "gpu", "effect": "PreferNoSchedule"}]})
    assert ANYWHERE.accepts("n1", {}, taints)


def test_what_every_pod_tolerates_makes_no_class_of_its_own() -> None:
    given = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]
    assert parse_constraint({"tolerations": given}) is ANYWHERE


def test_confinement() -> None:
    assert Constraint(confined_to=(("pool", ("a", "b")),)).accepts("n1", LABELS, ())
    assert not Constraint(confined_to=(("pool", ("b",)),)).accepts("n1", LABELS, ())
    assert not Constraint(confined_to=(("none", ("b",)),)).accepts("n1", LABELS, ())


def test_pod_affinity_that_planning_reads() -> None:
    selector = {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}
    given = {"requiredDuringSchedulingIgnoredDuringExecution": [selector]}
    affinity = parse_affinity({"affinity": {"podAffinity": given, "podAntiAffinity": given}})
    assert affinity is not None
    assert affinity.near == affinity.apart
    assert affinity.near[0].matches({"app": "db", "more": "x"})
    assert not affinity.near[0].matches({"app": "web"})
    elsewhere = {"requiredDuringSchedulingIgnoredDuringExecution": [{**selector, "namespaces": ["other"]}]}
    assert parse_affinity({"affinity": {"podAffinity": elsewhere}}) is None
