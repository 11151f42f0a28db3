"""Project: who pays for a pod, and how much they may have.

Quota arithmetic is exact: the numbers of the object become integers in `ProjectSpec.quota`, and nothing after
that sees a float. Behaviour: deserved is guaranteed, the limit is a wall, both are per project; a department
adds its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from extender.model.names import RUN_AI_GROUP
from extender.model.queue import Quota
from extender.wire.resources.parts import (
    AGE,
    STORED_ONLY,
    UNLIMITED,
    Amounts,
    Column,
    Conditions,
    Count,
    Limit,
    MemoryLimit,
    Metadata,
    Name,
    NameList,
    NameSet,
    Part,
    Resource,
    ResourceType,
    Seconds,
    mib_or_unlimited,
    milli,
    milli_or_unlimited,
    unique_by,
)

DEFAULT_POOL = "default"
"""The node pool of every node, as long as there are no others."""

DEFAULT_DEPARTMENT = "default"


class PoolGpu(Part):
    """What a project may have of the GPUs of one node pool."""

    deserved: Count | None = Field(
        None,
        description=(
            "The number of GPUs of this pool that the project is guaranteed, up to three decimals. When it "
            "is absent, spec.deservedGpus applies to the pool `default`."
        ),
    )
    max_allowed: Limit | None = Field(
        None,
        description=(
            "The most GPUs of this pool that the project's pods may hold at one time. -1 means unlimited; "
            "with 0 no pod that asks for a GPU starts. When it is absent, spec.maxAllowedGpus applies to "
            "the pool `default`."
        ),
    )
    over_quota_weight: Count | None = Field(
        None,
        description=(
            "The project's share of GPUs that nobody is guaranteed, relative to the weights of other "
            f"projects; 0 means no share. When it is absent, spec.gpuOverQuotaWeight applies. {STORED_ONLY}"
        ),
    )


class PoolCpu(Part):
    """What a project may have of the CPU cores of one node pool."""

    deserved: Limit = Field(
        UNLIMITED,
        description=(
            "The number of CPU cores of this pool that the project is guaranteed, up to three decimals. "
            "The non-preemptible workloads of the project never request more in total. -1, the default, "
            "means that there is no CPU quota to keep to; with 0 only preemptible pods may request CPU."
        ),
    )
    max_allowed: Limit = Field(
        UNLIMITED,
        description=(
            "The most CPU cores of this pool that the project's pods may request at one time. -1, the "
            "default, means unlimited; with 0 no pod that requests CPU starts."
        ),
    )
    over_quota_weight: Count | None = Field(
        None,
        description=(
            "The project's share of CPU that nobody is guaranteed, relative to the weights of other "
            f"projects; 0 means no share. {STORED_ONLY}"
        ),
    )


class PoolMemory(Part):
    """What a project may have of the main memory of one node pool."""

    deserved: MemoryLimit = Field(
        UNLIMITED,
        description=(
            "The main memory of this pool that the project is guaranteed, in MiB (2^20 bytes). The "
            "non-preemptible workloads of the project never request more in total. -1, the default, means "
            "that there is no memory quota to keep to; with 0 only preemptible pods may request memory."
        ),
    )
    max_allowed: MemoryLimit = Field(
        UNLIMITED,
        description=(
            "The most main memory of this pool, in MiB (2^20 bytes), that the project's pods may request "
            "at one time. -1, the default, means unlimited; with 0 no pod that requests memory starts."
        ),
    )
    over_quota_weight: Count | None = Field(
        None,
        description=(
            "The project's share of memory that nobody is guaranteed, relative to the weights of other "
            f"projects; 0 means no share. {STORED_ONLY}"
        ),
    )


class NodePoolResources(Part):
    """The quota and limit of the project in one node pool."""

    pool: str = Field(
        min_length=1,
        max_length=63,
        description=(
            "The name of the node pool that the figures are for. Those of the pool `default` are enforced; "
            "an entry for any other pool is stored for a later version and has no effect yet."
        ),
    )
    gpu: PoolGpu = Field(
        default_factory=PoolGpu,
        description="What the project may have of the pool's GPUs. The figures are in GPUs.",
    )
    cpu: PoolCpu = Field(
        default_factory=PoolCpu,
        description=(
            "What the project may have of the pool's CPU. The figures are in cores. When it is absent, CPU "
            "is not limited."
        ),
    )
    memory: PoolMemory = Field(
        default_factory=PoolMemory,
        description=(
            "What the project may have of the pool's main memory. The figures are in MiB (2^20 bytes). "
            "When it is absent, memory is not limited."
        ),
    )


Pools = Annotated[list[NodePoolResources], Field(max_length=64), *unique_by("pool", "pool")]


class ProjectSpec(Part):
    """What the administrator grants."""

    department: Name = Field(
        DEFAULT_DEPARTMENT,
        description=(
            "The Department that the project belongs to is `default` unless this names another. The "
            "department's own quota and limit hold for all its projects together. A department without a "
            "Department object has neither of them."
        ),
    )
    deserved_gpus: Count = Field(
        0,
        description=(
            "The project's quota is the number of GPUs that it is guaranteed. It is counted in GPUs, where "
            "half a GPU is 0.5; up to three decimals count, further ones are cut off. Non-preemptible "
            "workloads (priority class of value 100 or more, such as `build` and `inference`) never hold "
            "more than this in total; preemptible ones may go over it, up to maxAllowedGpus. With 0, the "
            "default, only preemptible workloads get GPUs. The sum over all projects may exceed the "
            "cluster, but then not all guarantees can hold at once."
        ),
    )
    gpu_over_quota_weight: Count | None = Field(
        None,
        description=(
            "The weight decides the project's share of GPUs that nobody is guaranteed, relative to other "
            "projects: 1 is low, 2 (when it is absent) medium, 3 high, and with 0 there is no share beyond "
            f"the quota. {STORED_ONLY}"
        ),
    )
    max_allowed_gpus: Limit = Field(
        UNLIMITED,
        description=(
            "The project's limit is the most GPUs that its pods may hold at one time, preemptible ones "
            "included. It is counted in GPUs, up to three decimals. -1, the default, means unlimited; with "
            "0 no pod that asks for a GPU starts. A limit below deservedGpus wins over it."
        ),
    )
    node_pools_resources: Pools = Field(
        default_factory=list,
        description=(
            "The project's quota and limit by node pool, where each pool is named once. The entry of the "
            "pool `default` is enforced: its GPU figures replace deservedGpus and maxAllowedGpus, and it "
            "is the place for CPU and memory quotas."
        ),
    )
    default_node_pools: NameList | None = Field(
        None,
        description=(
            f"The project's workloads are tried in these node pools, in this order, when they name none. {STORED_ONLY}"
        ),
    )
    node_affinity_train: NameSet | None = Field(
        None,
        description=(
            "The project's training workloads may run on nodes of these types, the values of the node "
            f"label run.ai/type. An empty list allows every node. {STORED_ONLY}"
        ),
    )
    node_affinity_interactive: NameSet | None = Field(
        None,
        description=(
            "The project's interactive workloads may run on nodes of these types, the values of the node "
            f"label run.ai/type. An empty list allows every node. {STORED_ONLY}"
        ),
    )
    interactive_job_time_limit_secs: Seconds | None = Field(
        None,
        description=(
            "An interactive workload is stopped when it has been running for this many seconds. 0, or "
            f"absence, means that there is no such limit. {STORED_ONLY}"
        ),
    )
    interactive_job_max_idle_duration_secs: Seconds | None = Field(
        None,
        description=(
            "A non-preemptible interactive workload is stopped when it has held GPUs without using them "
            f"for this many seconds. 0, or absence, means that there is no such limit. {STORED_ONLY}"
        ),
    )
    interactive_preemptible_job_max_idle_duration_secs: Seconds | None = Field(
        None,
        description=(
            "A preemptible interactive workload is stopped when it has held GPUs without using them for "
            f"this many seconds. 0, or absence, means that there is no such limit. {STORED_ONLY}"
        ),
    )
    training_job_time_limit_secs: Seconds | None = Field(
        None,
        description=(
            "A training workload is stopped when it has been running for this many seconds. 0, or absence, "
            f"means that there is no such limit. {STORED_ONLY}"
        ),
    )
    training_job_max_idle_duration_secs: Seconds | None = Field(
        None,
        description=(
            "A training workload is stopped when it has held GPUs without using them for this many "
            f"seconds. 0, or absence, means that there is no such limit. {STORED_ONLY}"
        ),
    )
    swap_enabled: bool | None = Field(
        None,
        description=(
            f"When true, workloads that share a GPU may move GPU memory to main memory when it is short. {STORED_ONLY}"
        ),
    )

    @property
    def deserved_gpu_milli(self) -> int:
        """Guaranteed GPUs in thousandths, the pool `default` taken into account."""
        return milli(self.deserved_gpus if self._default.gpu.deserved is None else self._default.gpu.deserved)

    @property
    def max_gpu_milli(self) -> int | None:
        """The GPU limit in thousandths, the pool `default` taken into account; None for unlimited."""
        limit = self._default.gpu.max_allowed
        return milli_or_unlimited(self.max_allowed_gpus if limit is None else limit)

    def quota(self) -> tuple[Quota, Quota]:
        """What is enforced, as integers: (deserved, limit), the pool `default` overriding the top level."""
        cpu, memory = self._default.cpu, self._default.memory
        return (
            Quota(
                gpu_milli=self.deserved_gpu_milli,
                cpu_milli=milli_or_unlimited(cpu.deserved),
                memory_mib=mib_or_unlimited(memory.deserved),
            ),
            Quota(
                gpu_milli=self.max_gpu_milli,
                cpu_milli=milli_or_unlimited(cpu.max_allowed),
                memory_mib=mib_or_unlimited(memory.max_allowed),
            ),
        )

    @property
    def _default(self) -> NodePoolResources:
        """The entry of the pool `default`, or one that says nothing."""
        entries = (entry for entry in self.node_pools_resources if entry.pool == DEFAULT_POOL)
        return next(entries, _NO_ENTRY)


_NO_ENTRY = NodePoolResources(pool=DEFAULT_POOL)


class ProjectStatus(Part):
    """What we found, written by us."""

    namespace: str = Field("", description="The namespace in which the project's workloads live is recorded here.")
    phase: str = Field(
        "",
        description=(
            "The phase is the state in one word: Ready when the namespace exists and carries the label "
            "runai/queue, Pending before that. The conditions say why."
        ),
    )
    allocated: Amounts | None = Field(None, description="What all pods of the project hold now.")
    allocated_non_preemptible: Amounts | None = Field(
        None,
        description="What the non-preemptible pods of the project hold now, which counts against the quota.",
    )
    conditions: Conditions = Field(
        default_factory=list,
        description="The conditions say the state in detail, one entry for each aspect of it.",
    )


class ProjectMetadata(Metadata):
    # `runai-<name>` has to be a namespace (63 characters), and project names start with a letter.
    name: str = Field("", max_length=57, pattern="^[a-z]([-a-z0-9]*[a-z0-9])?$")


class Project(Resource):
    """A Project is who pays for a pod: a share of the cluster's GPUs for a team or an effort, and the
    namespace that its workloads live in. Each pod scheduled by runai-scheduler belongs to one project. The
    project's quota is guaranteed to it; GPUs that others leave idle may be used beyond the quota by
    preemptible workloads, up to the limit. Every project belongs to a Department, whose quota and limit hold
    on top. The name starts with a letter, has at most 57 lowercase letters, digits and hyphens, and makes the
    namespace `runai-<name>`.
    """

    resource: ClassVar[ResourceType] = ResourceType(
        group=RUN_AI_GROUP,
        version="v1",
        kind="Project",
        plural="projects",
        short_names=("rp",),
        namespaced=False,
        columns=(
            Column("Department", "string", ".spec.department", "The department that the project belongs to."),
            Column("Deserved", "number", ".spec.deservedGpus", "Guaranteed GPUs."),
            Column("Max", "number", ".spec.maxAllowedGpus", "The most GPUs at one time; -1 is unlimited."),
            Column("Allocated", "number", ".status.allocated.gpu", "GPUs held now."),
            Column("Namespace", "string", ".status.namespace", "Where the project's workloads live."),
            AGE,
        ),
    )

    metadata: ProjectMetadata = Field(default_factory=ProjectMetadata)
    spec: ProjectSpec = Field(default_factory=ProjectSpec, description="What the administrator grants the project.")
    status: ProjectStatus = Field(
        default_factory=ProjectStatus,
        description="What the scheduler found. It is written by the scheduler and has no effect when edited.",
    )

    def quota(self) -> tuple[Quota, Quota]:
        """What is enforced, as integers: (deserved, limit); see `ProjectSpec.quota`."""
        return self.spec.quota()


def parse_project(obj: Mapping[str, Any]) -> Project:
    """Read a Project from decoded JSON. Raises MalformedError naming each wrong field."""
    return Project.parse(obj)
