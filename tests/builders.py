"""Things to test with: `node("n1", gpus=8)`, `pod("p", fraction="0.5")`, `world(node("n1"))`.

Pods and nodes are built as API objects and read by `wire`, the one way in; so a builder cannot make what the
API server could not send.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from extender.cluster import audit
from extender.cluster.picture import HoldState, Picture
from extender.model.amounts import GPU
from extender.model.names import NodeName, PodUID, ProjectName
from extender.model.node import Node
from extender.model.pod import Placement, Pod
from extender.model.queue import Department, PodGroup, Project, Queue, Quota
from extender.packing.strategy import Strategy
from extender.pods.filter import FilterAnswer, filter_pod
from extender.pods.placement import Policy
from extender.wire import nodes, pods
from extender.wire.reservations import reservation_pod

Json = dict[str, Any]

NAMESPACE = "runai-team-a"
PROJECT = ProjectName("team-a")
# Named, so that these tests do not hang on what the default happens to be.
POLICY = Policy(gpu_strategy=Strategy.BINPACK, cpu_strategy=Strategy.BINPACK)


def node_object(
    name: str,
    *,
    gpus: int | str | None = 8,
    slots: int | str | None = None,
    gpu_memory: int | str | None = 40_960,
    cpu: str = "64",
    memory: str = "256Gi",
    mig: dict[str, int] | None = None,
    ready: bool = True,
    cordoned: bool = False,
    uid: str = "",
    pool: str = "",
) -> Json:
    """`gpus` are allocatable; `slots` is the capacity, by default the same. `mig` maps a profile to its count."""
    allocatable: Json = {"cpu": cpu, "memory": memory, "pods": "110"}
    capacity: Json = dict(allocatable)
    if gpus is not None:
        allocatable["nvidia.com/gpu"] = str(gpus)
        capacity["nvidia.com/gpu"] = str(gpus if slots is None else slots)
    for profile, count in (mig or {}).items():
        allocatable[f"nvidia.com/mig-{profile}"] = str(count)
    labels = {"kubernetes.io/hostname": name, "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"}
    if gpu_memory is not None:
        labels["nvidia.com/gpu.memory"] = str(gpu_memory)
    if pool:
        labels["kai.scheduler/node-pool"] = pool
    return {
        "metadata": {"name": name, "uid": uid or f"{name}-uid", "labels": labels},
        "spec": {"unschedulable": True} if cordoned else {},
        "status": {
            "allocatable": allocatable,
            "capacity": capacity,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def node(name: str, **given: Any) -> Node:
    return nodes.parse(node_object(name, **given))


def pod_object(
    name: str,
    *,
    namespace: str = NAMESPACE,
    uid: str = "",
    version: int = 1,
    gpus: int = 0,
    fraction: str | None = None,
    gpu_memory: str | int | None = None,
    devices: str | int | None = None,
    mig: dict[str, int] | None = None,
    cpu: str = "",
    memory: str = "",
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    group: str = "",
    queue: str = "",
    priority_class: str = "",
    priority: int | None = None,
    owner: str = "",
    phase: str = "Pending",
    on: str = "",
    indices: Sequence[int] = (),
    gpu_groups: Sequence[str] = (),
    deleting: bool = False,
    claim: bool = False,
) -> Json:
    """`on` binds it to a node, with our record of device `indices` and, for a share, `gpu_groups`."""
    limits: Json = {}
    if gpus:
        limits["nvidia.com/gpu"] = str(gpus)
    for profile, count in (mig or {}).items():
        limits[f"nvidia.com/mig-{profile}"] = str(count)
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    notes = dict(annotations or {})
    for key, value in (
        ("gpu-fraction", fraction),
        ("gpu-memory", gpu_memory),
        ("gpu-fraction-num-devices", devices),
        ("scheduling.k8s.io/group-name", group or None),
    ):
        if value is not None:
            notes[key] = str(value)
    marks = dict(labels or {})
    if queue:
        marks["runai/queue"] = queue
    _record(notes, marks, indices, gpu_groups)
    spec: Json = {
        "schedulerName": "runai-scheduler",
        "containers": [{"name": "main", "resources": {"limits": limits, "requests": requests}}],
    }
    if priority_class:
        spec["priorityClassName"] = priority_class
    if priority is not None:
        spec["priority"] = priority
    if on:
        spec["nodeName"] = on
    if claim:
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    metadata: Json = {
        "name": name,
        "namespace": namespace,
        "uid": uid or f"{name}-uid",
        "resourceVersion": str(version),
        "annotations": notes,
        "labels": marks,
    }
    if owner:
        metadata["ownerReferences"] = [{"kind": owner, "name": "owner", "uid": "owner-uid", "controller": True}]
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase}}


def _record(notes: Json, marks: Json, indices: Sequence[int], gpu_groups: Sequence[str]) -> None:
    """What a Binding of ours leaves on a pod."""
    if indices:
        notes["runai-gpu"] = ",".join(map(str, indices))
    if len(gpu_groups) == 1:
        marks["runai-gpu-group"] = gpu_groups[0]
    elif gpu_groups:
        notes["runai-gpu-group"] = ",".join(gpu_groups)
        marks.update({f"runai-gpu-group/{one}": one for one in gpu_groups})


def pod(name: str, **given: Any) -> Pod:
    return pods.parse(pod_object(name, **given))


def reservation(
    group: str,
    node: str,
    *,
    device: int = 0,
    spare: int = 0,
    gpu: str = "",
    version: int = 1,
    phase: str = "Running",
    label: str | None = None,
    refusal: str = "",
    health: str = "Healthy",
    deleting: bool = False,
) -> Pod:
    """The pod that reserves a device for `group`; `gpu` is the UUID that it has reported."""
    obj = reservation_pod(group, NodeName(node), f"{node}-uid", device, image="image", spare=spare)
    metadata = obj["metadata"]
    metadata |= {"uid": f"{metadata['name']}-uid", "resourceVersion": str(version)}
    if gpu:
        metadata["annotations"]["run.ai/reserve_for_gpu_index"] = gpu
    if label is not None:
        metadata["labels"]["runai-gpu-group"] = label
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    given = {"name": "nvidia.com/gpu", "resources": [{"resourceID": gpu, "health": health}]}
    obj["status"] = {
        "phase": "Failed" if refusal else phase,
        "message": refusal,
        "containerStatuses": [{"name": "reserve-gpu", "allocatedResourcesStatus": [given]}],
    }
    return pods.parse(obj)


def uid(name: str) -> PodUID:
    """The uid that `pod(name)` has by default."""
    return PodUID(f"{name}-uid")


def queue(
    name: str = PROJECT,
    *,
    deserved: int | None = None,
    limit: int | None = None,
    department: str = "",
) -> Queue:
    """`deserved` and `limit` in milli-GPU; None is unlimited."""
    return Queue(name, Quota(gpu_milli=deserved), Quota(gpu_milli=limit), department=department)


def pod_group(name: str, *, namespace: str = NAMESPACE, queue: str = "", priority_class: str = "") -> PodGroup:
    return PodGroup(namespace, name, queue=ProjectName(queue) if queue else None, priority_class=priority_class)


def world(*given: Node, projects: Iterable[Queue] = (), departments: Iterable[Queue] = ()) -> Picture:
    """A picture with these nodes; without projects, one without limits that owns the builders' namespace."""
    picture = Picture()
    for one in given:
        picture.upsert_node(one)
    for project in list(projects) or [queue()]:
        picture.upsert_project(Project(project))
    for department in departments:
        picture.upsert_department(Department(department))
    return picture


