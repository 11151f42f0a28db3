"""Through the real kube-scheduler: pods/s without an extender, with the echo, with us; and a cluster filled by Jobs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

from extender.emulator.nodes import add_nodes
from extender.kube.client import KubeClient
from extender.model import names
from perf import objects, plane, stats
from tests.e2e.controlplane import ControlPlane

Json = dict[str, Any]
Say = Callable[[str], None]


BESIDE = "{}, {:,} blocked pods beside"

_BLOCKED_PROJECTS = 10


def held(sizes: list[int], pods: int, rounds: int, blocked: int, say: Say) -> list[Json]:
    """`pods` one-GPU pods created while kube-scheduler is stopped, then let go: once a variant and round, in turns.

    blocked: on the largest size, gated pods are measured once more, with so many others waiting that may not start.
    """
    return asyncio.run(_held(sorted(sizes), pods, rounds, blocked, say))


def fill(nodes: int, kinds: Iterable[str], say: Say) -> list[Json]:
    """Seconds from the first create until one-GPU work on every GPU is bound; `kinds`: "pods", "jobs"."""
    return asyncio.run(_fill(nodes, kinds, say))


async def _held(sizes: list[int], pods: int, rounds: int, blocked: int, say: Say) -> list[Json]:
    rows: list[Json] = []
    async with plane.cluster() as (control, client):
        made = 0
        for size in sizes:
            say(f"kube-scheduler: registering {size - made} more nodes")
            await add_nodes(client, size - made, plane.SHAPE, first=made)
            made = size
            runs: dict[str, list[Json]] = {
                plane.PLAIN: [],
                plane.SAMPLED: [],
                plane.ECHO: [],
                plane.OURS: [],
                plane.GATED: [],
            }
            for number in range(rounds):
                for variant in list(runs) if number % 2 == 0 else list(reversed(runs)):
                    if variant == plane.SAMPLED and number:
                        continue  # once is enough for a figure that judges nothing
                    say(f"kube-scheduler: {size} nodes, {pods} pods, round {number + 1}, {variant}")
                    runs[variant].append(await _held_once(control, client, variant, pods))
            if blocked and size == sizes[-1]:
                beside = BESIDE.format(plane.GATED, blocked)
                say(f"kube-scheduler: {size} nodes, {pods} pods, {rounds} rounds, {beside}")
                await _block(client, blocked)
                runs[beside] = [await _held_once(control, client, plane.GATED, pods) for _ in range(rounds)]
            for variant, results in runs.items():
                per_second = [one["per_second"] for one in results]
                plain = [one["per_second"] for one in runs[plane.PLAIN]][: len(results)]
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


async def _held_once(control: ControlPlane, client: KubeClient, variant: str, pods: int) -> Json:
    await plane.create_all(
        client, plane.PODS, [plane.pod_object(f"held-{number}", gated=variant == plane.GATED) for number in range(pods)]
    )
    with contextlib.ExitStack() as stack:
        url = plane.extender_for(stack, variant, control)
        if variant == plane.GATED:
            await plane.until_lifted(client)
        async with plane.bound_in(client) as bound:
            began = time.perf_counter()
            await plane.start_scheduler(control, variant, url)
            await plane.until_bound(bound, pods)
            await control.stop_scheduler()
    await plane.clear(client)
    return {
        "per_second": (pods - 1) / (bound[-1] - bound[0]),
        # From the scheduler's start, its own included: what a pod waits after a restart of the scheduler.
        "total_s": bound[-1] - began,
    }


async def _block(client: KubeClient, pods: int) -> None:
    """Gated pods that stay pending: half of them of projects that may hold nothing, half too large for any node."""
    for number in range(_BLOCKED_PROJECTS):
        over = number % 2 == 0
        path = await plane.add_project(client, f"blocked-{number}", **({"maxAllowedGpus": 0} if over else {}))
        made = [plane.pod_object(f"blocked-{index}", gated=True) for index in range(pods // _BLOCKED_PROJECTS)]
        for pod in made if not over else ():
            pod["spec"]["containers"][0]["resources"]["limits"][names.GPU_RESOURCE] = str(2 * objects.GPUS)
        await plane.create_all(client, path, made)


async def _fill(nodes: int, kinds: Iterable[str], say: Say) -> list[Json]:
    rows = []
    async with plane.cluster() as (control, client):
        await add_nodes(client, nodes, plane.SHAPE)
        count = nodes * objects.GPUS
        with contextlib.ExitStack() as stack:
            url = plane.extender_for(stack, plane.OURS, control)
            await plane.start_scheduler(control, plane.OURS, url)
            for kind in kinds:
                say(f"fill: {count} one-GPU {kind} on {nodes} nodes")
                made = [
                    plane.job_object(f"fill-{number}") if kind == "jobs" else plane.pod_object(f"fill-{number}")
                    for number in range(count)
                ]
                async with plane.bound_in(client) as bound:
                    began = time.perf_counter()
                    await plane.create_all(client, plane.JOBS if kind == "jobs" else plane.PODS, made)
                    created = time.perf_counter()
                    await plane.until_bound(bound, count)
                rows.append(
                    {
                        "nodes": nodes,
                        "kind": kind,
                        "count": count,
                        "created_s": created - began,
                        "all_bound_s": bound[-1] - began,
                    }
                )
                await plane.clear(client)
            await control.stop_scheduler()
    return rows
