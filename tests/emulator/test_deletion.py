"""Deletion: grace, finalizers, owners, namespaces."""

from __future__ import annotations

from typing import Any

import pytest

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
JOBS = "/apis/batch/v1/namespaces/default/jobs"


def config_map(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def owned_by(owner: dict[str, Any], **extra: Any) -> list[dict[str, Any]]:
    metadata = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"]}
    return [{**reference, "uid": metadata["uid"], **extra}]


async def test_a_plain_delete_answers_with_a_status(api) -> None:
    created = await api.create(MAPS, config_map("m"))
    answer = await api.delete(f"{MAPS}/m")
    assert answer["status"] == "Success"
    assert answer["details"] == {"name": "m", "kind": "configmaps", "uid": created["metadata"]["uid"]}
    assert await api.refusal("DELETE", f"{MAPS}/m") == (404, "NotFound", 'configmaps "m" not found')


async def test_a_pod_on_a_node_waits_for_its_kubelet(api, pod) -> None:
    await api.create(PODS, pod(nodeName="n1"))
    marked = await api.delete(f"{PODS}/p")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert marked["metadata"]["generation"] == 2
    again = await api.delete(f"{PODS}/p")
    assert again["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"], (
        "deleting twice changes nothing"
    )
    shorter = await api.delete(f"{PODS}/p", gracePeriodSeconds="5")
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    await api.delete(f"{PODS}/p", {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0})
    assert (await api.call("GET", f"{PODS}/p"))[0] == 404


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_finished_and_unbound_pods_go_at_once(api, pod, phase: str) -> None:
    await api.create(PODS, pod("unbound"))
    await api.delete(f"{PODS}/unbound")
    await api.create(PODS, pod("finished", nodeName="n1"))
    await api.patch(f"{PODS}/finished/status", {"status": {"phase": phase}})
    await api.delete(f"{PODS}/finished")
    assert await api.names(PODS) == []


async def test_finalizers_hold_an_object(api) -> None:
    await api.create(MAPS, config_map("m", finalizers=["test.local/a", "test.local/b"]))
    watch = await api.watch(MAPS)
    await watch.take(1)
    answer = await api.delete(f"{MAPS}/m")
    assert answer["metadata"]["deletionTimestamp"]
    code, _, message = await api.refusal(
        "PATCH",
        f"{MAPS}/m",
        {"metadata": {"finalizers": ["test.local/a", "test.local/c"]}},
        content_type="application/merge-patch+json",
    )
    assert code == 422
    assert "no new finalizers can be added if the object is being deleted" in message
    await api.patch(f"{MAPS}/m", {"metadata": {"finalizers": ["test.local/a"]}})
    await api.patch(f"{MAPS}/m", {"metadata": {"finalizers": None}})
    assert await watch.take(3) == [("MODIFIED", "m"), ("MODIFIED", "m"), ("DELETED", "m")]


async def test_preconditions(api) -> None:
    created = await api.create(MAPS, config_map("m"))
    code, _, message = await api.refusal("DELETE", f"{MAPS}/m", {"preconditions": {"uid": "other"}})
    assert code == 409
    assert "the UID in the precondition (other) does not match" in message
    code, _, message = await api.refusal("DELETE", f"{MAPS}/m", {"preconditions": {"resourceVersion": "1"}})
    assert code == 409
    await api.delete(f"{MAPS}/m", {"preconditions": {"uid": created["metadata"]["uid"]}})


async def test_delete_collection_by_selector(api) -> None:
    for name, label in (("a", "1"), ("b", "2"), ("c", "1")):
        await api.create(MAPS, config_map(name, labels={"x": label}))
    await api.delete(MAPS, labelSelector="x=1")
    assert await api.names(MAPS) == ["b"]


async def test_background_deletion_takes_dependents_along(api) -> None:
    owner = await api.create(MAPS, config_map("owner"))
    middle = await api.create(MAPS, config_map("middle", ownerReferences=owned_by(owner)))
    await api.create(MAPS, config_map("leaf", ownerReferences=owned_by(middle)))
    await api.delete(f"{MAPS}/owner", propagationPolicy="Background")
    await api.gone(f"{MAPS}/leaf")
    assert await api.names(MAPS) == []


async def test_one_living_owner_is_enough(api) -> None:
    one, two = await api.create(MAPS, config_map("one")), await api.create(MAPS, config_map("two"))
    await api.create(MAPS, config_map("both", ownerReferences=owned_by(one) + owned_by(two)))
    watch = await api.watch(MAPS, fieldSelector="metadata.name=both")
    await watch.take(1)
    await api.delete(f"{MAPS}/one")
    _, changed = await watch.next()
    assert [owner["name"] for owner in changed["metadata"]["ownerReferences"]] == ["two"]


async def test_orphans_stay(api) -> None:
    owner = await api.create(MAPS, config_map("owner"))
    await api.create(MAPS, config_map("child", ownerReferences=owned_by(owner)))
    await api.delete(f"{MAPS}/owner", {"propagationPolicy": "Orphan"})
    await api.gone(f"{MAPS}/owner")
    assert "ownerReferences" not in (await api.get(f"{MAPS}/child"))["metadata"]


async def test_foreground_waits_for_those_that_block(api) -> None:
    owner = await api.create(MAPS, config_map("owner"))
    references = owned_by(owner, blockOwnerDeletion=True)
    await api.create(MAPS, config_map("child", ownerReferences=references, finalizers=["test.local/hold"]))
    watch = await api.watch(MAPS, fieldSelector="metadata.name=child")
    await watch.take(1)
    await api.delete(f"{MAPS}/owner", propagationPolicy="Foreground")
    await watch.take(1)
    assert "foregroundDeletion" in (await api.get(f"{MAPS}/owner"))["metadata"]["finalizers"]
    # The child waits for dependents of its own, too, which the collector sees to.
    await api.patch(f"{MAPS}/child", [{"op": "remove", "path": "/metadata/finalizers/0"}], "json-patch+json")
    await api.gone(f"{MAPS}/owner")
    assert await api.names(MAPS) == []


async def test_dependents_of_an_owner_that_never_was_are_collected(api) -> None:
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost", "uid": "never"}}
    await api.create(MAPS, config_map("child", ownerReferences=owned_by(ghost)))
    await api.gone(f"{MAPS}/child")
    unknown = {"apiVersion": "test.local/v1", "kind": "Unknown", "metadata": {"name": "ghost", "uid": "never"}}
    await api.create(MAPS, config_map("kept", ownerReferences=owned_by(unknown)))
    await api.create(MAPS, config_map("child", ownerReferences=owned_by(ghost)))
    await api.gone(f"{MAPS}/child")
    assert await api.names(MAPS) == ["kept"]


async def test_jobs_orphan_their_pods_unless_told_otherwise(api, pod) -> None:
    template = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": template}}
    job = await api.create(JOBS, body)
    child = pod()
    child["metadata"]["ownerReferences"] = owned_by(job, controller=True)
    await api.create(PODS, child)
    async with api.session.delete(f"{JOBS}/j") as reply:
        assert "child pods are preserved by default" in reply.headers["Warning"]
    await api.gone(f"{JOBS}/j")
    assert await api.names(PODS) == ["p"]


async def test_a_namespace_goes_with_its_contents(api, pod) -> None:
    await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}})
    assert await api.names("/api/v1/namespaces/ns/serviceaccounts") == ["default"]
    await api.create("/api/v1/namespaces/ns/configmaps", config_map("m"))
    await api.create("/api/v1/namespaces/ns/pods", pod("running", nodeName="n1"))
    answer = await api.delete("/api/v1/namespaces/ns")
    assert answer["status"]["phase"] == "Terminating"
    code, _, message = await api.refusal("POST", "/api/v1/namespaces/ns/configmaps", config_map("late"))
    assert code == 403
    assert message == (
        'configmaps "late" is forbidden: unable to create new content in namespace ns because it is being terminated'
    )
    await api.gone("/api/v1/namespaces/ns/configmaps/m")
    assert (await api.call("GET", "/api/v1/namespaces/ns"))[0] == 200, "a pod still runs in it"
    await api.delete("/api/v1/namespaces/ns/pods/running", gracePeriodSeconds="0")
    await api.gone("/api/v1/namespaces/ns")


async def test_the_default_namespace_stays(api) -> None:
    code, reason, message = await api.refusal("DELETE", "/api/v1/namespaces/default")
    assert (code, reason) == (403, "Forbidden")
    assert message == 'namespaces "default" is forbidden: this namespace may not be deleted'


async def test_a_replaced_namespace_still_waits_for_its_contents(api, pod) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}
    await api.create("/api/v1/namespaces", body)
    code, answer = await api.call("PUT", "/api/v1/namespaces/ns", body)
    assert (code, answer["spec"]) == (200, {"finalizers": ["kubernetes"]})
    await api.delete("/api/v1/namespaces/ns")
    await api.gone("/api/v1/namespaces/ns")
