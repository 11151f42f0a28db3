"""What has to be put right about one shared device, so that its reservation and its sharers agree.

A sharer that runs is never evicted before it is proven that its device is somebody else's: the kubelet has refused us
a device while we hold every other one that it gave us. Until then reservations are made again, one more each time,
until the lost device is among them; those that are too many go when it is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from extender.cluster.ledger import NodeLedger
from extender.cluster.picture import HoldState, Picture
from extender.cluster.sharing import Device
from extender.model import names
from extender.model.names import NodeName
from extender.model.pod import Pod
from extender.model.reservation import reservation_name


class Why(StrEnum):
    """Why something is done about a shared device."""

    UNUSED = "unused"  # the ordinary end: the last sharer has gone
    NODE_GONE = "node_gone"
    FAILED = "failed"  # the kubelet refused the reservation, or it ended
    DUPLICATE = "duplicate"
    MISSING = "missing"  # sharers run on a device that nobody reserves
    LOST = "lost"  # what reserves for them has another device than they have
    TAKEN = "taken"  # their device is somebody else's
    LABELS = "labels"  # somebody edited what says which device is whose
    MAP = "config_map"  # what tells a sharer its device had gone
    ORPHAN = "orphan"  # nobody shared it when we began to look


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete this reservation pod."""

    pod: Pod
    why: Why


@dataclass(frozen=True, slots=True)
class Make:
    """Create a reservation for the device; `spare` 0 is the one of the group's own name. index: our number of it."""

    index: int
    spare: int
    why: Why


@dataclass(frozen=True, slots=True)
class Relabel:
    """Write the group's label on its reservation again."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Evict:
    """These sharers have to go: `proof` is what the kubelet said."""

    pods: tuple[Pod, ...]
    proof: str


Step = Remove | Make | Relabel | Evict


def review(picture: Picture, device: Device) -> list[Step]:
    """The steps that are due for one device; none while all is well, or while there is something to wait for.

    Cost: O(its sharers and reservations).
    """
    node, group = device
    pods = sorted(
        (picture.pods[uid].pod for uid in picture.sharing.reservations.get(device, ())),
        key=lambda pod: (pod.name != reservation_name(group), pod.created, pod.name),
    )
    closing = picture.sharing.closing
    again: list[Step] = [Remove(pod, Why(closing[pod.uid])) for pod in pods if pod.uid in closing]
    if again:
        return again  # decided, and perhaps not done yet
    dead = [pod for pod in pods if pod.is_finished and not pod.deleting]
    alive = [pod for pod in pods if not pod.is_finished and not pod.deleting]
    ledger = picture.ledger(node)
    if ledger is None or ledger.node is None:
        return [Remove(pod, Why.NODE_GONE) for pod in (*alive, *dead)]
    holders = picture.sharing.sharers.get(device, ())
    if not holders:
        return [*_remove(alive, Why.UNUSED), *_remove(dead, Why.FAILED)]
    bound = [
        record.pod
        for uid in sorted(holders)
        if (record := picture.pods[uid]).hold is not None and record.hold.state is HoldState.BOUND
    ]
    expected = device_of_sharers(bound, group)
    right = [pod for pod in alive if _reported(pod) and expected in (None, _reported(pod))]
    if right:
        kept, *others = right
        others += [pod for pod in alive if pod not in right]
        relabel: list[Step] = [Relabel(kept)] if kept.reserves and kept.reserves.label != group else []
        return [*relabel, *_remove(others, Why.DUPLICATE), *_remove(dead, Why.FAILED)]
    if any(pod.deleting and not pod.is_finished for pod in pods):
        return []  # it holds its device still: what the kubelet says now proves nothing
    if any(not _reported(pod) for pod in alive):
        return [] if len(alive) > 1 else _remove(dead, Why.FAILED)  # it will report
    staying = tuple(pod for pod in bound if not pod.deleting)
    if not staying:
        return _remove(dead, Why.FAILED)  # they are about to go; or the bind that is under way makes what it needs
    proof = next((text for pod in dead if (text := _no_device(pod))), "")
    if proof and expected is not None and _all_given(ledger):
        ours = holding(picture, node, expected)
        if not ours:
            return [Evict(staying, proof), *_remove(dead, Why.FAILED)]
        # It is not somebody else's: we hold it ourselves, for others who have another one. Of two groups that hold
        # each other's the first lets the other's go, takes its own, and gives up what the other is looking for.
        swapped = [pod for pod in ours if group < _group(pod) and not _is_right(picture, node, pod)]
        return [*_remove(swapped, Why.LOST), *_remove(dead, Why.FAILED)]
    if dead:
        return _remove(dead, Why.FAILED)  # refused for another reason: tried again in a while
    taken = {pod.name for pod in pods}
    spare = next(number for number in range(len(taken) + 1) if reservation_name(group, number) not in taken)
    index = next(index for index, of in _placed(picture, staying[0]) if of == group)
    return [Make(index, spare, Why.LOST if alive else Why.MISSING)]


def holding(picture: Picture, node: NodeName, uuid: str) -> list[Pod]:
    """The pods of ours that hold this very device of a node. Cost: O(all reservations), and seldom asked."""
    pods = (
        picture.pods[uid].pod
        for (of, _), uids in sorted(picture.sharing.reservations.items())
        if of == node
        for uid in sorted(uids)
    )
    return [pod for pod in pods if _reported(pod) == uuid and not pod.is_finished]


def _is_right(picture: Picture, node: NodeName, reservation: Pod) -> bool:
    """Whether a reservation has the device of its own sharers."""
    group = _group(reservation)
    sharers = (picture.pods[uid].pod for uid in picture.sharing.sharers.get((node, group), ()))
    return device_of_sharers(sharers, group) in (None, _reported(reservation))


def _group(pod: Pod) -> str:
    return pod.reserves.group if pod.reserves is not None else ""


def device_of_sharers(bound: Iterable[Pod], group: str) -> str | None:
    """The UUID of the device that sharers were told to use, None when none of them recorded one."""
    told = Counter(
        uuid
        for pod in bound
        if pod.placement is not None and pod.gpu_uuids
        for (_, of), uuid in zip(pod.placement.devices, pod.gpu_uuids, strict=True)
        if of == group and uuid
    )
    return min(told, key=lambda uuid: (-told[uuid], uuid)) if told else None


def _placed(picture: Picture, pod: Pod) -> tuple[tuple[int, str], ...]:
    hold = picture.pods[pod.uid].hold
    return () if hold is None else hold.placement.devices


def _all_given(ledger: NodeLedger) -> bool:
    """Whether the API objects too say that the node has no device left; else the kubelet refuses for another reason,
    as when a device is unhealthy, or its plugin has not registered yet.
    """
    given = sum(pod.gpu.devices for pod, _ in ledger.pods.values() if pod.gpu.is_whole and pod.placement is not None)
    return ledger.node is not None and given >= ledger.node.gpu_slots > 0


def _remove(pods: Iterable[Pod], why: Why) -> list[Step]:
    return [Remove(pod, why) for pod in pods]


def _reported(pod: Pod) -> str:
    return pod.reserves.uuid if pod.reserves is not None else ""


def _no_device(pod: Pod) -> str:
    """What the kubelet said when it had no device left, "" when it refused for another reason."""
    refusal = pod.reserves.refusal if pod.reserves is not None else ""
    none_left = "Requested:" in refusal and "Available:" in refusal
    return refusal if names.GPU_RESOURCE in refusal and (none_left or "OutOf" in refusal) else ""
