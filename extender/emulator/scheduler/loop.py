"""The mini kube-scheduler: two watches, one serial scheduling loop, a task for every bind."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from extender.emulator.following import follow, strip
from extender.emulator.scheduler.cache import Cache, PodView
from extender.emulator.scheduler.config import SchedulerConfig
from extender.emulator.scheduler.cycle import UnschedulableError, choose_node
from extender.emulator.scheduler.extender_client import ExtenderCallError, ExtenderClient
from extender.emulator.scheduler.queue import ClusterEvent, QueuedPod, SchedulingQueue
from extender.emulator.scheduler.reports import Reporter
from extender.errors import ApiError
from extender.kube.client import KubeClient

Json = dict[str, Any]

_BIND_TIMEOUT_S = 30.0


class MiniScheduler:
    """Stock kube-scheduler in small, as far as an extender can tell; `run` it until cancelled.

    It has its own picture of the cluster and asks the extender over real HTTP. Pods that name another
    scheduler are counted and left alone.
    """

    def __init__(self, client: KubeClient, config: SchedulerConfig) -> None:
        self.config = config
        self.bindings_in_flight = 0
        self._client = client
        self._cache = Cache()
        self._pods: dict[str, PodView] = {}  # UID -> latest version of every pod that is not finished
        self._lists_missing = {"pods", "nodes"}
        self._synced = asyncio.Event()
        self._reporter = Reporter(client, min(config.scheduler_names, default="default-scheduler"))
        self._extenders = [ExtenderClient(extender) for extender in config.extenders]
        self._queue: SchedulingQueue | None = None

    @property
    def is_idle(self) -> bool:
        """Whether every pod is bound, gated, or waiting for something to change."""
        return (
            self._synced.is_set() and self._queue is not None and self._queue.is_idle and self.bindings_in_flight == 0
        )

    def counts(self) -> dict[str, int]:
        """How many pods are in each state of the queue."""
        return self._queue.counts() if self._queue is not None else {}

    async def run(self) -> None:
        """Schedule until cancelled. API and extender errors are retried and logged, never raised."""
        config = self.config
        self._queue = queue = SchedulingQueue(
            initial_backoff_s=config.initial_backoff_s,
            max_backoff_s=config.max_backoff_s,
            backoff_window_s=config.backoff_window_s,
            flush_after_s=config.flush_after_s,
            pops_from_backoff=config.pops_from_backoff,
        )
        async with AsyncExitStack() as stack:
            for extender in self._extenders:
                await stack.enter_async_context(extender)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(
                    follow(self._client, "/api/v1/nodes", on_list=self._list_nodes, on_event=self._on_node)
                )
                tasks.create_task(follow(self._client, "/api/v1/pods", on_list=self._list_pods, on_event=self._on_pod))
                tasks.create_task(self._reporter.run())
                await self._synced.wait()
                while True:
                    await self._schedule_one(queue, await queue.pop(), tasks)

    # ---------------------------------------------------------------- the cycle

    async def _schedule_one(self, queue: SchedulingQueue, queued: QueuedPod, tasks: asyncio.TaskGroup) -> None:
        pod = queued.pod
        if pod.is_deleting or pod.uid not in self._pods or self._cache.is_assumed(pod.uid):
            queue.done(pod.uid)
            return
        try:
            node = await choose_node(pod, self._cache, self._extenders, self.config)
        except UnschedulableError as refusal:
            queue.reject(queued, refusal.plugins)
            await self._report_failure(pod, "Unschedulable", refusal.message)
        except ExtenderCallError as error:
            queue.fail(queued)
            await self._report_failure(pod, "SchedulerError", str(error))
        else:
            latest = self._pods.get(pod.uid)
            if latest is None or latest.node:  # deleted, or bound by somebody else, while we asked
                queue.done(pod.uid)
                return
            self._cache.assume(pod, node)
            queue.done(pod.uid)
            self.bindings_in_flight += 1
            tasks.create_task(self._bind(queue, queued, pod, node))

    async def _bind(self, queue: SchedulingQueue, queued: QueuedPod, pod: PodView, node: str) -> None:
        binder = next((e for e in self._extenders if e.config.bind_verb and e.is_interested(pod)), None)
        try:
            if binder is not None:
                await binder.bind(pod, node)
            else:
                await self._post_binding(pod, node)
        except (ExtenderCallError, ApiError) as error:
            self._unassume(pod)
            latest = self._pods.get(pod.uid)
            # Gone: nothing left to do. Bound after all (an answer that came too late): the watch has told us.
            if latest is not None and not latest.node and not latest.is_deleting:
                queued.pod = latest
                queue.fail(queued)
            await self._report_failure(pod, "SchedulerError", str(error))
        else:
            self._reporter.scheduled(pod, node)
        finally:
            self.bindings_in_flight -= 1

    def _unassume(self, pod: PodView) -> None:
        if self._cache.forget(pod.uid):
            self._tell(ClusterEvent.ASSIGNED_POD_DELETE)

    async def _post_binding(self, pod: PodView, node: str) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/binding"
        await self._client.create(path, binding, timeout_s=_BIND_TIMEOUT_S)

    async def _report_failure(self, pod: PodView, reason: str, message: str) -> None:
        self._reporter.failed(pod, message)
        latest = self._pods.get(pod.uid)
        if latest is not None and not latest.node:
            await self._reporter.set_condition(latest, reason, message)

    # ---------------------------------------------------------------- the picture

    def _tell(self, event: ClusterEvent) -> None:
        if self._queue is not None:
            self._queue.on_event(event)

    def _arrived(self, collection: str) -> None:
        self._lists_missing.discard(collection)
        if not self._lists_missing:
            self._synced.set()

    def _list_nodes(self, items: list[Json]) -> None:
        gone = {node.name for node in self._cache.nodes()} - {item["metadata"]["name"] for item in items}
        for item in items:
            self._on_node("MODIFIED", item)
        for name in gone:
            self._on_node("DELETED", {"metadata": {"name": name}})
        self._arrived("nodes")

    def _on_node(self, kind: str, obj: Json) -> None:
        name = obj["metadata"]["name"]
        known = self._cache.node(name)
        old = known.obj if known is not None else None
        if kind == "DELETED":
            self._cache.set_node(name, None)
            self._tell(ClusterEvent.NODE_DELETE)
            return
        self._cache.set_node(name, strip(obj))
        for event in _node_events(old, obj):
            self._tell(event)

    def _list_pods(self, items: list[Json]) -> None:
        gone = [self._pods[uid] for uid in self._pods.keys() - {item["metadata"]["uid"] for item in items}]
        for pod in gone:
            self._on_pod("DELETED", pod.obj)
        for item in items:
            self._on_pod("MODIFIED", item)
        self._arrived("pods")

    def _on_pod(self, kind: str, obj: Json) -> None:
        pod = PodView(strip(obj))
        old = self._pods.get(pod.uid)
        if kind == "DELETED" or pod.is_terminal:
            self._forget_pod(pod, old)
            return
        self._pods[pod.uid] = pod
        if pod.node:
            self._cache.set_pod(pod)
            if self._queue is not None:
                self._queue.delete(pod.uid)
            was_assigned = old is not None and bool(old.node)
            self._tell(ClusterEvent.ASSIGNED_POD_UPDATE if was_assigned else ClusterEvent.ASSIGNED_POD_ADD)
        elif (
            pod.scheduler in self.config.scheduler_names
            and self._queue is not None
            and not self._cache.is_assumed(pod.uid)
        ):
            self._queue.update(pod)

    def _forget_pod(self, pod: PodView, old: PodView | None) -> None:
        self._pods.pop(pod.uid, None)
        if self._queue is not None:
            self._queue.delete(pod.uid)
        was_counted = self._cache.is_assumed(pod.uid) or bool(old is not None and old.node)
        self._cache.remove_pod(pod.uid)
        if was_counted:
            self._tell(ClusterEvent.ASSIGNED_POD_DELETE)


def _node_events(old: Json | None, new: Json) -> list[ClusterEvent]:
    """What changed on a node, as far as pods may wait for it; a heartbeat is no change."""
    if old is None:
        return [ClusterEvent.NODE_ADD]
    before, after = old["metadata"], new["metadata"]
    spec_before, spec_after = old.get("spec") or {}, new.get("spec") or {}
    status_before, status_after = old.get("status") or {}, new.get("status") or {}
    changes = {
        ClusterEvent.NODE_ALLOCATABLE: status_before.get("allocatable") != status_after.get("allocatable"),
        ClusterEvent.NODE_LABEL: before.get("labels") != after.get("labels"),
        ClusterEvent.NODE_TAINT: (spec_before.get("taints"), spec_before.get("unschedulable"))
        != (spec_after.get("taints"), spec_after.get("unschedulable")),
        ClusterEvent.NODE_CONDITION: _conditions(status_before) != _conditions(status_after),
        ClusterEvent.NODE_ANNOTATION: before.get("annotations") != after.get("annotations"),
    }
    return [event for event, changed in changes.items() if changed]


def _conditions(status: Json) -> dict[str, str]:
    return {c["type"]: c.get("status", "") for c in status.get("conditions") or ()}
