from __future__ import annotations

import copy
from typing import Any

import pytest

from extender.admission.pods import Context
from extender.admission.rules import asks_for_another_scheduler, mutate, validate
from extender.errors import MalformedError
from extender.model import gpu
from extender.wire.admission import Review

Json = dict[str, Any]

GATE = {"name": "run.ai/queued"}
HERE = "runai-team-a"


def pod(scheduler: str = "runai-scheduler", *, annotations: Json | None = None, **spec: Any) -> Json:
    metadata = {"name": "p"} if annotations is None else {"name": "p", "annotations": annotations}
    return {"metadata": metadata, "spec": {"schedulerName": scheduler, "containers": [{"name": "c"}], **spec}}


def review(obj: Json, *, kind: str = "Pod", operation: str = "CREATE", namespace: str = HERE) -> Review:
    return Review("uid", operation, kind, namespace, obj)


def patch(obj: Json, *, enforced: bool = False, gates: bool = True, **given: Any) -> list[Json]:
    before = copy.deepcopy(obj)
    answer = mutate(review(obj, **given), Context(HERE, enforced=enforced, gates=gates))
    assert obj == before, "the review is not ours to change"
    return list(answer.patch)


def test_a_pod_of_ours_gets_the_gate() -> None:
    assert patch(pod()) == [{"op": "add", "path": "/spec/schedulingGates", "value": [GATE]}]
    assert patch(pod(schedulingGates=[])) == [{"op": "add", "path": "/spec/schedulingGates/-", "value": GATE}]
    assert patch(pod(schedulingGates=None)) == [{"op": "replace", "path": "/spec/schedulingGates", "value": [GATE]}]


def test_gates_of_others_stay_in_their_order() -> None:
    foreign = [{"name": "b.example/x"}, {"name": "a.example/y"}]
    assert patch(pod(schedulingGates=foreign)) == [{"op": "add", "path": "/spec/schedulingGates/-", "value": GATE}]


@pytest.mark.parametrize(
    "obj",
    [
        pod(schedulingGates=[GATE]),
        pod(schedulingGates=[GATE, {"name": "other"}]),
        pod(nodeName="n1"),
        pod("default-scheduler"),
        pod("default-scheduler", annotations={"runai-gpu": "0"}),
        pod(""),
    ],
    ids=["gated", "gated first", "bound", "theirs", "theirs with our annotation", "nobody's"],
)
def test_no_patch(obj: Json) -> None:
    assert patch(obj) == []


def test_gates_may_be_switched_off() -> None:
    assert patch(pod(), gates=False) == []


@pytest.mark.parametrize("namespace", ["runai", "runai-reservation"])
def test_the_systems_own_pods_are_neither_held_nor_judged(namespace: str) -> None:
    bad = pod(annotations={"gpu-fraction": "2"})
    assert patch(bad, namespace=namespace) == []
    assert validate(review(bad, namespace=namespace), Context(namespace)).refusals == ()


def test_other_kinds_and_operations_pass() -> None:
    bad = pod(annotations={"gpu-fraction": "2"})
    for given in ({"kind": "Service"}, {"kind": "Pod.example.com"}, {"operation": "UPDATE"}):
        assert patch(bad, **given) == []
        assert validate(review(bad, **given), Context(HERE)).refusals == ()


def test_an_enforcing_namespace_names_us_and_the_rest_follows() -> None:
    assert patch(pod("default-scheduler"), enforced=True) == [
        {"op": "replace", "path": "/spec/schedulerName", "value": "runai-scheduler"},
        {"op": "add", "path": "/spec/schedulingGates", "value": [GATE]},
    ]
    assert patch(pod("default-scheduler", nodeName="n1"), enforced=True) == []
    without = pod()
    del without["spec"]["schedulerName"]
    assert patch(without, enforced=True)[0]["op"] == "add"


