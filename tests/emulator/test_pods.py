"""Pods: defaults, admission, validation, and which changes of a spec are allowed."""

from __future__ import annotations

from typing import Any

import pytest

PODS = "/api/v1/namespaces/default/pods"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def gpus(amount: Any, **requests: Any) -> dict[str, Any]:
    return {"limits": {"nvidia.com/gpu": amount}} | ({"requests": requests} if requests else {})


async def test_defaults(api, pod) -> None:
    created = await api.create(PODS, pod(resources=gpus(2)))
    spec = created["spec"]
    assert spec["schedulerName"] == "default-scheduler"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["priority"] == 0
    assert spec["containers"][0]["resources"]["requests"] == {"nvidia.com/gpu": "2"}
    assert {t["key"] for t in spec["tolerations"]} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }
    assert created["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert created["metadata"]["generation"] == 1


async def test_status_of_a_new_pod_is_the_servers(api, pod) -> None:
    body = {**pod(), "status": {"phase": "Running", "podIP": "1.2.3.4"}}
    assert (await api.create(PODS, body))["status"]["phase"] == "Pending"


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
async def test_quality_of_service(api, pod, resources: dict[str, Any], expected: str) -> None:
    assert (await api.create(PODS, pod(resources=resources)))["status"]["qosClass"] == expected


async def test_gates_are_shown_in_the_status(api, pod) -> None:
    created = await api.create(PODS, pod(schedulingGates=[{"name": "runai/quota"}]))
    condition = created["status"]["conditions"][0]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "SchedulingGated")


