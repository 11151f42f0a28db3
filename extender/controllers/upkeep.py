"""What has to happen although nobody asks: seats expire, lost binds are read back, refused pods are woken.

kube-scheduler tries a refused pod again when *it* sees something change. It does not watch our projects, and it
may see a pod end before we do: asked too early we say no, and nothing would make it ask again for five minutes.
So whenever something changed here that could turn a "no" into a "yes", we look which refused pods would pass
now, and touch those: any change of a pending pod makes kube-scheduler try it at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from extender import logs, metrics
from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.controllers.binder import Binder
from extender.errors import ApiError, NotFoundError
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder, Subject
from extender.model import names
from extender.model.names import PodUID
from extender.model.verdict import Reason, Verdict
from extender.pods import release, wake
from extender.pods.placement import Policy

_EVERY_S = 0.25
_READ_BACK_EVERY_S = 2.0
_UNKNOWN_FOR_S = 90.0  # longer than the API server works on one write
_SETTLE_S = 0.5  # time for kube-scheduler to come by itself
_MOST_WOKEN = 50  # a round
_REFRESH_S = 0.0005  # of every quarter of a second: too little to show in a request
_FIRST_REST_S = 5.0  # a woken pod is not woken again sooner
_OF_GANGS = frozenset({Reason.GANG_INCOMPLETE, Reason.WAITING_FOR_OTHERS})  # the planner tells, once for all members
_LONGEST_REST_S = 300.0  # by then kube-scheduler tries it anyway

log = logs.get("upkeep")


class Upkeep:
    """One per process; `run` it as a task. It writes only while `is_active` says that we are the active replica."""

    def __init__(
        self,
        client: KubeClient,
        picture: Picture,
        policy: Policy,
        binder: Binder,
        events: EventRecorder,
        is_active: Callable[[], bool],
        *,
        seat_expired: Callable[[PodUID, float], None] = lambda _, __: None,
    ) -> None:
        self._client = client
        self._picture = picture
        self._seat_expired = seat_expired
        self._policy = policy
        self._binder = binder
        self._events = events
        self._is_active = is_active
        self._seen_generation = 0
        self._changed_at = 0.0
        self._rests: dict[PodUID, tuple[float, float]] = {}  # until when a woken pod rests, and how long
        self._waiting: dict[PodUID, Verdict | None] = {}  # refused here, or found pending when we started

    def refused(self, record: PodRecord, verdict: Verdict) -> None:
        """The filter said no: remember the pod for waking, and tell its owner once, with the numbers."""
        before = self._waiting.get(record.pod.uid)
        self._waiting[record.pod.uid] = verdict
        if verdict.reason not in _OF_GANGS and (before is None or before.reason is not verdict.reason):
            pod = record.pod
            subject = Subject("Pod", pod.namespace, pod.name, pod.uid)
            self._events.record(subject, "Warning", verdict.reason.value, verdict.message)

    def adopt_pending(self) -> None:
        """Pods refused before a restart: what changed meanwhile may have made room, and nobody would tell them."""
        for uid, record in self._picture.pods.items():
            pod = record.pod
            if pod.scheduler == names.SCHEDULER_NAME and record.hold is None and not pod.is_finished:
                self._waiting.setdefault(uid, None)
        self._changed_at = self._changed_at or time.monotonic()

    async def run(self) -> None:
        """Tidy up until cancelled."""
        read_back_at = 0.0
        while True:
            await asyncio.sleep(_EVERY_S)
            now = time.monotonic()
            try:
                for uid, hold in release.expire(self._picture, now=now).items():
                    if hold.planned and hold.state is HoldState.RESERVED:
                        self._seat_expired(uid, now)
                    metrics.EXPIRED.inc()
                    log.info("reservation_expired", pod=uid)
                if now >= read_back_at:
                    read_back_at = now + _READ_BACK_EVERY_S
                    lost = release.unknown(self._picture)
                    await asyncio.gather(*(self._binder.read_back(uid, give_up_after_s=_UNKNOWN_FOR_S) for uid in lost))
                await self._wake(now)
                self._refresh()
            except Exception:
                # The loop must survive whatever one round meets.
                log.exception("upkeep_failed")

    def _refresh(self) -> None:
        until = time.perf_counter() + _REFRESH_S
        while self._picture.ranking.refresh() and time.perf_counter() < until:
            pass

    async def _wake(self, now: float) -> None:
        if self._picture.generation != self._seen_generation:
            self._seen_generation = self._picture.generation
            self._changed_at = self._changed_at or now
        if not self._changed_at or now - self._changed_at < _SETTLE_S or not self._is_active():
            return
        self._changed_at = 0.0
        self._forget_settled()
        rested = [self._picture.pods[uid] for uid in self._waiting if self._rests.get(uid, (0.0, 0.0))[0] <= now]
        chosen = wake.passing(self._picture, rested, self._policy, most=_MOST_WOKEN)
        if len(chosen) == _MOST_WOKEN or len(rested) < len(self._waiting):
            self._changed_at = now  # there may be more: look again
        for record in chosen:
            # We know no taints and no affinity: a pod that we think would fit may be refused again and again, and
            # must not keep those behind it from being tried. So each fruitless time it rests for twice as long.
            _, rest_s = self._rests.get(record.pod.uid, (0.0, _FIRST_REST_S / 2))
            rest_s = min(2 * rest_s, _LONGEST_REST_S)
            self._rests[record.pod.uid] = (now + rest_s, rest_s)
        await asyncio.gather(*(self._touch(record) for record in chosen))

    def _forget_settled(self) -> None:
        for uid in list(self._waiting):
            record = self._picture.pods.get(uid)
            placed = record is not None and record.hold is not None and record.hold.state is HoldState.BOUND
            if record is None or placed or record.pod.is_finished:
                del self._waiting[uid]
                self._rests.pop(uid, None)

    async def _touch(self, record: PodRecord) -> None:
        pod = record.pod
        try:
            # A value that differs each time, or the patch would change nothing and wake nobody.
            patch = {"metadata": {"uid": pod.uid, "annotations": {names.WAKE_ANNOTATION: f"{time.time():.3f}"}}}
            await self._client.patch(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", patch)
            metrics.WOKEN.inc()
            log.info("woken", pod=pod.key)
        except NotFoundError:
            pass
        except ApiError as error:
            log.warning("wake_failed", pod=pod.key, cause=error.message)
