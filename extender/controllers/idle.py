"""Workloads that leave their GPUs idle for longer than their project lets them are stopped, as at a time limit.

Prometheus is asked every half a minute what each pod's GPUs do. What it does not tell, for whatever reason, is not
idleness (`pods.idleness`); the log says so when it begins and ends, the metrics all the time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import aiohttp

from extender import logs, metrics
from extender.cluster.picture import Picture
from extender.controllers.owners import Owners
from extender.controllers.stopping import Stopper, runs, workload_of
from extender.errors import ApiError, MalformedError
from extender.model import names
from extender.model.names import PodUID
from extender.pods import idleness
from extender.pods.idleness import Holder, Streak, Use
from extender.settings import GpuMetricsSettings
from extender.wire import grouping, prometheus

_UNKNOWN = Use({}, {})
_AT_ONCE = 500  # pods looked at before others get their turn on the loop

log = logs.get("idle")


class IdleLimits:
    """One per process; `run` it as a task. A replica that is not active counts along, and stops nobody."""

    def __init__(
        self,
        picture: Picture,
        owners: Owners,
        stopper: Stopper,
        settings: GpuMetricsSettings,
        is_active: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._picture = picture
        self._owners = owners
        self._stopper = stopper
        self._settings = settings
        self._is_active = is_active
        self._clock = clock
        self._query = settings.query or prometheus.default_query(settings.look_back_s)
        self._streaks: dict[PodUID, Streak] = {}
        self._complaint = ""

    async def run(self) -> None:
        """Ask, and stop who has been idle for too long, until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                await asyncio.sleep(self._settings.every_s)
                try:
                    await self.round(session)
                except Exception:
                    # The loop must survive whatever one round meets.
                    log.exception("idle_limits_failed")

    async def round(self, session: aiohttp.ClientSession) -> None:
        """One sample of everybody, and what follows from it. Without a limit anywhere nobody is asked."""
        if not any(project.limits_idleness for project in self._picture.quotas.projects.values()):
            self._streaks = {}
            metrics.GPU_METRICS_MISSING.set(0)
            return
        use = await self.use(session)
        holders = await self._holders()
        metrics.GPU_METRICS_MISSING.set(sum(1 for one in holders if one.limit_s and use.of(one.pod) is None))
        bridge_s = self._settings.bridge_s
        self._streaks = idleness.follow(self._streaks, holders, use, self._clock(), bridge_s=bridge_s)
        if self._is_active():
            await self._stop_idle(holders)

    async def use(self, session: aiohttp.ClientSession) -> Use:
        """What Prometheus says of the use of GPUs; of none when it says nothing that can be used."""
        outcome, complaint, use = "failed", "", _UNKNOWN
        url = f"{self._settings.url.rstrip('/')}/api/v1/query"
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        try:
            async with session.get(url, params={"query": self._query}, timeout=timeout) as reply:
                body = await reply.read()
                if reply.status == 200:
                    use = prometheus.read_use(body)
                    outcome = "ok" if use.pods else "empty"
                    complaint = "" if use.pods else "the answer names no pod"
                else:
                    complaint = f"{reply.status} {prometheus.why_not(body)}".rstrip()
        except MalformedError as error:
            outcome, complaint = "malformed", str(error)
        except TimeoutError:
            complaint = f"no answer within {self._settings.timeout_s:g} s"
        except aiohttp.ClientError as error:
            complaint = f"{type(error).__name__}: {error}"
        metrics.GPU_METRICS_QUERIES.labels(outcome).inc()
        self._complain(complaint)
        return use

    def _complain(self, complaint: str) -> None:
        """Once when it begins or is another one, once when it is over."""
        if complaint and complaint != self._complaint:
            log.warning("gpu_metrics_missing", cause=f"{complaint}; nobody counts as idle")
        elif self._complaint and not complaint:
            log.info("gpu_metrics_back")
        self._complaint = complaint

    async def _holders(self) -> list[Holder]:
        holders = []
        for looked, record in enumerate(list(self._picture.pods.values())):
            if looked % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            pod = record.pod
            if not pod.gpu.is_cpu_only and runs(pod):
                membership = self._picture.membership
                name = membership.project_of(pod)
                project = self._picture.quotas.projects.get(name) if name is not None else None
                limit_s = None
                if project is not None:
                    preemptible = membership.is_preemptible(pod)
                    limit_s = project.idle_limit_for(membership.work_of(pod), preemptible=preemptible)
                holders.append(Holder(pod, workload_of(pod), limit_s))
        return holders

    async def _stop_idle(self, holders: list[Holder]) -> None:
        over = idleness.over(holders, self._streaks)
        if not over:
            return
        try:
            holders = await self._by_outermost(holders, over)
        except ApiError as error:
            log.warning("stop_failed", cause=error.message)
            return
        over = idleness.over(holders, self._streaks)
        of_each = {holder.workload: holder for holder in holders}
        for workload, idle_s in over.items():
            holder = of_each[workload]
            try:
                await self._stop(holder, idle_s)
            except ApiError as error:
                log.warning("stop_failed", pod=holder.pod.key, cause=error.message)
                continue
            for one in holders:
                if one.workload == workload:
                    self._streaks.pop(one.pod.uid, None)  # told once; it takes a moment to go

    async def _by_outermost(self, holders: list[Holder], over: dict[str, float]) -> list[Holder]:
        """The same, where an idle workload is part of a larger one as pods of the whole: that is what is stopped.

        A JobSet is not idle because one of its Jobs is. Raises ApiError. Cost: one GET for each part not seen before.
        """
        nested = set()  # (namespace, kind) of idle workloads that have something above them
        for holder in {one.workload: one for one in holders if one.workload in over}.values():
            if len(await self._owners.chain(holder.pod)) > 1:
                nested.add((holder.pod.namespace, holder.pod.owner_kind))
        found = []
        for holder in holders:
            if (holder.pod.namespace, holder.pod.owner_kind) in nested:
                chain = await self._owners.chain(holder.pod)
                whole = grouping.owner_of(chain[-1]).uid if chain else holder.workload
                found.append(replace(holder, workload=whole))
            else:
                found.append(holder)
        return found

    async def _stop(self, holder: Holder, idle_s: float) -> None:
        pod, membership = holder.pod, self._picture.membership
        project, work = membership.project_of(pod), membership.work_of(pod)
        text = (
            f"The workload has left its GPUs idle for {idle_s:.0f} seconds; the idle limit of such {work} workloads "
            f"in project {project} is {holder.limit_s} seconds"
        )
        if await self._stopper.stop(pod, names.IDLE_TIMED_OUT, text):
            metrics.IDLED_OUT.labels(work.value).inc()
            log.info("idled_out", pod=pod.key, project=project, seconds=round(idle_s))
