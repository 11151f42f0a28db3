"""What is due for a RunaiJob: from the object and its pods to pods to make and delete, and the status to write.

As a Kubernetes Job of Indexed mode: `completions` indexes, each of which one pod has to bring to success. Of an index
one pod exists at a time, its attempts are numbered, and the next follows when the one before has gone or ended:

    attempt N ── succeeds ──────────────────────► the index is done, for ever
            ├── fails ─────► counted, back-off ─► attempt N+1
            └── is evicted or deleted ──────────► attempt N+1 once it has gone; not a failure

What has been counted is told by numbers, not by pods: `status.attempts` says of each index how many attempts need no
more counting. So a failure is counted once, whoever looks how often, and stays counted when its pod is deleted; and no
number is given twice. For that the status has to be written, against the version that was read, before the pods that
follow from it are made: whoever carries this out keeps that order.

Without `completions` the pods share the work: indexes are places, of which there are `parallelism`; after the first
success no pod is made any more, and when the others have ended the job is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from extender.model import names, timestamps
from extender.model.workload import Json
from extender.workloads import indexes
from extender.workloads.attempts import Attempt, Place, backoff_left, is_number, pod_name, read
from extender.workloads.status import PREEMPTED

API_VERSION, KIND = f"{names.RUN_AI_GROUP}/v1", "RunaiJob"

_MOST_AT_ONCE = 100  # pods made in one step; the rest follows in the next
_MOST_INDEXES = 1_000_000
_PREEMPTIBLE_BUILD = "interactive-preemptible"
_MANAGED = (
    "active",
    "succeeded",
    "failed",
    "completedIndexes",
    "attempts",
    "startTime",
    "completionTime",
    "conditions",
)


@dataclass(frozen=True, slots=True)
class News:
    """An Event about the job."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done now, in this order.

    status:     the status to write, None when it is right already.
    delete:     pods, as they were given. create: pods.
    delete_job: the job's time after its end is over.
    again_s:    look again after so many seconds even if nothing changes, None when only a change can matter.
    """

    status: Json | None = None
    delete: tuple[Json, ...] = ()
    create: tuple[Place, ...] = ()
    delete_job: bool = False
    again_s: float | None = None
    news: tuple[News, ...] = ()


def sync(job: Json, pods: Sequence[Json], now: float, *, gone: Sequence[Json] = ()) -> Step:
    """The next step of a job.

    pods: those that the job controls. gone: their like that were deleted since the status was last written, as they
    were last seen. now: seconds since the epoch. Changes nothing that it is given; the same gives the same.
    Cost: linear in pods and completed indexes.
    """
    metadata = job["metadata"]
    if metadata.get("deletionTimestamp"):
        return Step()  # its pods go with it
    attempts = [*read(job, pods, is_gone=False), *read(job, gone, is_gone=True)]
    active = [one for one in attempts if one.is_active]
    written = job.get("status") or {}
    end = _end_of(written)
    if end is not None:
        return _after_the_end(job, active, end, now)
    book = _Book.of(job, attempts)
    status = book.status(written)
    verdict = book.verdict(active, now, status)
    if verdict is not None:
        kind, news = verdict
        _conclude(status, kind, news, now)
        return Step(_changed(written, status), tuple(one.pod for one in active), news=(news,))
    if book.spec.get("suspend"):
        status.pop("startTime", None)
        said = _set_condition(status, "Suspended", "True", "JobSuspended", "Job suspended", now)
        told = (News("Normal", "Suspended", "Job suspended"),) if said else ()
        return Step(_changed(written, status), tuple(one.pod for one in active), news=told)
    resumed = _condition(status, "Suspended") == "True"
    if resumed:
        _set_condition(status, "Suspended", "False", "JobResumed", "Job resumed", now)
    if not status.get("startTime"):
        status["startTime"] = timestamps.text(now)
    surplus, places, again_s = book.scale(attempts, now)
    status["active"] = len(active) - len(surplus)
    return Step(
        _changed(written, status),
        tuple(one.pod for one in surplus),
        places,
        again_s=_sooner(again_s, book.deadline_in_s(status, now)),
        news=(News("Normal", "Resumed", "Job resumed"),) if resumed else (),
    )


def pod_of(job: Json, place: Place) -> Json:
    """The pod of that place, from the job's template. Shares nothing that would be changed later."""
    metadata, template = job["metadata"], job["spec"]["template"]
    given = template.get("metadata") or {}
    labels = {
        **(given.get("labels") or {}),
        names.JOB_UID_LABEL: metadata["uid"],
        names.JOB_NAME_LABEL: metadata["name"],
        names.POD_INDEX_LABEL: str(place.index),
    }
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(metadata["name"], place),
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": dict(given.get("annotations") or {}),
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {"restartPolicy": "Never", **template["spec"]},
    }