def test_forged_records_are_removed() -> None:
    obj = pod(
        annotations={"runai-gpu": "0", "a/b": "kept", "runai-gpu-share": "1", "received-resource-type": "Regular"}
    )
    obj["metadata"]["labels"] = {"runai-gpu-group/x~y": "x", "runai-gpu-group": "x", "runai-gpu-groups": "kept"}
    assert patch(obj, gates=False) == [
        {"op": "remove", "path": "/metadata/annotations/runai-gpu"},
        {"op": "remove", "path": "/metadata/annotations/runai-gpu-share"},
        {"op": "remove", "path": "/metadata/annotations/received-resource-type"},
        {"op": "remove", "path": "/metadata/labels/runai-gpu-group~1x~0y"},
        {"op": "remove", "path": "/metadata/labels/runai-gpu-group"},
    ]


def test_forged_records_go_from_pods_that_come_with_their_node_too() -> None:
    assert patch(pod(annotations={"runai-gpu": "0"}, nodeName="n1")) == [
        {"op": "remove", "path": "/metadata/annotations/runai-gpu"}
    ]


WHOLE = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
MIG = {"resources": {"limits": {"nvidia.com/mig-1g.10gb": "1"}}}


@pytest.mark.parametrize(
    ("annotations", "container", "text"),
    [
        ({"gpu-fraction": "0.5"}, WHOLE, gpu.FRACTION_AND_WHOLE),
        ({"gpu-fraction": "0.5"}, MIG, gpu.FRACTION_AND_WHOLE),
        ({"gpu-memory": "1000"}, WHOLE, gpu.GPU_AND_MEMORY),
        ({"gpu-memory": "1000", "gpu-fraction": "0.5"}, {}, gpu.GPU_AND_MEMORY),
        ({"gpu-fraction-num-devices": "2"}, {}, gpu.DEVICES_WITHOUT_SHARE),
        ({"gpu-memory": "-1"}, {}, gpu.BAD_MEMORY),
        *(
            ({"gpu-fraction": text}, {}, gpu.BAD_FRACTION)
            for text in ("NaN", "-1", "0", "1", "1e309", "inf", "0.5,0.5", "½", " 0.5", "1e-400", "0." + "1" * 400)
        ),
        ({"gpu-fraction": "0.5", "gpu-fraction-num-devices": "0"}, {}, gpu.BAD_DEVICES),
        ({"mps": "true"}, WHOLE, gpu.MPS_WITHOUT_FRACTION),
        ({"gpu-fraction": "0.5"}, {}, ""),
        ({"gpu-memory": "1000", "gpu-fraction-num-devices": "2"}, {}, ""),
        ({"mps": "true", "gpu-fraction": "0.5"}, {}, ""),
        ({}, WHOLE, ""),
        ({}, {}, ""),
    ],
)
def test_gpu_requests(annotations: Json, container: Json, text: str) -> None:
    obj = pod(annotations=annotations, containers=[{"name": "c", **container}])
    assert validate(review(obj), Context(HERE)).refusals == ((text,) if text else ())
    assert validate(review({**obj, "spec": {**obj["spec"], "schedulerName": "x"}}), Context(HERE)).refusals == ()


def test_a_name_and_annotations_are_not_needed() -> None:
    obj = {"metadata": {"generateName": "p-"}, "spec": {"schedulerName": "runai-scheduler"}}
    assert validate(review(obj), Context(HERE)).refusals == ()
    assert patch(obj) == [{"op": "add", "path": "/spec/schedulingGates", "value": [GATE]}]


@pytest.mark.parametrize("obj", [{}, {"metadata": {}}, {"metadata": None, "spec": {}}, {"metadata": {}, "spec": []}])
def test_what_is_no_pod(obj: Json) -> None:
    for decide in (mutate, validate):
        with pytest.raises(MalformedError):
            decide(review(obj), Context(HERE))


def test_the_namespace_matters_only_for_pods_of_others() -> None:
    assert asks_for_another_scheduler(review(pod("default-scheduler")))
    assert not asks_for_another_scheduler(review(pod()))
    assert not asks_for_another_scheduler(review(pod("default-scheduler"), namespace="runai"))
    assert not asks_for_another_scheduler(review({}, kind="Job.batch"))
