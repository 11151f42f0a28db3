"""Topology: which node labels say how close nodes are to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from extender.model.names import RUN_AI_GROUP
from extender.wire.resources.parts import AGE, Column, Keywords, Part, Resource, ResourceType, unique_by

_LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"

Level = Annotated[str, Field(max_length=317, pattern=f"^$|{_LABEL_KEY}")]
"""A node label key, or nothing."""


class TopologyLevel(Part):
    """One level: nodes with the same value of its label are in one domain."""

    node_label: Annotated[str, Field(min_length=1, max_length=317, pattern=_LABEL_KEY)] = Field(
        description=(
            "The key of the node label whose values name the domains of this level, for example "
            "topology.kubernetes.io/zone, or kubernetes.io/hostname, for which each node is a domain of its own."
        ),
    )


Levels = Annotated[
    list[TopologyLevel],
    Field(min_length=1, max_length=16),
    unique_by("node_label", "nodeLabel")[0],
    Keywords({"x-kubernetes-list-type": "atomic"}),  # their order says which is wider
]


class TopologySpec(Part):
    """The levels."""

    levels: Levels = Field(
        description=(
            "The levels from the widest to the narrowest, each named once. A node that lacks the label of a "
            "level is in no domain of it, nor of the narrower ones."
        ),
    )


class Topology(Resource):
    """A Topology says which node labels tell how close nodes are to each other, from the widest (a zone, a
    block) to the narrowest (a rack, a node). PodGroups name it in their topologyConstraint to have their pods in
    one domain of a level.
    """

    resource: ClassVar[ResourceType] = ResourceType(
        group=RUN_AI_GROUP,
        version="v1",
        kind="Topology",
        plural="topologies",
        short_names=("topo",),
        namespaced=False,
        columns=(Column("Widest", "string", ".spec.levels[0].nodeLabel", "The label of the widest level."), AGE),
    )

    spec: TopologySpec = Field(description="What the administrator says of the nodes' labels.")

    @property
    def levels(self) -> tuple[str, ...]:
        """Node label keys, the widest first."""
        return tuple(level.node_label for level in self.spec.levels)


def parse_topology(obj: Mapping[str, Any]) -> Topology:
    """Read a Topology from decoded JSON. Raises MalformedError naming each wrong field."""
    return Topology.parse(obj)
