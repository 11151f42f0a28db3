"""Node objects → `model.Node`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from extender.errors import MalformedError
from extender.model import amounts, names
from extender.model.names import NodeName
from extender.model.node import Node, is_sliced, usable_gpus
from extender.wire.constraints import parse_taints

Json = Mapping[str, Any]

_MOST_DEVICES = 256  # more is a mistake of whoever labelled the node, and would widen every node's row
_LARGEST_GPU_MIB = 16 * 1024 * 1024


def parse(obj: Json, *, pool_label: str = names.NODE_POOL_LABEL) -> Node:
    """One Node object. A missing, unreadable or absurd figure counts as none; it never costs the other nodes.

    pool_label: the label whose value is the node's pool.
    Raises MalformedError when it is not a node at all.
    """
    try:
        metadata = obj["metadata"]
        labels = metadata.get("labels") or {}
        spec = obj.get("spec") or {}
        status = obj.get("status") or {}
        if not isinstance(metadata["name"], str) or not metadata["name"]:
            raise TypeError("name must be a text")
        allocatable = status.get("allocatable") or {}
        capacity = status.get("capacity") or {}
        gpus = min(_count(allocatable.get(names.GPU_RESOURCE)), _MOST_DEVICES)
        strategy = str(labels.get(names.NODE_MIG_STRATEGY) or "")
        gpus = usable_gpus(gpus, strategy)
        slots = max(gpus, min(_count(capacity.get(names.GPU_RESOURCE)), _MOST_DEVICES))
        mig = tuple(
            sorted(
                (name, _count(quantity))
                for name, quantity in allocatable.items()
                if name.startswith(names.MIG_PREFIX) and _count(quantity)
            )
        )
        memory = _count(labels.get(names.NODE_GPU_MEMORY))
        return Node(
            name=NodeName(metadata["name"]),
            uid=str(metadata.get("uid") or ""),
            gpus=gpus,
            gpu_slots=slots,
            gpu_memory_mib=memory if memory <= _LARGEST_GPU_MIB else 0,
            gpu_product=str(labels.get(names.NODE_GPU_PRODUCT) or ""),
            cpu_milli=_quantity(amounts.cpu_milli, allocatable.get("cpu")),
            memory_mib=_quantity(amounts.memory_mib, allocatable.get("memory")),
            pods=_count(allocatable.get("pods")),
            mig=mig,
            is_sliced=is_sliced(strategy) or bool(mig),
            schedulable=not spec.get("unschedulable") and _is_ready(status),
            labels=tuple(sorted((str(key), str(value)) for key, value in labels.items())),
            taints=parse_taints(spec),
            pool=str(labels.get(pool_label) or names.DEFAULT_POOL),
            node_type=str(labels.get(names.NODE_TYPE_LABEL) or ""),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedError(f"not a Node: {type(error).__name__}: {str(error)[:80]}") from error


def _is_ready(status: Json) -> bool:
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions") or ()
    )


def _count(quantity: object) -> int:
    try:
        return max(0, amounts.count(quantity)) if isinstance(quantity, str | int) else 0
    except ValueError:
        return 0


def _quantity(read: Callable[..., int], quantity: object) -> int:
    try:
        return max(0, read(quantity, up=False)) if isinstance(quantity, str | int) else 0
    except ValueError:
        return 0
