"""A running API server, and a client that shows status codes and bodies as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from extender.emulator import ApiServer

JSON = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"


class Client:
    """One HTTP client of one server; `call` never raises for a status code."""

    def __init__(self, server: ApiServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session
        self.watches: list[Watch] = []

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **params: str
    ) -> tuple[int, JSON]:
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        headers = {"Content-Type": content_type} if data is not None else {}
        async with self.session.request(method, path, data=data, headers=headers, params=params) as reply:
            return reply.status, orjson.loads(await reply.read())

    async def get(self, path: str, **params: str) -> JSON:
        return await self._expect(200, "GET", path, None, **params)

    async def create(self, path: str, body: JSON, **params: str) -> JSON:
        return await self._expect(201, "POST", path, body, **params)

    async def patch(self, path: str, body: Any, dialect: str = "merge-patch+json", **params: str) -> JSON:
        code, answer = await self.call("PATCH", path, body, f"application/{dialect}", **params)
        assert code in (200, 201), answer
        return answer

    async def delete(self, path: str, body: Any = None, **params: str) -> JSON:
        return await self._expect(200, "DELETE", path, body, **params)

    async def _expect(self, wanted: int, method: str, path: str, body: Any, **params: str) -> JSON:
        code, answer = await self.call(method, path, body, **params)
        assert code == wanted, answer
        return answer

    async def names(self, path: str, **params: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await self.get(path, **params))["items"]]

    async def refusal(self, method: str, path: str, body: Any = None, **kwargs: str) -> tuple[int, str, str]:
        """Code, reason and message of a request that must be refused."""
        code, answer = await self.call(method, path, body, **kwargs)
        assert answer["kind"] == "Status", answer
        assert code == answer["code"]
        return code, answer.get("reason", ""), answer["message"]

    async def gone(self, path: str, timeout_s: float = 5.0) -> None:
        """Wait until an object is no longer there."""
        async with asyncio.timeout(timeout_s):
            while (await self.call("GET", path))[0] != 404:
                await asyncio.sleep(0.01)

    async def watch(self, path: str, **params: str) -> Watch:
        watch = Watch(await self.session.get(path, params={"watch": "true", **params}))
        self.watches.append(watch)
        return watch


class Watch:
    """An open watch stream."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self.reply = reply

    async def next(self, timeout_s: float = 5.0) -> tuple[str, JSON]:
        """The next event as (type, object). Raises EOFError at the end of the stream."""
        async with asyncio.timeout(timeout_s):
            line = await self.reply.content.readline()
        if not line:
            raise EOFError
        event = orjson.loads(line)
        return event["type"], event["object"]

    async def take(self, count: int) -> list[tuple[str, str]]:
        """The next events as (type, name)."""
        events = [await self.next() for _ in range(count)]
        return [(type_, obj["metadata"].get("name", "")) for type_, obj in events]

    async def is_quiet(self, for_s: float = 0.1) -> bool:
        try:
            await self.next(timeout_s=for_s)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self.reply.close()


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    server = ApiServer(bookmark_interval_s=0.1)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Client]:
    # A reply buffer for whole lists, and no limit on connections: every watch holds one.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector, read_bufsize=2**22) as session:
        client = Client(server, session)
        yield client
        for watch in client.watches:
            watch.close()


def pod_body(name: str = "p", **spec: Any) -> JSON:
    """A pod that the server accepts; keyword arguments go into its spec, `labels` into its metadata."""
    labels = spec.pop("labels", None)
    metadata: JSON = {"name": name} | ({"labels": labels} if labels else {})
    container = {"name": "main", "image": "registry.local/train:1", "resources": spec.pop("resources", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "restartPolicy": "Never", **spec},
    }


@pytest.fixture
def pod() -> Any:
    return pod_body


def crd_body(**schema: Any) -> JSON:
    """A definition of Gang (gangs.test.local/v1) with a status subresource; keyword arguments are spec properties."""
    root = {
        "type": "object",
        "properties": {
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "spec": {"type": "object", "description": "What is wanted.", "properties": schema},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": root},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gangs.test.local"},
        "spec": {
            "group": "test.local",
            "scope": "Namespaced",
            "names": {"plural": "gangs", "singular": "gang", "kind": "Gang", "shortNames": ["gg"]},
            "versions": [version],
        },
    }


@pytest.fixture
def crd() -> Any:
    return crd_body
