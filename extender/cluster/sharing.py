"""Which devices are shared, by whom, and which pods reserve them: an index over the picture, kept as it changes."""

from __future__ import annotations

from collections.abc import Set

from extender.model.names import NodeName, PodUID
from extender.model.pod import Placement, Pod

Device = tuple[NodeName, str]
"""A shared device: its node, and the group that its sharers carry."""


class SharedDevices:
    """The picture changes it; others read it, and take `changed`.

    sharers:      device → pods that hold a share of it, from the moment their seats are reserved.
    reservations: device → pods that reserve it, those that have failed or are being deleted among them.
    changed:      devices at which something has happened since this was last taken, in that order.
    is_followed:  whether somebody takes `changed`; nothing is noted for nobody.
    allowed:      whether pods may ask for parts of a GPU; bound ones stay what they are.
    closing:      reservations that we have decided to delete, and why: nobody joins them any more, though the API
                  server has not said yet that they leave.
    """

    __slots__ = ("_unshared", "allowed", "changed", "closing", "is_followed", "reservations", "sharers")

    def __init__(self) -> None:
        self.allowed = True
        self.is_followed = False
        self.sharers: dict[Device, set[PodUID]] = {}
        self.reservations: dict[Device, set[PodUID]] = {}
        self.changed: dict[Device, None] = {}
        self.closing: dict[PodUID, str] = {}
        self._unshared: dict[NodeName, set[Device]] = {}  # reserved devices without sharers, by node

    def take_changed(self) -> list[Device]:
        changed, self.changed = self.changed, {}
        return list(changed)

    def lingering(self) -> Set[NodeName]:
        """Nodes where a device is reserved that nobody shares: it will be free in a moment, and is not now."""
        return self._unshared.keys()

    def hold(self, pod: Pod, placement: Placement) -> None:
        """The pod holds these devices from now on."""
        for device in _devices(pod, placement):
            self.sharers.setdefault(device, set()).add(pod.uid)
            self._moved(device)

    def let_go(self, pod: Pod, placement: Placement) -> None:
        for device in _devices(pod, placement):
            _discard(self.sharers, device, pod.uid)
            self._moved(device)

    def see(self, before: Pod | None, pod: Pod | None) -> None:
        """A pod has come, changed or gone; only reservations matter here."""
        for one in (before, pod):
            if one is not None and (device := reserved_device(one)) is not None:
                _discard(self.reservations, device, one.uid)
                if one is pod:
                    self.reservations.setdefault(device, set()).add(one.uid)
                self._moved(device)
        if pod is None and before is not None:
            self.closing.pop(before.uid, None)

    def _moved(self, device: Device) -> None:
        if self.is_followed:
            self.changed[device] = None
        if device in self.reservations and device not in self.sharers:
            self._unshared.setdefault(device[0], set()).add(device)
        elif device in (devices := self._unshared.get(device[0], set())):
            devices.discard(device)
            if not devices:
                del self._unshared[device[0]]


def reserved_device(pod: Pod) -> Device | None:
    """The device that a pod reserves, None for any other pod and for one without a node."""
    if pod.reserves is None or pod.placement is None:
        return None
    return pod.placement.node, pod.reserves.group


def _devices(pod: Pod, placement: Placement) -> list[Device]:
    if pod.reserves is not None:
        return []
    return [(placement.node, group) for _, group in placement.devices if group]


def _discard(sets: dict[Device, set[PodUID]], device: Device, uid: PodUID) -> None:
    uids = sets.get(device)
    if uids is not None:
        uids.discard(uid)
        if not uids:
            del sets[device]
