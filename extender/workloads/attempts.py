"""The pods of a RunaiJob as its attempts: which index, which number, and how each of them fares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from extender.model import timestamps
from extender.model.workload import Json
from extender.workloads.status import is_preempted

_FIRST_BACKOFF_S = 10.0
_LONGEST_BACKOFF_S = 360.0


@dataclass(frozen=True, slots=True)
class Place:
    """The pod to make: attempt number `attempt` of index `index`, both from 0."""

    index: int
    attempt: int


def pod_name(job_name: str, place: Place) -> str:
    return f"{job_name}-{place.index}-{place.attempt}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A pod as counting needs it. finished: seconds since the epoch, 0.0 when that is not known."""

    pod: Json
    place: Place
    phase: str
    leaving: bool
    gone: bool
    preempted: bool
    finished: float
    restarts: int

    @property
    def has_ended(self) -> bool:
        return self.gone or self.phase in ("Succeeded", "Failed")

    @property
    def is_active(self) -> bool:
        return not self.has_ended and not self.leaving

    @property
    def succeeded(self) -> bool:
        return self.phase == "Succeeded"

    @property
    def failed(self) -> bool:
        """By itself: nobody took it away."""
        return self.phase == "Failed" and not self.leaving and not self.preempted


def read(job: Json, pods: Iterable[Json], *, is_gone: bool) -> list[Attempt]:
    """In order of index and number. Pods that are not named as ours have not been made by us: nobody's attempt."""
    prefix = f"{job['metadata']['name']}-"
    found = []
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status") or {}
        index, _, number = metadata["name"].removeprefix(prefix).partition("-")
        if not (metadata["name"].startswith(prefix) and is_number(index) and is_number(number)):
            continue
        containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        found.append(
            Attempt(
                pod=pod,
                place=Place(int(index), int(number)),
                phase=status.get("phase") or "Pending",
                leaving=bool(metadata.get("deletionTimestamp")),
                gone=is_gone,
                preempted=is_preempted(pod),
                finished=_finished(metadata, containers),
                restarts=sum(int(one.get("restartCount") or 0) for one in containers),
            )
        )
    return sorted(found, key=lambda one: (one.place.index, one.place.attempt, one.gone))


def _finished(metadata: Json, containers: Iterable[Json]) -> float:
    ends = ((one.get("state") or {}).get("terminated") or {} for one in containers)
    last = max((timestamps.seconds(str(end.get("finishedAt") or "")) for end in ends), default=0.0)
    return last or timestamps.seconds(str(metadata.get("creationTimestamp") or ""))


def backoff_left(before: Iterable[Attempt], now: float) -> float:
    """Seconds until an index may be tried again: 10 after its first failure, then twice as long each time."""
    ends = [one.finished for one in before if one.failed]
    if not ends:
        return 0.0
    pause_s = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(len(ends) - 1, 20))
    # A kubelet whose clock is ahead of ours does not prolong it.
    return min(pause_s, max(ends) + pause_s - now)


def is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
