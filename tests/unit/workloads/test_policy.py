"""Policies themselves: what is refused when one is written, and which of several is in force."""

from __future__ import annotations

from typing import Any

import pytest

from extender.workloads.policy import effective, problems
from tests.unit.workloads.specs import PARAMETERS, Json


def rules(name: str, **found: Any) -> Json:
    return {name: {"rules": found}}


def default(name: str, value: Any, **found: Any) -> Json:
    return {name: {"rules": found, "value": value}}


def ports(**items: Any) -> Json:
    return {"ports": {"itemRules": {"container": {"min": 30000}}, "items": items}}


@pytest.mark.parametrize(
    ("policy", "lines"),
    [
        ([], ["spec: must be an object"]),
        ({}, []),
        ({"gpus": {}}, ["gpus: unknown field (did you mean gpu?)"]),
        ({"usage": "Submit"}, ["usage: unknown field"]),
        ({"gpu": 5}, ["gpu: must be an object with rules and values"]),
        ({"gpu": None}, []),
        ({"gpu": {"rule": {}}}, ["gpu.rule: unknown field (did you mean rules?)"]),
        ({"gpu": {"rules": []}}, ["gpu.rules: must be an object"]),
        (rules("gpu", mn=1), ["gpu.rules.mn: unknown field (did you mean min?)"]),
        (rules("gpu", required="yes"), ['gpu.rules.required: must be a boolean, not "yes"']),
        (rules("gpu", canEdit=0), ["gpu.rules.canEdit: must be a boolean, not 0"]),
        (rules("gpu", min="one"), ['gpu.rules.min: must be a number, not "one"']),
        (rules("gpu", max=True), ["gpu.rules.max: must be a number, not true"]),
        (rules("memory", max="2GB"), ['memory.rules.max: must be a quantity, not "2GB"']),
        (rules("runAsUid", min="1"), ['runAsUid.rules.min: must be an integer, not "1"']),
        (rules("ttlAfterFinish", min=5), ["ttlAfterFinish.rules.min: must be a duration, not 5"]),
        (rules("gpu", min="4", max="2"), ["gpu.rules.min: must be no greater than max, 4 is more than 2"]),
        (rules("memory", min="2Gi", max="2G"), ["memory.rules.min: must be no greater than max, 2Gi is more than 2G"]),
        (rules("memory", min="1G", max="1000M"), []),
        (rules("gpu", step=0), ["gpu.rules.step: must be greater than 0, not 0"]),
        (rules("gpu", step="-0.5"), ["gpu.rules.step: must be greater than 0, not -0.5"]),
        (rules("image", min=1), ["image.rules.min: does not apply to a text"]),
        (rules("runAsUser", step=1), ["runAsUser.rules.step: does not apply to a boolean"]),
        (rules("runAsUser", options=[True]), ["runAsUser.rules.options: does not apply to a boolean"]),
        (rules("nodePools", options=["a"]), ["nodePools.rules.options: does not apply to a list of texts"]),
        (
            rules("image", options=[]),
            ['image.rules.options: must be a list of values, each {"value": …, "displayed": …}, and not empty'],
        ),
        (rules("gpu", options=["1", "x"]), ['gpu.rules.options[1]: must be a number, not "x"']),
        (rules("image", options=[{"value": "a", "shown": "A"}]), ["image.rules.options[0].shown: unknown field"]),
        (
            rules("serviceType", options=["nodeport", "Daily"]),
            ['serviceType.rules.options[1]: must be a valid value (one of: ClusterIP, NodePort), not "Daily"'],
        ),
        (default("gpu", "5", max="4"), ["gpu.value: must be no greater than 4"]),
        (default("gpu", "x", max="4"), ['gpu.value: must be a number, not "x"']),
        (default("gpu", "1.3", min=1, step="0.2"), ["gpu.value: must be 1 plus a multiple of 0.2"]),
        (default("image", "c", options=["a", "b"]), ["image.value: must be a valid value (one of: a, b)"]),
        (default("image", "", required=True), ["image.value: cannot be blank"]),
        (default("image", None, required=True), []),
        ({"gpu": {"value": {"value": "1"}}}, ['gpu.value: must be a number, not {"value": "1"}']),
        ({"ports": {"value": {}}}, ["ports.value: unknown field"]),
        (
            {"ports": {"items": [], "itemRules": 1}},
            ["ports.itemRules: must be an object", "ports.items: must be an object"],
        ),
        (
            rules("ports", canAdd=1, canRemove=True),
            [
                "ports.rules.canAdd: must be a boolean, not 1",
                "ports.rules.canRemove: unknown field",
            ],
        ),
        (
            {"ports": {"itemRules": {"contaner": {}}}},
            ["ports.itemRules.contaner: unknown field (did you mean container?)"],
        ),
        (
            {"ports": {"itemRules": {"container": {"min": "x"}}}},
            ['ports.itemRules.container.min: must be an integer, not "x"'],
        ),
        (
            {"environment": {"itemRules": {"value": {"required": True}}}},
            ["environment.itemRules: its items are texts, without members that rules could be for"],
        ),
        (
            {"extendedResources": {"itemRules": {"quantity": {"defaultFrom": {"field": "gpu", "factor": 1}}}}},
            ["extendedResources.itemRules.quantity.defaultFrom: is not for members of items"],
        ),
        (ports(a={"value": {"container": 30000}}), []),
        (ports(a={}), ["ports.items.a.value: cannot be blank"]),
        (ports(a=5), ["ports.items.a: must be an object with a value"]),
        (ports(a={"deleted": True}), ["ports.items.a.deleted: unknown field", "ports.items.a.value: cannot be blank"]),
        (ports(a={"value": {"container": 80}}), ["ports.items.a.value.container: must be no less than 30000"]),
        (ports(a={"value": {"external": 80}}), ["ports.items.a.value.container: cannot be blank"]),
        (ports(DEFAULTS={"value": {"container": 30001}}, a={"value": {"external": 80}}), []),
        (
            ports(DEFAULTS={"value": {"container": 1}}),
            ["ports.items.DEFAULTS.value.container: must be no less than 30000"],
        ),
        (
            ports(DEFAULTS={"value": {"extrnal": 1}}),
            ["ports.items.DEFAULTS.value.extrnal: unknown field (did you mean external?)"],
        ),
        (ports(DEFAULTS={"rules": {"canEdit": False}, "value": {}}), ["ports.items.DEFAULTS.rules: unknown field"]),
        (ports(DEFAULTS={}), ["ports.items.DEFAULTS.value: must be an object, the members that items are filled with"]),
        (
            ports(a={"rules": {"canEdit": "no", "required": True}, "value": {"container": 30000}}),
            ['ports.items.a.rules.canEdit: must be a boolean, not "no"', "ports.items.a.rules.required: unknown field"],
        ),
        (rules("gpu", defaultFrom="memory"), ['gpu.rules.defaultFrom: must be an object, {"field": …, "factor": …}']),
        (
            rules("gpu", defaultFrom={"field": "image", "factor": "x"}),
            [
                'gpu.rules.defaultFrom.factor: must be a number greater than 0, not "x"',
                'gpu.rules.defaultFrom.field: must be another parameter that is a number or a quantity, not "image"',
            ],
        ),
        (
            rules("image", defaultFrom={"field": "gpu", "factor": 1}),
            ["image.rules.defaultFrom: does not apply to a text"],
        ),
        (
            default("gpu", "1", defaultFrom={"field": "cpuCoreLimit", "factor": 1}),
            ["gpu.rules.defaultFrom: only one of value and defaultFrom may be set"],
        ),
        (
            rules("gpu", defaultFrom={"field": "cpuCoreRequest", "factor": 1})
            | rules("cpuCoreRequest", defaultFrom={"field": "cpuCoreLimit", "factor": 1}),
            ["gpu.rules.defaultFrom.field: must not be computed itself, as cpuCoreRequest is"],
        ),
        (
            rules("gpu", min=3, max=2, step=-1) | rules("image", max=1) | {"x": {}},
            [
                "gpu.rules.min: must be no greater than max, 3 is more than 2",
                "gpu.rules.step: must be greater than 0, not -1",
                "image.rules.max: does not apply to a text",
                "x: unknown field",
            ],
        ),
    ],
)
def test_what_a_policy_may_not_say(policy: Json, lines: list[str]) -> None:
    assert list(problems(PARAMETERS, policy)) == lines


