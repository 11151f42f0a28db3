"""Project: who pays for a pod, and how much they may have.

Deserved is guaranteed, the limit is a wall, both are per project and node pool; a department adds its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from extender.model import queue
from extender.model.names import RUN_AI_GROUP
from extender.wire.resources.parts import (
    AGE,
    STORED_ONLY,
    UNLIMITED,
    Amounts,
    Column,
    Conditions,
    Count,
    Limit,
    Metadata,
    Name,
    NameList,
    NameSet,
    Part,
    Resource,
    ResourceType,
    Seconds,
)
from extender.wire.resources.shares import QueueSpec

DEFAULT_DEPARTMENT = "default"
_IDLE = (
    "0, or absence, means that there is no such limit, and so does a scheduler without the setting gpu_metrics.url: "
    "it does not know what GPUs do."
)


class ProjectSpec(QueueSpec):
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
    max_allowed_gpus: Limit = Field(
        UNLIMITED,
        description=(
            "The project's limit is the most GPUs that its pods may hold at one time, preemptible ones "
            "included. It is counted in GPUs, up to three decimals. -1, the default, means unlimited; with "
            "0 no pod that asks for a GPU starts. A limit below deservedGpus wins over it."
        ),
    )
    default_node_pools: NameList | None = Field(
        None,
        description=(
            "The project's workloads are tried in these node pools, in this order, when they name none. When it "
            "is absent, that is the pool `default`."
        ),
    )
    node_affinity_train: NameSet | None = Field(
        None,
        description=(
            "The project's training workloads may run on nodes of these types, the values of the node "
            "label run.ai/type. An empty list allows every node. Running pods stay where they are when it "
            "changes."
        ),
    )
    node_affinity_interactive: NameSet | None = Field(
        None,
        description=(
            "The project's interactive and inference workloads may run on nodes of these types, the values of "
            "the node label run.ai/type. An empty list allows every node. Running pods stay where they are when "
            "it changes."
        ),
    )
    interactive_job_time_limit_secs: Seconds | None = Field(
        None,
        description=(
            "An interactive workload is stopped when it has been running for this many seconds: its Job is "
            "suspended and can be resumed, its StatefulSet or Deployment is scaled to 0, a pod of its own is "
            "deleted. 0, or absence, means that there is no such limit."
        ),
    )
    interactive_job_max_idle_duration_secs: Seconds | None = Field(
        None,
        description=(
            "A non-preemptible interactive workload is stopped, as at its time limit, when it has held GPUs without "
            f"using them for this many seconds. {_IDLE}"
        ),
    )
    interactive_preemptible_job_max_idle_duration_secs: Seconds | None = Field(
        None,
        description=(
            "A preemptible interactive workload is stopped, as at its time limit, when it has held GPUs without "
            f"using them for this many seconds. {_IDLE}"
        ),
    )
    training_job_time_limit_secs: Seconds | None = Field(
        None,
        description=(
            "A training workload is stopped, as an interactive one is, when it has been running for this many "
            "seconds. 0, or absence, means that there is no such limit."
        ),
    )
    training_job_max_idle_duration_secs: Seconds | None = Field(
        None,
        description=(
            "A training workload is stopped, as at its time limit, when it has held GPUs without using them for "
            f"this many seconds. {_IDLE}"
        ),
    )
    swap_enabled: bool | None = Field(
        None,
        description=(
            f"When true, workloads that share a GPU may move GPU memory to main memory when it is short. {STORED_ONLY}"
        ),
    )


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

    def to_model(self) -> queue.Project:
        """What deciding needs of it, amounts as exact integers."""
        spec = self.spec
        default, pools = spec.queues(self.metadata, spec.department)
        return queue.Project(
            default,
            pools,
            default_pools=tuple(spec.default_node_pools or ()),
            train_node_types=tuple(sorted(spec.node_affinity_train or ())),
            interactive_node_types=tuple(sorted(spec.node_affinity_interactive or ())),
            interactive_time_limit_s=spec.interactive_job_time_limit_secs,
            training_time_limit_s=spec.training_job_time_limit_secs,
            interactive_idle_limit_s=spec.interactive_job_max_idle_duration_secs,
            interactive_preemptible_idle_limit_s=spec.interactive_preemptible_job_max_idle_duration_secs,
            training_idle_limit_s=spec.training_job_max_idle_duration_secs,
        )


def parse_project(obj: Mapping[str, Any]) -> Project:
    """Read a Project from decoded JSON. Raises MalformedError naming each wrong field."""
    return Project.parse(obj)
