"""A small JSON client for the Kubernetes API: raw paths, plain dicts, typed errors, a timeout on every call.

Credentials come from kubernetes-asyncio (kubeconfig, exec plugin, in-cluster token with refresh).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson

from extender.errors import (
    ApiError,
    BadRequestError,
    ConfigError,
    ConflictError,
    GoneError,
    NotFoundError,
    OutcomeUnknownError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
)

Json = dict[str, Any]
PatchKind = Literal["merge", "strategic", "json", "apply"]

_PATCH_TYPES: Mapping[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_MAX_ERROR_BODY = 64 * 1024
# One pod object may be 1.5 MB (etcd's limit); the default 64 KiB line buffer would end the watch on it.
_READ_BUFFER = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch: `type` is ADDED, MODIFIED, DELETED or BOOKMARK; `object` is the decoded object."""

    type: str
    object: Json


class KubeClient:
    """Speaks to one API server. Make it with `connect`; `close` it. Safe for many tasks of one event loop."""

    def __init__(self, url: str, session: aiohttp.ClientSession, configuration: Any = None) -> None:
        self.url = url.rstrip("/")
        self._session = session
        self._configuration = configuration

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, *, connections: int = 100) -> KubeClient:
        """Find credentials (`kubeconfig` file, else in-cluster) and open a session; sends nothing yet.

        Raises ConfigError when no usable credentials are found.
        """
        from kubernetes_asyncio import config
        from kubernetes_asyncio.client.configuration import Configuration

        configuration = Configuration()
        try:
            if kubeconfig:
                await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
            else:
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            where = f"kubeconfig {kubeconfig!r}" if kubeconfig else "the in-cluster service account"
            raise ConfigError(
                f"no usable credentials in {where}: {error}; give --kubeconfig FILE or set KUBECONFIG"
            ) from error
        host = str(configuration.host)
        context: ssl.SSLContext | bool = False
        if host.startswith("https"):
            context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
            if configuration.cert_file:
                context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
            if not configuration.verify_ssl:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=connections),
            read_bufsize=_READ_BUFFER,
            json_serialize=lambda value: orjson.dumps(value).decode(),
            auto_decompress=True,
        )
        return cls(host, session, configuration)

    async def close(self) -> None:
        await self._session.close()

    async def __aenter__(self) -> KubeClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = 10.0,
    ) -> Any:
        """Send one request and return the decoded answer.

        path: from the root, as in `/api/v1/nodes/n1`; body: anything orjson can encode.
        Raises an `errors.ApiError`: OutcomeUnknownError when the request went out and no answer came in
        `timeout_s`, UnavailableError when no connection could be made.
        """
        headers = {"Accept": accept, **await self._credentials()}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = orjson.dumps(body)
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(timeout_s, 5.0))
        try:
            async with self._session.request(
                method, self.url + path, params=params, data=data, headers=headers, timeout=timeout
            ) as response:
                payload = await response.read()
                if response.status >= 400:
                    raise _error(method, path, response.status, payload, response.headers)
        except aiohttp.ClientConnectorError as error:
            raise UnavailableError(f"{method} {path}: cannot connect to {self.url}: {error}") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise UnavailableError(f"{method} {path}: cannot connect to {self.url}: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OutcomeUnknownError(
                f"{method} {path}: no answer within {timeout_s:g} s ({type(error).__name__})"
            ) from error
        try:
            return orjson.loads(payload) if payload else {}
        except orjson.JSONDecodeError as error:
            # Accepted, it says, and then nonsense: something in between answered. Read the truth back.
            raise OutcomeUnknownError(
                f"{method} {path}: the answer is not JSON: {payload[:80]!r}", status=response.status
            ) from error

    async def get(self, path: str, *, timeout_s: float = 10.0) -> Json:
        answer: Json = await self.request("GET", path, timeout_s=timeout_s)
        return answer

    async def get_metadata(self, path: str, *, timeout_s: float = 10.0) -> Json:
        """The `metadata` of an object alone, which is small however large the object."""
        answer: Json = await self.request("GET", path, accept=_METADATA, timeout_s=timeout_s)
        metadata: Json = answer["metadata"]
        return metadata

    async def create(
        self, path: str, obj: Json, *, params: Mapping[str, str] | None = None, timeout_s: float = 10.0
    ) -> Json:
        answer: Json = await self.request("POST", path, body=obj, params=params, timeout_s=timeout_s)
        return answer

    async def replace(self, path: str, obj: Json, *, timeout_s: float = 10.0) -> Json:
        answer: Json = await self.request("PUT", path, body=obj, timeout_s=timeout_s)
        return answer

    async def patch(
        self,
        path: str,
        patch: object,
        *,
        kind: PatchKind = "merge",
        field_manager: str = "runai-scheduler",
        timeout_s: float = 10.0,
    ) -> Json:
        """Patch one object; `kind="apply"` is a forced server-side apply under `field_manager`."""
        params = {"fieldManager": field_manager}
        if kind == "apply":
            params["force"] = "true"
        answer: Json = await self.request(
            "PATCH", path, body=patch, params=params, content_type=_PATCH_TYPES[kind], timeout_s=timeout_s
        )
        return answer

    async def patch_metadata(self, path: str, patch: object, *, timeout_s: float = 10.0) -> Json:
        """A merge patch; the answer is the `metadata` of the object alone."""
        answer: Json = await self.request(
            "PATCH", path, body=patch, content_type=_PATCH_TYPES["merge"], accept=_METADATA, timeout_s=timeout_s
        )
        metadata: Json = answer["metadata"]
        return metadata

    async def delete(self, path: str, *, options: Json | None = None, timeout_s: float = 10.0) -> Json:
        answer: Json = await self.request("DELETE", path, body=options, timeout_s=timeout_s)
        return answer

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        """Have a pod of that very uid leave, unless a disruption budget protects it: then ThrottledError."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        await self.create(f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", body)

    async def pages(
        self, path: str, *, params: Mapping[str, str] | None = None, limit: int = 500, timeout_s: float = 60.0
    ) -> AsyncGenerator[tuple[list[Json], str], None]:
        """A collection page by page, each with the resourceVersion to watch from; the last page's is the one to use.

        Take from each page what you need and let it go: decoded objects are twenty times the size of what we keep.
        Items carry no `kind`/`apiVersion` (the list has them). Raises GoneError when a continue token expired (list
        again), else as `request`.
        """
        query = {**(params or {}), "limit": str(limit)}
        while True:
            page = await self.request("GET", path, params=query, timeout_s=timeout_s)
            metadata = page.get("metadata") or {}
            yield page.get("items") or [], str(metadata.get("resourceVersion", ""))
            token = metadata.get("continue")
            if not token:
                return
            query["continue"] = token

    async def list(
        self, path: str, *, params: Mapping[str, str] | None = None, limit: int = 500, timeout_s: float = 60.0
    ) -> tuple[list[Json], str]:
        """All `pages` at once, for small collections."""
        items: list[Json] = []
        version = ""
        async for page, version in self.pages(path, params=params, limit=limit, timeout_s=timeout_s):  # noqa: B007
            items.extend(page)
        return items, version

    async def watch(
        self,
        path: str,
        *,
        resource_version: str,
        params: Mapping[str, str] | None = None,
        timeout_s: int = 300,
        idle_s: float = 90.0,
        on_open: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Stream the changes after `resource_version`, bookmarks included, until the server ends the stream.

        timeout_s: asked of the server; the iterator then ends normally: watch again from the last version.
        idle_s: silence longer than this is a dead connection (bookmarks come about every minute).
        on_open: called once the server has accepted the watch.
        Raises GoneError (list again), UnavailableError or another ApiError. Never reconnects by itself.
        """
        query = {
            **(params or {}),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_s),
        }
        headers = {"Accept": "application/json", **await self._credentials()}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=idle_s)
        try:
            async with self._session.get(self.url + path, params=query, headers=headers, timeout=timeout) as response:
                if response.status >= 400:
                    payload = await response.content.read(_MAX_ERROR_BODY)
                    raise _error("WATCH", path, response.status, payload, response.headers)
                on_open()
                async for line in response.content:
                    if line.strip():
                        yield _watch_event(path, line)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            # ValueError: aiohttp's "chunk too big" when one object outgrows the line buffer.
            raise UnavailableError(f"WATCH {path}: stream broken: {type(error).__name__}: {error}") from error

    async def _credentials(self) -> dict[str, str]:
        if self._configuration is None:
            return {}
        # Reads the token file again when it is due: bound tokens expire within the hour.
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            return {"Authorization": token}
        basic = self._configuration.username
        if basic:
            return {"Authorization": self._configuration.get_basic_auth_token()}
        return {}


