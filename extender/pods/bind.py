"""bind: one Binding object that says node, devices and groups at once; and what its outcome means.

    begin   → Done | Refused | Unseen | Write       before the API call
    settle  ← STORED | REFUSED | GONE | UNKNOWN      after it

Success is never answered without a stored Binding: kube-scheduler would believe in it for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.model import names
from extender.model.amounts import GPU
from extender.model.names import NodeName, PodUID
from extender.model.pod import Placement, Pod
from extender.pods import placement
from extender.pods.admit import admit
from extender.pods.placement import Policy


@dataclass(frozen=True, slots=True)
class BindRequest:
    """kube-scheduler's question: bind this very pod (by uid) to `node`."""

    namespace: str
    name: str
    uid: PodUID
    node: NodeName


@dataclass(frozen=True, slots=True)
class Done:
    """The pod is on that node already: success without a write."""


@dataclass(frozen=True, slots=True)
class Refused:
    """`error` for kube-scheduler, which will come back through filter."""

    error: str


@dataclass(frozen=True, slots=True)
class Unseen:
    """Neither watch nor filter has shown us the pod: read it, put it in the picture, begin again."""


@dataclass(frozen=True, slots=True)
class Write:
    """Store this Binding: annotations and labels go into the pod in the same write as its node.

    share_milli: of each device, when they are shared.
    """

    placement: Placement
    annotations: dict[str, str]
    labels: dict[str, str]
    share_milli: int = GPU


class Outcome(Enum):
    STORED = auto()  # the pod is on the node with our devices
    REFUSED = auto()  # the API server said no and nothing was stored
    GONE = auto()  # there is no such pod any more
    UNKNOWN = auto()  # no answer, and reading back gave none either


def begin(picture: Picture, request: BindRequest, policy: Policy, *, now: float) -> Done | Refused | Unseen | Write:
    """Check the seat and hold it as BINDING. A lost seat (a restart, an expiry) is planned anew on that node."""
    if picture.is_gone(request.uid):
        return Refused(f"pod {request.namespace}/{request.name} ({request.uid}) is deleted")
    record = picture.pods.get(request.uid)
    if record is None:
        return Unseen()
    hold = record.hold
    if hold is not None and hold.state is HoldState.BOUND:
        if hold.placement.node == request.node:
            return Done()
        return Refused(f"pod {record.pod.key} is already bound to node {hold.placement.node}")
    if hold is not None and hold.state is HoldState.PROMISED:
        return Refused(f"others have yet to make way for pod {record.pod.key}")
    under_way = hold is not None and hold.state is not HoldState.RESERVED
    if hold is not None and under_way and hold.placement.node != request.node:
        return Refused(f"a Binding of pod {record.pod.key} to node {hold.placement.node} is under way")
    ledger = picture.ledger(request.node)
    if ledger is None:
        if not under_way:
            picture.release(request.uid)
        # The API server would accept a node that does not exist.
        return Refused(f"node {request.node} does not exist")
    if hold is None or hold.placement.node != request.node:
        group = picture.membership.group_of(record.pod)
        if group is not None and group.minimum > 1:
            return Refused(f"the gang of pod {record.pod.key} is planned anew: it starts as a whole")
        picture.release(request.uid)
        verdict = admit(picture, record)
        if verdict is not None:
            picture.judge(record, verdict)
            return Refused(str(verdict.reason) + ": " + verdict.message)
        seat = placement.seat_on(picture, record.pod, request.node, policy)
        if seat is None:
            return Refused(f"pod {record.pod.key} does not fit on node {request.node} any more")
        picture.reserve(request.uid, seat, now=now, expires=None, state=HoldState.BINDING)
        return _write(record.pod, seat, ledger.gpu_memory_mib)
    picture.set_state(request.uid, HoldState.BINDING, now=now)
    return _write(record.pod, hold.placement, ledger.gpu_memory_mib)


def settle(picture: Picture, uid: PodUID, outcome: Outcome, seat: Placement) -> None:
    """Take in what became of the Binding to `seat`. The watch may have been faster; a pod that went is no error."""
    match outcome:
        case Outcome.STORED:
            picture.confirm(uid, seat)
        case Outcome.UNKNOWN:
            picture.set_state(uid, HoldState.UNKNOWN)
        case Outcome.REFUSED | Outcome.GONE:
            record = picture.pods.get(uid)
            if record is not None and not _is_bound(record):
                picture.release(uid)
            if outcome is Outcome.GONE:
                picture.delete_pod(uid)


def _is_bound(record: PodRecord) -> bool:
    return record.hold is not None and record.hold.state is HoldState.BOUND


def _write(pod: Pod, seat: Placement, gpu_memory_mib: int) -> Write:
    share = pod.gpu.share_on(gpu_memory_mib) if pod.gpu.is_shared else None
    return Write(seat, *records(pod, seat, share_milli=share or GPU), share or GPU)


def records(
    pod: Pod, seat: Placement, *, share_milli: int, uuids: Sequence[str] = ()
) -> tuple[dict[str, str], dict[str, str]]:
    """The annotations and labels by which a pod says which devices it has.

    share_milli: of each device, when they are shared. uuids: the physical devices, where they are known.
    """
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    if not pod.gpu.is_cpu_only:
        kind = names.RESOURCE_TYPE_FRACTION if pod.gpu.is_shared else names.RESOURCE_TYPE_REGULAR
        annotations[names.RESOURCE_TYPE_ANNOTATION] = kind
    if seat.devices:
        annotations[names.GPU_DEVICES_ANNOTATION] = ",".join(str(index) for index in seat.indices)
        if pod.gpu.is_shared:
            annotations[names.GPU_SHARE_ANNOTATION] = str(share_milli)
    groups = [group for _, group in seat.devices if group]
    if groups:
        # Labels find the sharers of a device. The annotation says which device is which, and is stored by API servers
        # before 1.35 as well, which drop the labels of a Binding.
        annotations[names.GPU_GROUP_LABEL] = ",".join(groups)
        labels = {f"{names.GPU_GROUP_LABEL}/{group}": group for group in groups}
        if len(groups) == 1:
            labels = {names.GPU_GROUP_LABEL: groups[0]}
    if uuids:
        annotations[names.GPU_UUID_ANNOTATION] = ",".join(uuids)
    return annotations, labels
