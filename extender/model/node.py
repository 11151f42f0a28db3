"""A node as the scheduler sees it: what it offers, not what is used."""

from __future__ import annotations

from dataclasses import dataclass

from extender.model.constraint import Taint
from extender.model.names import DEFAULT_POOL, NodeName


@dataclass(frozen=True, slots=True)
class Node:
    """One version of a Node object.

    gpus:           allocatable `nvidia.com/gpu`; fewer than `gpu_slots` while a device is unhealthy.
    gpu_slots:      devices the node has by capacity: the range of device indices.
    gpu_memory_mib: memory of each device, 0 when the label is missing or absurd (then: no gpu-memory pods).
    mig:            allocatable MIG slices, (resource name, count) sorted by name.
    is_sliced:      it offers MIG slices, under a name of their own or as devices: then nobody shares one.
    schedulable:    ready and not cordoned.
    labels:         (key, value) pairs, sorted; with `taints` what planning judges pods' constraints by.
    pool:           the node pool it is in; quotas are per pool.
    node_type:      its label `run.ai/type`, "" without one.
    """

    name: NodeName
    uid: str
    gpus: int = 0
    gpu_slots: int = 0
    gpu_memory_mib: int = 0
    gpu_product: str = ""
    cpu_milli: int = 0
    memory_mib: int = 0
    pods: int = 0
    mig: tuple[tuple[str, int], ...] = ()
    is_sliced: bool = False
    schedulable: bool = True
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[Taint, ...] = ()
    pool: str = DEFAULT_POOL
    node_type: str = ""


def usable_gpus(gpus: int, mig_strategy: str) -> int:
    """Whole devices that may be given away: none on a node of mixed MIG strategy, whose devices go in slices."""
    return 0 if mig_strategy == "mixed" else gpus


def is_sliced(mig_strategy: str) -> bool:
    """Whether what the node offers as GPUs are MIG slices, all alike."""
    return mig_strategy == "single"
