"""What the tests of the fake kubelets share: pods of all kinds, ConfigMaps, and waiting for a state of the world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from extender.errors import ConflictError, NotFoundError
from extender.kube.client import KubeClient
from extender.model.names import GPU_RESOURCE, RESERVATION_NAMESPACE, RESERVED_UUID_ANNOTATION

Json = dict[str, Any]

DEFAULT = "/api/v1/namespaces/default"
RESERVATIONS = f"/api/v1/namespaces/{RESERVATION_NAMESPACE}/pods"
WAIT_S = 10.0


def container(name: str = "c", *, gpus: int = 0, env: list[Json] | None = None, **more: Any) -> Json:
    limits = {GPU_RESOURCE: str(gpus)} if gpus else {}
    return {"name": name, "image": "i", "resources": {"limits": limits}, "env": env or [], **more}


def gpu_pod(name: str, *containers: Json, node: str = "node-0", init: list[Json] | None = None, gpus: int = 0) -> Json:
    """A pod on `node`; `gpus` where one container is all there is to say."""
    spec = {
        "nodeName": node,
        "restartPolicy": "Never",
        "containers": list(containers) or [container(gpus=gpus)],
        "initContainers": init or [],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def reservation_pod(name: str = "r", *, node: str = "node-0", gpus: int = 1, restart_policy: str = "Never") -> Json:
    env = [
        {"name": variable, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{field}"}}}
        for variable, field in (("POD_NAME", "name"), ("POD_NAMESPACE", "namespace"))
    ]
    pod = gpu_pod(name, container("reserve", gpus=gpus, env=env), node=node)
    pod["spec"]["restartPolicy"] = restart_policy
    return pod


def from_map(variable: str, name: str, key: str, **more: Any) -> Json:
    return {"name": variable, "valueFrom": {"configMapKeyRef": {"name": name, "key": key, **more}}}


def config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def create_reservations_namespace(client: KubeClient) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RESERVATION_NAMESPACE}}
    with suppress(ConflictError):
        await client.create("/api/v1/namespaces", namespace)


async def reach(client: KubeClient, path: str, holds: Callable[[Json], object]) -> Json:
    """The object at `path`, as soon as it is there and `holds` is true of it."""
    found: Json = {}
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                with suppress(NotFoundError):
                    found = await client.get(path)
                    if holds(found):
                        return found
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{path} did not get there: {found}") from None


async def gone(client: KubeClient, path: str) -> None:
    async with asyncio.timeout(WAIT_S):
        with suppress(NotFoundError):
            while True:
                await client.get(path)
                await asyncio.sleep(0.01)


def is_phase(phase: str) -> Callable[[Json], bool]:
    return lambda pod: bool(pod["status"]["phase"] == phase)


def reported(pod: Json) -> str | None:
    """The UUID that a reservation pod has written on itself."""
    annotations = pod["metadata"].get("annotations") or {}
    return annotations.get(RESERVED_UUID_ANNOTATION)


def given(pod: Json) -> dict[str, str]:
    """UUID -> health of a pod's devices, as its status tells."""
    return {
        one["resourceID"]: one["health"]
        for status in pod["status"].get("containerStatuses") or ()
        for resource in status.get("allocatedResourcesStatus") or ()
        for one in resource["resources"]
    }
