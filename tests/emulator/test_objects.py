"""Create, read, update and patch: what holds for every kind."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str = "m", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"a": "1"}}


async def test_create_fills_in_what_the_server_owns(api) -> None:
    created = await api.create(MAPS, config_map())
    metadata = created["metadata"]
    assert created["kind"] == "ConfigMap"
    assert metadata["namespace"] == "default"
    assert metadata["uid"]
    assert metadata["creationTimestamp"].endswith("Z")
    assert int(metadata["resourceVersion"]) > 0
    assert await api.get(f"{MAPS}/m") == created


async def test_generate_name(api) -> None:
    body = config_map()
    body["metadata"] = {"generateName": "run-"}
    names = {(await api.create(MAPS, body))["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("run-") and len(name) == 9 for name in names)


async def test_items_of_typed_lists_do_not_repeat_their_kind(api) -> None:
    await api.create(MAPS, config_map())
    answer = await api.get(MAPS)
    assert answer["kind"] == "ConfigMapList"
    assert "kind" not in answer["items"][0]


@pytest.mark.parametrize(
    ("what", "path", "body", "expected"),
    [
        ("a second one", MAPS, config_map("there"), (409, "AlreadyExists", 'configmaps "there" already exists')),
        (
            "no such namespace",
            "/api/v1/namespaces/nowhere/configmaps",
            config_map(),
            (404, "NotFound", 'namespaces "nowhere" not found'),
        ),
        (
            "another namespace in the body",
            MAPS,
            config_map(namespace="other"),
            (
                400,
                "BadRequest",
                "the namespace of the provided object does not match the namespace sent on the request",
            ),
        ),
        (
            "another kind",
            MAPS,
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "m"}},
            (400, "BadRequest", 'Secret in version "v1" cannot be handled as a ConfigMap'),
        ),
        (
            "a bad name",
            MAPS,
            config_map("Upper_Case"),
            (
                422,
                "Invalid",
                'ConfigMap "Upper_Case" is invalid: metadata.name: Invalid value: "Upper_Case": a lowercase',
            ),
        ),
        (
            "no name",
            MAPS,
            {"apiVersion": "v1", "kind": "ConfigMap"},
            (422, "Invalid", "metadata.name: Required value: name or generateName is required"),
        ),
        (
            "a wrong type",
            MAPS,
            {**config_map(), "data": {"a": 1}},
            (400, "BadRequest", "json: cannot unmarshal number into Go struct field ConfigMap.data.a of type string"),
        ),
        ("malformed JSON", MAPS, b"{", (400, "BadRequest", "json parse error")),
        ("no such resource", "/api/v1/namespaces/default/widgets", config_map(), (404, "NotFound", "could not find")),
    ],
)
async def test_what_is_not_created(api, what: str, path: str, body: Any, expected: tuple[int, str, str]) -> None:
    await api.create(MAPS, config_map("there"))
    code, reason, message = await api.refusal("POST", path, body)
    assert (code, reason) == expected[:2], message
    assert expected[2] in message, what


async def test_typed_objects_may_leave_their_type_out(api) -> None:
    created = await api.create(MAPS, {"metadata": {"name": "m"}})
    assert (created["kind"], created["apiVersion"]) == ("ConfigMap", "v1")


async def test_content_types(api) -> None:
    code, reason, _ = await api.refusal("POST", MAPS, b"x", content_type="text/plain")
    assert (code, reason) == (415, "UnsupportedMediaType")
    yaml = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {at: '2020-01-01'}\n"
    code, created = await api.call("POST", MAPS, yaml, "application/yaml")
    assert code == 201, created
    code, _, _ = await api.refusal("PATCH", f"{MAPS}/y", {}, content_type="application/json")
    assert code == 415


async def test_methods_that_do_not_exist(api) -> None:
    assert (await api.refusal("PUT", MAPS, config_map()))[0] == 405
    assert (await api.refusal("POST", "/api/v1/configmaps", config_map()))[0] == 405


async def test_dry_run_stores_nothing(api) -> None:
    created = await api.create(MAPS, config_map(), dryRun="All")
    assert created["metadata"]["uid"]
    assert (await api.call("GET", f"{MAPS}/m"))[0] == 404
    await api.create(MAPS, config_map())
    patched = await api.patch(f"{MAPS}/m", {"data": {"a": "2"}}, dryRun="All")
    assert patched["data"] == {"a": "2"}
    await api.delete(f"{MAPS}/m", dryRun="All")
    assert (await api.get(f"{MAPS}/m"))["data"] == {"a": "1"}


async def test_put_replaces_and_checks_the_version(api) -> None:
    created = await api.create(MAPS, config_map())
    created["data"] = {"b": "2"}
    code, updated = await api.call("PUT", f"{MAPS}/m", created)
    assert code == 200
    assert updated["data"] == {"b": "2"}
    code, reason, message = await api.refusal("PUT", f"{MAPS}/m", {**created, "data": {"c": "3"}})
    assert (code, reason) == (409, "Conflict")
    assert message == (
        'Operation cannot be fulfilled on configmaps "m": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_a_write_that_changes_nothing_is_none(api) -> None:
    created = await api.create(MAPS, config_map())
    patched = await api.patch(f"{MAPS}/m", {"data": {"a": "1"}})
    assert patched["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_owned_metadata_cannot_be_patched(api) -> None:
    created = await api.create(MAPS, config_map())
    patched = await api.patch(f"{MAPS}/m", {"metadata": {"creationTimestamp": None, "labels": {"a": "b"}}})
    assert patched["metadata"]["creationTimestamp"] == created["metadata"]["creationTimestamp"]
    assert patched["metadata"]["labels"] == {"a": "b"}
    code, _, message = await api.refusal(
        "PATCH", f"{MAPS}/m", {"metadata": {"uid": "other"}}, content_type="application/merge-patch+json"
    )
    assert code == 422
    assert 'metadata.uid: Invalid value: "other": field is immutable' in message
    code, _, message = await api.refusal(
        "PUT", f"{MAPS}/m", {**config_map(), "metadata": {"name": "m", "uid": "other"}}
    )
    assert code == 409
    assert "UID in precondition" in message


async def test_patch_with_a_version_is_a_precondition(api) -> None:
    created = await api.create(MAPS, config_map())
    await api.patch(f"{MAPS}/m", {"data": {"a": "2"}})
    stale = {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}, "data": {"a": "3"}}
    code, reason, _ = await api.refusal("PATCH", f"{MAPS}/m", stale, content_type="application/merge-patch+json")
    assert (code, reason) == (409, "Conflict")


async def test_json_patch_test_operation_guards(api) -> None:
    await api.create(MAPS, config_map())
    patch = [{"op": "test", "path": "/data/a", "value": "9"}, {"op": "remove", "path": "/data/a"}]
    code, reason, message = await api.refusal("PATCH", f"{MAPS}/m", patch, content_type="application/json-patch+json")
    assert (code, reason) == (422, "Invalid")
    assert message == "the server rejected our request due to an error in our request"


async def test_unknown_fields_by_validation_level(api) -> None:
    body = {**config_map(label={}), "datta": {}}
    code, reason, message = await api.refusal("POST", MAPS, body, fieldValidation="Strict")
    assert (code, reason) == (400, "BadRequest")
    assert message == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'unknown field "metadata.label", unknown field "datta"'
    )
    async with api.session.post(MAPS, json=body) as reply:
        assert reply.status == 201
        assert '299 - "unknown field \\"datta\\""' in reply.headers["Warning"]
    code, reason, message = await api.refusal(
        "PATCH", f"{MAPS}/m", {"oops": 1}, content_type="application/merge-patch+json", fieldValidation="Strict"
    )
    assert (code, reason) == (422, "Invalid")
    assert message.endswith('strict decoding error: unknown field "oops"')


async def test_apply_creates_then_merges_then_takes_back(api) -> None:
    async def apply(data: dict[str, str], manager: str) -> dict[str, Any]:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}
        return await api.patch(f"{MAPS}/m", body, "apply-patch+yaml", fieldManager=manager)

    created = await apply({"a": "1", "b": "1"}, "one")
    assert created["metadata"]["managedFields"][0]["manager"] == "one"
    assert (await apply({"c": "1"}, "two"))["data"] == {"a": "1", "b": "1", "c": "1"}
    final = await apply({"a": "2"}, "one")
    assert final["data"] == {"a": "2", "c": "1"}
    again = await apply({"a": "2"}, "one")
    assert again["metadata"]["resourceVersion"] == final["metadata"]["resourceVersion"]


async def test_pages_are_complete_and_carry_one_version(api) -> None:
    for number in range(7):
        await api.create(MAPS, config_map(f"m{number}"))
    first = await api.get(MAPS, limit="3")
    assert first["metadata"]["remainingItemCount"] == 4
    await api.create(MAPS, config_map("m9"))
    second = await api.get(MAPS, limit="3", **{"continue": first["metadata"]["continue"]})
    third = await api.get(MAPS, limit="3", **{"continue": second["metadata"]["continue"]})
    assert [len(page["items"]) for page in (first, second, third)] == [3, 3, 2]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in third["metadata"]


async def test_a_page_token_expires_with_the_history(api) -> None:
    for name in ("a", "b"):
        await api.create(MAPS, config_map(name))
    token = (await api.get(MAPS, limit="1"))["metadata"]["continue"]
    api.server.faults.expire_history("configmaps")
    code, reason, _ = await api.refusal("GET", MAPS, **{"continue": token})
    assert (code, reason) == (410, "Expired")


async def test_lists_by_selector_and_across_namespaces(api) -> None:
    await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    await api.create(MAPS, config_map("a", labels={"x": "1"}))
    await api.create("/api/v1/namespaces/other/configmaps", config_map("b"))
    assert await api.names("/api/v1/configmaps") == ["a", "b"]
    assert await api.names("/api/v1/configmaps", labelSelector="x in (1,2)") == ["a"]
    assert await api.names(MAPS, fieldSelector="metadata.name!=a") == []


async def test_a_version_from_the_future_is_refused(api) -> None:
    code, reason, message = await api.refusal("GET", MAPS, resourceVersion="999999")
    assert (code, reason) == (504, "Timeout")
    assert "Too large resource version" in message


async def test_events_have_two_shapes_of_one_storage(api) -> None:
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "note": "why",
        "reason": "Because",
    }
    await api.create("/apis/events.k8s.io/v1/namespaces/default/events", body)
    core = await api.get("/api/v1/namespaces/default/events/e")
    assert core["message"] == "why"
    assert core["involvedObject"]["name"] == "p"
    assert await api.names("/api/v1/events", fieldSelector="involvedObject.name=p,involvedObject.kind=Pod") == ["e"]
    new = await api.get("/apis/events.k8s.io/v1/namespaces/default/events/e")
    assert new["note"] == "why"


async def test_unavailable_and_slow(api) -> None:
    api.server.faults.unavailable()
    assert (await api.refusal("GET", MAPS))[:2] == (503, "ServiceUnavailable")
    api.server.faults.unavailable(False)
    api.server.faults.request_delay_s = 0.1
    before = asyncio.get_running_loop().time()
    await api.get(MAPS)
    assert asyncio.get_running_loop().time() - before >= 0.1


async def test_a_body_that_is_too_large(api) -> None:
    body = io.BytesIO(b" " * (4 * 1024 * 1024))
    async with api.session.post(MAPS, data=body, headers={"Content-Type": "application/json"}) as reply:
        assert reply.status == 413
        assert (await reply.json())["reason"] == "RequestEntityTooLarge"
