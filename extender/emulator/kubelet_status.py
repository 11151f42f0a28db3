"""The words and statuses of a kubelet: what a pod's status says when it runs, ends, or is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from extender.emulator.pod_resources import is_extended
from extender.emulator.times import now_text

Json = dict[str, Any]


def refusal(resource: str, wanted: int, used: int, capacity: int) -> tuple[str, str]:
    """(reason, message) of a pod that its node cannot hold, in the words of kubelet 1.36."""
    if is_extended(resource):
        message = (
            "Pod was rejected: Allocate failed due to requested number of devices unavailable for "
            f"{resource}. Requested: {wanted}, Available: {max(0, capacity - used)}, which is unexpected"
        )
        return "UnexpectedAdmissionError", message
    message = (
        f"Pod was rejected: Node didn't have enough resource: {resource}, requested: {wanted}, "
        f"used: {used}, capacity: {capacity}"
    )
    return f"OutOf{resource}", message


def _address(text: str, network: int) -> str:
    """An address of 10.<network>.0.0/16 that belongs to `text`; repeatable."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"10.{network}.{digest[0]}.{digest[1]}"


def _conditions(now: str, *, ready: str, reason: str | None = None) -> list[Json]:
    more = {"reason": reason} if reason else {}
    return [
        {"type": "PodReadyToStartContainers", "status": ready, "lastTransitionTime": now},
        {"type": "Initialized", "status": "True", "lastTransitionTime": now},
        {"type": "Ready", "status": ready, "lastTransitionTime": now, **more},
        {"type": "ContainersReady", "status": ready, "lastTransitionTime": now, **more},
    ]


def _container_status(container: Mapping[str, Any], uid: str, state: Json, *, running: bool) -> Json:
    return {
        "name": container["name"],
        "image": container.get("image") or "",
        "imageID": "",
        "containerID": f"emulator://{uid[:8]}-{container['name']}",
        "ready": running,
        "started": running,
        "restartCount": 0,
        "state": state,
    }


def running(pod: Json) -> Json:
    """The status of a pod whose containers have just started."""
    now, metadata, spec = now_text(), pod["metadata"], pod["spec"]
    host = _address(spec["nodeName"], 1)
    address = _address(metadata["uid"], 2)
    state = {"running": {"startedAt": now}}
    return {
        "phase": "Running",
        "startTime": now,
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": _conditions(now, ready="True"),
        "containerStatuses": [
            _container_status(container, metadata["uid"], state, running=True) for container in spec["containers"]
        ],
    }


def finished(pod: Json, exit_code: int) -> Json:
    """The status of a pod whose containers have all ended with `exit_code`."""
    now, metadata, spec = now_text(), pod["metadata"], pod["spec"]
    reason = "Completed" if exit_code == 0 else "Error"
    terminated = {
        "exitCode": exit_code,
        "reason": reason,
        "startedAt": (pod.get("status") or {}).get("startTime") or now,
        "finishedAt": now,
    }
    return {
        "phase": "Succeeded" if exit_code == 0 else "Failed",
        "conditions": _conditions(now, ready="False", reason="PodCompleted" if exit_code == 0 else "PodFailed"),
        "containerStatuses": [
            _container_status(container, metadata["uid"], {"terminated": terminated}, running=False)
            for container in spec["containers"]
        ],
    }
