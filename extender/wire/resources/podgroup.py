"""PodGroup: the pods that start together, the parts they are made of, and the project that pays for them.

The manifests people already have (the first ones published for this scheduler) carry `labels:` beside
`metadata`, not in it. kubectl's strict validation refuses a field that the schema does not name, so the
schema names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from extender.model import durations, queue
from extender.model.names import POD_GROUP_GROUP, ProjectName
from extender.wire.resources.parts import (
    AGE,
    STORED_ONLY,
    Column,
    Conditions,
    Duration,
    Members,
    Name,
    NameList,
    Part,
    Resource,
    ResourceType,
    SignedDuration,
    unique_by,
)
from extender.wire.resources.topology import Level


class TopologyConstraint(Part):
    """Where pods must be close to each other."""

    topology: Name = Field(
        min_length=1,
        description="The Topology object with this name lists the levels. While there is none, the pods wait.",
    )
    required_topology_level: Level = Field(
        "",
        description=(
            "All the pods run on nodes that share one value of this node label, which is a level of the "
            "topology; where that is impossible, none starts."
        ),
    )
    preferred_topology_level: Level = Field(
        "",
        description=(
            "All the pods run on nodes that share one value of this node label when that is possible. It is a "
            "level of the topology, narrower than the required one."
        ),
    )

    def to_model(self) -> queue.TopologyConstraint:
        return queue.TopologyConstraint(self.topology, self.required_topology_level, self.preferred_topology_level)


class SubGroup(Part):
    """A part of the group with a minimum of its own."""

    name: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description=(
            "The name of the part, unique in the group. A pod belongs to the part that its label "
            "kai.scheduler/subgroup-name names; a part that others name as their parent has no pods of its own."
        ),
    )
    parent: Annotated[str, Field(max_length=63)] = Field(
        "", description="The part that this one is a part of. When it is absent, that is the group itself."
    )
    min_member: Members | None = Field(
        None,
        description=(
            "The number of pods of this part that must fit at the same time before any of the group starts. It "
            "is required for a part that has pods, and refused for one that has parts."
        ),
    )
    min_sub_group: Members | None = Field(
        None,
        description=(
            "The number of this part's own parts that must have their minimum. When it is absent, all must. It "
            "is refused together with minMember."
        ),
    )
    topology_constraint: TopologyConstraint | None = Field(
        None, description="How close to each other the pods of this part must run."
    )

    def to_model(self) -> queue.SubGroupSpec:
        topology = self.topology_constraint
        return queue.SubGroupSpec(
            self.name,
            self.parent,
            self.min_member,
            self.min_sub_group,
            topology.to_model() if topology else None,
        )


SubGroups = Annotated[list[SubGroup], Field(max_length=256), *unique_by("name", "name")]


class PodGroupSpec(Part):
    """What the submitter asks for."""

    min_member: Members = Field(
        1,
        description=(
            "This many pods of the group must fit at the same time before any of them starts. With 1, the "
            "default, and with 0 each pod starts on its own. With subGroups, their figures count instead."
        ),
    )
    min_sub_group: Members | None = Field(
        None,
        description=(
            "The number of subGroups without a parent that must have their minimum before any pod starts. When "
            "it is absent, all must. It is refused together with a minMember of more than 1."
        ),
    )
    sub_groups: SubGroups = Field(
        default_factory=list,
        description=(
            "The parts of the group, each named once: for example a leader and workers, or replicas of several "
            "pods each. Parts may be parts of others, without circles."
        ),
    )
    topology_constraint: TopologyConstraint | None = Field(
        None, description="How close to each other the pods of the group must run."
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

    preemptibility: Literal["preemptible", "non-preemptible"] | None = Field(
        None,
        description=(
            "Whether the group may be evicted for others, and may go over its project's quota: `preemptible` or "
            "`non-preemptible`. When it is absent, its priority decides."
        ),
    )
    preemption_delay: Duration | None = Field(
        None,
        description=(
            "For this long after the group began to wait it makes no other workload give way, for example "
            '"5m". It takes free capacity at any time.'
        ),
    )
    staleness_grace_period: SignedDuration | None = Field(
        None,
        description=(
            "When the group has run with fewer pods than its minimum for this long, the rest is evicted, for "
            'example "60s", which is the default. With a negative duration that never happens.'
        ),
    )
    min_runtime: Duration | None = Field(
        None,
        description=(
            "For this long after its start the group is not evicted for others, for example "
            f'"30m", on top of what its project grants. {STORED_ONLY}'
        ),
    )
    node_pools: NameList | None = Field(
        None,
        description=(
            "The pods run in one of these node pools, tried in this order. When it is absent, the project's "
            "default ones apply."
        ),
    )

    @model_validator(mode="after")
    def _parts_make_a_tree(self) -> Self:
        # 1 is what the API server writes where nothing is said.
        if self.min_member > 1 and self.min_sub_group is not None:
            raise ValueError("minMember and minSubGroup exclude each other")
        parents = {part.name: part.parent for part in self.sub_groups}
        inner = set(parents.values())
        for part in self.sub_groups:
            if part.parent and part.parent not in parents:
                raise ValueError(f"subGroups: the parent {part.parent!r} of {part.name!r} is not among them")
            if part.min_member is not None and part.min_sub_group is not None:
                raise ValueError(f"subGroups: {part.name!r} has both minMember and minSubGroup")
            if part.name in inner and part.min_member is not None:
                raise ValueError(f"subGroups: {part.name!r} has parts, so minMember cannot be said of it")
            if part.name not in inner and part.min_member is None:
                raise ValueError(f"subGroups: {part.name!r} has no parts, so it needs minMember")
        for name, parent in parents.items():
            above, steps = parent, 0
            while above and steps <= len(parents):
                above, steps = parents[above], steps + 1
            if above:
                raise ValueError(f"subGroups: {name!r} is above itself")
        return self


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
            Column("Min", "integer", ".spec.minMember", "How many pods must fit before any starts."),
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

    def to_model(self) -> queue.PodGroup:
        """What deciding needs of it."""
        spec = self.spec
        return queue.PodGroup(
            namespace=self.metadata.namespace,
            name=self.metadata.name,
            queue=ProjectName(spec.queue) if spec.queue else None,
            min_member=spec.min_member,
            min_parts=spec.min_sub_group,
            subgroups=tuple(part.to_model() for part in spec.sub_groups),
            topology=spec.topology_constraint.to_model() if spec.topology_constraint else None,
            priority_class=spec.priority_class_name,
            preemptible=None if spec.preemptibility is None else spec.preemptibility == "preemptible",
            preemption_delay_s=durations.seconds(spec.preemption_delay or "0"),
            stale_after_s=(
                None if spec.staleness_grace_period is None else durations.seconds(spec.staleness_grace_period)
            ),
            min_runtime_s=durations.seconds(spec.min_runtime or "0"),
            pools=tuple(spec.node_pools or ()),
            user=self.user,
            created=self.metadata.created,
        )


def parse_podgroup(obj: Mapping[str, Any]) -> PodGroup:
    """Read a PodGroup from decoded JSON. Raises MalformedError naming each wrong field."""
    return PodGroup.parse(obj)
