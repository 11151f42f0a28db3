"""Reservation pods on fake nodes: they run the program of the real ones, over a driver that shows what they got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from extender.controllers.reserve_gpu import Device
from extender.emulator.devices import Health, NodeDevices
from extender.emulator.environment import VISIBLE_DEVICES
from extender.model.names import RESERVATION_NAMESPACE

Json = dict[str, Any]


class Reporting(StrEnum):
    """How the reservation pods of a node fare.

    NORMAL: they report. SILENT: they run and never say which device they have, until it is NORMAL again.
    REFUSED: new ones fail at admission, as where the kubelet finds no device for them.
    """

    NORMAL = "normal"
    SILENT = "silent"
    REFUSED = "refused"


class FakeDriver:
    """NVML in a container on a fake node: it shows the devices that the container was given, by environment."""

    def __init__(self, environment: Mapping[str, str], node: NodeDevices) -> None:
        self._visible = [uuid for uuid in environment.get(VISIBLE_DEVICES, "").split(",") if uuid]
        self._node = node

    async def devices(self) -> Sequence[Device]:
        numbers = {uuid: number for number, uuid in enumerate(self._node.uuids)}
        present = (uuid for uuid in self._visible if self._node.health(uuid) is not Health.VANISHED)
        return [Device(uuid, numbers[uuid]) for uuid in present]


def is_reservation(pod: Json) -> bool:
    return bool(pod["metadata"]["namespace"] == RESERVATION_NAMESPACE)
