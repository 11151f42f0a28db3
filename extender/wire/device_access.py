"""The optional guard against getting GPUs by environment variable instead of by request.

The NVIDIA runtime gives a container every device that NVIDIA_VISIBLE_DEVICES names, whoever schedules it. With the
guard on, a pod that sets it is refused, and containers that asked for no GPU are told "void".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from extender.model import names

Json = Mapping[str, Any]

VARIABLE = "NVIDIA_VISIBLE_DEVICES"
NO_DEVICES = "void"
_HARMLESS = frozenset({NO_DEVICES, "none"})


def forbidden(spec: Json) -> str:
    """Why this pod spec is refused, "" when it is not. A value taken from elsewhere cannot be judged: refused."""
    for container in _containers(spec):
        for variable in container.get("env") or ():
            if variable.get("name") != VARIABLE:
                continue
            value = variable.get("value")
            if variable.get("valueFrom") or (value is not None and value not in _HARMLESS):
                return f"container {container.get('name')} sets {VARIABLE}: devices are given by request only"
    return ""


def containers_to_blind(spec: Json, annotations: Mapping[str, str]) -> list[str]:
    """Names of the containers to which VARIABLE=void is added: those without GPUs of their own.

    Of a pod with a fraction the first container, or the one that its annotation names, has it. A pod with MIG slices
    is left alone: its devices are chosen by UUID, which only the device plugin knows.
    """
    containers = list(spec.get("containers") or ())
    if any(_asks(one, names.MIG_PREFIX) for one in containers):
        return []
    keeps = {str(one.get("name")) for one in containers if _asks(one, names.GPU_RESOURCE)}
    if annotations.get(names.GPU_FRACTION) or annotations.get(names.GPU_MEMORY):
        chosen = annotations.get(names.GPU_FRACTION_CONTAINER)
        keeps.add(chosen or next((str(one.get("name")) for one in containers), ""))
    return [str(one.get("name")) for one in _containers(spec) if str(one.get("name")) not in keeps]


def _containers(spec: Json) -> list[Json]:
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def _asks(container: Json, resource: str) -> bool:
    resources = container.get("resources") or {}
    limits = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    return any(name.startswith(resource) and str(amount) != "0" for name, amount in limits.items())
