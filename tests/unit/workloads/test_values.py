"""Values sets: who wins, what is filled in, and what is wrong with the form of a workload."""

from __future__ import annotations

import time
from typing import Any

import pytest

from extender.model.workload import Origin, Value
from extender.workloads.values import compose
from tests.unit.workloads.specs import PARAMETERS, Json, items, port, scalars


def test_the_first_source_that_says_something_wins() -> None:
    policy = scalars(gpu="1", image="policy", runAsUser=True)
    base = scalars(gpu="2", image="base", memory=None)
    composed = compose(PARAMETERS, scalars(gpu="3", runAsUser=None), base, policy)
    assert composed.values.scalars == {
        "gpu": Value("3", Origin.WORKLOAD),
        "image": Value("base", Origin.BASE),
        "runAsUser": Value(True, Origin.POLICY),
    }
    assert composed.violations == ()


def test_false_zero_and_empty_text_are_said() -> None:
    base = scalars(runAsUser=True, runAsUid=1, image="base")
    composed = compose(PARAMETERS, scalars(runAsUser=False, runAsUid=0, image=""), base, None)
    assert composed.values.plain() == {"runAsUser": False, "runAsUid": 0, "image": ""}


def test_an_item_replaces_another_as_a_whole_and_may_come_back() -> None:
    policy = items("ports", a=port(1, 11), b=port(2, 12), c=port(3, 13))
    base = items("ports", a={"container": 4}, b=None, c=None)
    composed = compose(PARAMETERS, items("ports", b={"container": 5}, nope=None), base, policy)
    assert composed.values.items["ports"] == {
        "a": Value({"container": 4}, Origin.BASE),
        "b": Value({"container": 5}, Origin.WORKLOAD),
    }
    assert composed.violations == ()


def test_defaults_fill_what_an_item_leaves_out() -> None:
    policy = items("ports", DEFAULTS={"external": 80, "serviceType": "nodeport"}, a={"container": 1})
    workload = items("ports", b={"container": 2, "external": 90}, c={"container": 3, "external": None})
    composed = compose(PARAMETERS, workload, None, policy)
    assert composed.values.items["ports"] == {
        "a": Value(
            {"container": 1, "external": 80, "serviceType": "NodePort"}, Origin.POLICY, ("external", "serviceType")
        ),
        "b": Value({"container": 2, "external": 90, "serviceType": "NodePort"}, Origin.WORKLOAD, ("serviceType",)),
        "c": Value(
            {"container": 3, "external": 80, "serviceType": "NodePort"}, Origin.WORKLOAD, ("external", "serviceType")
        ),
    }


def test_options_come_in_any_case_and_leave_in_one() -> None:
    workload = scalars(imagePullPolicy="ifnotpresent") | items("ports", web={"container": 1, "serviceType": "NODEPORT"})
    composed = compose(PARAMETERS, workload, None, None)
    assert composed.values.plain() == {
        "imagePullPolicy": "IfNotPresent",
        "ports": {"web": {"container": 1, "serviceType": "NodePort"}},
    }
    assert composed.violations == ()


def test_a_port_item_of_texts_may_be_called_as_the_reserved_label() -> None:
    composed = compose(PARAMETERS, items("environment", DEFAULTS="1"), None, None)
    assert composed.values.plain() == {"environment": {"DEFAULTS": "1"}}
    assert composed.violations == ()


