"""The Job controller: parallelism, completions, retries with back-off, suspension, deadlines, clean-up
after the end.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from extender.emulator.times import now_text
from extender.emulator.workload_controllers.world import (
    JOB,
    POD,
    World,
    is_active,
    is_ready,
    short_hash,
)
from extender.errors import ConflictError

Json = dict[str, Any]

_INDEX = "batch.kubernetes.io/job-completion-index"
_LONGEST_BACKOFF_S = 600.0
_MAX_NAME_TRIES = 1000


class JobController:
    """Brings one Job at a time to where it should be. Keeps, per Job, what became of every pod it has seen.

    retry_backoff_s: pause before the first retry, doubling with each failure (upstream: 10).
    """

    def __init__(self, world: World, *, retry_backoff_s: float = 10.0) -> None:
        self._world = world
        self._retry_backoff_s = retry_backoff_s
        # Job UID -> pod UID -> phase at its end. Pods that are deleted stay counted, as upstream.
        self._ends: dict[str, dict[str, str]] = {}
        self._failed_at: dict[str, datetime] = {}  # Job UID -> its latest failure
        self._given_up: set[str] = set()  # pods that we deleted ourselves: neither failed nor succeeded
        self._next_name: Counter[str] = Counter()  # Job UID -> how many pod names were used

    def saw_pod(self, pod: Json, job_uid: str, *, gone: bool) -> None:
        """Note how a pod of a Job ends. One that is taken away before its end has failed."""
        uid = pod["metadata"]["uid"]
        phase = (pod.get("status") or {}).get("phase")
        ends = self._ends.setdefault(job_uid, {})
        if phase not in ("Succeeded", "Failed"):
            if (is_active(pod) and not gone) or uid in self._given_up:
                return
            phase = "Failed"
        if uid not in ends:
            ends[uid] = phase
            if phase == "Failed":
                self._failed_at[job_uid] = datetime.now(UTC)

    def forget(self, job_uid: str) -> None:
        """The Job is gone."""
        self._ends.pop(job_uid, None)
        self._failed_at.pop(job_uid, None)
        self._next_name.pop(job_uid, None)

    async def reconcile(self, job: Json) -> float | None:
        """One step; the seconds after which to look again even if nothing changes, or None."""
        if job["metadata"].get("deletionTimestamp"):
            return None
        status = dict(job.get("status") or {})
        if (ended := _finish_time(status)) is not None:
            return await self._clean_up(job, ended)
        pods = self._world.picture.owned(job, POD)
        spec, uid = job["spec"], job["metadata"]["uid"]
        active = [pod for pod in pods if is_active(pod)]
        ends = Counter(self._ends.get(uid, {}).values())
        suspended = bool(spec.get("suspend"))
        if not suspended and not status.get("startTime"):
            status["startTime"] = now_text()

        again_s: float | None = None
        verdict = self._verdict(job, status, ends, bool(active))
        if verdict is not None:
            await self._give_up(active)
            active = []
            _conclude(status, *verdict)
        elif suspended:
            await self._give_up(active)
            active = []
            status.pop("startTime", None)
            _set_condition(status, "Suspended", "True", "JobSuspended", "Job suspended")
        else:
            if _has_condition(status, "Suspended"):
                _set_condition(status, "Suspended", "False", "JobResumed", "Job resumed")
            active, again_s = await self._scale(job, active, ends)
            again_s = _sooner(again_s, _until_deadline(spec, status))
        status |= {
            "active": len(active),
            "ready": sum(is_ready(pod) for pod in active),
            "succeeded": ends["Succeeded"],
            "failed": ends["Failed"],
            "terminating": sum(bool(pod["metadata"].get("deletionTimestamp")) for pod in pods),
        }
        await self._world.write_status(JOB, job, status)
        return again_s

    def _verdict(self, job: Json, status: Json, ends: Counter[str], is_running: bool) -> tuple[str, str, str] | None:
        """(condition, reason, message) when the Job has come to its end."""
        spec = job["spec"]
        if ends["Failed"] > int(spec.get("backoffLimit", 6)):
            return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        left_s = _until_deadline(spec, status)
        if left_s is not None and left_s <= 0:
            return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
        completions = spec.get("completions")
        done = ends["Succeeded"]
        # Without completions the pods agree among themselves: one success, and the rest may finish.
        if (done >= completions) if completions is not None else (done > 0 and not is_running):
            return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
        return None

    async def _scale(self, job: Json, active: list[Json], ends: Counter[str]) -> tuple[list[Json], float | None]:
        """Create or delete pods; those that are active now, and when to try again after a failure."""
        spec = job["spec"]
        wanted = int(spec.get("parallelism", 1))
        completions = spec.get("completions")
        if completions is not None:
            wanted = min(wanted, max(0, int(completions) - ends["Succeeded"]))
        elif ends["Succeeded"]:
            wanted = min(wanted, len(active))
        if len(active) > wanted:
            surplus = sorted(active, key=lambda pod: (is_ready(pod), pod["metadata"]["name"]))
            surplus = surplus[: len(active) - wanted]
            await self._give_up(surplus)
            return [pod for pod in active if pod not in surplus], None
        if len(active) < wanted and (wait_s := self._backoff_left(job, ends)) > 0:
            return active, wait_s
        indexed = spec.get("completionMode") == "Indexed"
        indexes = iter(self._free_indexes(job, active)) if indexed else iter(())
        while len(active) < wanted:
            active.append(await self._create_pod(job, next(indexes) if indexed else None))
        return active, None

    def _backoff_left(self, job: Json, ends: Counter[str]) -> float:
        failed_at = self._failed_at.get(job["metadata"]["uid"])
        if failed_at is None or not ends["Failed"]:
            return 0.0
        pause_s = min(_LONGEST_BACKOFF_S, self._retry_backoff_s * 2.0 ** (min(ends["Failed"], 20) - 1))
        return pause_s - (datetime.now(UTC) - failed_at).total_seconds()

    def _free_indexes(self, job: Json, active: list[Json]) -> list[int]:
        taken = {_index_of(pod) for pod in active}
        taken |= {
            _index_of(pod)
            for pod in self._world.picture.owned(job, POD)
            if (pod.get("status") or {}).get("phase") == "Succeeded"
        }
        return [index for index in range(int(job["spec"]["completions"])) if index not in taken]

    async def _create_pod(self, job: Json, index: int | None) -> Json:
        metadata, template = job["metadata"], job["spec"]["template"]
        base, extra = metadata["name"], {}
        spec: Json = {}
        if index is not None:
            base = f"{base}-{index}"
            extra = {_INDEX: str(index)}
            spec = {"hostname": base}
        for _ in range(_MAX_NAME_TRIES):
            number = self._next_name[metadata["uid"]]
            self._next_name[metadata["uid"]] += 1
            name = f"{base}-{short_hash(metadata['namespace'], base, number)}"
            try:
                return await self._world.create_pod(
                    JOB, job, name, template, labels=extra, annotations=extra, spec=spec
                )
            except ConflictError:
                continue  # a pod of an earlier Job of this name is still going
        raise ConflictError(f"no free pod name for job {base}")

    async def _give_up(self, pods: list[Json]) -> None:
        for pod in pods:
            self._given_up.add(pod["metadata"]["uid"])
            await self._world.delete(POD, pod)

    async def _clean_up(self, job: Json, ended: datetime) -> float | None:
        keep_s = job["spec"].get("ttlSecondsAfterFinished")
        if keep_s is None:
            return None
        left_s = float(keep_s) - (datetime.now(UTC) - ended).total_seconds()
        if left_s > 0:
            return left_s
        await self._world.delete(JOB, job)
        return None


def _index_of(pod: Json) -> int:
    return int((pod["metadata"].get("annotations") or {}).get(_INDEX, -1))


def _sooner(first: float | None, second: float | None) -> float | None:
    return min((wait for wait in (first, second) if wait is not None), default=None)


def _until_deadline(spec: Json, status: Json) -> float | None:
    deadline_s = spec.get("activeDeadlineSeconds")
    if deadline_s is None or not status.get("startTime"):
        return None
    started = datetime.fromisoformat(status["startTime"])
    return float(deadline_s) - (datetime.now(UTC) - started).total_seconds()


def _has_condition(status: Json, kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == "True" for c in status.get("conditions") or ())


def _set_condition(status: Json, kind: str, value: str, reason: str, message: str) -> None:
    conditions = status.get("conditions") or []
    if any(c["type"] == kind and c["status"] == value for c in conditions):
        return
    now = now_text()
    condition = {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message,
        "lastProbeTime": now,
        "lastTransitionTime": now,
    }
    status["conditions"] = [*(c for c in conditions if c["type"] != kind), condition]


def _conclude(status: Json, kind: str, reason: str, message: str) -> None:
    before = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
    _set_condition(status, before, "True", reason, message)
    _set_condition(status, kind, "True", reason, message)
    if kind == "Complete":
        status["completionTime"] = now_text()


def _finish_time(status: Json) -> datetime | None:
    for condition in status.get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"])
    return None
