"""The words and statuses of a kubelet: what a pod's status says when it runs, ends, or is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from extender.emulator.devices import Held
from extender.emulator.pod_resources import is_extended
from extender.emulator.times import now_text
from extender.model.names import GPU_RESOURCE

Json = dict[str, Any]


def too_few_devices(resource: str, wanted: int, available: int) -> tuple[str, str]:
    """(reason, message) of a pod for which the device manager has too few devices, in the words of kubelet 1.36."""
    message = (
        f"Pod was rejected: Allocate failed due to requested number of devices unavailable for {resource}. "
        f"Requested: {wanted}, Available: {max(0, available)}, which is unexpected"
    )
    return "UnexpectedAdmissionError", message


def refusal(resource: str, wanted: int, used: int, capacity: int) -> tuple[str, str]:
    """(reason, message) of a pod that its node cannot hold, in the words of kubelet 1.36."""
    if is_extended(resource):
        return too_few_devices(resource, wanted, capacity - used)
    message = (
        f"Pod was rejected: Node didn't have enough resource: {resource}, requested: {wanted}, "
        f"used: {used}, capacity: {capacity}"
    )
    return f"OutOf{resource}", message


def _address(text: str, network: int) -> str:
    """An address of 10.<network>.0.0/16 that belongs to `text`; repeatable."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"10.{network}.{digest[0]}.{digest[1]}"


def host_address(pod: Json) -> str:
    return _address(pod["spec"]["nodeName"], 1)


def pod_address(pod: Json) -> str:
    return _address(pod["metadata"]["uid"], 2)


def _conditions(
    now: str, *, ready: str, reason: str | None = None, sandbox: str | None = None, initialized: str = "True"
) -> list[Json]:
    more = {"reason": reason} if reason else {}
    return [
        {"type": "PodReadyToStartContainers", "status": sandbox or ready, "lastTransitionTime": now},
        {"type": "Initialized", "status": initialized, "lastTransitionTime": now},
        {"type": "Ready", "status": ready, "lastTransitionTime": now, **more},
        {"type": "ContainersReady", "status": ready, "lastTransitionTime": now, **more},
    ]


def _container_status(container: Mapping[str, Any], uid: str, state: Json, *, running: bool) -> Json:
    return {
        "name": container["name"],
        "image": container.get("image") or "",
        "imageID": "",
        **({} if "waiting" in state else {"containerID": f"emulator://{uid[:8]}-{container['name']}"}),
        "ready": running,
        "started": running,
        "restartCount": 0,
        "state": state,
    }


def running(pod: Json, restarts: int = 0) -> Json:
    """The status of a pod whose containers have just started, for the `restarts`-th time again."""
    now, metadata, spec = now_text(), pod["metadata"], pod["spec"]
    state = {"running": {"startedAt": now}}
    return {
        "phase": "Running",
        **_placed(pod, now),
        "conditions": _conditions(now, ready="True"),
        **_init_statuses(pod, now, {}),
        "containerStatuses": [
            {**_container_status(container, metadata["uid"], state, running=True), "restartCount": restarts}
            for container in spec["containers"]
        ],
    }


def crashing(pod: Json, restarts: int, pause_s: float) -> Json:
    """The status of a pod whose program exits with 1 each time it is started; it is started again after `pause_s`."""
    now, metadata, spec = now_text(), pod["metadata"], pod["spec"]
    statuses = []
    for container in spec["containers"]:
        whose = f"container={container['name']} pod={metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        state = _waiting("CrashLoopBackOff", f"back-off {pause_s:g}s restarting failed {whose}")
        ended = {"exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now}
        status = _container_status(container, metadata["uid"], state, running=False)
        statuses.append({**status, "restartCount": restarts, "lastState": {"terminated": ended}})
    return {
        "phase": "Running",
        **_placed(pod, now),
        "conditions": _conditions(now, ready="False", reason="ContainersNotReady", sandbox="True"),
        "containerStatuses": statuses,
    }


def held_back(pod: Json, missing: Mapping[str, str]) -> Json:
    """The status of a pod of which some containers cannot start; `missing`: container -> why."""
    now, spec, uid = now_text(), pod["spec"], pod["metadata"]["uid"]
    initialized = not any(container["name"] in missing for container in spec.get("initContainers") or ())
    statuses = []
    for container in spec["containers"]:
        if not initialized:
            statuses.append(_container_status(container, uid, _waiting("PodInitializing"), running=False))
        elif container["name"] in missing:
            state = _waiting("CreateContainerConfigError", missing[container["name"]])
            statuses.append(_container_status(container, uid, state, running=False))
        else:
            statuses.append(_container_status(container, uid, {"running": {"startedAt": now}}, running=True))
    return {
        "phase": "Pending",
        **_placed(pod, now),
        "conditions": _conditions(
            now,
            ready="False",
            reason="ContainersNotReady",
            sandbox="True",
            initialized="True" if initialized else "False",
        ),
        **_init_statuses(pod, now, missing),
        "containerStatuses": statuses,
    }


def with_devices(statuses: list[Json], held: Held, health: Callable[[str], str]) -> list[Json]:
    """Container statuses with what each container was given and how it fares (KEP-4680)."""
    told = []
    for status in statuses:
        devices = held.get(status["name"], ())
        given = [{"resourceID": device, "health": health(device)} for device in devices]
        told.append(
            {**status, "allocatedResourcesStatus": [{"name": GPU_RESOURCE, "resources": given}]} if given else status
        )
    return told


def _placed(pod: Json, now: str) -> Json:
    host, address = host_address(pod), pod_address(pod)
    return {
        "startTime": (pod.get("status") or {}).get("startTime") or now,
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "podIP": address,
        "podIPs": [{"ip": address}],
    }


def _init_statuses(pod: Json, now: str, missing: Mapping[str, str]) -> Json:
    """Init containers run to their end at once, one after the other; side-cars stay."""
    statuses: list[Json] = []
    blocked = False
    for container in pod["spec"].get("initContainers") or ():
        stays = container.get("restartPolicy") == "Always"
        if container["name"] in missing:
            state = _waiting("CreateContainerConfigError", missing[container["name"]])
            blocked = True
        elif blocked:
            state = _waiting("PodInitializing")
        elif stays:
            state = {"running": {"startedAt": now}}
        else:
            state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
        status = _container_status(container, pod["metadata"]["uid"], state, running=stays and not blocked)
        statuses.append(status if blocked else {**status, "ready": True})
    return {"initContainerStatuses": statuses} if statuses else {}


def _waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


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
