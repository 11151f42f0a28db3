"""Jobs, StatefulSets and Deployments: what the server adds to them and refuses."""

from __future__ import annotations

from typing import Any

import pytest

JOBS = "/apis/batch/v1/namespaces/default/jobs"
SETS = "/apis/apps/v1/namespaces/default/statefulsets"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def template(labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i:1", "resources": spec.pop("resources", {})}
    return {"metadata": {"labels": labels or {}}, "spec": {"containers": [container], **spec}}


def job(**spec: Any) -> dict[str, Any]:
    spec = {"template": template(restartPolicy="Never"), **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}


def workload(kind: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": "x"}
    spec = {"selector": {"matchLabels": labels}, "template": template(labels), **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "w"}, "spec": spec}


async def test_a_job_gets_defaults_labels_and_a_selector(api) -> None:
    created = await api.create(JOBS, job())
    spec, uid = created["spec"], created["metadata"]["uid"]
    assert (spec["parallelism"], spec["completions"], spec["backoffLimit"], spec["suspend"]) == (1, 1, 6, False)
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert spec["template"]["metadata"]["labels"] == {
        "controller-uid": uid,
        "job-name": "j",
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "j",
    }
    assert spec["template"]["spec"]["schedulerName"] == "default-scheduler"


async def test_manual_selector(api) -> None:
    selector = {"matchLabels": {"a": "b"}}
    body = job(manualSelector=True, selector=selector, template=template({"a": "b"}, restartPolicy="Never"))
    assert (await api.create(JOBS, body))["spec"]["selector"] == selector


async def test_parallel_jobs_without_completions(api) -> None:
    spec = (await api.create(JOBS, job(parallelism=3)))["spec"]
    assert "completions" not in spec
    assert spec["parallelism"] == 3


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"template": template()},
            'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
        ),
        ({"parallelism": -1}, "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
        (
            {"template": template(restartPolicy="Never", resources={"limits": {"nvidia.com/gpu": "0.5"}})},
            "spec.template.spec.containers[0].resources.limits[nvidia.com/gpu]: Invalid value",
        ),
        ({"completionMode": "Indexed", "parallelism": 1}, "spec.completions: Required value: when completion mode is"),
    ],
)
async def test_invalid_jobs(api, spec: dict[str, Any], expected: str) -> None:
    code, _, message = await api.refusal("POST", JOBS, job(**spec))
    assert code == 422
    assert expected in message


async def test_the_template_of_a_job_is_fixed_unless_it_is_suspended(api) -> None:
    await api.create(JOBS, job())
    patch = {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}
    code, _, message = await api.refusal("PATCH", f"{JOBS}/j", patch, content_type="application/merge-patch+json")
    assert code == 422
    assert "spec.template: Invalid value" in message
    assert "field is immutable" in message
    waiting = job(suspend=True)
    waiting["metadata"]["name"] = "waiting"
    await api.create(JOBS, waiting)
    patched = await api.patch(f"{JOBS}/waiting", patch)
    assert patched["spec"]["template"]["spec"]["nodeSelector"] == {"a": "b"}
    assert (await api.patch(f"{JOBS}/waiting", {"spec": {"suspend": False}}))["metadata"]["generation"] == 3


@pytest.mark.parametrize(("path", "kind"), [(SETS, "StatefulSet"), (DEPLOYMENTS, "Deployment")])
async def test_selectors_must_match_and_stay(api, path: str, kind: str) -> None:
    code, _, message = await api.refusal("POST", path, workload(kind, template=template({"app": "other"})))
    assert code == 422
    assert "`selector` does not match template `labels`" in message
    created = await api.create(path, workload(kind))
    assert created["spec"]["replicas"] == 1
    patch = {"spec": {"selector": {"matchLabels": {"app": "y"}}, "template": {"metadata": {"labels": {"app": "y"}}}}}
    code, _, _ = await api.refusal("PATCH", f"{path}/w", patch, content_type="application/merge-patch+json")
    assert code == 422


async def test_what_may_change_in_a_stateful_set(api) -> None:
    await api.create(SETS, workload("StatefulSet"))
    await api.patch(f"{SETS}/w", {"spec": {"replicas": 3}})
    code, _, message = await api.refusal(
        "PATCH", f"{SETS}/w", {"spec": {"serviceName": "s"}}, content_type="application/merge-patch+json"
    )
    assert code == 422
    assert "updates to statefulset spec for fields other than 'replicas'" in message


async def test_scale(api) -> None:
    await api.create(SETS, workload("StatefulSet"))
    scale = await api.get(f"{SETS}/w/scale")
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 1}, "app=x")
    code, scale = await api.call("PUT", f"{SETS}/w/scale", {**scale, "spec": {"replicas": 4}})
    assert (code, scale["spec"]["replicas"]) == (200, 4)
    code, _, _ = await api.refusal("PUT", f"{SETS}/w/scale", {**scale, "metadata": {"resourceVersion": "1"}})
    assert code == 409
    await api.patch(f"{SETS}/w/scale", {"spec": {"replicas": 2}})
    stored = await api.get(f"{SETS}/w")
    assert (stored["spec"]["replicas"], stored["metadata"]["generation"]) == (2, 3)


async def test_services_secrets_and_claims_get_their_defaults(api) -> None:
    core = "/api/v1/namespaces/default"
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    spec = (await api.create(f"{core}/services", service))["spec"]
    assert spec["clusterIP"].startswith("10.96.")
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    code, replaced = await api.call("PUT", f"{core}/services/s", service)
    assert (code, replaced["spec"]["clusterIP"]) == (200, spec["clusterIP"])
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    created = await api.create(f"{core}/secrets", secret)
    assert (created["data"], created["type"]) == ({"a": "Yg=="}, "Opaque")
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}},
    }
    created = await api.create(f"{core}/persistentvolumeclaims", claim)
    assert created["status"] == {"phase": "Pending"}
    assert created["spec"]["resources"]["requests"]["storage"] == "1Gi"