@dataclass(slots=True)
class _Book:
    """What has been counted, brought up to date with what the pods show.

    done:      indexes with a success. counted: index → attempts that need no more counting.
    preempted: whether an attempt was evicted that had not been counted before.
    """

    spec: Json
    parallelism: int
    completions: int | None
    ends_when_preempted: bool
    done: set[int] = field(default_factory=set)
    counted: dict[int, int] = field(default_factory=dict)
    failed: int = 0
    active: int = 0
    preempted: bool = False

    @classmethod
    def of(cls, job: Json, attempts: Iterable[Attempt]) -> _Book:
        spec, written = job["spec"], job.get("status") or {}
        parallelism, completions = spec.get("parallelism"), spec.get("completions")
        if parallelism is None and completions is None:
            completions = 1
        book = cls(spec, 1 if parallelism is None else parallelism, completions, _ends_when_preempted(job))
        book.done = indexes.parse(written.get("completedIndexes"), below=_MOST_INDEXES)
        before = {int(index): number for index, number in (written.get("attempts") or {}).items() if is_number(index)}
        book.counted = dict(before)
        book.failed = int(written.get("failed") or 0)
        for one in attempts:
            index, number = one.place.index, one.place.attempt
            if one.succeeded:
                book.done.add(index)
            elif one.has_ended or one.leaving:
                if number >= before.get(index, 0):
                    book.failed += one.failed
                    book.preempted |= one.preempted
                book.counted[index] = max(book.counted.get(index, 0), number + 1)
            else:
                book.active += 1
        return book

    def status(self, written: Json) -> Json:
        """A copy of the written status with these counts; `active` is 0 until somebody says otherwise."""
        status = {**written, "conditions": [dict(one) for one in written.get("conditions") or ()]}
        left = {str(index): number for index, number in sorted(self.counted.items()) if index not in self.done}
        return {
            **status,
            "active": 0,
            "succeeded": len(self.done),
            "failed": self.failed,
            "completedIndexes": indexes.text(self.done),
            "attempts": left,
        }

    def verdict(self, active: Sequence[Attempt], now: float, status: Json) -> tuple[str, News] | None:
        """(condition, news) when the job has come to its end."""
        if self._is_complete():
            return "Complete", News("Normal", "Completed", "Job completed")
        limit = self.spec.get("backoffLimit")
        limit = 6 if limit is None else limit
        restarts = sum(one.restarts for one in active) if self._restarts_in_place() else 0
        if self.failed > limit or (restarts and restarts >= limit):
            said = f"Job has reached its backoff limit of {limit}: {self.failed} pods failed"
            said += f", and containers were started again {restarts} times" if restarts else ""
            return "Failed", News("Warning", "BackoffLimitExceeded", said)
        if self.preempted and self.ends_when_preempted:
            return "Failed", News("Warning", PREEMPTED, "Job was preempted, and is not to run again after that")
        left_s = None if self.spec.get("suspend") else self.deadline_in_s(status, now)
        if left_s is not None and left_s <= 0:
            deadline_s = self.spec["activeDeadlineSeconds"]
            return "Failed", News("Warning", "DeadlineExceeded", f"Job was active longer than {deadline_s} s")
        return None

    def deadline_in_s(self, status: Json, now: float) -> float | None:
        deadline_s, started = self.spec.get("activeDeadlineSeconds"), status.get("startTime")
        if deadline_s is None or not started:
            return None
        return timestamps.seconds(started) + float(deadline_s) - now

    def scale(self, attempts: Sequence[Attempt], now: float) -> tuple[list[Attempt], tuple[Place, ...], float | None]:
        """Active pods that are too many, places to fill, and when another place can be filled that has to wait."""
        kept = self._keep([one for one in attempts if one.is_active])
        surplus = [one for one in attempts if one.is_active and one.pod["metadata"]["uid"] not in kept]
        by_index: dict[int, list[Attempt]] = {}
        for one in attempts:
            by_index.setdefault(one.place.index, []).append(one)
        # Whoever is on the way out takes up room until it has gone.
        room = self._wanted(len(kept)) - sum(not one.has_ended for one in attempts)
        places: list[Place] = []
        again_s: float | None = None
        for index in range(self._size()):
            if len(places) >= room:
                break
            before = by_index.get(index, ())
            if index in self.done or not all(one.has_ended for one in before):
                continue
            wait_s = backoff_left(before, now)
            if wait_s > 0:
                again_s = _sooner(again_s, wait_s)
            else:
                next_number = max((one.place.attempt + 1 for one in before), default=0)
                places.append(Place(index, max(self.counted.get(index, 0), next_number)))
        if len(places) >= room:
            again_s = None  # there is no room for those that wait
        if len(places) > _MOST_AT_ONCE:
            return surplus, tuple(places[:_MOST_AT_ONCE]), 0.0
        return surplus, tuple(places), again_s

    def _is_complete(self) -> bool:
        if self.completions is None:
            return bool(self.done) and not self.active
        return sum(index < self.completions for index in self.done) >= self.completions

    def _restarts_in_place(self) -> bool:
        return bool((self.spec["template"].get("spec") or {}).get("restartPolicy") == "OnFailure")

    def _size(self) -> int:
        return self.parallelism if self.completions is None else self.completions

    def _wanted(self, kept: int) -> int:
        """How many pods are to run at the same time."""
        if self.completions is None:
            return kept if self.done else self.parallelism
        return min(self.parallelism, self.completions - sum(index < self.completions for index in self.done))

    def _keep(self, active: Sequence[Attempt]) -> set[str]:
        """The uids of those that stay: of each index one, of an index that is still to be done, those that run and low
        indexes first.
        """
        order = sorted(active, key=lambda one: (one.phase != "Running", one.place.index, one.place.attempt))
        most = self._wanted(len(active))
        kept: dict[int, str] = {}
        for one in order:
            index = one.place.index
            if len(kept) < most and index not in kept and index not in self.done and index < self._size():
                kept[index] = one.pod["metadata"]["uid"]
        return set(kept.values())


