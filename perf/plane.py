"""Through the real kube-scheduler: pods/s without an extender, with the echo, with us; and a cluster filled by Jobs.

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

from extender.emulator.nodes import NodeShape, add_nodes
from extender.errors import ApiError, ConflictError, NotFoundError
from extender.kube.client import KubeClient
from extender.model import names
from perf import children, objects, stats
from tests.e2e.controlplane import ControlPlane
from tests.e2e.real import BASE, shipped_feature_gates

Json = dict[str, Any]
Say = Callable[[str], None]

PLAIN, SAMPLED, ECHO, OURS = "plain", "plain, default sampling", "echo, filter", "ours"
GATED = "ours, gated"  # as the webhook makes pods: held back until the planner has seated and nominated them

_SHAPE = NodeShape(gpus=objects.GPUS, cpu="128", memory="1024Gi", gpu_memory_mib=objects.GPU_MEMORY_MIB)
_PODS = f"/api/v1/namespaces/{objects.NAMESPACE}/pods"
_JOBS = f"/apis/batch/v1/namespaces/{objects.NAMESPACE}/jobs"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_AT_ONCE = 32
_STALLED_S = 90.0  # without one more pod bound, a run is given up


def held(sizes: list[int], pods: int, rounds: int, say: Say) -> list[Json]:
    """`pods` one-GPU pods created while kube-scheduler is stopped, then let go: once a variant and round, in turns."""
    return asyncio.run(_held(sizes, pods, rounds, say))


def fill(nodes: int, kinds: Iterable[str], say: Say) -> list[Json]:
    """Seconds from the first create until one-GPU work on every GPU is bound; `kinds`: "pods", "jobs"."""
    return asyncio.run(_fill(nodes, kinds, say))


async def _held(sizes: list[int], pods: int, rounds: int, say: Say) -> list[Json]:
    rows: list[Json] = []
    async with _cluster() as (plane, client):
        made = 0
        for size in sorted(sizes):
            say(f"kube-scheduler: registering {size - made} more nodes")
            await add_nodes(client, size - made, _SHAPE, first=made)
            made = size
            runs: dict[str, list[Json]] = {PLAIN: [], SAMPLED: [], ECHO: [], OURS: [], GATED: []}
            for number in range(rounds):
                for variant in list(runs) if number % 2 == 0 else list(reversed(runs)):
                    if variant == SAMPLED and number:
                        continue  # once is enough for a figure that judges nothing
                    say(f"kube-scheduler: {size} nodes, {pods} pods, round {number + 1}, {variant}")
                    runs[variant].append(await _held_once(plane, client, variant, pods))
            for variant, results in runs.items():
                per_second = [one["per_second"] for one in results]
                plain = [one["per_second"] for one in runs[PLAIN]][: len(results)]
                rows.append(
                    {
                        "nodes": size,
                        "pods": pods,
                        "variant": variant,
                        "per_second": stats.spread(per_second).as_json(),
                        "total_s": stats.spread([one["total_s"] for one in results]).as_json(),
                        "of_plain": stats.ratios(per_second, plain).as_json(),
                    }
                )
    return rows


async def _held_once(plane: ControlPlane, client: KubeClient, variant: str, pods: int) -> Json:
    await _create_all(client, _PODS, [_pod(f"held-{number}", gated=variant == GATED) for number in range(pods)])
    with contextlib.ExitStack() as stack:
        url = _extender(stack, variant, plane)
        if variant == GATED:
            await _lifted(client)
        async with _bound(client) as bound:
            began = time.perf_counter()
            await _start_scheduler(plane, variant, url)
            await _until(bound, pods)
            await plane.stop_scheduler()
    await _clear(client)
    return {
        "per_second": (pods - 1) / (bound[-1] - bound[0]),
        # From the scheduler's start, its own included: what a pod waits after a restart of the scheduler.
        "total_s": bound[-1] - began,
    }


async def _fill(nodes: int, kinds: Iterable[str], say: Say) -> list[Json]:
    rows = []
    async with _cluster() as (plane, client):
        await add_nodes(client, nodes, _SHAPE)
        count = nodes * objects.GPUS
        with contextlib.ExitStack() as stack:
            url = _extender(stack, OURS, plane)
            await _start_scheduler(plane, OURS, url)
            for kind in kinds:
                say(f"fill: {count} one-GPU {kind} on {nodes} nodes")
                made = [_job(f"fill-{number}") if kind == "jobs" else _pod(f"fill-{number}") for number in range(count)]
                async with _bound(client) as bound:
                    began = time.perf_counter()
                    await _create_all(client, _JOBS if kind == "jobs" else _PODS, made)
                    created = time.perf_counter()
                    await _until(bound, count)
                rows.append(
                    {
                        "nodes": nodes,
                        "kind": kind,
                        "count": count,
                        "created_s": created - began,
                        "all_bound_s": bound[-1] - began,
                    }
                )
                await _clear(client)
            await plane.stop_scheduler()
    return rows


@contextlib.asynccontextmanager
async def _cluster() -> AsyncIterator[tuple[ControlPlane, KubeClient]]:
    """A control plane without scheduler and nodes, our CRDs and priority classes, one project and its namespace."""
    async with ControlPlane() as plane, await KubeClient.connect(str(plane.kubeconfig)) as client:
        for file in sorted((BASE / "crds").glob("*.yaml")):
            await client.create(_CRDS, yaml.safe_load(file.read_text()))
        for one in yaml.safe_load_all((BASE / "priority-classes.yaml").read_text()):
            await client.create("/apis/scheduling.k8s.io/v1/priorityclasses", one)
        project = {"apiVersion": "run.ai/v1", "kind": "Project", "metadata": {"name": objects.PROJECT}, "spec": {}}
        await _patiently(lambda: client.create(f"/apis/{names.RUN_AI_GROUP}/v1/projects", project))
        namespace = {"metadata": {"name": objects.NAMESPACE, "labels": {names.QUEUE_LABEL: objects.PROJECT}}}
        await client.create("/api/v1/namespaces", namespace)
        yield plane, client


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


def _extender(stack: contextlib.ExitStack, variant: str, plane: ControlPlane) -> str:
    if variant == ECHO:
        return stack.enter_context(children.helper("perf.echo")).url
    if variant in (OURS, GATED):
        return stack.enter_context(children.service(kubeconfig=plane.kubeconfig)).url
    return ""


async def _start_scheduler(plane: ControlPlane, variant: str, url: str) -> None:
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
async def _bound(client: KubeClient) -> AsyncIterator[list[float]]:
    """The moments at which pods were seen bound, in order, filled while the block runs."""
    times: list[float] = []
    seen: set[str] = set()
    selector = {"fieldSelector": "spec.nodeName!="}
    _, version = await client.list(_PODS, params=selector)

    def note(pod: Json) -> None:
        if pod["metadata"]["uid"] not in seen:
            seen.add(pod["metadata"]["uid"])
            times.append(time.perf_counter())

    async def follow(version: str) -> None:
        while True:
            try:
                async for event in client.watch(_PODS, resource_version=version, params=selector, timeout_s=600):
                    if event.type == "ADDED":
                        note(event.object)
            except ApiError as error:
                print(f"the bench's own watch broke: {error.message}", file=sys.stderr)
            # What it missed is counted as bound now: late, never early.
            pods, version = await client.list(_PODS, params=selector)
            for pod in pods:
                note(pod)

    task = asyncio.create_task(follow(version))
    try:
        yield times
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(bound: list[float], count: int) -> None:
    """Return when `count` pods were seen bound. Raises RuntimeError when none more is for 90 s."""
    seen, moved = 0, time.monotonic()
    while len(bound) < count:
        if len(bound) != seen:
            seen, moved = len(bound), time.monotonic()
        if time.monotonic() - moved > _STALLED_S:
            raise RuntimeError(f"{len(bound)} of {count} pods are bound, and no more")
        await asyncio.sleep(0.02)


async def _lifted(client: KubeClient) -> None:
    """Return when no pod of the bench has a gate. Raises RuntimeError when that takes too long."""
    deadline = time.monotonic() + _STALLED_S
    while any(pod["spec"].get("schedulingGates") for pod in (await client.list(_PODS))[0]):
        if time.monotonic() > deadline:
            raise RuntimeError("pods are still gated")
        await asyncio.sleep(0.5)


async def _create_all(client: KubeClient, path: str, made: list[Json]) -> None:
    waiting = iter(made)

    async def create() -> None:
        for one in waiting:
            with contextlib.suppress(ConflictError):
                await client.create(path, one, timeout_s=60.0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(create())


async def _clear(client: KubeClient) -> None:
    """Delete every Job and pod of the bench. Raises RuntimeError when they do not go."""
    deadline = time.monotonic() + 180
    options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
    while True:
        for path in (_JOBS, _PODS):
            with contextlib.suppress(ApiError):
                await client.delete(path, options=options, timeout_s=60.0)
        left, _ = await client.list(_PODS)
        if not left:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(left)} pods do not go away")
        await asyncio.sleep(0.2)


def _spec() -> Json:
    resources = {"limits": {names.GPU_RESOURCE: "1"}, "requests": {"cpu": "1", "memory": "1Gi"}}
    return {
        "schedulerName": names.SCHEDULER_NAME,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "image", "resources": resources}],
    }


def _pod(name: str, *, gated: bool = False) -> Json:
    gates = {"schedulingGates": [{"name": names.SCHEDULING_GATE}]} if gated else {}
    return {"metadata": {"name": name, "labels": {"app": "bench"}}, "spec": _spec() | gates}


def _job(name: str) -> Json:
    template = {"metadata": {"labels": {"app": "bench"}}, "spec": _spec()}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template},
    }
