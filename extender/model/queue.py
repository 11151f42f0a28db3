"""Projects, departments, PodGroups and namespaces: who pays for a pod, and how much of each node pool they may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from extender.model.names import DEFAULT_POOL, ProjectName


@dataclass(frozen=True, slots=True)
class Quota:
    """Per resource (milli-GPU, milli-CPU, MiB): None is unlimited, 0 is nothing."""

    gpu_milli: int | None = None
    cpu_milli: int | None = None
    memory_mib: int | None = None


UNLIMITED = Quota()
NO_GPUS = Quota(gpu_milli=0)


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
    """A project or a department in one node pool: `deserved` is guaranteed, `limit` is never exceeded."""

    name: str
    deserved: Quota = UNLIMITED
    limit: Quota = UNLIMITED
    department: str = ""  # the queue above: of a project its department; departments usually have none
    weights: Weights = EQUAL_WEIGHTS
    priority: int = DEFAULT_QUEUE_PRIORITY  # higher takes from the surplus first; never touches what is deserved
    created: float = 0.0  # seconds since the epoch; the older of two equals goes first
    preempt_min_runtime_s: float | None = None  # None: as the queue above says
    reclaim_min_runtime_s: float | None = None


class Work(StrEnum):
    """What a pod does, as far as its project's rules distinguish it."""

    TRAINING = "training"
    INTERACTIVE = "interactive"
    INFERENCE = "inference"


@dataclass(frozen=True, slots=True)
class Project:
    """A project with all that is its own. Times in seconds, None and 0 for no limit.

    queue:         its figures in the pool `default`.
    pools:         its figures in other pools that it has figures for, by pool.
    default_pools: where its pods go, in this order, when they name no pool; empty: the pool `default`.
    node_types:    values of the node label `run.ai/type` that its pods may run on; empty: every node.
    """

    queue: Queue
    pools: Mapping[str, Queue] = field(default_factory=dict)
    default_pools: tuple[str, ...] = ()
    train_node_types: tuple[str, ...] = ()
    interactive_node_types: tuple[str, ...] = ()
    interactive_time_limit_s: int | None = None
    training_time_limit_s: int | None = None
    interactive_idle_limit_s: int | None = None  # non-preemptible
    interactive_preemptible_idle_limit_s: int | None = None
    training_idle_limit_s: int | None = None

    @property
    def name(self) -> str:
        return self.queue.name

    @property
    def department(self) -> str:
        return self.queue.department

    def queue_in(self, pool: str) -> Queue:
        """The project's queue in a pool. Where it has no figures it is guaranteed no GPU, and gets none at all when
        it may not go over its quota in the pool `default`.
        """
        if pool == DEFAULT_POOL:
            return self.queue
        known = self.pools.get(pool)
        if known is not None:
            return known
        deserved, limit = self.queue.deserved.gpu_milli, self.queue.limit.gpu_milli
        walled = deserved is not None and limit is not None and limit <= deserved
        return replace(self.queue, deserved=NO_GPUS, limit=NO_GPUS if walled else UNLIMITED)

    def node_types_for(self, work: Work) -> tuple[str, ...]:
        """The node types that such a pod may run on; empty for every node."""
        return self.train_node_types if work is Work.TRAINING else self.interactive_node_types

    def time_limit_for(self, work: Work) -> int | None:
        """For how many seconds such work may run; None without a limit."""
        if work is Work.INFERENCE:
            return None
        return (self.training_time_limit_s if work is Work.TRAINING else self.interactive_time_limit_s) or None

    def idle_limit_for(self, work: Work, *, preemptible: bool) -> int | None:
        """For how many seconds such work may leave its GPUs idle; None without a limit."""
        if work is Work.INFERENCE:
            return None
        if work is Work.TRAINING:
            return self.training_idle_limit_s or None
        return (self.interactive_preemptible_idle_limit_s if preemptible else self.interactive_idle_limit_s) or None

    @property
    def limits_idleness(self) -> bool:
        """Whether any of its workloads may not be idle for ever."""
        return bool(
            self.interactive_idle_limit_s or self.interactive_preemptible_idle_limit_s or self.training_idle_limit_s
        )


@dataclass(frozen=True, slots=True)
class Department:
    """A department. Where it has no figures it neither guarantees nor limits anything."""

    queue: Queue
    pools: Mapping[str, Queue] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.queue.name

    @property
    def parent(self) -> str:
        """The department above, "" for none."""
        return self.queue.department

    def queue_in(self, pool: str) -> Queue:
        if pool == DEFAULT_POOL:
            return self.queue
        known = self.pools.get(pool)
        return known if known is not None else replace(self.queue, deserved=UNLIMITED, limit=UNLIMITED)


@dataclass(frozen=True, slots=True)
class TopologyConstraint:
    """Pods stay inside one domain of level `required` and, when possible, of the narrower level `preferred`.

    Levels are node label keys of the Topology object with the name `topology`; "" for none.
    """

    topology: str
    required: str = ""
    preferred: str = ""


@dataclass(frozen=True, slots=True)
class SubGroupSpec:
    """A part of a PodGroup as it is written: a leaf with `min_member`, or an inner part of which `min_parts` (None:
    all) must have their minimum.
    """

    name: str
    parent: str = ""
    min_member: int | None = None
    min_parts: int | None = None
    topology: TopologyConstraint | None = None


@dataclass(frozen=True, slots=True)
class PodGroup:
    """A group of pods that one project pays for, and that start together. Times in seconds.

    preemptible:        None: as its priority says.
    preemption_delay_s: for so long after it began to wait it makes nobody give way.
    stale_after_s:      grace below its minimum before the rest is evicted; None for the default, below 0 for never.
    pools:              node pools to try, in this order; empty: its project's default ones.
    created:            seconds since the epoch.
    """

    namespace: str
    name: str
    queue: ProjectName | None = None
    min_member: int = 1
    min_parts: int | None = None
    subgroups: tuple[SubGroupSpec, ...] = ()
    topology: TopologyConstraint | None = None
    priority_class: str = ""
    preemptible: bool | None = None
    preemption_delay_s: float = 0.0
    stale_after_s: float | None = None
    min_runtime_s: float = 0.0
    pools: tuple[str, ...] = ()
    user: str = ""
    created: float = 0.0

    @property
    def minimum(self) -> int:
        """How many pods its minimum amounts to, at least one: with parts, when each of them has its own."""
        parts = sum(part.min_member or 0 for part in self.subgroups)
        return max(1, parts if self.subgroups else self.min_member)
