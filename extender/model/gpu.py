"""What GPUs a pod asks for, parsed once from limits and annotations into something that cannot be wrong.

The refusal texts are part of the product's interface: behaviour.md section 6.12.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from extender.model import names
from extender.model.amounts import GPU

# Plain decimals only. Four digits are what people write (0.3333); 1e309, NaN, ½, 0x1p-1 and " 0.5" are refused
# here rather than by whatever the number library of the day makes of them.
_FRACTION = re.compile(r"0?\.(\d{1,4})", re.ASCII)
_POSITIVE = re.compile(r"0*[1-9]\d{0,8}", re.ASCII)
_LONGEST = 32
_MIG_PROFILE = re.compile(re.escape(names.MIG_PREFIX) + r"(\d)g\.", re.ASCII)
_MIG_SLICES = 7

FRACTION_AND_WHOLE = "cannot have both GPU fraction request and whole GPU resource request/limit"
GPU_AND_MEMORY = "cannot request both GPU and GPU memory"
DEVICES_WITHOUT_SHARE = "cannot request multiple fractional devices without specifying fraction portion or gpu-memory"
BAD_MEMORY = "gpu-memory annotation value must be a positive integer greater than 0"
BAD_FRACTION = "gpu-fraction annotation value must be a positive number smaller than 1.0"
BAD_DEVICES = "fraction count annotation value must be a positive integer greater than 0"
MPS_WITHOUT_FRACTION = "MPS is only supported with GPU fraction request"
BAD_COUNT = "GPU and MIG device requests must be whole numbers not less than 0"


def sharing_disabled(namespace: str, name: str) -> str:
    """Why a pod that asks for a part of a GPU is refused where GPUs are not shared."""
    return f"attempting to create a pod {namespace}/{name} with gpu sharing request, while GPU sharing is disabled"


class GpuRequestError(ValueError):
    """The pod's GPU request is not one; `str(error)` is the constant text for its owner."""


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """A pod's GPUs: `devices` whole ones, or a share of each of `devices`, or MIG slices, or none.

    share_milli: milli-GPU of each device (1..1000), 0 when the request is whole, by memory, or none.
    memory_mib:  MiB of each device, 0 unless the request is by memory; its share depends on the node.
    mig:         (resource name, count) pairs, sorted by name.
    """

    devices: int = 0
    share_milli: int = 0
    memory_mib: int = 0
    mig: tuple[tuple[str, int], ...] = ()

    @property
    def is_shared(self) -> bool:
        return self.share_milli > 0 or self.memory_mib > 0

    @property
    def is_whole(self) -> bool:
        return self.devices > 0 and not self.is_shared

    @property
    def is_cpu_only(self) -> bool:
        return self.devices == 0 and not self.mig

    def share_on(self, gpu_memory_mib: int) -> int | None:
        """Milli-GPU taken of each device on a node whose GPUs have `gpu_memory_mib`; None: does not fit there.

        By memory it rounds up, so the shares of one device never add up to more memory than it has.
        """
        if not self.memory_mib:
            return self.share_milli or GPU
        if gpu_memory_mib <= 0 or self.memory_mib > gpu_memory_mib:
            return None
        return -(-self.memory_mib * GPU // gpu_memory_mib)

    def gpu_milli_on(self, gpu_memory_mib: int) -> int:
        """Milli-GPU charged to the queue: by memory, on GPUs of `gpu_memory_mib` (0 = unknown: whole devices)."""
        share = self.share_on(gpu_memory_mib)
        return self.devices * (GPU if share is None else share) + sum(
            count * _mig_slice_milli(resource) for resource, count in self.mig
        )


NO_GPU = GpuRequest()


def parse_gpu_request(annotations: Mapping[str, str], resources: Mapping[str, int]) -> GpuRequest:
    """The GPU request of a pod from its annotations and its summed container `resources` (counts by name).

    Raises GpuRequestError with one of this module's texts. Other annotations, however many, cost nothing.
    """
    whole = resources.get(names.GPU_RESOURCE, 0)
    mig = tuple(sorted((name, n) for name, n in resources.items() if name.startswith(names.MIG_PREFIX) and n != 0))
    if whole < 0 or any(n < 0 for _, n in mig):
        raise GpuRequestError(BAD_COUNT)
    fraction = annotations.get(names.GPU_FRACTION)
    memory = annotations.get(names.GPU_MEMORY)
    devices = annotations.get(names.GPU_FRACTION_NUM_DEVICES)

    if fraction is not None and (whole or mig):
        raise GpuRequestError(FRACTION_AND_WHOLE)
    if memory is not None and (fraction is not None or whole or mig):
        raise GpuRequestError(GPU_AND_MEMORY)
    if devices is not None and fraction is None and memory is None:
        raise GpuRequestError(DEVICES_WITHOUT_SHARE)
    if annotations.get(names.MPS) == "true" and fraction is None and memory is None:
        raise GpuRequestError(MPS_WITHOUT_FRACTION)

    number = 1 if devices is None else _positive(devices, BAD_DEVICES)
    if fraction is not None:
        return GpuRequest(devices=number, share_milli=_fraction_milli(fraction))
    if memory is not None:
        return GpuRequest(devices=number, memory_mib=_positive(memory, BAD_MEMORY))
    return GpuRequest(devices=whole, mig=mig) if whole or mig else NO_GPU


def _fraction_milli(text: str) -> int:
    match = _FRACTION.fullmatch(text) if len(text) <= _LONGEST else None
    digits = match.group(1) if match else None
    if not digits or not int(digits):
        raise GpuRequestError(BAD_FRACTION)
    # Up: three times 0.3334 is more than one GPU, and rounding down would let them share it.
    return -(-int(digits.ljust(4, "0")) // 10)


def _positive(text: str, otherwise: str) -> int:
    if len(text) > _LONGEST or not _POSITIVE.fullmatch(text):
        raise GpuRequestError(otherwise)
    return int(text)


def _mig_slice_milli(resource: str) -> int:
    """Milli-GPU of one MIG slice: compute slices over the seven of a device; a whole GPU when unreadable."""
    match = _MIG_PROFILE.match(resource)
    return -(-min(int(match.group(1)), _MIG_SLICES) * GPU // _MIG_SLICES) if match else GPU
