"""Every "no" has a name. The name is in the extender's answer, the Event, the metric label and the snapshot.

A verdict has two texts: `constant` goes to kube-scheduler, which retries a pod hundreds of times a second when
that text changes; `message` carries the numbers compared and goes to Events and people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a pod is not placed now."""

    INVALID_GPU_REQUEST = "InvalidGpuRequest"
    QUEUE_DOES_NOT_EXIST = "QueueDoesNotExist"
    OVER_LIMIT = "OverLimit"
    NON_PREEMPTIBLE_OVER_QUOTA = "NonPreemptibleOverQuota"
    NOT_ENOUGH_RESOURCES = "NotEnoughResources"
    GANG_INCOMPLETE = "GangIncomplete"
    PREEMPTION_DELAY_NOT_ELAPSED = "PreemptionDelayNotElapsed"
    WAITING_FOR_OTHERS = "WaitingForOthers"
    NODE_NOT_OFFERED = "NodeNotOffered"
    ALREADY_BOUND = "AlreadyBound"
    POD_DELETED = "PodDeleted"
    POD_FINISHED = "PodFinished"


_CONSTANT = {
    Reason.QUEUE_DOES_NOT_EXIST: "the pod has no project that exists",
    Reason.OVER_LIMIT: "the project has reached the allowable limit",
    Reason.NON_PREEMPTIBLE_OVER_QUOTA: "non-preemptible workload is over quota",
    Reason.NOT_ENOUGH_RESOURCES: "node(s) didn't have enough resources: GPUs",
    Reason.GANG_INCOMPLETE: "the pod group has fewer pods than its minimum",
    Reason.PREEMPTION_DELAY_NOT_ELAPSED: "the preemption delay has not passed",
    Reason.WAITING_FOR_OTHERS: "others are making way for the pod",
    Reason.NODE_NOT_OFFERED: "the planned node does not accept the pod",
    Reason.ALREADY_BOUND: "the pod is already bound",
    Reason.POD_DELETED: "the pod is deleted",
    Reason.POD_FINISHED: "the pod has finished",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A "no": its reason, and the sentence with the numbers for the pod's owner."""

    reason: Reason
    message: str

    @property
    def constant(self) -> str:
        """The text for kube-scheduler: the same bytes however the numbers move."""
        text = self.message if self.reason is Reason.INVALID_GPU_REQUEST else _CONSTANT[self.reason]
        return f"{self.reason}: {text}"


def no(reason: Reason, message: str = "") -> Verdict:
    """A verdict with `message`, by default the reason's own constant sentence."""
    return Verdict(reason, message or _CONSTANT[reason])
