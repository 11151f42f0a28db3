"""Department: the quota and limit above those of its projects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from extender.model import queue
from extender.model.names import RUN_AI_GROUP
from extender.wire.resources.parts import (
    AGE,
    UNLIMITED,
    Amounts,
    Column,
    Conditions,
    Count,
    Limit,
    Name,
    Part,
    Resource,
    ResourceType,
)
from extender.wire.resources.shares import QueueSpec


class DepartmentSpec(QueueSpec):
    """What the administrator grants the department."""

    parent: Name = Field(
        "",
        description=(
            "The Department above this one, whose quota and limit hold for both together. When it is absent, "
            "or names no Department, or departments stand above each other in a circle, there is none."
        ),
    )
    deserved_gpus: Count | None = Field(
        None,
        description=(
            "The department's quota is the number of GPUs that its projects are guaranteed together. It is "
            "counted in GPUs, where half a GPU is 0.5; up to three decimals count, further ones are cut "
            "off. Where the quotas of its projects add up to more, this is what counts: non-preemptible "
            "workloads of all of them never hold more than this in total. When it is absent, the quotas of the "
            "projects count alone; with 0 only preemptible workloads get GPUs."
        ),
    )
    max_allowed_gpus: Limit = Field(
        UNLIMITED,
        description=(
            "The department's limit is the most GPUs that the pods of all its projects may hold at one "
            "time. It is counted in GPUs, up to three decimals. -1, the default, means unlimited; with 0 "
            "no pod that asks for a GPU starts. A limit below deservedGpus wins over it."
        ),
    )


class DepartmentStatus(Part):
    """What we found, written by us."""

    allocated: Amounts | None = Field(None, description="What the pods of all projects of the department hold now.")
    allocated_non_preemptible: Amounts | None = Field(
        None,
        description="What the non-preemptible pods of all of them hold now, which counts against the quota.",
    )
    conditions: Conditions = Field(
        default_factory=list,
        description="The conditions say the state in detail, one entry for each aspect of it.",
    )


class Department(Resource):
    """A Department groups projects under a quota and a limit of its own, which hold for all of them together
    and on top of each project's. A project names its department in spec.department; projects that name none
    belong to the department `default`.
    """

    resource: ClassVar[ResourceType] = ResourceType(
        group=RUN_AI_GROUP,
        version="v1",
        kind="Department",
        plural="departments",
        short_names=("dep",),
        namespaced=False,
        columns=(
            Column("Deserved", "number", ".spec.deservedGpus", "Guaranteed GPUs."),
            Column("Max", "number", ".spec.maxAllowedGpus", "The most GPUs at one time; -1 is unlimited."),
            Column("Allocated", "number", ".status.allocated.gpu", "GPUs held now."),
            AGE,
        ),
    )

    spec: DepartmentSpec = Field(
        default_factory=DepartmentSpec, description="What the administrator grants the department."
    )
    status: DepartmentStatus = Field(
        default_factory=DepartmentStatus,
        description="What the scheduler found. It is written by the scheduler and has no effect when edited.",
    )

    def to_model(self) -> queue.Department:
        """What deciding needs of it, amounts as exact integers."""
        return queue.Department(*self.spec.queues(self.metadata, self.spec.parent))


def parse_department(obj: Mapping[str, Any]) -> Department:
    """Read a Department from decoded JSON. Raises MalformedError naming each wrong field."""
    return Department.parse(obj)