def offer(
    picture: Picture,
    subject: Pod,
    *offered: str,
    now: float = 0.0,
    policy: Policy = POLICY,
    answer_all: bool = False,
) -> FilterAnswer:
    """filter among `offered`, by default every node there is, in name order; the books must add up afterwards."""
    among = list(offered) or sorted(one.name for one in picture.nodes())
    answer = filter_pod(picture, subject, among, policy, now=now, answer_all=answer_all)
    assert audit.check(picture) == []
    return answer


def placement_of(picture: Picture, name: str) -> Placement | None:
    """Where `pod(name)` holds capacity now."""
    record = picture.pods.get(uid(name))
    return record.hold.placement if record is not None and record.hold is not None else None


def seat_of(picture: Picture, uid: PodUID) -> Placement:
    """What the pod holds now, as bind was told when it wrote; some seat when it holds nothing any more."""
    record = picture.pods.get(uid)
    return record.hold.placement if record is not None and record.hold is not None else Placement(NodeName("n"))


def state_of(picture: Picture, name: str) -> HoldState | None:
    record = picture.pods.get(uid(name))
    return record.hold.state if record is not None and record.hold is not None else None


def held(picture: Picture, name: str) -> dict[int, int]:
    """Milli-GPU held of each device of a node that somebody uses."""
    ledger = picture.ledger(NodeName(name))
    assert ledger is not None
    return {index: sum(milli for milli, _ in sharers.values()) for index, sharers in sorted(ledger.devices.items())}


def free(picture: Picture, name: str) -> list[int]:
    ledger = picture.ledger(NodeName(name))
    assert ledger is not None
    return ledger.free()


def gpus_held(picture: Picture, project: str = PROJECT) -> tuple[int, int]:
    """(all, non-preemptible) milli-GPU that a project's pods hold."""
    usage = picture.quotas.usage(ProjectName(project))
    return usage.allocated.gpu_milli, usage.non_preemptible.gpu_milli


def is_sound(picture: Picture) -> bool:
    """The books add up and no device holds more than one GPU."""
    ledgers = [picture.ledger(one.name) for one in picture.nodes()]
    most = max(
        (sum(milli for milli, _ in on.values()) for one in ledgers if one for on in one.devices.values()), default=0
    )
    return audit.check(picture) == [] and most <= GPU