def _policy(name: str, created: str = "", namespace: str = "runai-a") -> Json:
    metadata = {"name": name, "namespace": namespace} | ({"creationTimestamp": created} if created else {})
    return {"kind": "TrainingPolicy", "metadata": metadata}


OLD, NEW = "2022-05-02T08:50:57Z", "2022-05-02T08:50:58Z"


@pytest.mark.parametrize(
    ("candidates", "chosen", "warning"),
    [
        ([], None, ""),
        ([_policy("a")], "a", ""),
        ([_policy("a", NEW), _policy("b", OLD)], "b", "TrainingPolicy b is the oldest in runai-a; ignored: a"),
        ([_policy("b", OLD), _policy("a", OLD)], "a", "TrainingPolicy a is the oldest in runai-a; ignored: b"),
        ([_policy("a"), _policy("b", NEW)], "b", "TrainingPolicy b is the oldest in runai-a; ignored: a"),
        ([_policy("g", OLD, "runai"), _policy("own", NEW)], "own", ""),
        ([_policy("g", OLD, "runai")], "g", ""),
        (
            [_policy("g", OLD, "runai"), _policy("h", NEW, "runai"), _policy("i", NEW, "runai")],
            "g",
            "TrainingPolicy g is the oldest in runai; ignored: h, i",
        ),
    ],
)
def test_the_policy_in_force(candidates: list[Json], chosen: str | None, warning: str) -> None:
    found = effective(candidates)
    assert (found.policy["metadata"]["name"] if found.policy else None) == chosen
    assert found.warning == warning
