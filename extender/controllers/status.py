"""What we found, on the objects themselves: status of PodGroups, Projects and Departments.

Level-triggered: when the picture moved, the status that each object should have is computed and compared with
the one last written. Several changes within a second become one write.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from extender import logs
from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.errors import ApiError, BadRequestError, NotFoundError
from extender.fairshare.capacity import Usage
from extender.kube.client import KubeClient
from extender.model import names
from extender.model.amounts import Amounts
from extender.model.pod import Phase
from extender.model.queue import PodGroup

Json = dict[str, Any]

_EVERY_S = 1.0
_MOST_WRITES = 50  # a round; the rest come in the next

log = logs.get("status")


class StatusWriter:
    """One per process; `run` it as a task."""

    def __init__(self, client: KubeClient, picture: Picture, is_active: Callable[[], bool]) -> None:
        self._client = client
        self._picture = picture
        self._is_active = is_active
        self._written: dict[str, Json] = {}
        self._seen_revision = -1

    async def run(self) -> None:
        """Keep statuses until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if self._picture.revision == self._seen_revision or not self._is_active():
                continue
            revision = self._picture.revision
            try:
                if await self._reconcile():
                    self._seen_revision = revision
            except Exception:
                # The loop must survive whatever one round meets.
                log.exception("status_failed")

    async def _reconcile(self) -> bool:
        """Write what differs; False when some of it has to wait for the next round."""
        desired = dict(self._desired())
        for path in self._written.keys() - desired.keys():
            del self._written[path]
        differing = [path for path, status in desired.items() if self._written.get(path) != status]
        failed = False
        for path in differing[:_MOST_WRITES]:
            failed = not await self._write(path, desired[path]) or failed
        return len(differing) <= _MOST_WRITES and not failed

    async def _write(self, path: str, status: Json) -> bool:
        stamped = dict(status)
        if "conditions" in status:
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            stamped["conditions"] = [{**one, "lastTransitionTime": stamp} for one in status["conditions"]]
        try:
            await self._client.patch(f"{path}/status", {"status": stamped})
        except (NotFoundError, BadRequestError) as error:
            # Deleted since, or written by someone else in a form that the patch cannot mend: not again and again.
            log.warning("status_refused", name=path, cause=error.message)
        except ApiError as error:
            log.warning("status_write_failed", name=path, cause=error.message)
            return False
        self._written[path] = status
        return True

    def _desired(self) -> Iterator[tuple[str, Json]]:
        yield from self._groups()
        quotas = self._picture.quotas
        labelled = {label: namespace for namespace, label in self._picture.membership.namespaces.items() if label}
        for name, usage in quotas.holders():
            if name in quotas.projects:
                namespace = labelled.get(name, "")
                status = {"namespace": namespace, "phase": "Ready" if namespace else "Pending"}
                yield f"/apis/{names.RUN_AI_GROUP}/v1/projects/{name}", {**status, **_held(usage)}
        for department in sorted(quotas.departments):
            yield f"/apis/{names.RUN_AI_GROUP}/v1/departments/{department}", _held(quotas.department_usage(department))

    def _groups(self) -> Iterator[tuple[str, Json]]:
        for key, group in sorted(self._picture.membership.groups.items()):
            path = f"/apis/{names.POD_GROUP_GROUP}/v1alpha1/namespaces/{key[0]}/podgroups/{key[1]}"
            yield path, _group_status(group, list(self._picture.pods_of_group(*key)))


def _group_status(group: PodGroup, members: list[PodRecord]) -> Json:
    """Counts by phase, the phase of the whole, and the first refusal (by pod name) as a condition."""
    count = Counter(record.pod.phase for record in members)
    pending = count[Phase.PENDING] + count[Phase.UNKNOWN]
    placed = sum(1 for one in members if one.hold is not None and one.hold.state is HoldState.BOUND)
    if placed >= group.minimum:
        phase = "Running"
    elif pending or not members:
        phase = "Pending"
    elif count[Phase.FAILED]:
        phase = "Failed"
    else:
        phase = "Succeeded"
    verdict = next(
        (one.verdict for one in sorted(members, key=lambda one: one.pod.name) if one.verdict and one.hold is None), None
    )
    condition = {"type": "Scheduled", "status": "True", "reason": "Scheduled", "message": "Every pod has a node."}
    if verdict is not None:
        condition |= {"status": "False", "reason": verdict.reason.value, "message": verdict.message}
    elif pending and placed < len(members):
        waiting = f"{placed} of {len(members)} pods have a node."
        condition |= {"status": "False", "reason": "Waiting", "message": waiting}
    elif not members:
        condition |= {"status": "False", "reason": "NoPods", "message": "No pod names this group yet."}
    return {
        "phase": phase,
        "pending": pending,
        "running": count[Phase.RUNNING],
        "succeeded": count[Phase.SUCCEEDED],
        "failed": count[Phase.FAILED],
        "conditions": [condition],
    }


def _held(usage: Usage) -> Json:
    return {"allocated": _amounts(usage.allocated), "allocatedNonPreemptible": _amounts(usage.non_preemptible)}


def _amounts(amounts: Amounts) -> Json:
    return {"gpu": amounts.gpu_milli / 1000, "cpu": amounts.cpu_milli / 1000, "memory": amounts.memory_mib}
