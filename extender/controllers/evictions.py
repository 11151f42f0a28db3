"""Evictions: victims leave through the Eviction API, which respects disruption budgets, all for one gang or none.

What a gang is to have is of use to it only as a whole: so before the first of its victims goes, the budgets are asked
whether all of them may.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from extender import logs, metrics
from extender.cluster.picture import Picture
from extender.errors import ApiError, ConflictError, NotFoundError, ThrottledError
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder, Subject
from extender.model.names import PodUID
from extender.planning.plan import Action, Eviction
from extender.planning.planner import Planner
from extender.wire import budgets
from extender.wire.budgets import Budget

_WRITES = 64  # at a time
_BUDGET_REST_S = 10.0  # a pod that its disruption budget protects
_FAILED_REST_S = 10.0
_GOES_WITHIN_S = 30.0  # after the API server said yes, the watch shows that the pod is on its way
_REASONS = {
    Action.CONSOLIDATION: "Consolidated",
    Action.RECLAIM: "Reclaimed",
    Action.PREEMPT: "Preempted",
    Action.STALE_GANG_EVICTION: "StaleGang",
}

log = logs.get("evictions")


class Evictions:
    """tell: says something to the owner of the gang of a key: (key, reason, message)."""

    def __init__(
        self,
        client: KubeClient,
        picture: Picture,
        planner: Planner,
        events: EventRecorder,
        is_active: Callable[[], bool],
        tell: Callable[[str, str, str], None],
    ) -> None:
        self._client = client
        self._picture = picture
        self._planner = planner
        self._events = events
        self._is_active = is_active
        self._tell = tell
        self._writes = asyncio.Semaphore(_WRITES)
        self._granted: dict[PodUID, tuple[Eviction, float]] = {}  # by the API server, and when

    async def make_way(self, victims: Sequence[Eviction]) -> None:
        """Everybody who is to leave for one gang leaves, unless one of them is protected."""
        protected = await self._protected(victims) if self._is_due(victims[0]) else {}
        for eviction in victims:
            if eviction.uid in protected:
                self._refused(eviction, "budget", protected[eviction.uid], _BUDGET_REST_S)
        await asyncio.gather(*(self._evict(one) for one in victims if one.uid not in protected))

    def tidy(self, clock: float) -> None:
        """Who was to leave and is still there after a while stays, and may be asked again."""
        for uid, (eviction, since) in list(self._granted.items()):
            record = self._picture.pods.get(uid)
            if record is None or record.pod.deleting or record.pod.is_finished:
                del self._granted[uid]
            elif clock - since > _GOES_WITHIN_S:
                del self._granted[uid]
                self._refused(eviction, "failed", "the API server said that it goes, and it did not", _FAILED_REST_S)

    async def _evict(self, eviction: Eviction) -> None:
        record = self._picture.pods.get(eviction.uid)
        if record is None:
            return
        pod = record.pod
        async with self._writes:
            if not self._is_due(eviction):
                self._planner.stays(eviction)  # nobody would gain by it any more
                return
            outcome = "evicted"
            try:
                await self._client.evict(pod.namespace, pod.name, pod.uid)
            except (NotFoundError, ConflictError):
                outcome = "gone"
            except ThrottledError as error:
                self._refused(eviction, "budget", f"its disruption budget forbids it: {error.message}", _BUDGET_REST_S)
                return
            except ApiError as error:
                self._refused(eviction, "failed", f"the API server did not evict it: {error.message}", _FAILED_REST_S)
                return
        self._granted[pod.uid] = (eviction, time.monotonic())
        metrics.EVICTIONS.labels(eviction.action.value, outcome).inc()
        if outcome == "evicted":
            subject = Subject("Pod", pod.namespace, pod.name, pod.uid)
            self._events.record(subject, "Warning", _REASONS[eviction.action], eviction.message)
            log.info("evicted", pod=pod.key, reason=eviction.action, cause=eviction.message)

    async def _protected(self, victims: Sequence[Eviction]) -> dict[PodUID, str]:
        """Who may not leave together with the others, and why."""
        records = [self._picture.pods.get(one.uid) for one in victims]
        pods = [record.pod for record in records if record is not None]
        if len(pods) < 2:
            return {}  # the eviction itself will tell
        known = [one for namespace in {pod.namespace for pod in pods} for one in await self._budgets(namespace)]
        return {
            pod.uid: f"its disruption budget forbids it: {budget.name} lets {budget.allowed} leave at the same time"
            for pod, budget in budgets.protected(pods, known)
        }

    async def _budgets(self, namespace: str) -> list[Budget]:
        path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
        try:
            listed, _ = await self._client.list(path)
            return [one for one in map(budgets.parse, listed) if one is not None]
        except (ApiError, TypeError, KeyError, AttributeError) as error:
            # Each eviction is judged by the API server all the same.
            log.warning("budgets_unknown", namespace=namespace, cause=str(error))
            return []

    def _is_due(self, eviction: Eviction) -> bool:
        return self._is_active() and self._planner.is_served(eviction)

    def _refused(self, eviction: Eviction, outcome: str, why: str, rest_s: float) -> None:
        record = self._picture.pods.get(eviction.uid)
        key = eviction.uid if record is None else record.pod.key
        if self._planner.is_served(eviction):  # once: the first refusal ends it for all
            self._tell(eviction.beneficiary, "EvictionRefused", f"Pod {key} does not make way for now, {why}")
        self._planner.eviction_failed(eviction, time.monotonic(), rest_s=rest_s)
        metrics.EVICTIONS.labels(eviction.action.value, outcome).inc()
        log.info("eviction_refused", pod=key, reason=outcome, cause=why)


def by_gang(evictions: Iterable[Eviction]) -> list[list[Eviction]]:
    """Those who leave for one gang together; a stale gang's members each by itself."""
    together: dict[str, list[Eviction]] = {}
    for one in evictions:
        together.setdefault(one.beneficiary or f"{one.gang}/{one.uid}", []).append(one)
    return list(together.values())
