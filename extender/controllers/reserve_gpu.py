"""What runs in a reservation pod: find the device that the kubelet gave it, report it, and notice when it is lost.

Nobody else can tell which physical device a pod got: the kubelet's device manager chooses, and only inside the
container does the driver show it. So the pod asks the driver and writes the answer on itself, for the binder to read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from extender import logs
from extender.errors import (
    ApiError,
    BadRequestError,
    ConfigError,
    DeviceError,
    NotFoundError,
    UnauthorizedError,
)
from extender.kube.client import KubeClient
from extender.model.names import RESERVED_INDEX_ANNOTATION, RESERVED_UUID_ANNOTATION

log = logs.get("reserve_gpu")

LOOK_EVERY_S = 10.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Device:
    """uuid: as in `GPU-6f1c…`. index: the driver's number of it on the node, n of `/dev/nvidia<n>`."""

    uuid: str
    index: int


class Driver(Protocol):
    """Who knows the devices: NVML in a container, a fake in tests and on emulated nodes."""

    async def devices(self) -> Sequence[Device]:
        """Every device that this container sees. Raises DeviceError when the driver cannot say."""


async def only_device(driver: Driver) -> Device:
    """The one device there is. Raises DeviceError when there is none, or more than one, or no driver."""
    found = await driver.devices()
    if len(found) == 1:
        return found[0]
    if not found:
        raise DeviceError(
            "this container sees no GPU, and should see exactly one: the pod must have limits nvidia.com/gpu: 1 "
            "and run under the NVIDIA container runtime"
        )
    seen = ", ".join(device.uuid for device in found)
    raise DeviceError(
        f"this container sees {len(found)} GPUs ({seen}), and should see exactly one: the pod must have limits "
        "nvidia.com/gpu: 1 and be neither privileged nor given NVIDIA_VISIBLE_DEVICES by its image or spec"
    )


def own_pod(environment: Mapping[str, str]) -> str:
    """The API path of the pod that we run in. Raises ConfigError when the environment does not say."""
    values = {name: environment.get(name, "") for name in ("POD_NAMESPACE", "POD_NAME")}
    for name, value in values.items():
        if not value:
            field = "metadata.namespace" if name == "POD_NAMESPACE" else "metadata.name"
            raise ConfigError(f"{name} is not set: give it to the container by the downward API, fieldRef {field}")
    return f"/api/v1/namespaces/{values['POD_NAMESPACE']}/pods/{values['POD_NAME']}"


async def report(client: KubeClient, driver: Driver, path: str) -> Device:
    """Write our device on the pod at `path`; the device. Waits, longer each time, while the API server is away.

    Raises DeviceError when there is not exactly one device; NotFoundError, UnauthorizedError or BadRequestError when
    the API server refuses for good (the pod is gone, or we may not write it).
    """
    device = await only_device(driver)
    annotations = {RESERVED_UUID_ANNOTATION: device.uuid, RESERVED_INDEX_ANNOTATION: str(device.index)}
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            await client.patch(path, {"metadata": {"annotations": annotations}}, field_manager="reserve-gpu")
        except (BadRequestError, NotFoundError, UnauthorizedError):
            raise  # asking again would change nothing
        except ApiError as error:
            log.warning("report_failed", cause=error.message, seconds=pause_s)
        else:
            log.info("device_reported", uuid=device.uuid, index=device.index)
            return device
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


async def keep(driver: Driver, device: Device, *, look_every_s: float = LOOK_EVERY_S) -> None:
    """Stay until cancelled. Raises DeviceError as soon as a look, every `look_every_s`, does not show `device`."""
    while True:
        await asyncio.sleep(look_every_s)
        try:
            found = await only_device(driver)
        except DeviceError as error:
            raise DeviceError(f"lost {device.uuid}: {error}") from error
        if found.uuid != device.uuid:
            raise DeviceError(f"lost {device.uuid}: this container sees {found.uuid} in its place")
