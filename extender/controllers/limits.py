"""Workloads that have run for as long as their project lets them are stopped: suspended or scaled to 0 where that can
be undone, else deleted. Time counts from when the kubelet accepted a pod, while the pod runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from extender import logs, metrics
from extender.cluster.picture import Picture
from extender.controllers.owners import Owners
from extender.errors import ApiError, ConflictError, NotFoundError
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder, Subject
from extender.model import names, timestamps
from extender.model.names import PodUID
from extender.model.pod import Phase, Pod
from extender.model.queue import Work
from extender.wire.grouping import owner_of, path_of

Json = dict[str, Any]

_EVERY_S = 1.0
_REST_S = 30.0  # for a workload to go, or before it is tried again
_AT_ONCE = 500  # pods looked at before others get their turn on the loop

# How each kind is told to stop: what the patch says of its spec. All can be resumed by undoing it.
_STOP: dict[str, Json] = {
    "Job": {"suspend": True},
    "JobSet": {"suspend": True},
    "RayCluster": {"suspend": True},
    "Deployment": {"replicas": 0},
    "ReplicaSet": {"replicas": 0},
    "StatefulSet": {"replicas": 0},
}
_STOP_TRAINING: Json = {"runPolicy": {"suspend": True}}  # every kind of the training operators

log = logs.get("limits")


class TimeLimits:
    """One per process; `run` it as a task, and tell it of every pod that the watch shows (`see`)."""

    def __init__(
        self,
        client: KubeClient,
        picture: Picture,
        owners: Owners,
        events: EventRecorder,
        is_active: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._picture = picture
        self._owners = owners
        self._events = events
        self._is_active = is_active
        self._clock = clock
        self._running: dict[PodUID, None] = {}
        self._rest_until: dict[str, float] = {}  # uid of the workload → when to look at it again

    def see(self, pod: Pod) -> None:
        """One version of a pod, from the watch or a list. Cost: constant."""
        if _runs(pod):
            self._running.setdefault(pod.uid)
        else:
            self._running.pop(pod.uid, None)

    async def run(self) -> None:
        """Stop what has run for too long until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self._round(self._clock())
            except Exception:
                # The loop must survive whatever one round meets.
                log.exception("limits_failed")

    async def _round(self, now: float) -> None:
        self._rest_until = {uid: until for uid, until in self._rest_until.items() if until > now}
        limited = any(
            project.interactive_time_limit_s or project.training_time_limit_s
            for project in self._picture.quotas.projects.values()
        )
        expired: dict[str, tuple[Pod, Work, int]] = {}  # uid of the workload → one of its pods
        for looked, uid in enumerate(list(self._running)):
            if looked % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            record = self._picture.pods.get(uid)
            if record is None:
                self._running.pop(uid, None)  # gone between two lists
            elif limited and _runs(record.pod):
                work, limit_s = self._limit_of(record.pod)
                key = _workload(record.pod)
                if (
                    limit_s is not None
                    and now - timestamps.seconds(record.pod.started) >= limit_s
                    and key not in self._rest_until
                ):
                    expired.setdefault(key, (record.pod, work, limit_s))
        if not self._is_active():
            return
        for key, (pod, work, limit_s) in expired.items():
            self._rest_until[key] = now + _REST_S
            try:
                await self._stop(pod, work, limit_s)
            except ApiError as error:
                log.warning("stop_failed", pod=pod.key, cause=error.message)

    def _limit_of(self, pod: Pod) -> tuple[Work, int | None]:
        name = self._picture.membership.project_of(pod)
        project = self._picture.quotas.projects.get(name) if name is not None else None
        work = self._picture.membership.work_of(pod)
        return work, None if project is None else project.time_limit_for(work)

    async def _stop(self, pod: Pod, work: Work, limit_s: int) -> None:
        """Stop the workload that the pod is of. Raises ApiError."""
        chain = await self._owners.chain(pod)
        project = self._picture.membership.project_of(pod)
        text = (
            f"The workload has been running for {limit_s} seconds, the time limit of {work} workloads "
            f"in project {project}"
        )
        about = [Subject("Pod", pod.namespace, pod.name, pod.uid)]
        try:
            if chain:
                top = owner_of(chain[-1])
                spec = _STOP.get(top.kind, _STOP_TRAINING)
                metadata = {"uid": top.uid, "annotations": {names.CALCULATED_STATUS_ANNOTATION: names.TIMED_OUT}}
                path = path_of(pod.namespace, top)
                assert path is not None  # it was read from there
                await self._client.patch(path, {"metadata": metadata, "spec": spec})
                about.append(Subject(top.kind, pod.namespace, top.name, top.uid, top.api_version))
                text += f": {top.kind} {top.name} is {'scaled to 0' if 'replicas' in spec else 'suspended'}."
            else:
                path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
                await self._client.delete(path, options={"preconditions": {"uid": pod.uid}})
                text += ": the pod is deleted."
        except (NotFoundError, ConflictError):
            return  # gone meanwhile, or another object by now
        for subject in about:
            self._events.record(subject, "Normal", names.TIMED_OUT, text)
        metrics.TIMED_OUT.labels(work.value).inc()
        log.info("timed_out", pod=pod.key, project=project, seconds=limit_s)


def _workload(pod: Pod) -> str:
    """The uid of what is stopped: of the pod's controller, or of the pod where that cannot be told to stop."""
    owner = pod.owner
    return owner.uid if owner is not None and path_of(pod.namespace, owner) is not None else pod.uid


def _runs(pod: Pod) -> bool:
    return (
        pod.scheduler == names.SCHEDULER_NAME and pod.phase is Phase.RUNNING and bool(pod.started) and not pod.deleting
    )
