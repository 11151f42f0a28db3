"""PodGroup: the pods that start together, and the project that pays for them.

The manifests people already have (the first ones published for this scheduler) carry `labels:` beside
`metadata`, not in it. kubectl's strict validation refuses a field that the schema does not name, so the
schema names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from extender.model.names import POD_GROUP_GROUP
from extender.wire.resources.parts import (
    AGE,
    STORED_ONLY,
    Column,
    Conditions,
    Members,
    Name,
    Part,
    Resource,
    ResourceType,
    whole,
)


class PodGroupSpec(Part):
    """What the submitter asks for."""

    min_member: Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(whole)] = Field(
        1,
        description=(
            "The group counts as Running from this many pods with a node on. It is to become the number that "
            "must fit at the same time before any of them starts; 1, the default and the least, lets each pod "
            f"start on its own. {STORED_ONLY}"
        ),
    )
    queue: Name = Field(
        "",
        description=(
            "The Project with this name pays for the pods of the group. When it is absent, the project is "
            "found from the pod's labels runai/queue, kai.scheduler/queue or project, and then from the "
            "namespace."
        ),
    )
    priority_class_name: Name = Field(
        "",
        description=(
            "The PriorityClass of the group is named here, for example `train` or `build`. A class of "
            "value 100 or more makes the group non-preemptible, which holds it to the project's quota. "
            "When it is absent, the priority class of the pods counts."
        ),
    )


class PodGroupStatus(Part):
    """What we found, written by us."""

    phase: str = Field(
        "",
        description=(
            "The phase is the state in one word: Pending while fewer than minMember pods have a node, "
            "Running from then on, Succeeded or Failed when the pods have ended."
        ),
    )
    pending: Members = Field(0, description="The number of pods of the group that are not running yet.")
    running: Members = Field(0, description="The number of running pods of the group.")
    succeeded: Members = Field(0, description="The number of pods of the group that ended without an error.")
    failed: Members = Field(0, description="The number of pods of the group that ended with an error.")
    conditions: Conditions = Field(
        default_factory=list,
        description="The conditions say the state in detail, and the reason when pods cannot start.",
    )


class PodGroup(Resource):
    """A PodGroup is a set of pods that are scheduled together and paid for by one project. A pod joins the
    group that its annotation `scheduling.k8s.io/group-name` names, in its own namespace; a pod without one is
    a group by itself.
    """

    resource: ClassVar[ResourceType] = ResourceType(
        group=POD_GROUP_GROUP,
        version="v1alpha1",
        kind="PodGroup",
        plural="podgroups",
        short_names=("pg",),
        namespaced=True,
        columns=(
            Column("Queue", "string", ".spec.queue", "The project that pays for the pods."),
            Column("Min", "integer", ".spec.minMember", "From how many placed pods on the group counts as Running."),
            Column("Running", "integer", ".status.running", "Running pods."),
            Column("Phase", "string", ".status.phase", "Pending, Running, Succeeded or Failed."),
            AGE,
        ),
        protected_group_reason="the group of the incubator's PodGroup, which existing manifests name",
    )

    labels: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "These are labels written beside metadata instead of in it, as the first published examples "
            "do. Only `user` is read: the name to show as the submitter, which grants nothing. New "
            "manifests should use metadata.labels."
        ),
    )
    spec: PodGroupSpec = Field(default_factory=PodGroupSpec, description="What the submitter asks for.")
    status: PodGroupStatus = Field(
        default_factory=PodGroupStatus,
        description="What the scheduler found. It is written by the scheduler and has no effect when edited.",
    )

    @property
    def user(self) -> str:
        """The submitter's name for display, from `labels` beside metadata, else in it; "" when unknown."""
        return self.labels.get("user") or self.metadata.labels.get("user", "")


def parse_podgroup(obj: Mapping[str, Any]) -> PodGroup:
    """Read a PodGroup from decoded JSON. Raises MalformedError naming each wrong field."""
    return PodGroup.parse(obj)
