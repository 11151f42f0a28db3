"""Makes fake GPU nodes: Node objects as GPU feature discovery and the device plugin would leave them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extender.emulator.times import now_text
from extender.errors import ApiError, ConflictError
from extender.kube.client import KubeClient
from extender.model.names import GPU_RESOURCE, NODE_GPU_COUNT, NODE_GPU_MEMORY, NODE_GPU_PRODUCT

Json = dict[str, Any]

_NOT_READY = "node.kubernetes.io/not-ready"
_AT_ONCE = 16
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What one fake node has; the defaults are a small A100 machine.

    gpus: whole devices, 0 for a CPU node. gpu_memory_mib: of each device. cpu, memory, ephemeral_storage:
    Kubernetes quantities. resources: more extended resources, as in {"nvidia.com/mig-1g.5gb": "7"}.
    prefix: names are `<prefix>0`, `<prefix>1`, … labels: added to the usual ones.
    """

    gpus: int = 4
    cpu: str = "64"
    memory: str = "256Gi"
    pods: int = 110
    ephemeral_storage: str = "500Gi"
    product: str = "NVIDIA-A100-SXM4-40GB"
    gpu_memory_mib: int = 40_960
    prefix: str = "node-"
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)


async def add_nodes(client: KubeClient, count: int, shape: NodeShape, *, first: int = 0) -> list[str]:
    """Register nodes `<prefix><first>` and up, ready to use; their names.

    A node that exists is brought to this shape. Raises ApiError when the API server refuses.
    """
    limit = asyncio.Semaphore(_AT_ONCE)

    async def add(name: str) -> None:
        async with limit:
            await register_node(client, name, shape)

    names = [f"{shape.prefix}{number}" for number in range(first, first + count)]
    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(add(name))
    return names


async def register_node(client: KubeClient, name: str, shape: NodeShape) -> None:
    """Create one node, report it Ready, and take off the not-ready taint that a real API server puts on."""
    path = f"/api/v1/nodes/{name}"
    node: Json = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": _labels(name, shape)},
    }
    try:
        await client.create("/api/v1/nodes", node)
    except ConflictError:
        await client.patch(path, {"metadata": {"labels": _labels(name, shape)}}, field_manager="kubelet")
    await client.patch(f"{path}/status", {"status": _status(name, shape)}, kind="strategic", field_manager="kubelet")
    for attempt in range(_ATTEMPTS):
        current = await client.get(path)
        taints = (current.get("spec") or {}).get("taints") or []
        left = [taint for taint in taints if taint.get("key") != _NOT_READY]
        if left == taints:
            return
        # The version makes it a 409 when somebody else (a node controller) changed the taints meanwhile.
        version = current["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": left or None}}
        try:
            await client.patch(path, patch, field_manager="kubelet")
            return
        except ConflictError:
            await asyncio.sleep(0.05 * (attempt + 1))
    raise ApiError(f"{path}: the taint {_NOT_READY} comes back; is there a node controller without heartbeats?")


def _labels(name: str, shape: NodeShape) -> dict[str, str]:
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    if shape.gpus:
        labels |= {
            "nvidia.com/gpu.present": "true",
            NODE_GPU_COUNT: str(shape.gpus),
            NODE_GPU_PRODUCT: shape.product,
            NODE_GPU_MEMORY: str(shape.gpu_memory_mib),
        }
    return labels | dict(shape.labels)


def _status(name: str, shape: NodeShape) -> Json:
    now = now_text()
    amounts = {
        "cpu": shape.cpu,
        "memory": shape.memory,
        "pods": str(shape.pods),
        "ephemeral-storage": shape.ephemeral_storage,
        **shape.resources,
    }
    if shape.gpus:
        amounts[GPU_RESOURCE] = str(shape.gpus)
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return {
        "capacity": amounts,
        "allocatable": amounts,
        "conditions": [ready],
        "addresses": [{"type": "Hostname", "address": name}],
        "nodeInfo": {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "kubeletVersion": "v1.36.0-emulated",
            "kubeProxyVersion": "",
            "containerRuntimeVersion": "emulator://1",
            "kernelVersion": "",
            "osImage": "emulated",
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    }
