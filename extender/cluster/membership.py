"""Whose pod is this, what is it for, where may it go, and may it be preempted?

Answers from what the API server holds now (DESIGN section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from extender.cluster.grouping import group_name_of
from extender.model import names
from extender.model.names import DEFAULT_POOL, ProjectName
from extender.model.pod import Pod
from extender.model.queue import PodGroup, Project, Work

_ANYWHERE = (DEFAULT_POOL,)


Confinement = tuple[tuple[str, tuple[str, ...]], ...]
"""(label, allowed values) pairs that a node must satisfy."""


@dataclass(slots=True)
class Membership:
    """Lookup tables of the picture: PodGroups by (namespace, name), namespace labels, priority class values.

    namespaces: namespace → its `runai/queue` label, "" when it has none.
    topologies: Topology → its levels, node label keys from the widest to the narrowest.
    """

    groups: dict[tuple[str, str], PodGroup] = field(default_factory=dict)
    namespaces: dict[str, str] = field(default_factory=dict)
    priority_classes: dict[str, int] = field(default_factory=dict)
    topologies: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def group_of(self, pod: Pod) -> PodGroup | None:
        """The pod's PodGroup: the one that it names, else the one that is made for its owner; None while neither is."""
        return self.groups.get((pod.namespace, group_name_of(pod))) if self.groups else None

    def project_of(self, pod: Pod) -> ProjectName | None:
        """The project that pays for `pod`, first that is set; None when nothing names one.

        What a reservation holds is paid for by those who share it.
        """
        if pod.reserves is not None:
            return None
        group = self.group_of(pod)
        if group is not None and group.queue:
            return group.queue
        if pod.queue_label:
            return ProjectName(pod.queue_label)
        if self.namespaces.get(pod.namespace):
            return ProjectName(self.namespaces[pod.namespace])
        if pod.namespace.startswith(names.NAMESPACE_PREFIX):
            return ProjectName(pod.namespace.removeprefix(names.NAMESPACE_PREFIX)) or None
        return None

    def priority_of(self, pod: Pod) -> int:
        """The pod's priority: of its group's class, its label's, its own, else the default of its owner's kind."""
        group = self.group_of(pod)
        own_class = names.PRIORITY_CLASS_OF_OWNER.get(pod.owner_kind, "")
        for name in (group.priority_class if group else "", pod.priority_class, own_class):
            value = self._value_of(name)
            if value is not None:
                return value
            if name and name == pod.priority_class and pod.priority is not None:
                return pod.priority
        return names.DEFAULT_PRIORITY

    def is_preemptible(self, pod: Pod) -> bool:
        """Whether the pod may be evicted for others and may go over quota: as its group says, else by priority."""
        group = self.group_of(pod)
        if group is not None and group.preemptible is not None:
            return group.preemptible
        return self.priority_of(pod) < names.NON_PREEMPTIBLE_FROM

    def work_of(self, pod: Pod) -> Work:
        """What the pod is for, by its priority: as important as `inference`, as an interactive class, or less."""
        priority = self.priority_of(pod)
        if priority >= names.PRIORITY_CLASSES["inference"]:
            return Work.INFERENCE
        return Work.INTERACTIVE if priority >= names.PRIORITY_CLASSES["interactive-preemptible"] else Work.TRAINING

    def pools_of(self, pod: Pod, project: Project | None) -> tuple[str, ...]:
        """The node pools that the pod may go to, the first to be tried first; never empty.

        Its own, else its group's list, else its project's, else the pool `default`.
        """
        if pod.pools:
            return pod.pools
        group = self.group_of(pod)
        if group is not None and group.pools:
            return group.pools
        return (project.default_pools if project is not None else ()) or _ANYWHERE

    def confinement(self, pod: Pod, project: Project | None, pool: str) -> Confinement:
        """The nodes that the pod may have in a pool: those of it, of the types that its project allows such work."""
        types = project.node_types_for(self.work_of(pod)) if project is not None else ()
        return ((names.POOL_KEY, (pool,)), *(((names.NODE_TYPE_LABEL, types),) if types else ()))

    def _value_of(self, name: str) -> int | None:
        if not name:
            return None
        return first_known(names.PRIORITY_ALIASES.get(name, name), self.priority_classes, names.PRIORITY_CLASSES)


def first_known(name: str, *tables: Mapping[str, int]) -> int | None:
    """The value of `name` in the first table that has it."""
    return next((table[name] for table in tables if name in table), None)
