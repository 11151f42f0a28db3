"""Department: the quota and limit above those of its projects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

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
    Part,
    Resource,
    ResourceType,
    milli,
    milli_or_unlimited,
)


class DepartmentSpec(Part):
    """What the administrator grants the department."""

    deserved_gpus: Count = Field(
        0,
        description=(
            "The department's quota is the number of GPUs that its projects are guaranteed together. It is "
            "counted in GPUs, where half a GPU is 0.5; up to three decimals count, further ones are cut "
            "off. Where the quotas of its projects add up to more, this is what counts: non-preemptible "
            "workloads of all of them never hold more than this in total. With 0, the default, only "
            "preemptible workloads get GPUs."
        ),
    )
    gpu_over_quota_weight: Count | None = Field(
        None,
        description=(
            "The weight decides the department's share of GPUs that nobody is guaranteed, relative to "
            "other departments: 1 is low, 2 (when it is absent) medium, 3 high, and with 0 there is no "
            f"share beyond the quota. {STORED_ONLY}"
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

    @property
    def deserved_gpu_milli(self) -> int:
        """Guaranteed GPUs in thousandths."""
        return milli(self.deserved_gpus)

    @property
    def max_gpu_milli(self) -> int | None:
        """The GPU limit in thousandths; None for unlimited."""
        return milli_or_unlimited(self.max_allowed_gpus)

    def quota(self) -> tuple[Quota, Quota]:
        """What is enforced, as integers: (deserved, limit); CPU and memory are unlimited in both."""
        return Quota(gpu_milli=self.deserved_gpu_milli), Quota(gpu_milli=self.max_gpu_milli)


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

    def quota(self) -> tuple[Quota, Quota]:
        """What is enforced, as integers: (deserved, limit); see `DepartmentSpec.quota`."""
        return self.spec.quota()


def parse_department(obj: Mapping[str, Any]) -> Department:
    """Read a Department from decoded JSON. Raises MalformedError naming each wrong field."""
    return Department.parse(obj)
