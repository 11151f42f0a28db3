"""What a simulation is about: the nodes, the pods that may arrive, and which nodes each of them accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from extender.errors import ConfigError
from extender.model.gpu import GpuRequest
from extender.model.node import Node

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Accepts:
    """Which nodes a pod accepts, beyond having room: one of `models` (empty: any) and all of `labels`.

    labels: (key, value) pairs sorted by key, as in a pod's nodeSelector.
    """

    models: frozenset[str] = frozenset()
    labels: tuple[tuple[str, str], ...] = ()

    def allows(self, host: Host) -> bool:
        if self.models and host.node.gpu_product not in self.models:
            return False
        return all(host.labels.get(key) == value for key, value in self.labels)


ANY = Accepts()


@dataclass(frozen=True, slots=True)
class Host:
    """A node and the labels that pods may select it by."""

    node: Node
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """A pod that may arrive, any number of times."""

    name: str
    gpu: GpuRequest
    cpu_milli: int
    memory_mib: int
    accepts: Accepts = ANY


@dataclass(frozen=True, slots=True)
class Workload:
    """Hosts and tasks, each sorted by name, so that a seed means the same whatever the order in the files.

    capacity_milli: milli-GPU of all hosts, MIG slices included.
    demand_milli:   milli-GPU of each task, by its index; requests by memory as on the smallest GPU of the hosts.
    """

    hosts: Sequence[Host]
    tasks: Sequence[Task]
    capacity_milli: int
    demand_milli: Sequence[int]


def build(hosts: Sequence[Host], tasks: Sequence[Task]) -> Workload:
    """A workload that can be simulated. Raises ConfigError when there is no GPU to fill, or nothing to fill it with."""
    capacity = sum(capacity_milli(host.node) for host in hosts)
    if not capacity:
        raise ConfigError(f"the {len(hosts)} nodes have no GPU: at least one is needed, loads are a percentage of them")
    smallest = min((host.node.gpu_memory_mib for host in hosts if host.node.gpu_memory_mib), default=0)
    ordered = sorted(tasks, key=lambda task: task.name)
    demand = [task.gpu.gpu_milli_on(smallest) for task in ordered]
    if not any(demand):
        raise ConfigError(f"none of the {len(tasks)} pods asks for a GPU: at least one is needed, load is GPU demand")
    return Workload(sorted(hosts, key=lambda host: host.node.name), ordered, capacity, demand)


def capacity_milli(node: Node) -> int:
    """Milli-GPU that a node offers: its devices, and its MIG slices at what they are charged."""
    return GpuRequest(devices=node.gpus, mig=node.mig).gpu_milli_on(0)


def allowed(accepts: Accepts, hosts: Sequence[Host]) -> Bools:
    """Which of `hosts` the pod accepts, in their order."""
    return np.fromiter((accepts.allows(host) for host in hosts), dtype=np.bool_, count=len(hosts))
