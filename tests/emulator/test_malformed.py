"""Whatever a client sends, the answer is a Status that blames the client: never a 500, never a stack trace."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from extender.emulator import protobuf

JUNK: list[Any] = [None, 0, -1, 1.5, True, "", "x", [], {}, [None], [[]], [{}], {"a": None}, {"a": {"b": [1]}}]

TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "c",
                "image": "i",
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
                "ports": [{"containerPort": 1}],
                "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "1"}},
                "livenessProbe": {"httpGet": {"port": 1}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }
        ],
        "volumes": [{"name": "v", "configMap": {"name": "m"}}],
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}],
        "schedulingGates": [{"name": "g"}],
        "nodeSelector": {"a": "b"},
    },
}
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "u"}
POD = {
    "metadata": {"name": "x", "labels": {"a": "b"}, "ownerReferences": [OWNER], "finalizers": ["a/b"]},
    "spec": TEMPLATE["spec"],
}
JOB = {"metadata": {"name": "x"}, "spec": {"template": TEMPLATE, "parallelism": 1, "completionMode": "NonIndexed"}}
SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
STATEFUL_SET = {"metadata": {"name": "x"}, "spec": {"selector": SELECTOR, "replicas": 1, "template": TEMPLATE}}
BUDGET = {"metadata": {"name": "x"}, "spec": {"minAvailable": "50%", "selector": SELECTOR}}
HOOK = {
    "metadata": {"name": "x"},
    "webhooks": [
        {
            "name": "x.y.z",
            "clientConfig": {"url": "http://127.0.0.1:1"},
            "rules": [{"operations": ["CREATE"], "apiGroups": ["none"], "apiVersions": ["*"], "resources": ["none"]}],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 1,
        }
    ],
}
KINDS = {
    "/api/v1/namespaces/default/pods": POD,
    "/apis/batch/v1/namespaces/default/jobs": JOB,
    "/apis/apps/v1/namespaces/default/statefulsets": STATEFUL_SET,
    "/apis/policy/v1/namespaces/default/poddisruptionbudgets": BUDGET,
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations": HOOK,
}


def variants(body: Any) -> Iterator[Any]:
    """Every copy of `body` in which one value is replaced by junk, or left out."""
    for path in list(_paths(body)):
        for junk in (*JUNK, ...):
            changed = copy.deepcopy(body)
            node = changed
            for step in path[:-1]:
                node = node[step]
            if junk is ...:
                del node[path[-1]]
            else:
                node[path[-1]] = copy.deepcopy(junk)
            yield changed


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, below in items:
        yield from _paths(below, (*path, step))


@pytest.mark.parametrize("path", KINDS)
async def test_creating(api, path: str) -> None:
    for body in variants(KINDS[path]):
        code, answer = await api.call("POST", path, body, dryRun="All")
        assert code < 500, (body, answer)


@pytest.mark.parametrize("path", KINDS)
@pytest.mark.parametrize("dialect", ["merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"])
async def test_patching(api, path: str, dialect: str) -> None:
    body = copy.deepcopy(KINDS[path])
    if "schedulingGates" in body.get("spec", {}).get("template", {}).get("spec", {}):
        del body["spec"]["template"]["spec"]["schedulingGates"]
    if path.endswith("statefulsets"):
        body["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    await api.create(path, body)
    for number, patch in enumerate(variants(KINDS[path])):
        # Every third is enough to meet each kind of junk at each place in one of the dialects.
        if number % 3 == len(dialect) % 3:
            code, answer = await api.call("PATCH", f"{path}/x", patch, f"application/{dialect}", dryRun="All")
            assert code < 500, (patch, answer)


async def test_bindings_evictions_scales_and_delete_options(api, pod) -> None:
    pods = "/api/v1/namespaces/default/pods"
    await api.create(pods, pod("x", schedulingGates=[{"name": "g"}]))
    binding = {
        "metadata": {"name": "x", "annotations": {"a": "b"}, "uid": "u"},
        "target": {"kind": "Node", "name": "n"},
    }
    options = {"gracePeriodSeconds": 1, "propagationPolicy": "Orphan", "preconditions": {"uid": "u"}, "dryRun": ["All"]}
    bodies = {
        ("POST", "binding"): binding,
        ("POST", "eviction"): {"metadata": {"name": "x"}, "deleteOptions": options},
        ("DELETE", ""): options,
    }
    for (method, subresource), body in bodies.items():
        for changed in variants(body):
            path = f"{pods}/x/{subresource}".rstrip("/")
            params = {"dryRun": "All"}
            code, answer = await api.call(method, path, changed, **params)
            assert code < 500, (changed, answer)


@pytest.mark.parametrize("body", [b"k8s\x00", b"k8s\x00\xff", b"k8s\x00\x0a\x7f", b"other", b"k8s\x00\x0a\x02\x12\x00"])
def test_malformed_protobuf(body: bytes) -> None:
    with pytest.raises(protobuf.UnknownKindError):
        protobuf.decode(body)


def test_protobuf() -> None:
    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    entry = field(1, b"a") + field(2, b"b")
    metadata = field(1, b"team") + field(2, b"") + field(11, entry)
    envelope = field(1, field(1, b"v1") + field(2, b"Namespace")) + field(2, field(1, metadata))
    assert protobuf.decode(b"k8s\x00" + envelope) == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "team", "labels": {"a": "b"}},
    }
