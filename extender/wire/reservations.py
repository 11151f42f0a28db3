"""Reservation pods and the ConfigMaps of sharers: as objects, and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from extender.model import names
from extender.model.amounts import format_milli
from extender.model.names import NodeName
from extender.model.pod import Pod
from extender.model.reservation import Reservation, reservation_name

Json = dict[str, Any]

COMPONENT = {"app.kubernetes.io/part-of": names.SCHEDULER_NAME, "app.kubernetes.io/component": "gpu-reservation"}
SERVICE_ACCOUNT = "gpu-reservation"
VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"
_GROUP = "RUNAI_GPU_GROUP"  # in the pod's spec, which nobody can edit
_DEVICE = "RUNAI_GPU_DEVICE"
_CDI_PREFIX = "k8s.device-plugin.nvidia.com/gpu="


def reservation_pod(
    group: str,
    node: NodeName,
    node_uid: str,
    device: int,
    *,
    image: str,
    runtime_class: str = "",
    priority_class: str = "",
    spare: int = 0,
) -> Json:
    """The pod that holds a device of `node`; nobody schedules it, and it goes with its node."""
    identity = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": _GROUP, "value": group},
        {"name": _DEVICE, "value": str(device)},
        {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "utility"},  # NVML, and nothing to compute with
    ]
    one_gpu = {names.GPU_RESOURCE: "1"}
    spec: Json = {
        "nodeName": node,
        "serviceAccountName": SERVICE_ACCOUNT,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 0,  # nothing is lost, and somebody waits for the device
        "enableServiceLinks": False,
        "tolerations": [{"operator": "Exists"}],  # whatever the sharers tolerate
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "reserve-gpu",
                "image": image,
                "args": ["reserve-gpu"],
                "env": identity,
                "resources": {
                    "requests": {"cpu": "1m", "memory": "96Mi", **one_gpu},
                    "limits": {"memory": "192Mi", **one_gpu},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
    if priority_class:
        spec["priorityClassName"] = priority_class
    if runtime_class:
        spec["runtimeClassName"] = runtime_class
    owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": reservation_name(group, spare),
            "namespace": names.RESERVATION_NAMESPACE,
            "labels": {**COMPONENT, names.GPU_GROUP_LABEL: group},
            # Scaling a cluster down must not take a device from those who share it.
            "annotations": {
                "karpenter.sh/do-not-disrupt": "true",
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            },
            "ownerReferences": [owner] if node_uid else [],
        },
        "spec": spec,
    }


def parse_reservation(
    namespace: str, metadata: Mapping[str, Any], spec: Mapping[str, Any], status: Mapping[str, Any]
) -> Reservation | None:
    """The `Reservation` that a Pod object is, None for any other pod. Cost: one comparison for nearly all."""
    if namespace != names.RESERVATION_NAMESPACE:
        return None
    variables = {
        one.get("name"): one.get("value")
        for container in spec.get("containers") or ()
        for one in container.get("env") or ()
    }
    group, device = variables.get(_GROUP), str(variables.get(_DEVICE) or "")
    if not isinstance(group, str) or not group:
        return None
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    uuid = str(annotations.get(names.RESERVED_UUID_ANNOTATION) or "")
    failed = status.get("phase") in ("Failed", "Succeeded")
    refusal = ": ".join(filter(None, (str(status.get("reason") or ""), str(status.get("message") or ""))))
    return Reservation(
        group=group,
        device=int(device) if device.isascii() and device.isdigit() and len(device) <= 3 else -1,
        label=str(labels.get(names.GPU_GROUP_LABEL) or ""),
        uuid=uuid,
        index=str(annotations.get(names.RESERVED_INDEX_ANNOTATION) or ""),
        healthy=_is_healthy(status, uuid),
        refusal=(refusal or "it ended") if failed else "",
    )


def config_map(pod: Pod, uuids: Sequence[str], share_milli: int, gpu_memory_mib: int, *, cdi: bool) -> Json:
    """The ConfigMap that the webhook has promised the pod's container: which devices it has, and how much of each."""
    memory_mib = pod.gpu.memory_mib or gpu_memory_mib * share_milli // 1000
    fraction = format_milli(share_milli)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": pod.config_map,
            "namespace": pod.namespace,
            "labels": dict(CONFIG_MAP_LABELS),
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}],
        },
        "data": {
            VISIBLE_DEVICES: visible_devices(uuids, cdi=cdi),
            "GPU_PORTION": fraction,
            "RUNAI_GPU_FRACTION": fraction,
            "RUNAI_GPU_MEMORY_MIB": str(memory_mib),
            "RUNAI_NUM_OF_GPUS": format_milli(share_milli * len(uuids)),
        },
    }


def visible_devices(uuids: Sequence[str], *, cdi: bool) -> str:
    """The devices as a container runtime wants them named."""
    return ",".join(f"{_CDI_PREFIX}{uuid}" if cdi else uuid for uuid in uuids)


CONFIG_MAP_LABELS = {"app.kubernetes.io/part-of": names.SCHEDULER_NAME, "app.kubernetes.io/component": "shared-gpu"}
VARIABLES = (VISIBLE_DEVICES, "GPU_PORTION", "RUNAI_GPU_FRACTION", "RUNAI_GPU_MEMORY_MIB", "RUNAI_NUM_OF_GPUS")
"""What the webhook makes a container of a fractional pod read from its ConfigMap."""


def _is_healthy(status: Mapping[str, Any], uuid: str) -> bool:
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") == "CrashLoopBackOff":
            return False  # it has looked at its device again and again, in vain
        for resource in container.get("allocatedResourcesStatus") or ():
            for device in resource.get("resources") or ():
                if device.get("health") == "Unhealthy" and (not uuid or device.get("resourceID") == uuid):
                    return False
    return True
