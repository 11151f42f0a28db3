"""Tables and JSONPath: what kubectl prints."""

from __future__ import annotations

from typing import Any

import pytest

from extender.emulator import jsonpath
from extender.emulator.times import duration

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (130, "2m10s"),
        (900, "15m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (26 * 3600, "26h"),
        (3 * 86400 + 7200, "3d2h"),
        (100 * 86400, "100d"),
        (800 * 86400, "2y70d"),
        (None, "<unknown>"),
    ],
)
def test_durations(seconds: int | None, text: str) -> None:
    assert duration(seconds) == text


OBJECT = {
    "spec": {"queue": "a", "list": [{"n": 1}, {"n": 2}]},
    "metadata": {"labels": {"runai/queue": "x", "a.b": "y"}},
    "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True", "ok": True}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.queue", ["a"]),
        ("{.spec.queue}", ["a"]),
        (".spec.list[0].n", [1]),
        (".spec.list[-1].n", [2]),
        (".spec.list[*].n", [1, 2]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Absent')].status", []),
        (".status.conditions[?(@.ok==true)].type", ["Ready"]),
        (".metadata.labels['runai/queue']", ["x"]),
        (r".metadata.labels.runai\/queue", []),
        (r".metadata.labels.a\.b", ["y"]),
        (".absent.deep", []),
        ("spec queue", []),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    assert jsonpath.find(OBJECT, path) == found


async def table(api, path: str, **params: str) -> dict[str, Any]:
    async with api.session.get(path, headers=TABLE, params=params) as reply:
        return await reply.json()


async def test_the_status_column_of_pods(api, pod) -> None:
    path = "/api/v1/namespaces/default/pods"

    async def status_cell() -> str:
        return str((await table(api, path))["rows"][0]["cells"][2])

    await api.create(path, pod(nodeName="n1"))
    assert await status_cell() == "Pending"
    waiting = {"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3}
    await api.patch(f"{path}/p/status", {"status": {"phase": "Running", "containerStatuses": [waiting]}})
    assert await status_cell() == "CrashLoopBackOff"
    done = {"name": "main", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}
    await api.patch(f"{path}/p/status", {"status": {"phase": "Succeeded", "containerStatuses": [done]}})
    assert await status_cell() == "Completed"
    await api.patch(f"{path}/p/status", {"status": {"phase": "Running", "containerStatuses": None}})
    await api.delete(f"{path}/p")
    assert await status_cell() == "Terminating"


async def test_every_built_in_resource_prints(api) -> None:
    for resource in api.server.registry:
        prefix = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
        printed = await table(api, f"{prefix}/{resource.plural}")
        columns = [column["name"] for column in printed["columnDefinitions"]]
        assert "Name" in columns
        assert all(len(row["cells"]) == len(columns) for row in printed["rows"])


async def test_a_watch_prints_headers_once(api, pod) -> None:
    path = "/api/v1/namespaces/default/pods"
    await api.create(path, pod("a"))
    await api.create(path, pod("b"))
    reply = await api.session.get(path, headers=TABLE, params={"watch": "true"})
    import orjson

    first, second = [orjson.loads(await reply.content.readline()) for _ in range(2)]
    reply.close()
    assert first["type"] == "ADDED"
    assert first["object"]["columnDefinitions"][0]["name"] == "Name"
    assert second["object"]["columnDefinitions"] is None
    assert second["object"]["rows"][0]["cells"][0] == "b"


async def test_metadata_only(api, pod) -> None:
    await api.create("/api/v1/namespaces/default/pods", pod())
    headers = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    async with api.session.get("/api/v1/pods", headers=headers) as reply:
        answer = await reply.json()
    assert answer["kind"] == "PartialObjectMetadataList"
    assert set(answer["items"][0]) == {"kind", "apiVersion", "metadata"}


async def test_what_cannot_be_served_is_406(api) -> None:
    async with api.session.get("/api/v1/pods", headers={"Accept": "text/html"}) as reply:
        assert reply.status == 406
