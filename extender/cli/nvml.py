"""The driver of a real node, asked through NVML. In a container it shows the devices that the runtime let in, no more.

The binding is loaded when it is asked, so that no command but `reserve-gpu` pays for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from extender.controllers.reserve_gpu import Device
from extender.errors import DeviceError


class Nvml:
    """Every look starts NVML anew: what it shows may have changed, and a driver that is renewed must not be held."""

    async def devices(self) -> Sequence[Device]:
        # In a thread: without persistence mode the first look takes seconds.
        return await asyncio.to_thread(_look)


def _look() -> list[Device]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise DeviceError(_why_no_driver(pynvml, error)) from error
    try:
        return [_device(pynvml, number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        raise DeviceError(
            f"the driver cannot show this container's GPU: {error}; see nvidia-smi and the node's kernel log (Xid)"
        ) from error
    finally:
        pynvml.nvmlShutdown()


def _why_no_driver(pynvml: Any, error: Exception) -> str:
    if isinstance(error, pynvml.NVMLError_LibraryNotFound):
        return (
            "libnvidia-ml.so.1 is not in this container: run it on a node with the NVIDIA driver, under the NVIDIA "
            "container runtime (runtimeClassName: nvidia where that is not the default)"
        )
    if isinstance(error, pynvml.NVMLError_DriverNotLoaded):
        return "the NVIDIA driver is not loaded: install or start it on this node"
    return f"NVML does not start: {error}; see nvidia-smi on this node"


def _device(pynvml: Any, number: int) -> Device:
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    if _is_cut(pynvml, handle):
        raise DeviceError(
            f"{uuid} is cut into MIG slices, and only whole GPUs can be shared: turn MIG off on this node"
        )
    return Device(uuid, _number_on_the_node(pynvml, handle, number))


def _is_cut(pynvml: Any, handle: Any) -> bool:
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError_NotSupported:
        return False  # a GPU that cannot be cut
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def _number_on_the_node(pynvml: Any, handle: Any, number: int) -> int:
    """The minor number of the device file: NVML's own number counts only what this container sees, so it is 0."""
    try:
        return int(pynvml.nvmlDeviceGetMinorNumber(handle))
    except pynvml.NVMLError_NotSupported:
        return number
