"""CustomResourceDefinitions: served at once, pruned, defaulted, validated, printed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GANGS = "/apis/test.local/v1/namespaces/default/gangs"

SCHEMA: dict[str, Any] = {
    "size": {"type": "integer", "minimum": 1, "maximum": 8, "default": 1},
    "queue": {"type": "string", "pattern": "^[a-z-]+$", "maxLength": 10},
    "mode": {"type": "string", "enum": ["fast", "safe"]},
    "share": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
    "port": {"x-kubernetes-int-or-string": True},
    "note": {"type": "string", "nullable": True},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "tags": {"type": "object", "additionalProperties": {"type": "string"}},
    "members": {
        "type": "array",
        "maxItems": 2,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "weight": {"type": "integer", "default": 5}},
        },
    },
}


def gang(name: str = "g", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "test.local/v1", "kind": "Gang", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
async def gangs(api, crd):
    await api.create(CRDS, crd(**SCHEMA))
    return api


async def test_a_definition_is_established_and_served_at_once(gangs) -> None:
    conditions = (await gangs.get(f"{CRDS}/gangs.test.local"))["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions} == {"NamesAccepted": "True", "Established": "True"}
    resources = (await gangs.get("/apis/test.local/v1"))["resources"]
    assert [r["name"] for r in resources] == ["gangs", "gangs/status"]
    assert (await gangs.get(GANGS))["kind"] == "GangList"


async def test_without_its_definition_nothing_is_served(api) -> None:
    assert (await api.refusal("GET", GANGS))[0] == 404


async def test_deleting_the_definition_takes_the_objects_along(gangs, crd) -> None:
    await gangs.create(GANGS, gang())
    watch = await gangs.watch(GANGS)
    await watch.take(1)
    await gangs.delete(f"{CRDS}/gangs.test.local")
    assert await watch.take(1) == [("DELETED", "g")]
    assert (await gangs.refusal("GET", GANGS))[0] == 404
    await gangs.create(CRDS, crd())
    assert await gangs.names(GANGS) == []


async def test_defaults_and_pruning(gangs) -> None:
    spec = {
        "unknown": 1,
        "free": {"kept": [1]},
        "tags": {"a": "b"},
        "members": [{"name": "m", "extra": 1}],
        "mode": None,
    }
    body = {**gang(**spec), "labels": {"user": "someone"}, "alien": {}, "status": {"phase": "Running"}}
    created = await gangs.create(GANGS, body)
    assert created["spec"] == {
        "size": 1,
        "free": {"kept": [1]},
        "tags": {"a": "b"},
        "members": [{"name": "m", "weight": 5}],
    }
    assert created["labels"] == {"user": "someone"}
    assert "alien" not in created
    assert "status" not in created


async def test_null_stays_where_it_is_allowed(gangs) -> None:
    assert (await gangs.create(GANGS, gang(note=None)))["spec"]["note"] is None


async def test_strict_validation_names_every_unknown_field(gangs) -> None:
    body = {**gang(foo=1, members=[{"name": "m", "extra": 1}]), "alien": 1}
    code, reason, message = await gangs.refusal("POST", GANGS, body, fieldValidation="Strict")
    assert (code, reason) == (400, "BadRequest")
    assert message == (
        'Gang in version "v1" cannot be handled as a Gang: strict decoding error: '
        'unknown field "spec.foo", unknown field "spec.members[0].extra", unknown field "alien"'
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"size": 9}, "spec.size: Invalid value: 9: spec.size in body should be less than or equal to 8"),
        ({"size": "2"}, 'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"'),
        ({"size": True}, 'spec.size: Invalid value: "boolean": spec.size in body must be of type integer: "boolean"'),
        ({"queue": "A"}, "spec.queue: Invalid value: \"A\": spec.queue in body should match '^[a-z-]+$'"),
        ({"queue": "a" * 11}, "spec.queue: Too long: may not be more than 10 bytes"),
        ({"mode": "x"}, 'spec.mode: Unsupported value: "x": supported values: "fast", "safe"'),
        ({"share": 0}, "spec.share: Invalid value: 0: spec.share in body should be greater than 0"),
        ({"port": 1.5}, 'spec.port in body must be of type integer,string: "number"'),
        ({"members": [{}]}, "spec.members[0].name: Required value"),
        ({"members": [{"name": "a"}, {"name": "a"}]}, 'spec.members[1]: Duplicate value: {"name":"a"}'),
        ({"members": [{"name": n} for n in "abc"]}, "spec.members: Too many: 3: must have at most 2 items"),
        ({"tags": {"a": 1}}, 'spec.tags.a in body must be of type string: "integer"'),
    ],
)
async def test_what_is_invalid(gangs, spec: dict[str, Any], expected: str) -> None:
    code, reason, message = await gangs.refusal("POST", GANGS, gang(**spec))
    assert (code, reason) == (422, "Invalid")
    assert message.startswith('Gang.test.local "g" is invalid: ')
    assert expected in message


async def test_custom_objects_must_say_their_kind(gangs) -> None:
    code, _, message = await gangs.refusal("POST", GANGS, {"metadata": {"name": "g"}})
    assert code == 400
    assert "Object 'Kind' is missing in" in message


async def test_several_broken_rules_are_listed(gangs) -> None:
    code, answer = await gangs.call("POST", GANGS, gang(size=0, mode="x"))
    assert code == 422
    assert '"g" is invalid: [spec.size: ' in answer["message"]
    assert [cause["field"] for cause in answer["details"]["causes"]] == ["spec.size", "spec.mode"]
    assert answer["details"]["kind"] == "Gang"


async def test_spec_status_and_generation(gangs) -> None:
    await gangs.create(GANGS, gang())
    status = {"status": {"phase": "Running"}, "spec": {"size": 3}, "metadata": {"labels": {"a": "b"}}}
    patched = await gangs.patch(f"{GANGS}/g/status", status)
    assert (patched["status"], patched["spec"]["size"]) == ({"phase": "Running"}, 1)
    assert "labels" not in patched["metadata"]
    assert patched["metadata"]["generation"] == 1
    patched = await gangs.patch(f"{GANGS}/g", {"spec": {"size": 2}, "status": {"phase": "Lost"}})
    assert (patched["status"], patched["metadata"]["generation"]) == ({"phase": "Running"}, 2)
    patched = await gangs.patch(f"{GANGS}/g", {"metadata": {"labels": {"a": "b"}}})
    assert patched["metadata"]["generation"] == 2


async def test_put_needs_a_version_and_strategic_merge_is_not_offered(gangs) -> None:
    await gangs.create(GANGS, gang())
    code, _, message = await gangs.refusal("PUT", f"{GANGS}/g", gang(size=2))
    assert code == 422
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in message
    code, reason, _ = await gangs.refusal(
        "PATCH", f"{GANGS}/g", {}, content_type="application/strategic-merge-patch+json"
    )
    assert (code, reason) == (415, "UnsupportedMediaType")


async def test_two_versions_share_their_objects(api, crd) -> None:
    body = crd(**SCHEMA)
    second = {**body["spec"]["versions"][0], "name": "v2", "storage": False}
    body["spec"]["versions"].append(second)
    await api.create(CRDS, body)
    await api.create(GANGS, gang(size=4))
    other = await api.get(GANGS.replace("/v1/", "/v2/") + "/g")
    assert (other["apiVersion"], other["spec"]["size"]) == ("test.local/v2", 4)
    watch = await api.watch(GANGS.replace("/v1/", "/v2/"))
    assert (await watch.next())[1]["apiVersion"] == "test.local/v2"


async def test_a_changed_definition_is_followed(gangs, crd) -> None:
    old = await gangs.get(f"{CRDS}/gangs.test.local")
    new = crd(**SCHEMA, extra={"type": "string"})
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    code, answer = await gangs.call("PUT", f"{CRDS}/gangs.test.local", new)
    assert code == 200, answer
    assert answer["status"]["conditions"]
    assert (await gangs.create(GANGS, gang(extra="x")))["spec"]["extra"] == "x"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"group": "other.local"}, 'metadata.name: Invalid value: "gangs.test.local": must be spec.names.plural'),
        ({"scope": "Galactic"}, "spec.scope: Required value"),
        ({"versions": []}, "must have exactly one version marked as storage version"),
        (
            {"versions": [{"name": "v1", "served": True, "storage": True}]},
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
    ],
)
async def test_definitions_that_are_refused(api, crd, change: dict[str, Any], expected: str) -> None:
    body = crd()
    body["spec"] |= change
    code, _, message = await api.refusal("POST", CRDS, body)
    assert code == 422
    assert expected in message


async def test_schemas_must_name_their_types(api, crd) -> None:
    code, _, message = await api.refusal("POST", CRDS, crd(x={"description": "no type"}))
    assert code == 422
    assert "must not be empty for specified object fields" in message


async def test_tables_by_printer_columns(gangs) -> None:
    await gangs.create(GANGS, gang(size=3))
    ready = {"status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}}
    await gangs.patch(f"{GANGS}/g/status", ready)
    headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    async with gangs.session.get(GANGS, headers=headers) as reply:
        table = await reply.json()
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "Ready", "Age"]
    assert table["rows"][0]["cells"][:3] == ["g", 3, "True"]
    assert table["rows"][0]["object"]["metadata"]["name"] == "g"


async def test_rules_in_cel_where_a_library_is_installed(api, crd) -> None:
    pytest.importorskip("cel")
    schema = {"low": {"type": "integer"}, "high": {"type": "integer"}}
    body = crd(**schema)
    spec = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["x-kubernetes-validations"] = [{"rule": "self.low <= self.high", "message": "low must not exceed high"}]
    await api.create(CRDS, body)
    await api.create(GANGS, gang(low=1, high=2))
    code, _, message = await api.refusal("POST", GANGS, gang("h", low=3, high=2))
    assert code == 422
    assert 'spec: Invalid value: "object": low must not exceed high' in message


async def test_concurrent_creates_of_one_name_leave_one(gangs) -> None:
    results = await asyncio.gather(*(gangs.call("POST", GANGS, gang()) for _ in range(10)))
    assert sorted(code for code, _ in results) == [201] + [409] * 9
