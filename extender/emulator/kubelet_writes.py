"""How a fake kubelet writes: through the status subresource, with patience, and never over a pod of the same name."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from extender import logs
from extender.emulator.kubelet_status import with_devices
from extender.emulator.node_admission import NodeAdmission
from extender.errors import ApiError, ConflictError, NotFoundError
from extender.kube.client import KubeClient

Json = dict[str, Any]

log = logs.get("emulator.kubelet")

_CALL_TIMEOUT_S = 10.0
_ATTEMPTS = 8
_RETRY_S = 0.1
_MAX_CALLS = 32  # at once, so that a thousand pods do not open a thousand connections


class KubeletWrites:
    """API errors are retried a few times, then logged."""

    def __init__(self, client: KubeClient, admission: NodeAdmission) -> None:
        self._client = client
        self._admission = admission
        self._calls = asyncio.Semaphore(_MAX_CALLS)
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # pod UID: its writes come in order
        self._phases: dict[str, str] = {}  # pod UID -> phase that we wrote last; the watch may be behind
        self._containers: dict[str, list[Json]] = {}  # pod UID -> container statuses that we wrote last

    def phase(self, uid: str) -> str | None:
        """The phase that we wrote last."""
        return self._phases.get(uid)

    def forget(self, uid: str) -> None:
        for record in (self._phases, self._containers, self._locks):
            record.pop(uid, None)

    async def status(self, pod: Json, status: Json) -> None:
        """Bring a pod's status up to date with these fields; its devices are added."""
        uid = pod["metadata"]["uid"]
        async with self._locks[uid]:
            if await self._write(pod, self._with_devices(pod, status)):
                self._phases[uid] = status["phase"]
                self._containers[uid] = status.get("containerStatuses") or []

    async def devices(self, pod: Json) -> None:
        """Say how a pod's devices fare now, if its containers have been reported at all."""
        uid = pod["metadata"]["uid"]
        async with self._locks[uid]:
            seen = (pod.get("status") or {}).get("containerStatuses")
            if statuses := self._containers.get(uid, seen):
                await self._write(pod, self._with_devices(pod, {"containerStatuses": statuses}))

    async def delete(self, pod: Json) -> None:
        """Say that the pod has ended for good."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": pod["metadata"]["uid"]},
        }
        await self._call("DELETE", _path(pod), options)

    async def node_status(self, node: str, status: Json) -> None:
        await self._call("PATCH", f"/api/v1/nodes/{node}/status", {"status": status})

    async def _write(self, pod: Json, status: Json) -> bool:
        # The UID: a pod of the same name that came after ours must not inherit our end.
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        return await self._call("PATCH", f"{_path(pod)}/status", body)

    def _with_devices(self, pod: Json, status: Json) -> Json:
        devices = self._admission.devices(pod["spec"]["nodeName"])
        held = devices.held_by(pod["metadata"]["uid"])
        if not held or "containerStatuses" not in status:
            return status
        return {**status, "containerStatuses": with_devices(status["containerStatuses"], held, devices.reported_health)}

    async def _call(self, method: str, path: str, body: Json) -> bool:
        """Send one write, a few times if need be; whether the server took it."""
        for attempt in range(_ATTEMPTS):
            try:
                async with self._calls:
                    if method == "PATCH":
                        await self._client.patch(
                            path,
                            body,
                            kind="strategic",
                            field_manager="kubelet",
                            timeout_s=_CALL_TIMEOUT_S,
                        )
                    else:
                        await self._client.delete(path, options=body, timeout_s=_CALL_TIMEOUT_S)
                return True
            except (NotFoundError, ConflictError):
                return False  # gone, or another pod of that name: the watch tells
            except ApiError as error:
                log.warning("write_failed", cause=error.message)
                await asyncio.sleep(_RETRY_S * 2**attempt)
        return False


def _path(pod: Json) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
