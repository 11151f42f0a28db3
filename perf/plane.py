"""A real control plane to measure on: a cluster with a project, schedulers with and without an extender, pods.

Needs etcd, kube-apiserver, kube-controller-manager and kube-scheduler (tests/e2e/controlplane.py finds them).
No kubelets: a pod counts when it is bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from extender.emulator.nodes import NodeShape
from extender.errors import ApiError, ConflictError, NotFoundError
from extender.kube.client import KubeClient
from extender.model import names
from perf import children, objects
from tests.e2e.controlplane import ControlPlane
from tests.e2e.real import BASE, shipped_feature_gates

Json = dict[str, Any]
Say = Callable[[str], None]

PLAIN, SAMPLED, ECHO, OURS = "plain", "plain, default sampling", "echo, filter", "ours"
GATED = "ours, gated"  # as the webhook makes pods: held back until the planner has seated and nominated them

SHAPE = NodeShape(gpus=objects.GPUS, cpu="128", memory="1024Gi", gpu_memory_mib=objects.GPU_MEMORY_MIB)
PODS = f"/api/v1/namespaces/{objects.NAMESPACE}/pods"
JOBS = f"/apis/batch/v1/namespaces/{objects.NAMESPACE}/jobs"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_AT_ONCE = 32
_STALLED_S = 90.0  # without one more pod bound, a run is given up


@contextlib.asynccontextmanager
async def cluster() -> AsyncIterator[tuple[ControlPlane, KubeClient]]:
    """A control plane without scheduler and nodes, our CRDs and priority classes, one project and its namespace."""
    async with ControlPlane() as plane, await KubeClient.connect(str(plane.kubeconfig)) as client:
        for file in sorted((BASE / "crds").glob("*.yaml")):
            await client.create(_CRDS, yaml.safe_load(file.read_text()))
        for one in yaml.safe_load_all((BASE / "priority-classes.yaml").read_text()):
            await client.create("/apis/scheduling.k8s.io/v1/priorityclasses", one)
        await add_project(client, objects.PROJECT)
        yield plane, client


async def add_project(client: KubeClient, name: str, **spec: object) -> str:
    """A project and its namespace; returns the path of the pods there."""
    project = {"apiVersion": "run.ai/v1", "kind": "Project", "metadata": {"name": name}, "spec": spec}
    await _patiently(lambda: client.create(f"/apis/{names.RUN_AI_GROUP}/v1/projects", project))
    namespace = f"{names.NAMESPACE_PREFIX}{name}"
    labelled = {"metadata": {"name": namespace, "labels": {names.QUEUE_LABEL: name}}}
    await client.create("/api/v1/namespaces", labelled)
    return f"/api/v1/namespaces/{namespace}/pods"


async def _patiently(call: Callable[[], Awaitable[object]]) -> None:
    """A new kind is not served at once."""
    deadline = time.monotonic() + 30
    while True:
        try:
            await call()
            return
        except NotFoundError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


def extender_for(stack: contextlib.ExitStack, variant: str, plane: ControlPlane) -> str:
    if variant == ECHO:
        return stack.enter_context(children.helper("perf.echo")).url
    if variant in (OURS, GATED):
        return stack.enter_context(children.service(kubeconfig=plane.kubeconfig)).url
    return ""


async def start_scheduler(plane: ControlPlane, variant: str, url: str) -> None:
    """With what `deploy/` ships, but for the extenders: the same client limits, gates and profile for all."""
    config: Json = yaml.safe_load((BASE / "kube-scheduler.yaml").read_text())
    if variant in (PLAIN, SAMPLED):
        del config["extenders"]
    if variant == SAMPLED:
        del config["percentageOfNodesToScore"]
    if variant == ECHO:
        first = config["extenders"][0]
        kept = ("urlPrefix", "filterVerb", "nodeCacheCapable", "httpTimeout", "ignorable")
        config["extenders"] = [{key: first[key] for key in kept}]
    file = Path(plane.directory) / "bench-scheduler.yaml"
    file.write_text(yaml.safe_dump(config))
    await plane.start_scheduler(file, extender_url=url or None, feature_gates=shipped_feature_gates())


@contextlib.asynccontextmanager
async def bound_in(client: KubeClient, pods: str = PODS) -> AsyncIterator[list[float]]:
    """The moments at which `pods` (a namespace's path) were seen bound, in order, filled while the block runs."""
    times: list[float] = []
    seen: set[str] = set()
    selector = {"fieldSelector": "spec.nodeName!="}
    _, version = await client.list(pods, params=selector)

    def note(pod: Json) -> None:
        if pod["metadata"]["uid"] not in seen:
            seen.add(pod["metadata"]["uid"])
            times.append(time.perf_counter())

    async def follow(version: str) -> None:
        while True:
            try:
                async for event in client.watch(pods, resource_version=version, params=selector, timeout_s=600):
                    if event.type == "ADDED":
                        note(event.object)
            except ApiError as error:
                print(f"the bench's own watch broke: {error.message}", file=sys.stderr)
            # What it missed is counted as bound now: late, never early.
            there, version = await client.list(pods, params=selector)
            for pod in there:
                note(pod)

    task = asyncio.create_task(follow(version))
    try:
        yield times
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_bound(bound: list[float], count: int) -> None:
    """Return when `count` pods were seen bound. Raises RuntimeError when none more is for 90 s."""
    seen, moved = 0, time.monotonic()
    while len(bound) < count:
        if len(bound) != seen:
            seen, moved = len(bound), time.monotonic()
        if time.monotonic() - moved > _STALLED_S:
            raise RuntimeError(f"{len(bound)} of {count} pods are bound, and no more")
        await asyncio.sleep(0.02)


async def until_lifted(client: KubeClient) -> None:
    """Return when no pod of the bench has a gate. Raises RuntimeError when that takes too long."""
    deadline = time.monotonic() + _STALLED_S
    while any(pod["spec"].get("schedulingGates") for pod in (await client.list(PODS))[0]):
        if time.monotonic() > deadline:
            raise RuntimeError("pods are still gated")
        await asyncio.sleep(0.5)


async def create_all(client: KubeClient, path: str, made: list[Json]) -> None:
    waiting = iter(made)

    async def create() -> None:
        for one in waiting:
            with contextlib.suppress(ConflictError):
                await client.create(path, one, timeout_s=60.0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(create())


async def clear(client: KubeClient, paths: Iterable[str] = (JOBS, PODS)) -> None:
    """Delete every Job and pod at these paths. Raises RuntimeError when they do not go."""
    deadline = time.monotonic() + 180
    options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
    while True:
        for path in paths:
            with contextlib.suppress(ApiError):
                await client.delete(path, options=options, timeout_s=60.0)
        left = [one for path in paths for one in (await client.list(path))[0]]
        if not left:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(left)} objects do not go away")
        await asyncio.sleep(0.2)


def _spec() -> Json:
    resources = {"limits": {names.GPU_RESOURCE: "1"}, "requests": {"cpu": "1", "memory": "1Gi"}}
    return {
        "schedulerName": names.SCHEDULER_NAME,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "image", "resources": resources}],
    }


def pod_object(name: str, *, gated: bool = False, group: str = "") -> Json:
    """A pod that asks for one GPU; gated as the webhook leaves it; group: the PodGroup that it belongs to."""
    gates = {"schedulingGates": [{"name": names.SCHEDULING_GATE}]} if gated else {}
    notes = {"annotations": {names.POD_GROUP_ANNOTATION: group}} if group else {}
    return {"metadata": {"name": name, "labels": {"app": "bench"}} | notes, "spec": _spec() | gates}


def job_object(name: str) -> Json:
    template = {"metadata": {"labels": {"app": "bench"}}, "spec": _spec()}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template},
    }
