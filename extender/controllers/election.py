"""An election of our own: of several replicas the one that holds a Lease works, the others wait.

A holder writes the Lease every few seconds. Whoever sees it unchanged for its whole duration may take it; that is
measured with the observer's own clock, from when it last saw a change, so clocks that disagree do no harm. The holder
stops working before that: when it has not been able to renew for a while, it may not know that it was replaced.
Every write carries the resourceVersion that was read, so of two who try at the same time one fails.

Two may still act at once for a moment: a request that a holder sent before it stopped may arrive late. What is done
under the Lease has to bear that.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from extender import logs
from extender.errors import ApiError, ConflictError, NotFoundError
from extender.kube.client import KubeClient

Json = dict[str, Any]

log = logs.get("election")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A holder that could not renew for `deadline_s` stops; others wait `duration_s` before they take over."""

    duration_s: float = 15.0
    deadline_s: float = 10.0
    renew_s: float = 4.0
    retry_s: float = 2.0
    call_s: float = 4.0  # longest wait for one answer


class Election:
    """One Lease. `run` it as a task; ask `is_active` before each write; cancelling `run` gives the Lease back."""

    def __init__(
        self, client: KubeClient, namespace: str, name: str, identity: str, *, timing: Timing | None = None
    ) -> None:
        """identity: the host name; a random part is added, so that a restarted Pod is somebody else."""
        self._client = client
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self.identity = f"{identity}_{uuid.uuid4()}"
        self._timing = timing or Timing()
        self._seen = ""  # resourceVersion of the Lease as last seen
        self._seen_at = 0.0
        self._holder: str | None = None
        self._active_until = 0.0

    def is_active(self) -> bool:
        """Whether we hold the Lease, and nobody can have taken it from us."""
        return time.monotonic() < self._active_until

    async def run(self) -> None:
        """Try to hold the Lease until cancelled; then give it back, so that another need not wait."""
        try:
            while True:
                held = await self._try()
                await asyncio.sleep(self._timing.renew_s if held else self._timing.retry_s)
        finally:
            if self.is_active():
                self._active_until = 0.0
                await self._give_back()

    async def _try(self) -> bool:
        """One attempt to take or to renew; whether it succeeded."""
        was_active = self.is_active()
        # From before the request: the others count from when they see it, which is later.
        started = time.monotonic()
        try:
            held = await self._take_or_renew()
        except ApiError as error:
            log.warning("lease_failed", name=self._name, cause=error.message)
            return False  # what we hold, we hold until the deadline
        self._active_until = started + self._timing.deadline_s if held else 0.0
        if held != was_active:
            log.info("active" if held else "passive", cause=f"lease {self._name} held by {self._holder or 'nobody'}")
        return held

    async def _take_or_renew(self) -> bool:
        timing = self._timing
        try:
            lease = await self._client.get(f"{self._collection}/{self._name}", timeout_s=timing.call_s)
        except NotFoundError:
            body = {**self._body({}), "metadata": {"name": self._name}}
            try:
                self._note(await self._client.create(self._collection, body, timeout_s=timing.call_s))
            except ConflictError:
                return False  # somebody was first
            return True
        self._note(lease)
        if self._holder and self._holder != self.identity:
            spec = lease.get("spec") or {}
            lasts_s = float(spec.get("leaseDurationSeconds") or timing.duration_s)
            if time.monotonic() < self._seen_at + lasts_s:
                return False
        try:
            path = f"{self._collection}/{self._name}"
            self._note(await self._client.replace(path, self._body(lease), timeout_s=timing.call_s))
        except ConflictError:
            return False
        return True

    def _note(self, lease: Json) -> None:
        """What the Lease says now; a version that we have not seen begins its time anew."""
        version = str(lease["metadata"].get("resourceVersion") or "")
        if version != self._seen:
            self._seen, self._seen_at = version, time.monotonic()
        self._holder = (lease.get("spec") or {}).get("holderIdentity")

    def _body(self, lease: Json) -> Json:
        """The Lease as ours, renewed now."""
        before = lease.get("spec") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {**before, "holderIdentity": self.identity, "renewTime": now}
        spec["leaseDurationSeconds"] = max(1, round(self._timing.duration_s))
        if before.get("holderIdentity") != self.identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(before.get("leaseTransitions") or 0) + (1 if before else 0)
        return {**_TYPE, "metadata": lease.get("metadata") or {}, "spec": spec}

    async def _give_back(self) -> None:
        """Best effort: without it the others wait until the Lease has run out."""
        path = f"{self._collection}/{self._name}"
        with suppress(ApiError):
            lease = await self._client.get(path, timeout_s=self._timing.call_s)
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity") == self.identity:
                free = {key: value for key, value in spec.items() if key != "holderIdentity"}
                body = {**_TYPE, "metadata": lease["metadata"], "spec": {**free, "leaseDurationSeconds": 1}}
                await self._client.replace(path, body, timeout_s=self._timing.call_s)
                log.info("passive", cause=f"lease {self._name} given back")


_TYPE = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
