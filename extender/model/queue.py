"""Projects, departments, PodGroups and namespaces: who pays for a pod."""

from __future__ import annotations

from dataclasses import dataclass

from extender.model.names import ProjectName


@dataclass(frozen=True, slots=True)
class Quota:
    """Per resource (milli-GPU, milli-CPU, MiB): None is unlimited, 0 is nothing."""

    gpu_milli: int | None = None
    cpu_milli: int | None = None
    memory_mib: int | None = None


UNLIMITED = Quota()


@dataclass(frozen=True, slots=True)
class Weights:
    """Over-quota weights: in what proportion siblings share what nobody is guaranteed. 0 takes no part in it."""

    gpu: int = 1
    cpu: int = 1
    memory: int = 1


EQUAL_WEIGHTS = Weights()
DEFAULT_QUEUE_PRIORITY = 100


@dataclass(frozen=True, slots=True)
class Queue:
    """A project or a department: `deserved` is guaranteed, `limit` is never exceeded."""

    name: str
    deserved: Quota = UNLIMITED
    limit: Quota = UNLIMITED
    department: str = ""  # the queue above: of a project its department; departments usually have none
    weights: Weights = EQUAL_WEIGHTS
    priority: int = DEFAULT_QUEUE_PRIORITY  # higher takes from the surplus first; never touches what is deserved
    created: float = 0.0  # seconds since the epoch; the older of two equals goes first
    preempt_min_runtime_s: float | None = None  # None: as the queue above says
    reclaim_min_runtime_s: float | None = None


@dataclass(frozen=True, slots=True)
class PodGroup:
    """A group of pods that one project pays for."""

    namespace: str
    name: str
    queue: ProjectName | None = None
    min_member: int = 1
    priority_class: str = ""
    user: str = ""