def _watch_event(path: str, line: bytes) -> WatchEvent:
    try:
        decoded = orjson.loads(line)
        kind, obj = decoded["type"], decoded["object"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UnavailableError(f"WATCH {path}: not a watch event: {line[:80]!r}") from error
    if kind == "ERROR":
        raise _status_error("WATCH", path, int(obj.get("code", 500)), obj, {})
    return WatchEvent(kind, obj)


def _error(method: str, path: str, status: int, payload: bytes, headers: Mapping[str, str]) -> ApiError:
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        body = {"message": payload[:200].decode("utf-8", "replace")}
    return _status_error(method, path, status, body, headers)


def _status_error(method: str, path: str, status: int, body: Json, headers: Mapping[str, str]) -> ApiError:
    message = f"{method} {path}: {status} {body.get('message') or body.get('reason') or ''}".rstrip()
    reason = str(body.get("reason") or "")
    match status:
        case 400 | 415 | 422:
            return BadRequestError(message, status=status, reason=reason)
        case 401 | 403:
            return UnauthorizedError(message, status=status, reason=reason)
        case 404:
            return NotFoundError(message, status=status, reason=reason)
        case 409:
            return ConflictError(message, status=status, reason=reason)
        case 410:
            return GoneError(message, status=status, reason=reason)
        case 429:
            return ThrottledError(message, status=status, reason=reason, retry_after_s=_retry_after(headers))
    if status >= 500:
        return UnavailableError(message, status=status, reason=reason)
    return ApiError(message, status=status, reason=reason)


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0


async def wait_until_ready(client: KubeClient, *, timeout_s: float) -> None:
    """Return once the API server answers `/readyz`; raises UnavailableError after `timeout_s`."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            await client.request("GET", "/version", timeout_s=2.0)
            return
        except (UnavailableError, OutcomeUnknownError, UnauthorizedError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise UnavailableError(f"{client.url} did not answer within {timeout_s:g} s: {error}") from error
            await asyncio.sleep(0.1)
