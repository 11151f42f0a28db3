"""Binding, eviction and the faults that can be scripted for them."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


def binding(name: str = "p", node: str = "n1", **metadata: Any) -> dict[str, Any]:
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, **metadata}, "target": target}


async def test_one_write_sets_node_annotations_labels_and_condition(api, pod) -> None:
    body = pod(labels={"app": "x"})
    body["metadata"]["annotations"] = {"runai-gpu": "forged", "kept": "1"}
    created = await api.create(PODS, body)
    nominated = {"status": {"nominatedNodeName": "n9"}}
    await api.patch(f"{PODS}/p/status", nominated, "strategic-merge-patch+json")
    version = api.server.store.version
    meta = {"annotations": {"runai-gpu": "0"}, "labels": {"runai-gpu-group": "g"}, "uid": created["metadata"]["uid"]}
    answer = await api.create(f"{PODS}/p/binding", binding(**meta))
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert api.server.store.version == version + 1
    bound = await api.get(f"{PODS}/p")
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["metadata"]["annotations"] == {"runai-gpu": "0", "kept": "1"}
    assert bound["metadata"]["labels"] == {"app": "x", "runai-gpu-group": "g"}
    assert "nominatedNodeName" not in bound["status"]
    condition = bound["status"]["conditions"][0]
    assert (condition["type"], condition["status"]) == ("PodScheduled", "True")


async def test_the_collection_form_takes_the_name_from_the_body(api, pod) -> None:
    await api.create(PODS, pod())
    await api.create("/api/v1/namespaces/default/bindings", binding())
    assert (await api.get(f"{PODS}/p"))["spec"]["nodeName"] == "n1"


@pytest.mark.parametrize(
    ("what", "spec", "metadata", "message"),
    [
        ("bound", {"nodeName": "n0"}, {}, 'pods/binding "p": pod p is already assigned to node "n0"'),
        (
            "gated",
            {"schedulingGates": [{"name": "g"}]},
            {},
            'pods/binding "p": pod p has non-empty .spec.schedulingGates',
        ),
        (
            "another pod of that name",
            {},
            {"uid": "old"},
            "Precondition failed: UID in precondition: old, UID in object meta:",
        ),
        ("a stale version", {}, {"resourceVersion": "1"}, "Precondition failed: ResourceVersion in precondition: 1,"),
    ],
)
async def test_conflicts(api, pod, what: str, spec: dict[str, Any], metadata: dict[str, Any], message: str) -> None:
    await api.create(PODS, pod(**spec))
    code, reason, text = await api.refusal("POST", f"{PODS}/p/binding", binding(**metadata))
    assert (code, reason) == (409, "Conflict"), what
    assert message in text


async def test_a_pod_on_its_way_out_is_not_bound(api, pod) -> None:
    body = pod()
    body["metadata"]["finalizers"] = ["test.local/keep"]
    await api.create(PODS, body)
    await api.delete(f"{PODS}/p")
    code, _, message = await api.refusal("POST", f"{PODS}/p/binding", binding())
    assert code == 409
    assert "pod p is being deleted, cannot be assigned to a host" in message


async def test_a_pod_that_is_gone(api) -> None:
    code, reason, message = await api.refusal("POST", f"{PODS}/p/binding", binding())
    assert (code, reason, message) == (404, "NotFound", 'pods "p" not found')


async def test_a_binding_needs_a_target(api, pod) -> None:
    await api.create(PODS, pod())
    code, _, message = await api.refusal("POST", f"{PODS}/p/binding", binding(node=""))
    assert code == 422
    assert "target.name: Required value" in message


async def test_scripted_failures_come_in_order_and_store_nothing(api, pod) -> None:
    faults = api.server.faults
    await api.create(PODS, pod())
    faults.fail_bindings(1, code=500)
    faults.fail_bindings(1, code=429, retry_after_s=3)
    faults.fail_bindings(1, code=409)
    assert (await api.refusal("POST", f"{PODS}/p/binding", binding()))[0] == 500
    async with api.session.post(f"{PODS}/p/binding", json=binding()) as reply:
        assert reply.status == 429
        assert reply.headers["Retry-After"] == "3"
    assert (await api.refusal("POST", f"{PODS}/p/binding", binding()))[0] == 409
    assert "nodeName" not in (await api.get(f"{PODS}/p"))["spec"]
    await api.create(f"{PODS}/p/binding", binding())


@pytest.mark.parametrize("stored", [True, False])
async def test_a_dropped_connection_leaves_the_outcome_open(api, pod, stored: bool) -> None:
    await api.create(PODS, pod())
    api.server.faults.drop_bindings(1, stored=stored)
    with pytest.raises(aiohttp.ClientError):
        await api.call("POST", f"{PODS}/p/binding", binding())
    assert ("nodeName" in (await api.get(f"{PODS}/p"))["spec"]) is stored


async def test_a_late_answer(api, pod) -> None:
    await api.create(PODS, pod())
    api.server.faults.delay_bindings(1, 0.3)
    reply = asyncio.create_task(api.create(f"{PODS}/p/binding", binding()))
    async with asyncio.timeout(0.25):
        while "nodeName" not in (await api.get(f"{PODS}/p"))["spec"]:
            await asyncio.sleep(0.01)
    assert not reply.done()
    await reply


def eviction(name: str = "p", **options: Any) -> dict[str, Any]:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return body | ({"deleteOptions": options} if options else {})


async def run(api, name: str) -> None:
    """Make a pod Running and Ready, as a kubelet would."""
    await api.create(f"{PODS}/{name}/binding", binding(name))
    status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    await api.patch(f"{PODS}/{name}/status", status, "strategic-merge-patch+json")


async def budget(api, **spec: Any) -> None:
    body = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}}
    await api.create(BUDGETS, {**body, "spec": {"selector": {"matchLabels": {"app": "x"}}, **spec}})


async def test_eviction_deletes_with_grace(api, pod) -> None:
    await api.create(PODS, pod())
    await run(api, "p")
    await api.create(f"{PODS}/p/eviction", eviction())
    metadata = (await api.get(f"{PODS}/p"))["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 30


async def test_an_eviction_says_so_on_the_pod(api, pod) -> None:
    await api.create(PODS, pod())
    await run(api, "p")
    uid = (await api.get(f"{PODS}/p"))["metadata"]["uid"]
    for options in ({"dryRun": ["All"]}, {"preconditions": {"uid": "another"}}):
        await api.call("POST", f"{PODS}/p/eviction", eviction(**options))
        conditions = (await api.get(f"{PODS}/p"))["status"].get("conditions") or ()
        assert not [one for one in conditions if one["type"] == "DisruptionTarget"]
    await api.create(f"{PODS}/p/eviction", eviction(preconditions={"uid": uid}))
    (found,) = [
        one for one in (await api.get(f"{PODS}/p"))["status"]["conditions"] if one["type"] == "DisruptionTarget"
    ]
    assert (found["status"], found["reason"], found["message"]) == (
        "True",
        "EvictionByEvictionAPI",
        "Eviction API: evicting",
    )


async def test_eviction_respects_the_budget(api, pod) -> None:
    await budget(api, minAvailable=1)
    for name in ("a", "b"):
        await api.create(PODS, pod(name, labels={"app": "x"}))
        await run(api, name)
    await api.create(f"{PODS}/a/eviction", eviction("a", dryRun=["All"]))
    await api.create(f"{PODS}/a/eviction", eviction("a"))
    code, answer = await api.call("POST", f"{PODS}/b/eviction", eviction("b"))
    assert code == 429
    assert answer["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert answer["details"]["causes"][0]["message"] == (
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    )


async def test_eviction_of_pending_pods_asks_no_budget(api, pod) -> None:
    await budget(api, maxUnavailable=0)
    await api.create(PODS, pod(labels={"app": "x"}))
    await api.create(f"{PODS}/p/eviction", eviction())
    assert (await api.call("GET", f"{PODS}/p"))[0] == 404


async def test_eviction_preconditions(api, pod) -> None:
    await api.create(PODS, pod())
    code, _, message = await api.refusal("POST", f"{PODS}/p/eviction", eviction(preconditions={"uid": "old"}))
    assert code == 409
    assert "the UID in the precondition (old) does not match the UID in record" in message
