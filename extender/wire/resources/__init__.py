"""The objects we install a CustomResourceDefinition for, each described once, as a pydantic model.

From these models come the CRDs (so what `kubectl explain` says and what the API server refuses) and the
parser the watches use (so what we refuse ourselves): a field, its unit, its bounds and its meaning are
written in one place. This package knows nothing of clusters or decisions; it hands over exact integers
(milli-GPU, milli-CPU, MiB). Pydantic costs microseconds an object, which is right for the few writes of an
administrator and wrong for `filter`: nothing here is called on the request path.

Read first: `parse_project`, `Project.to_model`, `crd`.
"""

from __future__ import annotations

from extender.wire.resources.department import Department, DepartmentSpec, DepartmentStatus, parse_department
from extender.wire.resources.parts import Condition, Metadata, Resource, ResourceType, milli
from extender.wire.resources.podgroup import PodGroup, PodGroupSpec, PodGroupStatus, parse_podgroup
from extender.wire.resources.project import Project, ProjectSpec, ProjectStatus, parse_project
from extender.wire.resources.runaijob import RunaiJob, RunaiJobSpec, RunaiJobStatus
from extender.wire.resources.schema import SchemaError, crd, structural
from extender.wire.resources.topology import Topology, parse_topology

__all__ = [
    "MODELS",
    "Condition",
    "Department",
    "DepartmentSpec",
    "DepartmentStatus",
    "Metadata",
    "PodGroup",
    "PodGroupSpec",
    "PodGroupStatus",
    "Project",
    "ProjectSpec",
    "ProjectStatus",
    "Resource",
    "ResourceType",
    "RunaiJob",
    "RunaiJobSpec",
    "RunaiJobStatus",
    "SchemaError",
    "Topology",
    "crd",
    "milli",
    "parse_department",
    "parse_podgroup",
    "parse_project",
    "parse_topology",
    "structural",
]

MODELS: tuple[type[Resource], ...] = (Department, PodGroup, Project, RunaiJob, Topology)
