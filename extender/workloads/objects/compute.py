"""What a pod asks for: GPUs, CPU, memory and other resources, in the form that the scheduler reads.

Whole GPUs and MIG slices are limits of the container, shares are annotations of the pod (`model.gpu`). CPU and memory
that nobody gave are left open: the cluster's defaults for a GPU are filled in when the pod is created.
"""

from __future__ import annotations

from typing import Any

from extender.model import names
from extender.workloads import parse
from extender.workloads.objects.draft import Draft
from extender.workloads.objects.parts import decimal_text, items, without_empty

Json = dict[str, Any]

# Up to where a share may use its device while others leave it idle. Nothing on the node enforces it today.
GPU_FRACTION_LIMIT = "gpu-fraction-limit"
ELASTIC = "elastic"
_SHM = "dshm"


def add_compute(draft: Draft) -> None:
    """gpu, gpuMemory, migProfile, gpuLimit, cpu, cpuLimit, memory, memoryLimit, extendedResources, elastic."""
    values = draft.values
    requests: Json = {"cpu": _text(values.get("cpu")), "memory": _text(values.get("memory"))}
    limits: Json = {"cpu": _text(values.get("cpuLimit")), "memory": _text(values.get("memoryLimit"))}
    for _, label, item in items(values, "extendedResources"):
        # The API server wants both alike of an extended resource.
        resource = str(item.get("resource") or label)
        requests[resource] = limits[resource] = _text(item["quantity"])
    _add_gpus(draft, limits)
    resources = without_empty({"requests": without_empty(requests), "limits": without_empty(limits)})
    if resources:
        draft.container["resources"] = resources
    if values.get("elastic"):
        draft.annotations[ELASTIC] = "true"


def add_shared_memory(draft: Draft) -> None:
    """largeShm."""
    if draft.values.get("largeShm"):
        draft.mount(_SHM, {"emptyDir": {"medium": "Memory"}}, "/dev/shm")


def gpus(values: Json) -> str:
    """How many GPUs the container sees, as text: "0.5" for a half, "1" for memory of one or a MIG slice of one."""
    gpu = parse.gpu(values.get("gpu"))
    if gpu.fraction or gpu.whole:
        return gpu.fraction or str(gpu.whole)
    return "1" if values.get("gpuMemory") or values.get("migProfile") else "0"


def without_gpus(values: Json) -> Json:
    """The values of a pod that only starts others."""
    return {key: value for key, value in values.items() if key not in ("gpu", "gpuMemory", "gpuLimit", "migProfile")}


def _add_gpus(draft: Draft, limits: Json) -> None:
    values = draft.values
    if values.get("gpu") is not None:
        gpu = parse.gpu(values["gpu"])
        if gpu.fraction:
            draft.annotations[names.GPU_FRACTION] = gpu.fraction
        elif gpu.whole:
            limits[names.GPU_RESOURCE] = str(gpu.whole)
    if values.get("gpuMemory") is not None:
        draft.annotations[names.GPU_MEMORY] = str(parse.gpu_memory_mib(values["gpuMemory"], least=0))
    if values.get("migProfile"):
        limits[names.MIG_PREFIX + str(values["migProfile"]).lower()] = "1"
    if values.get("gpuLimit") is not None:
        draft.annotations[GPU_FRACTION_LIMIT] = decimal_text(values["gpuLimit"])


def _text(value: Any) -> str:
    return "" if value is None else str(value)
