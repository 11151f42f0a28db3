"""What the demo knows about the cluster, as one JSON object; the view draws the same object."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from extender.emulator.following import follow
from extender.kube.client import KubeClient
from extender.model.names import (
    GPU_DEVICES_ANNOTATION,
    GPU_GROUP_LABEL,
    OWN_NAMESPACES,
    SCHEDULER_NAME,
    SCHEDULING_GATE,
)

Json = dict[str, Any]

_FINISHED = ("Succeeded", "Failed")


class Watcher:
    """Follows all pods and remembers when something last changed; `run` it as a task.

    snapshot: the product's own picture (`Service.snapshot`), joined to the pods by UID.
    """

    def __init__(self, client: KubeClient, snapshot: Callable[[], Json]) -> None:
        self._client = client
        self._snapshot = snapshot
        self._pods: dict[str, Json] = {}
        self.changed_at = 0.0
        self.version = 0

    async def run(self) -> None:
        self.touch()
        await follow(self._client, "/api/v1/pods", on_list=self._on_list, on_event=self._on_event)

    def touch(self) -> None:
        """Something changed now."""
        self.changed_at = asyncio.get_running_loop().time()
        self.version += 1

    def report(self) -> Json:
        """`{"pods": […], "gpus": […]}` as the design document fixes it, sorted by name; the pods of users."""
        snapshot = self._snapshot()
        known = _by_uid(snapshot)
        pods = [
            _pod(pod, known.get(uid, {}))
            for uid, pod in self._pods.items()
            if pod["metadata"]["namespace"] not in OWN_NAMESPACES
        ]
        return {
            "pods": sorted(pods, key=lambda pod: (pod["namespace"], pod["name"])),
            "gpus": [
                {
                    "node": node["name"],
                    "device": gpu["device"],
                    "allocated_milli": gpu["allocated_milli"],
                    "sharers": gpu["sharers"],
                }
                for node in snapshot["nodes"]
                for gpu in node["gpus"]
            ],
        }

    def has_undecided(self) -> bool:
        """Whether some pod is yet to be planned. Cost: a snapshot."""
        known = _by_uid(self._snapshot())
        return any(is_undecided(pod, known.get(uid, {})) for uid, pod in self._pods.items())

    def _on_list(self, items: list[Json]) -> None:
        self._pods = {item["metadata"]["uid"]: item for item in items}
        self.touch()

    def _on_event(self, kind: str, obj: Json) -> None:
        uid = obj["metadata"]["uid"]
        if kind == "DELETED":
            self._pods.pop(uid, None)
        else:
            self._pods[uid] = obj
        self.touch()


def is_undecided(pod: Json, known: Json) -> bool:
    """Whether the pod is held back by our gate alone, and nobody has said why: it waits a few seconds for its PodGroup,
    perhaps, or its seat is held and the gate about to go.
    """
    gates = [gate["name"] for gate in pod["spec"].get("schedulingGates") or ()]
    return gates == [SCHEDULING_GATE] and not known.get("reason")


def not_running(report: Json) -> list[str]:
    """A sentence about each pod that has not finished and does not run."""
    return [
        f"{pod['namespace']}/{pod['name']} is {pod['phase']}: {pod['reason'] or 'no reason is known'}"
        for pod in report["pods"]
        if pod["phase"] != "Running" and pod["phase"] not in _FINISHED
    ]


async def missing_pods(client: KubeClient) -> list[str]:
    """A sentence about each workload that should have more pods than exist, whatever the cause."""
    sentences = []
    for path, kind in (
        ("/apis/batch/v1/jobs", "Job"),
        ("/apis/run.ai/v1/runaijobs", "RunaiJob"),
        ("/apis/apps/v1/statefulsets", "StatefulSet"),
        ("/apis/apps/v1/replicasets", "ReplicaSet"),
    ):
        for workload in (await client.list(path))[0]:
            wanted, there = _wanted_and_there(kind, workload)
            if there < wanted:
                metadata = workload["metadata"]
                sentences.append(f"{kind} {metadata['namespace']}/{metadata['name']} has {there} of {wanted} pods")
    return sentences


def _wanted_and_there(kind: str, workload: Json) -> tuple[int, int]:
    spec, status = workload["spec"], workload.get("status") or {}
    if kind not in ("Job", "RunaiJob"):
        return int(spec.get("replicas", 1)), int(status.get("replicas") or 0)
    ended = any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in status.get("conditions") or ())
    if spec.get("suspend") or ended:
        return 0, 0
    wanted = min(int(spec.get("parallelism", 1)), int(spec.get("completions") or spec.get("parallelism", 1)))
    return wanted, int(status.get("active") or 0) + int(status.get("succeeded") or 0)


def _by_uid(snapshot: Json) -> dict[str, Json]:
    return {pod["uid"]: pod for pod in snapshot["pods"]}


def _pod(pod: Json, known: Json) -> Json:
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    phase = status.get("phase") or "Pending"
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "phase": phase,
        "node": spec.get("nodeName"),
        "devices": known.get("devices") or _recorded_devices(metadata),
        "gpu_group": known.get("gpu_group") or (metadata.get("labels") or {}).get(GPU_GROUP_LABEL),
        "project": known.get("project"),
        "pod_group": known.get("pod_group"),
        "reason": _reason(phase, spec, status, known),
    }


def _recorded_devices(metadata: Json) -> list[int]:
    """The devices on the pod itself: the product's picture drops pods that have finished."""
    written = str((metadata.get("annotations") or {}).get(GPU_DEVICES_ANNOTATION) or "")
    return [int(part) for part in written.split(",") if part.strip().isdecimal()]


def _reason(phase: str, spec: Json, status: Json, known: Json) -> str | None:
    if phase == "Failed":
        return _joined(status.get("reason"), status.get("message"))
    if phase != "Pending":
        return None
    ours = _joined(known.get("reason"), known.get("message"))
    if ours is not None:
        return ours
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return _joined(None, condition.get("message") or condition.get("reason"))
    scheduler = spec.get("schedulerName")
    if not spec.get("nodeName") and scheduler != SCHEDULER_NAME:
        return f"it asks for the scheduler {scheduler}, and only {SCHEDULER_NAME} runs here"
    return None


def _joined(reason: str | None, message: str | None) -> str | None:
    return ": ".join(filter(None, (reason, message))) or None
