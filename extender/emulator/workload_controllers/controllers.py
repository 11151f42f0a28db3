"""Runs the workload controllers: five watches, one queue, a few workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import Any

from extender import logs
from extender.emulator.following import follow, strip
from extender.emulator.workload_controllers.deployment import DeploymentController
from extender.emulator.workload_controllers.job import JobController
from extender.emulator.workload_controllers.replica_set import ReplicaSetController
from extender.emulator.workload_controllers.stateful_set import StatefulSetController
from extender.emulator.workload_controllers.world import (
    DEPLOYMENT,
    JOB,
    KINDS,
    POD,
    REPLICA_SET,
    STATEFUL_SET,
    Key,
    Kind,
    WorkQueue,
    World,
    key_of,
    owner_of,
)
from extender.errors import ApiError
from extender.kube.client import KubeClient

Json = dict[str, Any]

log = logs.get("emulator.workloads")

_WORKERS = 8
_FIRST_RETRY_S = 0.05
_LONGEST_RETRY_S = 30.0


class WorkloadControllers:
    """Job, StatefulSet, ReplicaSet and Deployment; `run` until cancelled.

    retry_backoff_s: a Job's pause before its first retry (upstream: 10).
    """

    def __init__(self, client: KubeClient, *, retry_backoff_s: float = 10.0) -> None:
        self._client = client
        self._world = World(client)
        self._jobs = JobController(self._world, retry_backoff_s=retry_backoff_s)
        self._reconcile = {
            JOB.name: self._jobs.reconcile,
            STATEFUL_SET.name: StatefulSetController(self._world).reconcile,
            REPLICA_SET.name: ReplicaSetController(self._world).reconcile,
            DEPLOYMENT.name: DeploymentController(self._world).reconcile,
        }
        self._queue = WorkQueue()
        self._failures: Counter[Key] = Counter()
        self._lists_missing = {kind.name for kind in (*KINDS, POD)}
        self._synced = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be looked at now; back-off and clean-up after a Job's end may be due later."""
        return self._synced.is_set() and self._queue.is_idle

    async def run(self) -> None:
        """Reconcile until cancelled. API errors are retried with back-off (0.05 s to 30 s), never raised."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for kind in (*KINDS, POD):
                    tasks.create_task(
                        follow(
                            self._client,
                            "/api/v1/pods" if kind is POD else kind.collection,
                            on_list=partial(self._on_list, kind),
                            on_event=partial(self._on_event, kind),
                        )
                    )
                # Before every list is in, a workload may look childless.
                await self._synced.wait()
                for _ in range(_WORKERS):
                    tasks.create_task(self._work())
        finally:
            self._queue.close()

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            try:
                again_s = await self._step(key)
                del self._failures[key]
            except ApiError as error:
                self._failures[key] += 1
                again_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(self._failures[key], 20))
                log.info("step_failed", object="/".join(key), cause=error.message)
            finally:
                self._queue.done(key)
            if again_s is not None:
                self._queue.add_after(key, again_s)

    async def _step(self, key: Key) -> float | None:
        obj = self._world.picture.get(key)
        reconcile = self._reconcile.get(key[0])
        return await reconcile(obj) if obj is not None and reconcile is not None else None

    def _queue_owners(self, namespace: str, owner: Json | None) -> None:
        """Look at the owner again, and at its owner: a Deployment that recreates waits for pods, not ReplicaSets."""
        while owner is not None:
            key = (owner["kind"], namespace, owner["name"])
            self._queue.add(key)
            obj = self._world.picture.get(key)
            owner = owner_of(obj) if obj is not None else None

    def _on_list(self, kind: Kind, items: list[Json]) -> None:
        known = {key: obj["metadata"]["uid"] for key, obj in self._world.picture.of_kind(kind)}
        listed = {key_of(kind, item): item["metadata"]["uid"] for item in items}
        for key, uid in known.items():
            if listed.get(key) != uid and (gone := self._world.picture.get(key)) is not None:
                self._on_event(kind, "DELETED", gone)
        for item in items:
            self._on_event(kind, "MODIFIED", item)
        self._lists_missing.discard(kind.name)
        if not self._lists_missing:
            self._synced.set()

    def _on_event(self, kind: Kind, change: str, obj: Json) -> None:
        strip(obj)
        key = key_of(kind, obj)
        owner = owner_of(obj)
        gone = change == "DELETED"
        if gone:
            known = self._world.picture.get(key)
            if known is not None and known["metadata"]["uid"] == obj["metadata"]["uid"]:
                self._world.picture.remove(key)
            if kind is JOB:
                self._jobs.forget(obj["metadata"]["uid"])
        elif not self._world.picture.set(kind, obj):
            return
        if kind is POD and owner is not None and owner["kind"] == JOB.name:
            self._jobs.saw_pod(obj, owner["uid"], gone=gone)
        self._queue_owners(key[1], owner)
        if kind is not POD:
            self._queue.add(key)
