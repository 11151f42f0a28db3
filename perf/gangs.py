"""On a real control plane, from the first create to the last bind: a large gang, and a pod that others make way for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from extender.emulator.nodes import add_nodes
from extender.errors import ApiError
from extender.kube.client import KubeClient
from extender.model import names
from perf import objects, plane, stats

Json = dict[str, Any]
Say = Callable[[str], None]

_GROUPS = f"/apis/{names.POD_GROUP_GROUP}/v1alpha1/namespaces/{objects.NAMESPACE}/podgroups"
_HOLDER = "holder"


def gangs(nodes: int, members: int, rounds: int, say: Say) -> Json:
    """Seconds until a gang of `members` gated one-GPU pods is bound, and until one pod is whose GPU another project's
    pod has to leave, on `nodes` x 8 GPUs that are empty and full. Medians and extremes of the rounds.
    """
    return asyncio.run(_gangs(nodes, members, rounds, say))


async def _gangs(nodes: int, members: int, rounds: int, say: Say) -> Json:
    async with plane.cluster() as (control, client):
        say(f"gangs: registering {nodes} nodes")
        await add_nodes(client, nodes, plane.SHAPE)
        with contextlib.ExitStack() as stack:
            url = plane.extender_for(stack, plane.OURS, control)
            await plane.start_scheduler(control, plane.OURS, url)
            gang = []
            for number in range(rounds):
                say(f"gangs: {members} pods that start together, round {number + 1}")
                gang.append(await _gang(client, f"gang-{number}", members))
            say(f"gangs: {nodes * objects.GPUS} pods of another project fill the nodes")
            path = await plane.add_project(client, _HOLDER, deservedGpus=0)
            await _fill(client, path, nodes)
            async with _deleter(client, path):
                reclaim = []
                for number in range(rounds):
                    say(f"gangs: a pod for which another makes way, round {number + 1}")
                    reclaim.append(await _bind_one(client, f"reclaimer-{number}"))
                left = len((await client.list(path))[0])
            if left != nodes * objects.GPUS - rounds:
                raise RuntimeError(f"{left} pods of {nodes * objects.GPUS} are left after {rounds} were to go")
            await control.stop_scheduler()
    figures = {"gang_s": gang, "reclaim_s": reclaim}
    return {"nodes": nodes, "members": members} | {name: stats.spread(one).as_json() for name, one in figures.items()}


async def _gang(client: KubeClient, name: str, members: int) -> float:
    group = {
        "apiVersion": f"{names.POD_GROUP_GROUP}/v1alpha1",
        "kind": "PodGroup",
        "metadata": {"name": name},
        "spec": {"minMember": members},
    }
    made = [plane.pod_object(f"{name}-{index}", gated=True, group=name) for index in range(members)]
    async with plane.bound_in(client) as bound:
        began = time.perf_counter()
        await client.create(_GROUPS, group)
        await plane.create_all(client, plane.PODS, made)
        await plane.until_bound(bound, members)
    await plane.clear(client)
    return bound[-1] - began


async def _bind_one(client: KubeClient, name: str) -> float:
    async with plane.bound_in(client) as bound:
        known = len(bound)
        began = time.perf_counter()
        await client.create(plane.PODS, plane.pod_object(name, gated=True))
        await plane.until_bound(bound, known + 1)
    return bound[-1] - began


async def _fill(client: KubeClient, path: str, nodes: int) -> None:
    """Pods that sit on every GPU, as if they had been bound by us."""
    made = []
    for number in range(nodes * objects.GPUS):
        at, device = divmod(number, objects.GPUS)
        pod = plane.pod_object(f"held-{number}")
        pod["metadata"]["annotations"] = {names.GPU_DEVICES_ANNOTATION: str(device)}
        pod["spec"] |= {"nodeName": f"{plane.SHAPE.prefix}{at}", "terminationGracePeriodSeconds": 30}
        made.append(pod)
    await plane.create_all(client, path, made)


@contextlib.asynccontextmanager
async def _deleter(client: KubeClient, path: str) -> AsyncIterator[None]:
    """What a kubelet does at the end of a pod: the object of one that is to go, goes."""

    async def follow() -> None:
        _, version = await client.list(path)
        async for event in client.watch(path, resource_version=version, timeout_s=600):
            about = event.object["metadata"]
            if event.type == "MODIFIED" and about.get("deletionTimestamp"):
                with contextlib.suppress(ApiError):
                    await client.delete(f"{path}/{about['name']}", options={"gracePeriodSeconds": 0})

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
