"""One workload submitted by the submitter alone: what it keeps to itself, what it may do, and whom it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from extender.controllers.claims import UID_LABEL
from extender.controllers.submitter import Submitter
from extender.controllers.workload_role import WorkloadRole
from extender.controllers.workloads import WorkloadController, WorkloadKey
from extender.controllers.workqueue import WorkQueue
from extender.emulator.cluster import EmbeddedCluster
from extender.errors import ConflictError, NotFoundError, UnauthorizedError, UnavailableError
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder
from extender.model.workload import WorkloadKind
from extender.workloads.objects import Backend, Images
from tests.scenarios.submissions import NAMESPACE, at, manifest

Json = dict[str, Any]

TRAINING = WorkloadKind.TRAINING
PASSWORD = "hunter2"
GIT = {
    "image": {"value": "ubuntu"},
    "name": {"value": "j"},
    "gitSync": {"items": {"code": {"value": {"source": "https://x/y", "username": "u", "password": PASSWORD}}}},
}


@pytest_asyncio.fixture
async def client() -> AsyncIterator[KubeClient]:
    """As deploy/ gives rights: Secrets are written and not read."""
    async with EmbeddedCluster(nodes=0) as cluster:
        await cluster.client.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        request = cluster.client.request

        async def limited(method: str, path: str, **given: Any) -> Any:
            if method == "GET" and "/secrets" in path:
                raise UnauthorizedError(f"GET {path}: 403 secrets is forbidden", status=403)
            return await request(method, path, **given)

        cluster.client.request = limited  # type: ignore[method-assign]
        yield cluster.client
        cluster.client.request = request  # type: ignore[method-assign]


def submitter(client: KubeClient) -> Submitter:
    return Submitter(client, backend=Backend.RUNAI, images=Images())


async def written(client: KubeClient, spec: Json, name: str = "w") -> Json:
    made = await client.create(at("trainingworkloads"), manifest("TrainingWorkload", name, spec))
    return {**made, "apiVersion": "run.ai/v2alpha1", "kind": "TrainingWorkload"}


async def test_secrets_are_made_by_who_may_not_read_them(client: KubeClient) -> None:
    workload = await written(client, GIT)
    for _ in range(2):
        outcome = await submitter(client).submit(TRAINING, workload)
        assert outcome.phase == "Submitted", outcome.messages
    theirs = {"metadata": {"name": "k-secrets"}, "data": {}}
    await client.create(f"/api/v1/namespaces/{NAMESPACE}/secrets", theirs)
    outcome = await submitter(client).submit(TRAINING, await written(client, {**GIT, "name": {"value": "k"}}, "other"))
    assert outcome.phase == "Failed"
    assert "there is one already, and it is not of this workload" in str(outcome.messages)
    assert not outcome.created


async def test_secrets_are_undone_by_who_may_not_read_them(client: KubeClient) -> None:
    ports = {"ports": {"items": {"web": {"value": {"container": 80}}}}}
    service = {"metadata": {"name": "j-web"}, "spec": {"ports": [{"port": 80}]}}
    await client.create(f"/api/v1/namespaces/{NAMESPACE}/services", service)
    outcome = await submitter(client).submit(TRAINING, await written(client, {**GIT, **ports}))
    assert outcome.phase == "Failed"
    assert outcome.messages[-1][1] == "what had been created was deleted again: Secret j-secrets, ConfigMap j"


async def test_a_password_is_in_the_secret_alone_and_survives_a_crash(client: KubeClient) -> None:
    workload = await written(client, GIT)
    dying = submitter(client)

    async def dies(workload: Json, wanted: Json) -> bool:
        raise UnavailableError("killed")

    dying._apply = dies  # type: ignore[method-assign]
    assert (await dying.submit(TRAINING, workload)).phase == ""
    claim = await client.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/j")
    assert PASSWORD not in str(claim)
    made: list[Json] = []
    patch = client.patch

    async def noted(path: str, body: Any, **given: Any) -> Json:
        made.append(body)
        return await patch(path, body, **given)

    client.patch = noted  # type: ignore[method-assign]
    outcome = await submitter(client).submit(TRAINING, workload)
    assert outcome.phase == "Submitted"
    (secret,) = [one for one in made if one["kind"] == "Secret"]
    assert sorted(secret["data"].values()) == ["aHVudGVyMg==", "dQ=="]


async def test_a_name_that_is_just_being_given_up_is_waited_for(client: KubeClient) -> None:
    """`kubectl delete` and `kubectl apply` of the same file: the garbage collector has not been there yet."""
    gone = {"kind": "TrainingWorkload", "apiVersion": "run.ai/v2alpha1", "name": "w", "uid": "0", "controller": True}
    left = {"metadata": {"name": "j", "ownerReferences": [gone], "finalizers": ["a.b/c"]}}
    await client.create(f"/api/v1/namespaces/{NAMESPACE}/configmaps", left)
    workload = await written(client, {"image": {"value": "ubuntu"}, "name": {"value": "j"}})
    outcome = await submitter(client).submit(TRAINING, workload)
    assert outcome.phase == ""
    assert outcome.messages[-1] == ("Warning", "the job j is just being deleted; its name is waited for")
    patch = {"metadata": {"finalizers": None, "ownerReferences": None}}
    await client.patch(f"/api/v1/namespaces/{NAMESPACE}/configmaps/j", patch)
    with suppress(NotFoundError):
        await client.delete(f"/api/v1/namespaces/{NAMESPACE}/configmaps/j")
    assert (await submitter(client).submit(TRAINING, workload)).phase == "Submitted"


async def test_the_status_of_a_workload_is_not_written_on_its_successor(client: KubeClient) -> None:
    """Deleted and made anew while it was being submitted: the new one is to be submitted too."""
    spec = {"image": {"value": "ubuntu"}}
    workload = await written(client, spec)
    slow = submitter(client)
    submit = slow.submit

    async def replaced(kind: WorkloadKind, submitted: Json) -> Any:
        outcome = await submit(kind, submitted)
        if submitted["metadata"]["uid"] == workload["metadata"]["uid"]:
            await client.delete(at("trainingworkloads", "w"))
            await written(client, spec)
        return outcome

    slow.submit = replaced  # type: ignore[method-assign]
    controller = WorkloadController(client, slow, EventRecorder(client), lambda: True)
    key = WorkloadKey(TRAINING, NAMESPACE, "w")
    with pytest.raises(ConflictError):
        await controller._submit(key)
    assert not (await client.get(at("trainingworkloads", "w"))).get("status")
    await controller._submit(key)
    assert (await client.get(at("trainingworkloads", "w")))["status"]["phase"] == "Submitted"


async def test_where_runaijobs_are_not_installed_training_is_a_job(client: KubeClient) -> None:
    await client.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/runaijobs.run.ai")
    role = WorkloadRole(client, namespace="runai", lease="", identity="a", backend=Backend.RUNAI, images=Images())
    tasks = [asyncio.create_task(task, name=name) for name, task in role.tasks()]
    try:
        async with asyncio.timeout(20):
            await asyncio.gather(*(one.wait() for one in role.unready.values()))
            await written(client, {"image": {"value": "ubuntu"}})
            while not (found := (await client.get(at("trainingworkloads", "w"))).get("status")):
                await asyncio.sleep(0.05)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert (found["phase"], found["job"]["kind"]) == ("Submitted", "Job")


async def test_a_token_that_ran_out_is_no_reason_to_fail(client: KubeClient) -> None:
    workload = await written(client, {"image": {"value": "ubuntu"}})
    patch, refusals = client.patch, [401, 403]

    async def refused(path: str, body: Any, **given: Any) -> Json:
        if refusals:
            raise UnauthorizedError(f"PATCH {path}: {refusals[0]} no", status=refusals.pop(0))
        return await patch(path, body, **given)

    client.patch = refused  # type: ignore[method-assign]
    assert [(await submitter(client).submit(TRAINING, workload)).phase for _ in range(2)] == ["", "Failed"]


async def test_a_claim_that_somebody_spoilt_is_said(client: KubeClient) -> None:
    workload = await written(client, {"image": {"value": "ubuntu"}})
    labels = {UID_LABEL: workload["metadata"]["uid"]}
    for data in ({}, {"submission": "["}, {"submission": "1"}):
        await client.create(
            f"/api/v1/namespaces/{NAMESPACE}/configmaps", {"metadata": {"name": "c", "labels": labels}, "data": data}
        )
        outcome = await submitter(client).submit(TRAINING, workload)
        assert outcome.phase == "Failed"
        assert "was changed while it was needed" in outcome.messages[0][1]
        await client.delete(f"/api/v1/namespaces/{NAMESPACE}/configmaps/c")


async def test_who_is_no_longer_active_claims_no_second_name(client: KubeClient) -> None:
    """The Lease was lost while the workload was judged, and the next holder has submitted it."""
    workload = await written(client, {"image": {"value": "ubuntu"}})
    active = [True]
    late = Submitter(client, backend=Backend.RUNAI, images=Images(), is_active=lambda: active[0])
    taken = late._taken

    async def slow(namespace: str) -> dict[str, list[Json]]:
        found = await taken(namespace)
        active[0] = False
        assert (await submitter(client).submit(TRAINING, workload)).phase == "Submitted"
        return found | {"job-0": [{"metadata": {}}]}

    late._taken = slow  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        await late.submit(TRAINING, workload)
    found, _ = await client.list(f"/api/v1/namespaces/{NAMESPACE}/configmaps")
    assert [one["metadata"]["name"] for one in found if UID_LABEL in (one["metadata"].get("labels") or {})] == ["job-0"]


async def test_a_job_of_a_kind_that_is_not_watched_is_asked_about_until_it_ends(client: KubeClient) -> None:
    controller = WorkloadController(client, submitter(client), EventRecorder(client), lambda: True)
    key = WorkloadKey(TRAINING, NAMESPACE, "w")
    for status, asked in (("Running", 1), ("Succeeded", 0)):
        job = {"name": "j", "kind": "MPIJob", "version": "kubeflow.org/v2beta1", "status": status}
        controller._queue = WorkQueue(controller._reconcile, name="test")
        await controller._state(key, job)
        assert len(controller._queue) == asked


async def test_a_job_stays_with_who_has_its_name_now(client: KubeClient) -> None:
    controller = WorkloadController(client, submitter(client), EventRecorder(client), lambda: True)
    status = {"phase": "Submitted", "job": {"name": "j", "kind": "RunaiJob", "version": "run.ai/v1"}}
    old, new = (
        {"metadata": {"name": name, "namespace": NAMESPACE, "uid": name}, "status": status} for name in ("old", "new")
    )
    controller.see_workload(WorkloadKind.INTERACTIVE, old, False)
    controller.see_workload(TRAINING, new, False)
    controller.see_workload(WorkloadKind.INTERACTIVE, old, True)
    assert controller._owner_of == {(NAMESPACE, "j"): WorkloadKey(TRAINING, NAMESPACE, "new")}
    controller.see_workload(TRAINING, new, True)
    assert controller._owner_of == {}


async def test_what_a_failed_submission_could_not_delete_is_deleted_before_the_next(client: KubeClient) -> None:
    """Its claim too: otherwise the values that were wrong would be made again, whatever the spec says by now."""
    services = f"/api/v1/namespaces/{NAMESPACE}/services"
    await client.create(services, {"metadata": {"name": "job-0-web"}, "spec": {"ports": [{"port": 80}]}})
    ports = {"ports": {"items": {"web": {"value": {"container": 80}}}}}
    await written(client, {"image": {"value": "ubuntu"}, **ports})
    controller = WorkloadController(client, submitter(client), EventRecorder(client), lambda: True)
    key = WorkloadKey(TRAINING, NAMESPACE, "w")
    delete = client.delete

    async def refused(path: str, **given: Any) -> Json:
        raise UnavailableError(f"DELETE {path}: 500 no", status=500)

    client.delete = refused  # type: ignore[method-assign]
    await controller._submit(key)
    fixed = {"spec": {"ports": {"items": {"web": None, "other": {"value": {"container": 81}}}}}}
    failed = await client.patch(at("trainingworkloads", "w"), fixed)
    assert [one["name"] for one in failed["status"]["createdResources"]] == ["job-0"]
    await controller._submit(key)
    status = (await client.get(at("trainingworkloads", "w")))["status"]
    assert "what an earlier submission left cannot be deleted" in status["events"][-1]["message"]
    assert [one["name"] for one in status["createdResources"]] == ["job-0"]
    client.delete = delete  # type: ignore[method-assign]
    await controller._submit(key)
    status = (await client.get(at("trainingworkloads", "w")))["status"]
    assert status["phase"] == "Submitted"
    assert [one["name"] for one in status["createdResources"]] == ["job-0", "job-0", "job-0-other"]
