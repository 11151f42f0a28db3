"""Workloads that have run for as long as their project lets them are stopped: suspended or scaled to 0 where that can
be undone, else deleted. Time counts from when the kubelet accepted a pod, while the pod runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from extender import logs, metrics
from extender.cluster.picture import Picture
from extender.controllers.stopping import Stopper, runs, workload_of
from extender.errors import ApiError
from extender.model import names, timestamps
from extender.model.names import PodUID
from extender.model.pod import Pod
from extender.model.queue import Work

_EVERY_S = 1.0
_REST_S = 30.0  # for a workload to go, or before it is tried again
_AT_ONCE = 500  # pods looked at before others get their turn on the loop

log = logs.get("limits")


class TimeLimits:
    """One per process; `run` it as a task, and tell it of every pod that the watch shows (`see`)."""

    def __init__(
        self,
        picture: Picture,
        stopper: Stopper,
        is_active: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._picture = picture
        self._stopper = stopper
        self._is_active = is_active
        self._clock = clock
        self._running: dict[PodUID, None] = {}
        self._rest_until: dict[str, float] = {}  # uid of the workload → when to look at it again

    def see(self, pod: Pod) -> None:
        """One version of a pod, from the watch or a list. Cost: constant."""
        if runs(pod):
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
            elif limited and runs(record.pod):
                work, limit_s = self._limit_of(record.pod)
                key = workload_of(record.pod)
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
        project = self._picture.membership.project_of(pod)
        text = (
            f"The workload has been running for {limit_s} seconds, the time limit of {work} workloads "
            f"in project {project}"
        )
        if await self._stopper.stop(pod, names.TIMED_OUT, text):
            metrics.TIMED_OUT.labels(work.value).inc()
            log.info("timed_out", pod=pod.key, project=project, seconds=limit_s)
