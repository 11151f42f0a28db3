"""Admission webhooks, with a webhook server beside the API server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

PODS = "/api/v1/namespaces/default/pods"
HOOKS = "/apis/admissionregistration.k8s.io/v1"


class Hook:
    """A webhook that answers as it is told and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"allowed": True}
        self.code = 200
        self.delay_s = 0.0
        self.uid: str | None = None
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        review = orjson.loads(await request.read())
        self.requests.append(review["request"])
        await asyncio.sleep(self.delay_s)
        response = {"uid": self.uid or review["request"]["uid"], **self.answer}
        return web.json_response(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}, status=self.code
        )

    def patch(self, *operations: dict[str, Any]) -> None:
        patch = base64.b64encode(orjson.dumps(list(operations))).decode()
        self.answer = {"allowed": True, "patchType": "JSONPatch", "patch": patch}


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = Hook()
    runner = web.ServerRunner(web.Server(hook.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mutate"
    yield hook
    await runner.cleanup()


def configuration(hook: Hook, kind: str = "Mutating", **fields: Any) -> dict[str, Any]:
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    webhook = {
        "name": "pods.test.local",
        "clientConfig": {"url": hook.url},
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **fields,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": "test"},
        "webhooks": [webhook],
    }


async def install(api, hook: Hook, kind: str = "Mutating", **fields: Any) -> None:
    await api.create(f"{HOOKS}/{kind.lower()}webhookconfigurations", configuration(hook, kind, **fields))


async def test_a_patch_is_applied_before_defaults_and_validation(api, pod, hook) -> None:
    await install(api, hook)
    hook.patch({"op": "add", "path": "/spec/schedulingGates", "value": [{"name": "runai/quota"}]})
    created = await api.create(PODS, pod())
    assert created["spec"]["schedulingGates"] == [{"name": "runai/quota"}]
    assert created["status"]["conditions"][0]["reason"] == "SchedulingGated"
    asked = hook.requests[0]
    assert (asked["operation"], asked["namespace"], asked["resource"]["resource"]) == ("CREATE", "default", "pods")
    assert asked["object"]["kind"] == "Pod"
    assert asked["oldObject"] is None
    assert not asked["dryRun"]


async def test_other_operations_and_resources_are_not_asked_about(api, pod, hook) -> None:
    await install(api, hook)
    await api.create(PODS, pod())
    await api.patch(f"{PODS}/p", {"metadata": {"labels": {"a": "b"}}})
    await api.delete(f"{PODS}/p")
    assert len(hook.requests) == 1


async def test_a_refusal(api, pod, hook) -> None:
    await install(api, hook, "Validating")
    hook.answer = {"allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": "no quota"}}
    code, reason, message = await api.refusal("POST", PODS, pod())
    assert (code, reason) == (403, "Forbidden")
    assert message == 'admission webhook "pods.test.local" denied the request: no quota'
    hook.answer = {"allowed": False}
    code, _, message = await api.refusal("POST", PODS, pod())
    assert code == 400
    assert message.endswith("denied the request without explanation")


async def test_warnings_reach_the_client(api, pod, hook) -> None:
    await install(api, hook, "Validating")
    hook.answer = {"allowed": True, "warnings": ["mind the quota"]}
    async with api.session.post(PODS, json=pod()) as reply:
        assert reply.headers["Warning"] == '299 - "mind the quota"'


@pytest.mark.parametrize("trouble", ["code", "uid", "late"])
@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_failure_policy(api, pod, hook, trouble: str, policy: str) -> None:
    await install(api, hook, failurePolicy=policy, timeoutSeconds=1)
    if trouble == "code":
        hook.code = 500
    elif trouble == "uid":
        hook.uid = "another"
    else:
        hook.delay_s = 1.3
    if policy == "Ignore":
        await api.create(PODS, pod())
        return
    code, reason, message = await api.refusal("POST", PODS, pod())
    assert (code, reason) == (500, "InternalError")
    assert 'failed calling webhook "pods.test.local"' in message


@pytest.mark.parametrize(
    ("selectors", "asked"),
    [
        ({"objectSelector": {"matchLabels": {"app": "x"}}}, True),
        ({"objectSelector": {"matchLabels": {"app": "y"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
        (
            {
                "namespaceSelector": {
                    "matchExpressions": [
                        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["default"]}
                    ]
                }
            },
            False,
        ),
    ],
)
async def test_selectors(api, pod, hook, selectors: dict[str, Any], asked: bool) -> None:
    await install(api, hook, **selectors)
    await api.create(PODS, pod(labels={"app": "x"}))
    assert bool(hook.requests) is asked


@pytest.mark.parametrize(("operator", "asked"), [("==", "ours"), ("!=", "theirs")])
async def test_match_conditions(api, pod, hook, operator: str, asked: str) -> None:
    condition = {"name": "ours", "expression": f"object.spec.schedulerName {operator} 'runai-scheduler'"}
    await install(api, hook, matchConditions=[condition])
    await api.create(PODS, pod("theirs"))
    await api.create(PODS, pod("ours", schedulerName="runai-scheduler"))
    assert [request["name"] for request in hook.requests] == [asked]


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_a_match_condition_that_reads_a_missing_field(api, pod, hook, policy: str) -> None:
    condition = {"name": "named", "expression": "object.spec.nothing == 'x'"}
    await install(api, hook, matchConditions=[condition], failurePolicy=policy)
    if policy == "Ignore":
        await api.create(PODS, pod())
    else:
        code, _, message = await api.refusal("POST", PODS, pod())
        assert code == 500
        assert "no such key: nothing" in message
    assert not hook.requests


async def test_a_service_is_reached_through_the_resolver(api, pod, hook) -> None:
    service = {"namespace": "runai", "name": "admission", "path": "/mutate", "port": 9443}
    await install(api, hook, clientConfig={"service": service})
    code, _, message = await api.refusal("POST", PODS, pod())
    assert code == 500
    assert 'service "admission" not found' in message
    asked: list[tuple[str, str, int]] = []

    def resolve(namespace: str, name: str, port: int) -> str:
        asked.append((namespace, name, port))
        return hook.url.removesuffix("/mutate")

    api.server.webhooks.service_resolver = resolve
    await api.create(PODS, pod())
    assert asked == [("runai", "admission", 9443)]


async def test_updates_and_deletes_of_what_the_rules_name(api, pod, hook) -> None:
    rule = {"operations": ["UPDATE", "DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods"]}
    await install(api, hook, "Validating", rules=[rule])
    await api.create(PODS, pod())
    await api.patch(f"{PODS}/p", {"metadata": {"labels": {"a": "b"}}})
    await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running"}})
    await api.delete(f"{PODS}/p")
    assert [r["operation"] for r in hook.requests] == ["UPDATE", "DELETE"]
    assert hook.requests[0]["oldObject"]["metadata"].get("labels") is None
    assert hook.requests[1]["object"] is None


async def test_a_broken_webhook_does_not_lock_its_own_configuration(api, hook) -> None:
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    await install(api, hook, "Validating", rules=[rule])
    hook.code = 500
    await api.delete(f"{HOOKS}/validatingwebhookconfigurations/test")


async def test_a_write_that_was_overtaken_during_a_webhook_starts_over(api, pod, hook) -> None:
    rule = {"operations": ["UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    await api.create(PODS, pod())
    await install(api, hook, "Validating", rules=[rule])
    hook.delay_s = 0.2
    slow = asyncio.create_task(api.patch(f"{PODS}/p", {"metadata": {"labels": {"slow": "1"}}}))
    await asyncio.sleep(0.05)
    await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running"}})
    patched = await slow
    assert patched["metadata"]["labels"] == {"slow": "1"}
    assert patched["status"]["phase"] == "Running"
    assert len(hook.requests) == 2
