"""Binding: one write to the API server, and finding out what became of it.

begin ─► POST Binding ─► 201 ──────────────────────────► STORED
             │ 409, 5xx, 404, no answer ─► GET the pod ─┬ on that node ─► STORED
             │                                          ├ another node, other uid, none ─► REFUSED / GONE
             │                                          └ unbound: try again while time is left, then
             └ 4xx ─► REFUSED                             REFUSED, or UNKNOWN if a write may still land
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from extender import logs, metrics
from extender.cluster.picture import HoldState, Picture
from extender.controllers.gpu_maps import SharedGpus
from extender.errors import (
    ApiError,
    ConflictError,
    MalformedError,
    NotFoundError,
    OutcomeUnknownError,
    ReservationError,
    ThrottledError,
    UnavailableError,
)
from extender.kube.client import KubeClient
from extender.model.names import NodeName, PodUID
from extender.model.pod import Pod
from extender.pods import bind
from extender.pods.bind import BindRequest, Outcome, Write
from extender.pods.placement import Policy
from extender.wire import pods

_POST_S = 10.0
_READ_S = 5.0
_RETRY_S = 0.25

log = logs.get("binder")


class Binder:
    """One per process. A second bind of the same pod while one is under way shares its outcome.

    gpus:   what holds and names shared devices before a Binding says so; None: only our books do.
    failed: told of each pod whose devices could not be held on a node, and why.
    """

    def __init__(
        self,
        client: KubeClient,
        picture: Picture,
        policy: Policy,
        is_active: Callable[[], bool],
        *,
        timeout_s: float,
        gpus: SharedGpus | None = None,
        failed: Callable[[Pod, NodeName, str], None] = lambda _pod, _node, _why: None,
    ) -> None:
        self._client = client
        self._picture = picture
        self._policy = policy
        self._is_active = is_active
        self._timeout_s = timeout_s
        self._gpus = gpus
        self._failed = failed
        self._under_way: dict[PodUID, tuple[BindRequest, asyncio.Task[str]]] = {}

    async def bind(self, request: BindRequest) -> str:
        """Bind and answer "" for success, or the error for kube-scheduler."""
        known = self._under_way.get(request.uid)
        if known is not None:
            first, task = known
            if first.node != request.node:
                return f"a Binding of pod {request.namespace}/{request.name} to node {first.node} is under way"
            # shield: one caller giving up must not undo the other's bind.
            return await asyncio.shield(task)
        task = asyncio.get_running_loop().create_task(self._bind(request))
        self._under_way[request.uid] = (request, task)
        task.add_done_callback(lambda _: self._under_way.pop(request.uid, None))
        return await asyncio.shield(task)

    async def drain(self, timeout_s: float) -> None:
        """Wait for the binds under way; those still running after `timeout_s` stay to be read back at restart."""
        tasks = [task for _, task in self._under_way.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    async def read_back(self, uid: PodUID, *, give_up_after_s: float) -> None:
        """Settle a Binding whose outcome is unknown by what the API server holds now."""
        record = self._picture.pods.get(uid)
        if record is None or record.hold is None or record.hold.state is not HoldState.UNKNOWN:
            return
        hold = record.hold
        age_s = time.monotonic() - hold.since
        try:
            found = await self._read(record.pod.namespace, record.pod.name, uid)
        except ApiError as error:
            log.warning("read_back_failed", pod=record.pod.key, cause=error.message)
            return
        if uid in self._under_way or record.hold is not hold or hold.state is not HoldState.UNKNOWN:
            return  # tried again while we read: that attempt knows more
        if found is None:
            bind.settle(self._picture, uid, Outcome.GONE, hold.placement)
        elif found.placement is not None:
            self._picture.upsert_pod(found)
        elif age_s > give_up_after_s:
            log.info("unknown_bind_released", pod=record.pod.key, seconds=round(age_s, 1))
            bind.settle(self._picture, uid, Outcome.REFUSED, hold.placement)

    async def _bind(self, request: BindRequest) -> str:
        started = time.monotonic()
        step = bind.begin(self._picture, request, self._policy, now=started)
        if isinstance(step, bind.Unseen):
            try:
                found = await self._read(request.namespace, request.name, request.uid)
            except ApiError as failure:
                return f"pod {request.namespace}/{request.name} cannot be read: {failure.message}"
            if found is None:
                return f"pod {request.namespace}/{request.name} ({request.uid}) is deleted"
            self._picture.upsert_pod(found, watched=False)
            step = bind.begin(self._picture, request, self._policy, now=started)
        if isinstance(step, bind.Done):
            return ""
        if isinstance(step, bind.Refused):
            return step.error
        if isinstance(step, bind.Unseen):
            return f"pod {request.namespace}/{request.name} ({request.uid}) is not known"
        outcome, error = await self._write(request, step)
        bind.settle(self._picture, request.uid, outcome, step.placement)
        metrics.BINDS.labels(outcome.name.lower()).inc()
        write = log.info if outcome is Outcome.STORED else log.warning
        write(
            "bind",
            pod=f"{request.namespace}/{request.name}",
            node=request.node,
            devices=step.annotations.get("runai-gpu", ""),
            reason=outcome.name.lower(),
            cause=error,
            ms=round(1000 * (time.monotonic() - started), 1),
        )
        return error

    async def _write(self, request: BindRequest, step: Write) -> tuple[Outcome, str]:
        """Hold and name the devices of a share, then store the Binding, each with time of its own."""
        record = self._picture.pods.get(request.uid)
        if record is None:
            return Outcome.GONE, f"pod {request.namespace}/{request.name} ({request.uid}) is deleted"
        pod, gpus = record.pod, self._gpus
        if gpus is None and pod.config_map:
            # Its container would wait for ever.
            error = f"ConfigMap {pod.config_map} is written by nobody: gpu_sharing.reservations is off, and was on"
            self._failed(pod, request.node, error)
            return Outcome.REFUSED, error
        if not self._is_active():
            return Outcome.REFUSED, "another replica is active"
        if gpus is None or not any(group for _, group in step.placement.devices):
            return await self._store(request, step, deadline=time.monotonic() + self._timeout_s)
        try:
            uuids = await gpus.prepare(pod, step.placement)
        except ReservationError as refused:
            self._failed(pod, request.node, str(refused))
            await gpus.undo(pod)
            return Outcome.REFUSED, str(refused)
        annotations, _ = bind.records(pod, step.placement, share_milli=step.share_milli, uuids=uuids)
        named = replace(step, annotations=annotations)
        outcome, error = await self._store(request, named, deadline=time.monotonic() + self._timeout_s)
        if outcome in (Outcome.REFUSED, Outcome.GONE):
            await gpus.undo(pod)
        return outcome, error

    async def _store(self, request: BindRequest, step: Write, *, deadline: float) -> tuple[Outcome, str]:
        """POST until it is stored, refused or out of time. An error text comes with every outcome but STORED."""
        may_land = False  # a write went out whose answer never came
        while True:
            wait_s = _RETRY_S
            if not self._is_active():
                # Another replica decides now, and it does not know our seats.
                return Outcome.UNKNOWN if may_land else Outcome.REFUSED, "another replica is active"
            try:
                await self._client.create(
                    f"/api/v1/namespaces/{request.namespace}/pods/{request.name}/binding",
                    _binding(request, step),
                    timeout_s=_POST_S,
                )
                return Outcome.STORED, ""
            except ThrottledError as error:
                failure: ApiError = error
                wait_s = min(error.retry_after_s, 5.0)
            except (ConflictError, NotFoundError) as error:
                failure = error
            except (OutcomeUnknownError, UnavailableError) as error:
                failure = error
                may_land = may_land or error.status >= 500 or isinstance(error, OutcomeUnknownError)
            except ApiError as error:
                return Outcome.REFUSED, error.message
            settled = await self._truth(request, failure)
            if settled is not None:
                return settled
            if isinstance(failure, ConflictError | NotFoundError):
                # Unbound, and the API server refuses: deleting, gated, or moved on. kube-scheduler starts over.
                return Outcome.UNKNOWN if may_land else Outcome.REFUSED, failure.message
            if time.monotonic() + wait_s >= deadline:
                return Outcome.UNKNOWN if may_land else Outcome.REFUSED, failure.message
            await asyncio.sleep(wait_s)

    async def _truth(self, request: BindRequest, failure: ApiError) -> tuple[Outcome, str] | None:
        """What the API server holds after a failed write; None when the pod is there, unbound, or unreadable."""
        try:
            found = await self._read(request.namespace, request.name, request.uid)
        except ApiError:
            return None
        if found is None:
            return Outcome.GONE, f"pod {request.namespace}/{request.name} ({request.uid}) is deleted"
        if found.placement is None:
            return None
        # Whoever wrote it, with whatever devices: what is stored is the truth, and the picture takes it in.
        self._picture.upsert_pod(found)
        if found.placement.node == request.node:
            return Outcome.STORED, ""
        return (
            Outcome.REFUSED,
            f"pod {found.key} is already bound to node {found.placement.node}: {failure.message}",
        )

    async def _read(self, namespace: str, name: str, uid: PodUID) -> Pod | None:
        """The pod of that very uid as it is stored, None when it is gone. Raises ApiError."""
        try:
            obj: dict[str, Any] = await self._client.get(
                f"/api/v1/namespaces/{namespace}/pods/{name}", timeout_s=_READ_S
            )
            found = pods.parse(obj)
        except NotFoundError:
            return None
        except MalformedError as error:
            raise ApiError(f"pod {namespace}/{name}: {error}") from error
        return found if found.uid == uid else None


def _binding(request: BindRequest, step: Write) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {
            "name": request.name,
            "namespace": request.namespace,
            "uid": request.uid,
            "annotations": step.annotations,
            "labels": step.labels,
        },
        "target": {"apiVersion": "v1", "kind": "Node", "name": request.node},
    }
