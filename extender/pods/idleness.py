"""Who has left its GPUs without work for longer than its project allows, by samples of their use.

A streak is the time over which every sample of a pod said 0. Any use ends it. A sample that is missing proves nothing:
the time until the next one counts only when that one looks back over it, else a new streak begins. So whoever stops
measuring stops nobody's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from extender.model.names import PodUID
from extender.model.pod import Pod


@dataclass(frozen=True, slots=True)
class Use:
    """How much GPUs were used since the sample before, as far as that is known: 0 for not at all.

    pods:    `namespace/name` → the most that one of the pod's own devices was used.
    devices: UUID → how much the device was used, whoever holds it.
    """

    pods: Mapping[str, float]
    devices: Mapping[str, float]

    def of(self, pod: Pod) -> float | None:
        """The use of a pod's GPUs, None when it is not known. Of a device that pods share nobody can tell who used it:
        it counts for all of them.
        """
        own = self.pods.get(pod.key)
        if own is not None or not pod.gpu_uuids:
            return own
        known = [self.devices[uuid] for uuid in pod.gpu_uuids if uuid in self.devices]
        return max(known) if len(known) == len(pod.gpu_uuids) else None


@dataclass(frozen=True, slots=True)
class Streak:
    """From the first to the latest sample that said 0, in seconds on the clock of who samples."""

    since: float
    seen: float

    @property
    def idle_s(self) -> float:
        """What was measured; what may have been before and after does not count."""
        return self.seen - self.since


@dataclass(frozen=True, slots=True)
class Holder:
    """A running pod with GPUs: what is stopped together with it, and how long they may be idle (None: for ever)."""

    pod: Pod
    workload: str
    limit_s: int | None


def follow(
    streaks: Mapping[PodUID, Streak],
    holders: Iterable[Holder],
    use: Use,
    now: float,
    *,
    bridge_s: float,
) -> dict[PodUID, Streak]:
    """The streaks after one more round of samples; those of pods that are no holders any more are left out.

    bridge_s: how long ago the sample before may be; the values do not look back further.
    """
    found: dict[PodUID, Streak] = {}
    for holder in holders:
        uid, value = holder.pod.uid, use.of(holder.pod)
        streak = streaks.get(uid)
        if streak is not None and now - streak.seen > bridge_s:
            streak = None  # nobody can tell what happened meanwhile
        if value == 0:
            found[uid] = Streak(now if streak is None else streak.since, now)
        elif value is None and streak is not None:
            found[uid] = streak
    return found


def over(holders: Iterable[Holder], streaks: Mapping[PodUID, Streak]) -> dict[str, float]:
    """The workloads of which every holder has been idle for as long as it may: for how many seconds all of them were.

    A workload of which one holder may be idle for ever is never among them.
    """
    idle_s: dict[str, float] = {}
    busy: set[str] = set()
    for holder in holders:
        streak = streaks.get(holder.pod.uid)
        if streak is None or not holder.limit_s or streak.idle_s < holder.limit_s:
            busy.add(holder.workload)
        else:
            idle_s[holder.workload] = min(streak.idle_s, idle_s.get(holder.workload, streak.idle_s))
    return {workload: seconds for workload, seconds in idle_s.items() if workload not in busy}
