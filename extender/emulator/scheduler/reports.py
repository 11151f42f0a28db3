"""What the scheduler tells the world about a pod: the PodScheduled condition and the
Scheduled/FailedScheduling Events.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from extender import logs
from extender.emulator.scheduler.cache import PodView
from extender.emulator.times import now_text
from extender.errors import ApiError, NotFoundError
from extender.kube.client import KubeClient

Json = dict[str, Any]

log = logs.get("emulator.scheduler")

_CALL_TIMEOUT_S = 10.0
_MAX_EVENTS = 1000  # waiting to be written; more are dropped, as client-go does
_MAX_REMEMBERED = 4096  # events that a repetition is counted on, instead of writing a new one
_LONGEST_NOTE = 1024  # the API server refuses longer messages


def fit_message(nodes: int, reasons: Iterable[str], post_filter: str = "") -> str:
    """kube-scheduler's text for a pod that no node takes: `0/N nodes are available: 20 reason.`

    post_filter: what the PostFilter plugins have to add.
    """
    if nodes == 0:
        return "no nodes available to schedule pods"
    histogram = sorted(f"{count} {reason}" for reason, count in Counter(reasons).items())
    parts = [f"0/{nodes} nodes are available:", f"{', '.join(histogram)}." if histogram else "", post_filter]
    return " ".join(filter(None, parts))


class Reporter:
    """Writes conditions at once and events in the background; `run` owns the writing."""

    def __init__(self, client: KubeClient, component: str) -> None:
        self._client = client
        self._component = component
        self._queue: asyncio.Queue[tuple[PodView, str, str, str]] = asyncio.Queue(_MAX_EVENTS)
        self._known: OrderedDict[tuple[str, str, str, str], tuple[str, int]] = OrderedDict()
        self._last_name = 0

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            pod, kind, reason, note = await self._queue.get()
            try:
                await self._write(pod, kind, reason, note)
            except ApiError as error:
                log.warning("event_not_written", pod=pod.key, cause=error.message)

    def scheduled(self, pod: PodView, node: str) -> None:
        self._enqueue(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}")

    def failed(self, pod: PodView, message: str) -> None:
        self._enqueue(pod, "Warning", "FailedScheduling", message)

    async def set_condition(self, pod: PodView, reason: str, message: str) -> None:
        """PodScheduled=False with `reason` and `message`; sends nothing when the pod says so already."""
        conditions = (pod.obj.get("status") or {}).get("conditions") or ()
        old: Json = next((c for c in conditions if c.get("type") == "PodScheduled"), {})
        if (old.get("status"), old.get("reason"), old.get("message")) == ("False", reason, message):
            return
        since = old.get("lastTransitionTime") if old.get("status") == "False" else None
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": since or now_text(),
        }
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
        # The UID makes this a 409 instead of a note on a later pod of the same name.
        patch = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                path, patch, kind="strategic", field_manager=self._component, timeout_s=_CALL_TIMEOUT_S
            )
        except NotFoundError:
            pass
        except ApiError as error:
            log.warning("condition_not_written", pod=pod.key, cause=error.message)

    def _enqueue(self, pod: PodView, kind: str, reason: str, note: str) -> None:
        try:
            self._queue.put_nowait((pod, kind, reason, note[:_LONGEST_NOTE]))
        except asyncio.QueueFull:
            log.warning("event_dropped", pod=pod.key, reason=reason)

    async def _write(self, pod: PodView, kind: str, reason: str, note: str) -> None:
        base = f"/apis/events.k8s.io/v1/namespaces/{pod.namespace}/events"
        version = str(pod.obj["metadata"].get("resourceVersion", ""))
        # As upstream: an event about another version of the pod is another event.
        key = (pod.uid, version, reason, note)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if (seen := self._known.get(key)) is not None:
            name, count = seen
            series = {"count": count + 1, "lastObservedTime": now}
            try:
                await self._client.patch(f"{base}/{name}", {"series": series}, timeout_s=_CALL_TIMEOUT_S)
            except NotFoundError:
                pass  # expired: write it anew
            else:
                self._known[key] = (name, count + 1)
                return
        # Unique per process and growing, like client-go's names.
        self._last_name = max(self._last_name + 1, time.time_ns())
        name = f"{pod.name}.{self._last_name:x}"
        event: Json = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": pod.namespace},
            "regarding": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": pod.namespace,
                "name": pod.name,
                "uid": pod.uid,
                "resourceVersion": version,
            },
            "type": kind,
            "reason": reason,
            "note": note,
            "action": "Binding" if kind == "Normal" else "Scheduling",
            "eventTime": now,
            "reportingController": self._component,
            "reportingInstance": f"{self._component}-embedded",
        }
        await self._client.create(base, event, timeout_s=_CALL_TIMEOUT_S)
        self._known[key] = (name, 1)
        while len(self._known) > _MAX_REMEMBERED:
            self._known.popitem(last=False)