@pytest.mark.parametrize(
    ("workload", "lines"),
    [
        ({"baseWorload": "t"}, ("baseWorload: unknown field (did you mean baseWorkload?)",)),
        ({"Image": {"value": "x"}}, ("Image: unknown field (did you mean image?)",)),
        ({"zzz": {"value": 1}}, ("zzz: unknown field",)),
        ({"usage": "Submit", "baseWorkload": "t", "jobType": "MPI"}, ()),
        ({"usage": {"value": "Submit"}}, ("usage: must be a text",)),
        ({"gpu": "1"}, ('gpu: must be an object with the value in it, as in gpu: {"value": …}',)),
        ({"gpu": {"vlaue": "1"}}, ("gpu.vlaue: unknown field (did you mean value?)",)),
        ({"gpu": None, "ports": None}, ()),
        (
            items("ports", web={"container": 1, "contaner": 2}),
            ("ports.web.contaner: unknown field (did you mean container?)",),
        ),
        ({"ports": {"value": {}}}, ("ports.value: unknown field",)),
        ({"ports": {"items": []}}, ("ports.items: must be an object, the items by label",)),
        ({"ports": {"items": {"a": 5}}}, ('ports.a: must be an object, {"value": …} or {"deleted": true}',)),
        ({"ports": {"items": {"a": {}}}}, ("ports.a: has neither a value nor deleted: true; one of them must be set",)),
        (
            {"ports": {"items": {"a": {"deleted": False}}}},
            ("ports.a: has neither a value nor deleted: true; one of them must be set",),
        ),
        ({"ports": {"items": {"a": {"deleted": "yes"}}}}, ("ports.a.deleted: must be a boolean",)),
        (
            {"ports": {"items": {"a": {"deleted": True, "value": {"container": 1}}}}},
            ("ports.a: has both a value and deleted: true; only one of them may be set",),
        ),
        (items("ports", DEFAULTS={"external": 1}), ("ports.DEFAULTS: this label is only for policies",)),
        (items("ports", a={"external": 1}), ("ports.a.container: cannot be blank",)),
        (items("ports", a="80"), ("ports.a: must be an object",)),
        (items("ports", a={"container": "80"}), ("ports.a.container: must be an integer",)),
        (
            items("ports", a={"container": 1, "serviceType": "x"}),
            ("ports.a.serviceType: must be a valid value (one of: ClusterIP, NodePort)",),
        ),
        (
            items("environment", A=5, B="b", C={"value": "c"}),
            ("environment.A: must be a text", "environment.C: must be a text"),
        ),
        (scalars(gpu="abc"), ("gpu: must be a number",)),
        (scalars(gpu=True), ("gpu: must be a number",)),
        (scalars(gpu="NaN"), ("gpu: must be a number",)),
        (scalars(gpu="1Gi"), ("gpu: must be a number",)),
        (scalars(gpu=0.5), ()),
        (scalars(gpu=1), ()),
        (scalars(runAsUid="5"), ("runAsUid: must be an integer",)),
        (scalars(runAsUid=5.0), ("runAsUid: must be an integer",)),
        (scalars(runAsUser="true"), ("runAsUser: must be a boolean",)),
        (scalars(memory="1 GB"), ("memory: must be a quantity",)),
        (scalars(memory=1000), ()),
        (scalars(image=5), ("image: must be a text",)),
        (scalars(ttlAfterFinish="5 minutes"), ("ttlAfterFinish: must be a duration",)),
        (scalars(nodePools=["a", 1]), ("nodePools: must be a list of texts",)),
        (
            scalars(imagePullPolicy="Sometimes"),
            ("imagePullPolicy: must be a valid value (one of: Always, IfNotPresent, Never)",),
        ),
        (
            scalars(runAsUid="x", gpu="y", image=1),
            ("gpu: must be a number", "image: must be a text", "runAsUid: must be an integer"),
        ),
    ],
)
def test_the_form_of_a_workload(workload: Json, lines: tuple[str, ...]) -> None:
    assert compose(PARAMETERS, workload, None, None).violations == lines


def test_the_base_is_judged_as_the_workload_is() -> None:
    composed = compose(PARAMETERS, {}, {"imgae": {"value": "x"}, **scalars(gpu="much")}, None)
    assert composed.violations == ("gpu: must be a number", "imgae: unknown field (did you mean image?)")


def test_only_some_wrong_names_are_told_the_right_one() -> None:
    lines = compose(PARAMETERS, {f"image{number:04}": {} for number in range(5000)}, None, None).violations
    assert len(lines) == 5000
    assert sum("did you mean image" in line for line in lines) == 10


def _many(count: int) -> Any:
    return {f"label-{number}": {"container": number % 60_000 + 1, "external": 1, "wrong": 1} for number in range(count)}


def test_five_thousand_items_are_composed_in_linear_time() -> None:
    def seconds(count: int) -> float:
        policy = {"ports": {"itemRules": {"container": {"min": 5}}, "items": {"a": {"value": {"container": 9}}}}}
        started = time.perf_counter()
        composed = compose(PARAMETERS, items("ports", **_many(count)), items("ports", **_many(count)), policy)
        assert len(composed.values.items["ports"]) == count + 1
        assert len(composed.violations) > count
        return time.perf_counter() - started

    seconds(100)
    assert seconds(5000) < 5  # 0.3 measured; with a look at all items for each it would be minutes
