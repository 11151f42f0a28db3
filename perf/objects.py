"""The cluster that is measured: nodes, running pods and requests, the same for the stub API server and the load.

Names, sizes and shapes are fixed, so two runs measure the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from extender.model import names

Json = dict[str, Any]

PROJECT = "bench"
NAMESPACE = f"runai-{PROJECT}"
GPUS = 8
GPU_MEMORY_MIB = 81_920

_IMAGE = "registry.example/team/training:2026-01"

# One node in five stays empty: else no request for eight GPUs would ever find a place.
_OCCUPIED = 0.8
# The running pods may not fill more of the occupied nodes than this.
_FILL = 0.8


@dataclass(frozen=True, slots=True)
class Shape:
    """What one pod asks for. `gpus` whole devices, else `share_milli` of one."""

    gpus: int = 0
    share_milli: int = 0
    cpu_milli: int = 1000
    memory_mib: int = 4096

    @property
    def gpu_milli(self) -> int:
        return 1000 * self.gpus + self.share_milli


_ASKED = [{"gpus": 1}, {"share_milli": 500}, {"share_milli": 250}, {"gpus": 2}, {"share_milli": 100}, {"gpus": 4}]
_BESIDE = [(1000, 4096), (4000, 16_384), (8000, 65_536), (12_000, 32_768)]

SHAPES: tuple[Shape, ...] = (
    *(Shape(cpu_milli=cpu, memory_mib=memory, **asked) for cpu, memory in _BESIDE for asked in _ASKED),
    *(Shape(gpus=8, cpu_milli=16_000, memory_mib=131_072), Shape(share_milli=330), Shape(share_milli=750)),
)
"""Two dozen and a few: what arrives at a cluster comes in few sizes (packing.md, section 8)."""

# What runs already, by turns: the first mix where it fits, quarters where nodes are few.
_RUNNING = (Shape(share_milli=500), Shape(share_milli=250), Shape(gpus=1), Shape(gpus=2))
_QUARTERS = (Shape(share_milli=250),)


def node_name(index: int) -> str:
    return f"node-{index:05d}"


def running_pods(nodes: int, most: int) -> int:
    """How many pods run: `most`, or fewer where so many could not run on so few nodes (110 pods a node)."""
    return min(most, 20 * nodes)


def node(index: int) -> Json:
    """A Node as GPU feature discovery, the device plugin and a kubelet leave it, without its list of images."""
    name = node_name(index)
    amounts = {
        "cpu": "128", "memory": "1048576Mi", "pods": "110", "ephemeral-storage": "3500Gi", "hugepages-1Gi": "0",
        "hugepages-2Mi": "0", "nvidia.com/gpu": str(GPUS),
    }  # fmt: skip
    conditions = [
        {
            "type": kind, "status": status, "reason": f"Kubelet{kind}", "message": f"kubelet says {kind} is {status}",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for kind, status in (
            ("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False"), ("Ready", "True"),
        )
    ]  # fmt: skip
    return {
        "metadata": {
            "name": name,
            "uid": f"00000000-0000-4000-8000-{index:012d}",
            "resourceVersion": str(1000 + index),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": "gpu-8", "topology.kubernetes.io/zone": f"zone-{index % 3}",
                "topology.kubernetes.io/region": "region", "nvidia.com/gpu.present": "true",
                "nvidia.com/gpu.count": str(GPUS), "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
                "nvidia.com/gpu.memory": str(GPU_MEMORY_MIB), "nvidia.com/cuda.driver.major": "550",
            },
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            "managedFields": _managed("kubelet", "status"),
        },
        "spec": {"podCIDR": f"10.{index // 256}.{index % 256}.0/24", "providerID": f"bench://{name}"},
        "status": {
            "capacity": amounts, "allocatable": amounts, "conditions": conditions,
            "addresses": [{"type": "InternalIP", "address": f"192.0.2.{index % 256}"}],
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.36.2",
                "containerRuntimeVersion": "containerd://2.0.0", "kernelVersion": "6.8.0", "osImage": "Linux",
            },
        },
    }  # fmt: skip


class Seats:
    """Deals devices to running pods: nodes by turns, on each node the lowest device with room."""

    def __init__(self, nodes: int, pods: int) -> None:
        self._occupied = max(1, int(nodes * _OCCUPIED))
        mean = sum(shape.gpu_milli for shape in _RUNNING) / len(_RUNNING)
        fits = pods * mean <= _FILL * self._occupied * GPUS * 1000
        self._mix = _RUNNING if fits else _QUARTERS
        self._free: list[list[int]] = [[1000] * GPUS for _ in range(self._occupied)]

    def deal(self, index: int) -> tuple[Shape, int, tuple[int, ...]]:
        """The shape, node and devices of running pod `index`. Call for 0, 1, 2, … in order."""
        shape = self._mix[index % len(self._mix)]
        # Prime stride: neighbours in time are not neighbours in name.
        at = (index * 7919) % self._occupied
        for _ in range(self._occupied):
            free = self._free[at]
            if shape.gpus:
                chosen = tuple(device for device, left in enumerate(free) if left == 1000)[: shape.gpus]
            else:
                chosen = tuple(device for device, left in enumerate(free) if left >= shape.share_milli)[:1]
            if len(chosen) == max(1, shape.gpus):
                for device in chosen:
                    free[device] -= shape.share_milli or 1000
                return shape, at, chosen
            at = (at + 1) % self._occupied
        raise ValueError(f"running pod {index} fits nowhere: too many pods for these nodes")


def running_pod(index: int, shape: Shape, at: int, devices: tuple[int, ...]) -> bytes:
    """Running pod `index` as the API server lists it, about 3 KB (managedFields included)."""
    group = f"group-{at}-{devices[0]}"
    annotations = {
        "prometheus.io/scrape": "true",
        "kubectl.kubernetes.io/default-container": "main",
        names.GPU_DEVICES_ANNOTATION: ",".join(map(str, devices)),
    }
    labels = {"app": "bench", "job-name": f"running-{index}", "batch.kubernetes.io/controller-uid": f"job-{index}"}
    if shape.share_milli:
        annotations["gpu-fraction"] = f"{shape.share_milli / 1000:g}"
        annotations[names.GPU_SHARE_ANNOTATION] = str(shape.share_milli)
        labels[names.GPU_GROUP_LABEL] = group
    pod = _pod(f"running-{index}", f"running-{index:08d}-0000-4000-8000", 100_000 + index, shape, annotations, labels)
    pod["metadata"]["managedFields"] = _managed("kube-controller-manager", "spec") + _managed("kubelet", "status")
    pod["spec"]["nodeName"] = node_name(at)
    pod["status"] = {
        "phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "startTime": "2026-01-01T00:00:00Z", "qosClass": "Burstable",
        "conditions": [
            {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-01-01T00:00:00Z"}
            for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        ],
        "containerStatuses": [
            {
                "name": "main", "image": _IMAGE, "ready": True, "started": True,
                "imageID": "registry.example/team/training@sha256:" + "0" * 64, "restartCount": 0,
                "containerID": "containerd://" + "0" * 64, "lastState": {},
                "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}},
            }
        ],
    }  # fmt: skip
    return orjson.dumps(pod)


def pending_pod(name: str, shape: Shape, *, version: int, uid: str | None = None) -> Json:
    """A pod as kube-scheduler sends it to an extender: no managedFields, about 2 KB."""
    annotations = {"prometheus.io/scrape": "true"}
    if shape.share_milli:
        annotations["gpu-fraction"] = f"{shape.share_milli / 1000:g}"
    pod = _pod(name, uid or name, version, shape, annotations, {"app": "bench", "job-name": name})
    pod["status"] = {"phase": "Pending", "qosClass": "Burstable"}
    return pod


def asking_pods() -> list[Json]:
    """The pods that ask in turns, two of each shape; the API server lists them too."""
    return [
        pending_pod(f"bench-{number}", SHAPES[number % len(SHAPES)], version=4_000_000 + number)
        for number in range(2 * len(SHAPES))
    ]


def filter_body(pod: Json, nodes: int) -> bytes:
    """ExtenderArgs with every name, as with `nodeCacheCapable: true`."""
    return orjson.dumps({"Pod": pod, "Nodes": None, "NodeNames": [node_name(index) for index in range(nodes)]})


def _pod(name: str, uid: str, version: int, shape: Shape, annotations: dict[str, str], labels: dict[str, str]) -> Json:
    limits = {"memory": f"{shape.memory_mib}Mi"}
    if shape.gpus:
        limits["nvidia.com/gpu"] = str(shape.gpus)
    requests = {"cpu": f"{shape.cpu_milli}m", **limits}
    return {
        "metadata": {
            "name": name,
            "generateName": "bench-",
            "namespace": NAMESPACE,
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": f"job-{name}", "controller": True}
            ],
        },
        "spec": {
            "schedulerName": names.SCHEDULER_NAME, "restartPolicy": "Never", "priority": 0,
            "serviceAccountName": "default", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
            "enableServiceLinks": True, "preemptionPolicy": "PreemptLowerPriority", "securityContext": {},
            "containers": [
                {
                    "name": "main", "image": _IMAGE, "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-m", "train", "--epochs=10", "--data=/data", f"--run={name}"],
                    "resources": {"limits": limits, "requests": requests},
                    "env": [{"name": f"SETTING_{number}", "value": "x" * 16} for number in range(8)],
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/data"},
                        {"name": "token", "mountPath": "/var/run/secrets/tokens", "readOnly": True},
                    ],
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }
            ],
            "volumes": [
                {"name": "data", "emptyDir": {}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ],
            "tolerations": [
                {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute",
                 "tolerationSeconds": 300}
                for key in ("not-ready", "unreachable")
            ],
        },
    }  # fmt: skip


def _managed(manager: str, part: str) -> list[Json]:
    fields: Json = {
        f"f:{name}": {} for name in ("phase", "conditions", "hostIP", "podIP", "startTime", "containerStatuses")
    }
    return [
        {
            "manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {f"f:{part}": fields},
        }
    ]  # fmt: skip