def _ends_when_preempted(job: Json) -> bool:
    annotations = job["metadata"].get("annotations") or {}
    if annotations.get(names.TERMINATE_AFTER_PREEMPTION_ANNOTATION) == "true":
        return True
    template = job["spec"]["template"]
    labels = (template.get("metadata") or {}).get("labels") or {}
    named = str(labels.get(names.PRIORITY_CLASS_LABEL) or (template.get("spec") or {}).get("priorityClassName") or "")
    return names.PRIORITY_ALIASES.get(named, named) == _PREEMPTIBLE_BUILD


def _after_the_end(job: Json, active: Sequence[Attempt], ended: float, now: float) -> Step:
    """Nothing runs any more; in the end the job itself goes."""
    written = job.get("status") or {}
    status = _changed(written, {**written, "active": 0})
    leave = tuple(one.pod for one in active)
    keep_s = job["spec"].get("ttlSecondsAfterFinished")
    if keep_s is None:
        return Step(status, leave)
    left_s = ended + float(keep_s) - now
    return Step(status, leave, delete_job=left_s <= 0, again_s=left_s if left_s > 0 else None)


def _conclude(status: Json, kind: str, news: News, now: float) -> None:
    reason = "CompletionsReached" if kind == "Complete" else news.reason
    _set_condition(status, kind, "True", reason, news.message, now)
    if kind == "Complete":
        status["completionTime"] = timestamps.text(now)
        status.setdefault("startTime", status["completionTime"])


def _end_of(status: Json) -> float | None:
    """When the job ended, None while it has not."""
    for one in status.get("conditions") or ():
        if one.get("type") in ("Complete", "Failed") and one.get("status") == "True":
            return timestamps.seconds(str(one.get("lastTransitionTime") or ""))
    return None


def _condition(status: Json, kind: str) -> str:
    return next((str(one.get("status")) for one in status.get("conditions") or () if one.get("type") == kind), "")


def _set_condition(status: Json, kind: str, value: str, reason: str, message: str, now: float) -> bool:
    """Whether that is news."""
    if _condition(status, kind) == value:
        return False
    others = [one for one in status.get("conditions") or () if one.get("type") != kind]
    stamp = timestamps.text(now)
    condition = {"type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": stamp}
    status["conditions"] = [*others, condition]
    return True


def _changed(written: Json, status: Json) -> Json | None:
    """The status, unless it says nothing that was not written before; absent and empty are the same."""
    return status if any((written.get(key) or None) != (status.get(key) or None) for key in _MANAGED) else None


def _sooner(first: float | None, second: float | None) -> float | None:
    return min((wait for wait in (first, second) if wait is not None), default=None)
