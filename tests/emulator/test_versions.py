"""Custom resources in two versions, with a conversion webhook beside the API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.emulator.test_admission import Hook, hook, install  # noqa: F401  a fixture

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OLD = "/apis/test.local/v1alpha1/namespaces/default/gangs"
NEW = "/apis/test.local/v1/namespaces/default/gangs"

Json = dict[str, Any]


class Converter:
    """`spec.size` of v1alpha1 is `spec.members` of v1. Remembers what it was asked; `spoil` changes its answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []  # (name, apiVersion wanted)
        self.spoil: Callable[[Json], Any] | None = None
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        review = orjson.loads(await request.read())
        asked = review["request"]
        version = asked["desiredAPIVersion"]
        self.asked += [(one["metadata"]["name"], version) for one in asked["objects"]]
        converted = [self._convert(one, version) for one in asked["objects"]]
        response = {"uid": asked["uid"], "convertedObjects": converted, "result": {"status": "Success"}}
        if self.spoil is not None:
            self.spoil(response)
        return web.json_response(
            {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response},
            status=response.pop("code", 200),
        )

    def _convert(self, obj: Json, version: str) -> Json:
        names = {"size": "members"} if version == "test.local/v1" else {"members": "size"}
        spec = {names.get(key, key): value for key, value in obj["spec"].items()}
        return {**obj, "apiVersion": version, "spec": spec}


