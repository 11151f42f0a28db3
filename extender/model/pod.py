"""A pod as the scheduler sees it: what it asks for, whom it names, where it is. One way in: `wire.pods.parse`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from extender.model import names
from extender.model.affinity import PodAffinity
from extender.model.constraint import ANYWHERE, Constraint
from extender.model.gpu import NO_GPU, GpuRequest
from extender.model.names import NodeName, PodUID
from extender.model.reservation import Reservation


class Phase(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


FINISHED = frozenset({Phase.SUCCEEDED, Phase.FAILED})


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a pod is: the node and, per device index, the group that its sharers carry ("" for a whole one).

    devices: (index, group) pairs in index order; empty for a CPU-only or MIG pod.
    """

    node: NodeName
    devices: tuple[tuple[int, str], ...] = ()

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(index for index, _ in self.devices)


@dataclass(frozen=True, slots=True)
class Owner:
    """The controller that made a pod: a Job, a ReplicaSet, …"""

    kind: str
    name: str
    uid: str = ""
    api_version: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """One version of a Pod object.

    version:       numeric resourceVersion, 0 when unknown; older versions of the same uid are ignored.
    gpu_error:     the refusal text when the GPU request is malformed; `gpu` is then none.
    queue_label:   the first of the project labels on the pod, "" when none.
    group:         name of the PodGroup it says it belongs to, "" for a group of its own.
    pools:         the node pools that it names itself, the first to be tried first; none when it does not.
    min_member:    how many of its owner's pods must start together, as its template says; 0 when it does not.
    skips_grouping: it asks to have no PodGroup made for it.
    placement:     where the object says it is; None while unbound. Our annotations count only on bound pods.
    config_map:    the ConfigMap from which a container learns its share of a device, "" when the webhook was not there.
    gpu_uuids:     the physical devices that the Binding recorded, one for each of `placement.devices`; none if unknown.
    reserves:      what it holds for others, None for a pod that is no reservation.
    """

    uid: PodUID
    namespace: str
    name: str
    version: int = 0
    phase: Phase = Phase.PENDING
    gpu: GpuRequest = NO_GPU
    gpu_error: str = ""
    cpu_milli: int = 0
    memory_mib: int = 0
    queue_label: str = ""
    group: str = ""
    priority_class: str = ""
    priority: int | None = None
    owner: Owner | None = None
    scheduler: str = ""
    gpu_products: tuple[str, ...] = ()  # the only GPU models that it accepts, sorted; none for any
    constraint: Constraint = ANYWHERE
    labels: tuple[tuple[str, str], ...] = ()  # what pod affinity of others looks at
    affinity: PodAffinity | None = None
    placement: Placement | None = None
    deleting: bool = False
    unschedulable: bool = False  # kube-scheduler looked for a node and found none, whether it asked us or not
    nominated: str = ""  # the node that kube-scheduler tries first, and alone
    gates: tuple[str, ...] = ()  # kube-scheduler leaves it alone until the last of these is lifted
    subgroup: str = ""  # the part of its group that it counts in
    order: int | None = None  # within its group: larger is placed first and evicted last
    slow_volumes: bool = False  # PreBind may take minutes: claims to be provisioned, or DRA
    created: str = ""
    started: str = ""  # when the kubelet took it on
    pools: tuple[str, ...] = ()
    min_member: int = 0
    skips_grouping: bool = False
    config_map: str = ""
    gpu_uuids: tuple[str, ...] = ()
    reserves: Reservation | None = None

    @property
    def owner_kind(self) -> str:
        return self.owner.kind if self.owner is not None else ""

    @property
    def workload(self) -> str:
        """The name of what it belongs to, as its users know it: what made it, else its group, else itself."""
        if self.owner is None:
            return self.group or self.name
        # A Deployment's pods belong to a ReplicaSet of its name and a hash.
        revision = next((value for key, value in self.labels if key == names.POD_TEMPLATE_HASH_LABEL), "")
        return self.owner.name.removesuffix(f"-{revision}") if revision else self.owner.name

    @property
    def is_finished(self) -> bool:
        return self.phase in FINISHED

    @property
    def is_gated(self) -> bool:
        return bool(self.gates)

    @property
    def is_gated_by_others(self) -> bool:
        """Whether somebody beside us wants it to wait."""
        return any(gate != names.SCHEDULING_GATE for gate in self.gates)

    @property
    def is_leaving_device(self) -> bool:
        """Whether it is a reservation whose device nobody may join any more."""
        return self.reserves is not None and (self.deleting or not self.reserves.healthy)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"