@pytest.mark.parametrize(
    ("what", "spec", "expected"),
    [
        (
            "half a GPU",
            {"resources": gpus("0.5")},
            'spec.containers[0].resources.limits[nvidia.com/gpu]: Invalid value: "500m": must be an integer',
        ),
        (
            "fewer GPUs requested than the limit",
            {"resources": gpus("2", **{"nvidia.com/gpu": "1"})},
            'spec.containers[0].resources.requests: Invalid value: "1": must be equal to nvidia.com/gpu limit of 2',
        ),
        (
            "GPUs requested without a limit",
            {"resources": {"requests": {"nvidia.com/gpu": "1"}}},
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            "more cpu requested than the limit",
            {"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}},
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            "a resource that does not exist",
            {"resources": {"limits": {"gpu": "1"}}},
            'limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified',
        ),
        ("no containers", {"containers": []}, "spec.containers: Required value"),
        ("no image", {"containers": [{"name": "x"}]}, "spec.containers[0].image: Required value"),
        (
            "two containers of one name",
            {"containers": [{"name": "x", "image": "i"}, {"name": "x", "image": "i"}]},
            'spec.containers[1].name: Duplicate value: "x"',
        ),
        (
            "an unknown restart policy",
            {"restartPolicy": "Sometimes"},
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
        ),
        (
            "gates and a node",
            {"schedulingGates": [{"name": "g"}], "nodeName": "n"},
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ),
        (
            "a mount without a volume",
            {"containers": [{"name": "x", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
    ],
)
async def test_what_is_invalid(api, pod, what: str, spec: dict[str, Any], expected: str) -> None:
    code, reason, message = await api.refusal("POST", PODS, pod(**spec))
    assert (code, reason) == (422, "Invalid"), what
    assert message.startswith('Pod "p" is invalid: ')
    assert expected in message


async def test_priority_comes_from_its_class(api, pod) -> None:
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "build"}, "value": 100}
    await api.create(CLASSES, body)
    assert (await api.create(PODS, pod("a", priorityClassName="build")))["spec"]["priority"] == 100
    code, reason, message = await api.refusal("POST", PODS, pod("b", priorityClassName="absent"))
    assert (code, reason) == (403, "Forbidden")
    assert message == 'pods "b" is forbidden: no PriorityClass with name absent was found'
    code, _, message = await api.refusal("POST", PODS, pod("c", priorityClassName="build", priority=7))
    assert code == 403
    assert "the integer value of priority (7) must not be provided in pod spec" in message


@pytest.mark.parametrize(
    ("what", "patch", "refusal"),
    [
        ("image", [{"op": "replace", "path": "/spec/containers/0/image", "value": "i:2"}], None),
        ("a toleration more", [{"op": "add", "path": "/spec/tolerations/-", "value": {"operator": "Exists"}}], None),
        (
            "a toleration less",
            [{"op": "remove", "path": "/spec/tolerations/0"}],
            "existing toleration can not be modified",
        ),
        ("a gate less", [{"op": "remove", "path": "/spec/schedulingGates/0"}], None),
        (
            "a gate more",
            [{"op": "add", "path": "/spec/schedulingGates/-", "value": {"name": "h"}}],
            "only deletion is allowed, but found new scheduling gate 'h'",
        ),
        ("node selector while gated", [{"op": "add", "path": "/spec/nodeSelector", "value": {"a": "b"}}], None),
        (
            "scheduler",
            [{"op": "replace", "path": "/spec/schedulerName", "value": "x"}],
            "pod updates may not change fields",
        ),
        ("node", [{"op": "add", "path": "/spec/nodeName", "value": "n"}], "cannot be set until all schedulingGates"),
        (
            "resources",
            [{"op": "add", "path": "/spec/containers/0/resources/limits", "value": {"cpu": "1"}}],
            "pod updates may not change fields other than `spec.containers[*].image`",
        ),
        ("labels", [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}], None),
    ],
)
async def test_what_may_change(api, pod, what: str, patch: Any, refusal: str | None) -> None:
    own = {"key": "a", "operator": "Exists"}
    created = await api.create(PODS, pod(schedulingGates=[{"name": "g"}], tolerations=[own]))
    code, answer = await api.call("PATCH", f"{PODS}/p", patch, "application/json-patch+json")
    if refusal is None:
        assert code == 200, answer
        changed_spec = what != "labels"
        assert answer["metadata"]["generation"] == created["metadata"]["generation"] + changed_spec
    else:
        assert code == 422, what
        assert refusal in answer["message"] or "pod updates may not change" in answer["message"]


async def test_node_selector_is_fixed_without_gates(api, pod) -> None:
    await api.create(PODS, pod())
    code, _, _ = await api.refusal(
        "PATCH", f"{PODS}/p", {"spec": {"nodeSelector": {"a": "b"}}}, content_type="application/merge-patch+json"
    )
    assert code == 422


async def test_status_and_spec_are_written_apart(api, pod) -> None:
    await api.create(PODS, pod())
    both = {"spec": {"schedulerName": "x"}, "status": {"phase": "Running"}, "metadata": {"annotations": {"a": "b"}}}
    patched = await api.patch(f"{PODS}/p/status", both, "strategic-merge-patch+json")
    assert patched["status"]["phase"] == "Running"
    assert patched["spec"]["schedulerName"] == "default-scheduler"
    assert patched["metadata"]["annotations"] == {"a": "b"}
    assert patched["metadata"]["generation"] == 1
    patched = await api.patch(f"{PODS}/p", {"status": {"phase": "Failed"}})
    assert patched["status"]["phase"] == "Running"


async def test_conditions_of_a_status_merge_by_type(api, pod) -> None:
    await api.create(PODS, pod())
    for type_ in ("Ready", "Initialized"):
        patch = {"status": {"conditions": [{"type": type_, "status": "True"}]}}
        patched = await api.patch(f"{PODS}/p/status", patch, "strategic-merge-patch+json")
    assert [c["type"] for c in patched["status"]["conditions"]] == ["Ready", "Initialized"]


async def test_a_replacing_file_need_not_repeat_what_admission_decided(api, pod) -> None:
    created = await api.create(PODS, pod(serviceAccountName="default"))
    code, answer = await api.call("PUT", f"{PODS}/p", {**pod(serviceAccountName="default"), "metadata": {"name": "p"}})
    assert code == 200, answer
    assert answer["spec"] == created["spec"]
