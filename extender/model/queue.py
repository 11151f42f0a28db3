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
class Queue:
    """A project or a department: `deserved` is guaranteed, `limit` is never exceeded."""

    name: str
    deserved: Quota = UNLIMITED
    limit: Quota = UNLIMITED
    department: str = ""  # of a project; departments have none


@dataclass(frozen=True, slots=True)
class PodGroup:
    """A group of pods that one project pays for."""

    namespace: str
    name: str
    queue: ProjectName | None = None
    min_member: int = 1
    priority_class: str = ""
    user: str = ""
