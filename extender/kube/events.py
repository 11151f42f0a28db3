"""Kubernetes Events: what happened to whom, why, and what they can do. Never on the path of a request.

A bounded queue and one writer: when more comes than the API server should bear, the oldest news is dropped and
counted. The same text about the same object is said once in ten minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from extender import logs, metrics
from extender.kube.client import KubeClient

_QUEUE = 1000
_PER_SECOND = 20.0
_REPEAT_AFTER_S = 600.0
_REMEMBERED = 20_000
_LONGEST_NOTE = 1024

log = logs.get("events")


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event is about."""

    kind: str
    namespace: str
    name: str
    uid: str
    api_version: str = "v1"


class EventRecorder:
    """`record` from anywhere on the loop; `run` writes."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._queue: asyncio.Queue[tuple[Subject, str, str, str]] = asyncio.Queue(_QUEUE)
        self._said: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def record(self, subject: Subject, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Queue one Event; a repeated or an excess one is dropped."""
        key = (subject.uid, reason, message)
        now = time.monotonic()
        if now - self._said.get(key, -_REPEAT_AFTER_S) < _REPEAT_AFTER_S:
            return
        self._said[key] = now
        self._said.move_to_end(key)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        if self._queue.full():
            self._queue.get_nowait()
            metrics.EVENTS.labels("dropped").inc()
        self._queue.put_nowait((subject, kind, reason, message))

    async def run(self) -> None:
        """Write queued Events, at most twenty a second, until cancelled."""
        while True:
            subject, kind, reason, message = await self._queue.get()
            try:
                await self._client.create(
                    f"/api/v1/namespaces/{subject.namespace}/events", _event(subject, kind, reason, message)
                )
                metrics.EVENTS.labels("written").inc()
            except Exception as error:
                # Best effort: the verdict is also in the snapshot, the metrics and kube-scheduler's own event.
                metrics.EVENTS.labels("failed").inc()
                log.warning("event_failed", pod=f"{subject.namespace}/{subject.name}", cause=str(error))
            await asyncio.sleep(1 / _PER_SECOND)


def _event(subject: Subject, kind: str, reason: str, message: str) -> dict[str, object]:
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{subject.name[:200]}.", "namespace": subject.namespace},
        "involvedObject": {
            "apiVersion": subject.api_version,
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message[:_LONGEST_NOTE],
        "source": {"component": "runai-scheduler"},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