@pytest.fixture
async def converter() -> AsyncIterator[Converter]:
    made = Converter()
    runner = web.ServerRunner(web.Server(made.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def definition(crd: Any, **client: Any) -> Json:
    """Gangs in v1 (stored: members, kept, a default) and v1alpha1 (size, kept); the columns differ too."""
    body: Json = crd(members={"type": "integer"}, kept={"type": "string"}, mode={"type": "string", "default": "safe"})
    (new,) = body["spec"]["versions"]
    old = deepcopy(crd(size={"type": "integer"}, kept={"type": "string"}))["spec"]["versions"][0]
    new["additionalPrinterColumns"][0]["jsonPath"] = ".spec.members"
    body["spec"]["versions"] = [{**new, "name": "v1"}, {**old, "name": "v1alpha1", "storage": False}]
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": client}
    body["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return body


@pytest.fixture
async def gangs(api, crd, converter):
    await api.create(CRDS, definition(crd, url=converter.url))
    return api


def gang(version: str, name: str = "g", **spec: Any) -> Json:
    return {"apiVersion": f"test.local/{version}", "kind": "Gang", "metadata": {"name": name}, "spec": spec}


async def test_who_writes_and_reads_the_stored_version_calls_nobody(gangs, converter) -> None:
    await gangs.create(NEW, gang("v1", members=2))
    await gangs.patch(f"{NEW}/g", {"spec": {"members": 3}})
    assert (await gangs.get(f"{NEW}/g"))["spec"] == {"members": 3, "mode": "safe"}
    assert await gangs.names(NEW) == ["g"]
    await gangs.delete(f"{NEW}/g")
    assert converter.asked == []


async def test_written_in_one_version_and_read_in_both(gangs, converter) -> None:
    created = await gangs.create(OLD, gang("v1alpha1", size=2, kept="x"))
    assert (created["apiVersion"], created["spec"]) == ("test.local/v1alpha1", {"size": 2, "kept": "x"})
    assert converter.asked == [("g", "test.local/v1"), ("g", "test.local/v1alpha1")]
    new = await gangs.get(f"{NEW}/g")
    assert (new["apiVersion"], new["spec"]) == ("test.local/v1", {"members": 2, "kept": "x", "mode": "safe"})
    assert new["metadata"] == created["metadata"]
    assert await gangs.get(f"{OLD}/g") == created
    assert len(converter.asked) == 2, "a state is converted once, however often it is read"


async def test_updates_patches_and_status_in_the_other_version(gangs) -> None:
    await gangs.create(NEW, gang("v1", members=2))
    old = await gangs.get(f"{OLD}/g")
    old["spec"]["size"] = 5
    code, updated = await gangs.call("PUT", f"{OLD}/g", old)
    assert (code, updated["spec"]["size"], updated["metadata"]["generation"]) == (200, 5, 2)
    assert (await gangs.get(f"{NEW}/g"))["spec"]["members"] == 5
    await gangs.patch(f"{OLD}/g", {"spec": {"size": 6}})
    await gangs.patch(f"{OLD}/g", [{"op": "replace", "path": "/spec/size", "value": 7}], "json-patch+json")
    assert (await gangs.get(f"{NEW}/g"))["spec"]["members"] == 7
    await gangs.patch(f"{OLD}/g/status", {"status": {"phase": "Fine"}})
    new = await gangs.get(f"{NEW}/g")
    assert (new["status"], new["spec"]["members"]) == ({"phase": "Fine"}, 7)
    assert new["metadata"]["generation"] == 4


async def test_a_write_that_changes_nothing_stores_nothing(gangs) -> None:
    created = await gangs.create(OLD, gang("v1alpha1", size=2))
    again = await gangs.patch(f"{OLD}/g", {"spec": {"size": 2}})
    assert again["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_each_version_is_validated_and_pruned_by_its_own_schema(gangs) -> None:
    code, _, message = await gangs.refusal("POST", OLD, gang("v1alpha1", size="many"))
    assert code == 422
    assert "spec.size" in message
    created = await gangs.create(OLD, gang("v1alpha1", size=1, members=9))
    assert created["spec"] == {"size": 1}


async def test_a_list_holds_all_in_one_version(gangs) -> None:
    await gangs.create(OLD, gang("v1alpha1", "a", size=1))
    await gangs.create(NEW, gang("v1", "b", members=2))
    old, new = await gangs.get(OLD), await gangs.get(NEW)
    assert [(one["apiVersion"], one["spec"]["size"]) for one in old["items"]] == [
        ("test.local/v1alpha1", 1),
        ("test.local/v1alpha1", 2),
    ]
    assert [(one["apiVersion"], one["spec"]["members"]) for one in new["items"]] == [
        ("test.local/v1", 1),
        ("test.local/v1", 2),
    ]


async def test_columns_are_those_of_the_version(gangs, api) -> None:
    await gangs.create(NEW, gang("v1", members=4))
    for path in (OLD, NEW):
        headers = {"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
        async with api.session.get(path, headers=headers) as reply:
            assert reply.status == 200
            table = await reply.json()
            assert table["columnDefinitions"][1]["name"] == "Size"
            assert table["rows"][0]["cells"][:2] == ["g", 4]


async def test_a_watch_in_the_other_version(gangs) -> None:
    await gangs.create(NEW, gang("v1", "a", members=1))
    watch = await gangs.watch(OLD)
    await gangs.create(NEW, gang("v1", "b", members=2))
    await gangs.patch(f"{NEW}/b", {"spec": {"members": 3}})
    await gangs.delete(f"{NEW}/b")
    seen = [await watch.next() for _ in range(4)]
    assert [(type_, one["apiVersion"], one["metadata"]["name"], one["spec"].get("size")) for type_, one in seen] == [
        ("ADDED", "test.local/v1alpha1", "a", 1),
        ("ADDED", "test.local/v1alpha1", "b", 2),
        ("MODIFIED", "test.local/v1alpha1", "b", 3),
        ("DELETED", "test.local/v1alpha1", "b", 3),
    ]


async def test_a_watch_with_a_selector_in_the_other_version(gangs) -> None:
    await gangs.create(NEW, gang("v1", members=1))
    watch = await gangs.watch(OLD, labelSelector="in")
    await gangs.patch(f"{NEW}/g", {"metadata": {"labels": {"in": "1"}}})
    await gangs.patch(f"{NEW}/g", {"metadata": {"labels": {"in": None}}, "spec": {"members": 2}})
    assert [(type_, one["spec"]["size"]) for type_, one in [await watch.next(), await watch.next()]] == [
        ("ADDED", 1),
        ("DELETED", 1),
    ]


def _result(status: str, **result: Any) -> Callable[[Json], Any]:
    return lambda response: response.update(result={"status": status, **result})


def _each(change: Callable[[Json], Any]) -> Callable[[Json], Any]:
    return lambda response: [change(one) for one in response["convertedObjects"]]


ABOUT = "conversion webhook for test.local/v1, Kind=Gang"
TROUBLES: dict[str, tuple[Callable[[Json], Any], str]] = {
    "it says why": (_result("Failed", message="two prefixes"), f"{ABOUT} failed: two prefixes"),
    "it does not": (_result("Failed"), f"{ABOUT} failed: response.result.status was 'Failed', not 'Success'"),
    "another review": (lambda response: response.update(uid="x"), f"{ABOUT} failed: expected response.uid="),
    "an error": (lambda response: response.update(code=500), f"{ABOUT} failed: "),
    "too few": (lambda response: response.update(convertedObjects=[]), f"{ABOUT} returned 0 objects, expected 1"),
    "another version": (
        _each(lambda one: one.update(apiVersion="test.local/v2")),
        f"{ABOUT} returned invalid ",
    ),
    "another name": (_each(lambda one: one["metadata"].update(name="x")), f"{ABOUT} returned invalid metadata: "),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_trouble_with_the_webhook_is_told_and_the_stored_version_is_served(
    gangs, converter, trouble: str
) -> None:
    await gangs.create(NEW, gang("v1", members=1))
    converter.spoil, why = TROUBLES[trouble]
    for method, path in (("GET", f"{OLD}/g"), ("GET", OLD), ("DELETE", f"{OLD}/g")):
        code, _, message = await gangs.refusal(method, path)
        assert code == 500
        assert message.startswith(why)
    watch = await gangs.watch(OLD)
    type_, error = await watch.next()
    assert type_ == "ERROR"
    assert error["message"].startswith(why)
    assert (await gangs.get(f"{NEW}/g"))["spec"]["members"] == 1
    converter.spoil = None
    assert (await gangs.get(f"{OLD}/g"))["spec"]["size"] == 1


async def test_nothing_is_stored_when_a_write_cannot_be_converted(gangs, converter) -> None:
    converter.spoil = _result("Failed", message="no")
    code, _, message = await gangs.refusal("POST", OLD, gang("v1alpha1", size=1))
    assert (code, message) == (500, "conversion webhook for test.local/v1alpha1, Kind=Gang failed: no")
    assert await gangs.names(NEW) == []


async def test_a_service_is_reached_through_the_resolver(api, crd, converter) -> None:
    service = {"namespace": "runai", "name": "hook", "path": "/convert"}
    await api.create(CRDS, definition(crd, service=service))
    await api.create(NEW, gang("v1", members=1))
    assert (await api.refusal("GET", OLD))[2] == f'{ABOUT} failed: service "hook" not found'
    asked: list[tuple[str, str, int]] = []

    def resolve(*service: Any) -> str:
        asked.append(service)
        return converter.url

    api.server.webhooks.service_resolver = resolve
    assert (await api.get(OLD))["items"][0]["spec"]["size"] == 1
    assert asked == [("runai", "hook", 443)]


async def test_what_was_stored_before_the_storage_version_changed(gangs, crd, converter) -> None:
    await gangs.create(NEW, gang("v1", members=1))
    versions = (await gangs.get(f"{CRDS}/gangs.test.local"))["spec"]["versions"]
    for one in versions:
        one["storage"] = not one["storage"]
    await gangs.patch(f"{CRDS}/gangs.test.local", {"spec": {"versions": versions}})
    assert (await gangs.get(f"{NEW}/g"))["spec"]["members"] == 1
    assert converter.asked == []
    assert (await gangs.get(f"{OLD}/g"))["spec"]["size"] == 1
    # A write moves it, even one that changes nothing.
    await gangs.patch(f"{OLD}/g", {"spec": {"size": 1}})
    converter.asked.clear()
    assert (await gangs.get(f"{OLD}/g"))["spec"]["size"] == 1
    assert converter.asked == []


async def test_without_a_conversion_versions_differ_in_their_name_only(api, crd, converter) -> None:
    body = definition(crd, url=converter.url)
    body["spec"]["conversion"] = {"strategy": "None"}
    await api.create(CRDS, body)
    await api.create(OLD, gang("v1alpha1", kept="x"))
    assert (await api.get(f"{NEW}/g"))["spec"]["kept"] == "x"
    assert converter.asked == []


WRONG: dict[str, tuple[Json, str]] = {
    "strategy": ({"strategy": "Magic"}, "spec.conversion.strategy: Unsupported value"),
    "no client": ({"strategy": "Webhook"}, "spec.conversion.webhook.clientConfig: Required value"),
    "nobody": (
        {"strategy": "Webhook", "webhook": {"clientConfig": {}, "conversionReviewVersions": ["v1"]}},
        "exactly one of url or service is required",
    ),
    "no review": (
        {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://x"}}},
        "spec.conversion.webhook.conversionReviewVersions: Required value",
    ),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_conversion_that_is_none_is_refused(api, crd, case: str) -> None:
    conversion, why = WRONG[case]
    body = definition(crd)
    body["spec"]["conversion"] = conversion
    code, _, message = await api.refusal("POST", CRDS, body)
    assert code == 422
    assert why in message


RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": ["test.local"], "resources": ["gangs"]}


async def test_admission_sees_the_version_of_the_request_where_its_rules_list_both(gangs, hook) -> None:  # noqa: F811
    await install(gangs, hook, rules=[{**RULE, "apiVersions": ["v1", "v1alpha1"]}])
    await gangs.create(OLD, gang("v1alpha1", size=1))
    await gangs.patch(f"{NEW}/g", {"spec": {"members": 2}})
    first, second = hook.requests
    assert (first["object"]["apiVersion"], first["object"]["spec"]) == ("test.local/v1alpha1", {"size": 1})
    assert (second["object"]["spec"]["members"], second["oldObject"]["spec"]["members"]) == (2, 1)


@pytest.mark.parametrize("policy", ["Equivalent", "Exact"])
async def test_admission_of_another_version_only(gangs, hook, policy: str) -> None:  # noqa: F811
    hook.patch({"op": "replace", "path": "/spec/members", "value": 8})
    await install(gangs, hook, rules=[{**RULE, "apiVersions": ["v1"]}], matchPolicy=policy)
    created = await gangs.create(OLD, gang("v1alpha1", size=1))
    if policy == "Exact":
        assert hook.requests == []
        return
    assert created["spec"]["size"] == 8
    (asked,) = hook.requests
    assert (asked["kind"]["version"], asked["requestKind"]["version"]) == ("v1", "v1alpha1")
    assert (asked["resource"]["version"], asked["requestResource"]["version"]) == ("v1", "v1alpha1")
    assert asked["object"]["apiVersion"] == "test.local/v1"
    assert asked["object"]["spec"] == {"members": 1, "mode": "safe"}


async def test_two_writers_in_two_versions(gangs) -> None:
    """Whoever was overtaken while the webhook was asked looks again: no write is lost."""
    await gangs.create(NEW, gang("v1", members=1))

    async def label(path: str, key: str) -> None:
        await gangs.patch(f"{path}/g", {"metadata": {"labels": {key: "1"}}})

    await asyncio.gather(*(label(path, f"k{n}") for n in range(3) for path in (OLD,)), label(NEW, "new"))
    assert (await gangs.get(f"{NEW}/g"))["metadata"]["labels"] == {"k0": "1", "k1": "1", "k2": "1", "new": "1"}
