"""The embedded cluster's API server: HTTP in, the store behind it.

`ApiServer` owns the listener, the garbage collector's task and the open watches. A request goes through `_handle`
(faults, errors to Status), `_route` (documents or objects) and one method a verb; those are thin, the rules are in
`writes`, `reads`, `watch` and `subresources`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from extender.emulator import discovery, openapi, parameters, reads, replies, routing, status, subresources, watch
from extender.emulator import faults as faults_
from extender.emulator.admission import Admission
from extender.emulator.bootstrap import populate
from extender.emulator.crds import follow
from extender.emulator.deletes import Deleter, returns_deleted
from extender.emulator.faults import Faults
from extender.emulator.garbage import GarbageCollector
from extender.emulator.resources import JSON, PODS, Registry, Resource
from extender.emulator.routing import Target
from extender.emulator.status import StatusError
from extender.emulator.store import HISTORY_EVENTS, Record, Store
from extender.emulator.versions import Versions
from extender.emulator.webhooks import ServiceResolver, Webhooks
from extender.emulator.writes import Writer

log = logging.getLogger(__name__)

# etcd's own limit is what makes the real server refuse more.
_MAX_BODY_BYTES = 3 * 1024 * 1024
_SHUTDOWN_S = 2.0
_HEALTH_PATHS = frozenset({"healthz", "livez", "readyz"})


class ApiServer:
    """A Kubernetes API over plain HTTP.

    faults:              the test's script of misbehaviour.
    bookmark_interval_s: how often watches that allow it get a bookmark.
    history_events:      changes a resource remembers for watches that resume.
    service_resolver:    (namespace, name, port) of a webhook's Service → base URL.
    """

    def __init__(
        self,
        *,
        faults: Faults | None = None,
        bookmark_interval_s: float = 10.0,
        history_events: int = HISTORY_EVENTS,
        service_resolver: ServiceResolver | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.store = Store(history_events)
        self.registry = Registry()
        self.store.listen(lambda event: follow(self.registry, event))
        self.webhooks = Webhooks(service_resolver)
        self._versions = Versions(self.store, self.webhooks)
        admission = Admission(self.store, self.registry, self.webhooks, self._versions)
        self._writer = Writer(self.store, self.registry, admission, self._versions)
        self._deleter = Deleter(self.store, admission, self._versions)
        self._garbage = GarbageCollector(self.store, self.registry, self._deleter)
        self._openapi = openapi.OpenApi(self.registry)
        self._watches = watch.Watches(self.store, self._versions, bookmark_interval_s)
        self._runner: web.ServerRunner | None = None
        self._garbage_task: asyncio.Task[None] | None = None
        self.url = ""
        self.faults.attach(self._cut_watches, self._expire_history)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, and return the base URL; port 0 takes a free one. A stopped server can be started again."""
        await populate(self.store, self._writer, self.registry)
        self._watches.reopen()
        server = web.Server(self._handle, request_factory=_request, handler_cancellation=True)
        # An idle connection outlives every client's idea of a keep-alive.
        self._runner = web.ServerRunner(server, access_log=None, shutdown_timeout=_SHUTDOWN_S, keepalive_timeout=3600.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound_host, bound_port = self._runner.addresses[0][:2]
        self.url = f"http://{bound_host}:{bound_port}"
        self._garbage_task = asyncio.create_task(self._garbage.run(), name="emulator-garbage")
        return self.url

    async def stop(self) -> None:
        """End all watches, close the listener; what is stored stays."""
        self._watches.close()
        if self._garbage_task is not None:
            self._garbage_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._garbage_task
            self._garbage_task = None
        await self.webhooks.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def write_kubeconfig(self, path: Path) -> None:
        """Write a kubeconfig for this server; it must have been started."""
        name = "embedded"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": self.url}}],
            "users": [{"name": name, "user": {}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
            "current-context": name,
        }
        path.write_text(yaml.safe_dump(config, sort_keys=False))

    def _cut_watches(self, plural: str | None, abort: bool) -> int:
        if plural is None:
            return self._watches.cut(abort=abort)
        return sum(self._watches.cut(resource, abort) for resource in self._named(plural))

    def _expire_history(self, plural: str) -> None:
        for resource in self._named(plural):
            self.store.expire(resource.storage)

    def _named(self, plural: str) -> list[Resource]:
        """One resource a storage, by plural or by `plural.group`."""
        found = {r.storage: r for r in self.registry if plural in (r.plural, r.qualified)}
        return list(found.values())

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if self.faults.is_unavailable:
                raise faults_.unavailable()
            if self.faults.request_delay_s and "watch" not in request.query:
                await asyncio.sleep(self.faults.request_delay_s)
            return await self._route(request)
        except StatusError as error:
            return replies.json_reply(error.body(), error.code, error.headers)
        except web.HTTPRequestEntityTooLarge:
            message = f"Request entity too large: limit is {_MAX_BODY_BYTES}"
            return replies.json_reply(StatusError(413, "RequestEntityTooLarge", message).body(), 413)
        except ConnectionError:
            raise
        except Exception:
            log.exception("emulator request failed", extra={"method": request.method, "path": request.path})
            return replies.json_reply(
                status.internal_error("the embedded API server has a bug; its log says where").body(), 500
            )

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = routing.segments_of(request.rel_url.raw_path)
        if (parts[0] == "api" and len(parts) > 2) or (parts[0] == "apis" and len(parts) > 3):
            if parts[:2] == ["api", "v1"] and parts[2] == "namespaces" and len(parts) == 5 and parts[4] == "bindings":
                return await self._bind(request, parts[3], "")
            return await self._serve(request, routing.resolve(self.registry, parts))
        if request.method not in ("GET", "HEAD"):
            raise status.method_not_allowed()
        return self._document(request, parts)

    def _document(self, request: web.BaseRequest, parts: list[str]) -> web.Response:
        """The documents that describe the server."""
        accept = request.headers.get("Accept", "")
        match parts:
            case [""]:
                return replies.json_reply(discovery.root_paths(self.registry))
            case [health] if health in _HEALTH_PATHS:
                return web.Response(text="ok")
            case ["version"]:
                return replies.json_reply(discovery.VERSION)
            case ["api" | "apis" as root]:
                if version := discovery.aggregated_version(accept):
                    content_type = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                    body = discovery.aggregated(self.registry, version, core=root == "api")
                    return replies.json_reply(body, headers={"Content-Type": content_type})
                if root == "api":
                    return replies.json_reply(discovery.api_versions(self.url.removeprefix("http://")))
                return replies.json_reply(discovery.group_list(self.registry))
            case ["api", version]:
                return replies.json_reply(discovery.resource_list(self.registry, "", version))
            case ["apis", group]:
                return replies.json_reply(discovery.group_document(self.registry, group))
            case ["apis", group, version]:
                return replies.json_reply(discovery.resource_list(self.registry, group, version))
            case ["openapi", "v2"]:
                if "protobuf" in accept:
                    return replies.raw_reply(openapi.V2_PROTOBUF, headers={"Content-Type": openapi.V2_PROTOBUF_TYPE})
                return replies.json_reply(openapi.V2_JSON)
            case ["openapi", "v3"]:
                return replies.json_reply(self._openapi.index())
            case ["openapi", "v3", *path]:
                return replies.raw_reply(self._openapi.document("/".join(path)))
            case _:
                raise status.no_such_path()

    async def _serve(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        """One request for objects."""
        if target.subresource in ("binding", "eviction", "scale"):
            return await self._serve_special(request, target)
        handlers: dict[str, Callable[[web.BaseRequest, Target], Any]]
        if target.subresource:
            handlers = {"GET": self._get, "PUT": self._update, "PATCH": self._patch}
        elif target.name:
            handlers = {"GET": self._get, "PUT": self._update, "PATCH": self._patch, "DELETE": self._delete}
        else:
            handlers = {"GET": self._list, "POST": self._create, "DELETE": self._delete_collection}
        handler = handlers.get(request.method)
        if handler is None:
            raise status.method_not_allowed()
        response: web.StreamResponse = await handler(request, target)
        return response

    async def _serve_special(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        if target.subresource == "scale":
            return await self._scale(request, target)
        if request.method != "POST":
            raise status.method_not_allowed()
        if target.subresource == "binding":
            return await self._bind(request, target.namespace or "", target.name)
        eviction = await parameters.read_body(request, "V1Eviction")
        await subresources.evict(
            self.store, self.registry, self._deleter, target.resource, target.namespace or "", target.name, eviction
        )
        return replies.json_reply(status.success(201), 201)

    async def _get(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        form = reads.negotiate(request.headers.get("Accept", ""), request.query)
        record = await self._versions.served(target.resource, self._record(target))
        return replies.raw_reply(reads.encode_one(target.resource, record, form))

    async def _list(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        form = reads.negotiate(request.headers.get("Accept", ""), request.query)
        query = reads.list_query(target.resource, target.namespace, request.query)
        if request.query.get("watch") in ("true", "1"):
            options = watch.watch_options(request.query, query, self.store)
            return await self._watches.serve(request, query, options, form)
        records, metadata = reads.select(self.store, query)
        records = await self._versions.all_served(target.resource, records)
        return replies.raw_reply(reads.encode_list(target.resource, records, metadata, form))

    async def _create(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        resource = target.resource
        if resource.namespaced and target.namespace is None:
            # Only reading goes across namespaces.
            raise status.method_not_allowed()
        options = parameters.write_options(request)
        body = await parameters.read_body(request)
        record = await self._writer.create(resource, target.namespace or "", body, options)
        return replies.object_reply(resource, record, 201, options.warnings)

    async def _update(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        options = parameters.write_options(request)
        body = await parameters.read_body(request)
        if target.subresource == "finalize":
            return self._finalize(target, body)
        record = await self._writer.update(
            target.resource, target.namespace or "", target.name, body, options, target.subresource
        )
        return replies.object_reply(target.resource, record, 200, options.warnings)

    def _finalize(self, target: Target, body: JSON) -> web.Response:
        record = self._record(target)
        if not (body.get("spec") or {}).get("finalizers"):
            record = self._deleter.finalize_namespace(record)
        return replies.object_reply(target.resource, record)

    async def _patch(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        options = parameters.write_options(request)
        record, created = await self._writer.patch(
            target.resource,
            target.namespace or "",
            target.name,
            request.content_type,
            await request.read(),
            options,
            target.subresource,
        )
        return replies.object_reply(target.resource, record, 201 if created else 200, options.warnings)

    async def _delete(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        options = await parameters.delete_options(request)
        resource = target.resource
        record, gone = await self._deleter.delete(resource, target.namespace or "", target.name, options)
        if gone and not returns_deleted(resource):
            details: JSON = {"name": target.name, "group": resource.group, "kind": resource.plural, "uid": record.uid}
            if not resource.group:
                del details["group"]
            return replies.json_reply(status.success(200, details), headers=replies.warning_headers(options.warnings))
        record = await self._versions.served(resource, record)
        return replies.object_reply(resource, record, 200, options.warnings)

    async def _delete_collection(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        resource = target.resource
        if resource.namespaced and target.namespace is None:
            raise status.method_not_allowed()
        query = reads.list_query(resource, target.namespace, request.query)
        found = [r for r in self.store.records(resource.storage, target.namespace) if query.selection.matches(r.obj)]
        records = await self._versions.all_served(resource, found)
        for record in records:
            options = await parameters.delete_options(request)
            with contextlib.suppress(StatusError):
                # Somebody else may delete one of them meanwhile, which is what was asked for.
                await self._deleter.delete(resource, record.namespace, record.name, options)
        metadata: JSON = {"resourceVersion": str(self.store.version)}
        return replies.raw_reply(reads.encode_list(resource, records, metadata, reads.Form()))

    async def _scale(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        if request.method == "GET":
            return replies.json_reply(subresources.scale_of(self._record(target)))
        options = parameters.write_options(request)
        if request.method == "PUT":
            scale = await parameters.read_body(request, "V1Scale")
        elif request.method == "PATCH":
            scale = parameters.patched_scale(
                subresources.scale_of(self._record(target)), request.content_type, await request.read()
            )
        else:
            raise status.method_not_allowed()
        namespace = target.namespace or ""
        record = await subresources.set_scale(self._writer, target.resource, namespace, target.name, scale, options)
        return replies.json_reply(subresources.scale_of(record))

    async def _bind(self, request: web.BaseRequest, namespace: str, name: str) -> web.StreamResponse:
        """A binding, with whatever the script of faults has for it."""
        if request.method != "POST":
            raise status.method_not_allowed()
        binding = await parameters.read_body(request, "V1Binding")
        name = name or str((binding.get("metadata") or {}).get("name", ""))
        pods = self.registry.of_storage(PODS)
        fault = self.faults.next_binding()
        if fault is None or fault.stored or (fault.code is None and not fault.drop):
            dry_run = "dryRun" in request.query
            subresources.bind(self.store, pods, namespace, name, binding, dry_run)
        if fault is not None:
            if fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            if fault.drop and request.transport is not None:
                request.transport.abort()
            if refusal := fault.refusal(name):
                raise refusal
        return replies.json_reply(status.success(201), 201)

    def _record(self, target: Target) -> Record:
        record = self.store.get(target.resource.storage, target.namespace or "", target.name)
        if record is None:
            raise status.not_found(target.resource, target.name)
        return record


def _request(*args: Any) -> web.BaseRequest:
    """aiohttp's request with room for the largest body that is read."""
    message, payload, protocol, writer, task = args
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_MAX_BODY_BYTES)
