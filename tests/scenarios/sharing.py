"""What happens to a shared device when somebody interferes: checks in code, for a scenario's step `sharing`.

Each starts on one or two nodes with two devices, with the webhook and the extender running, and ends in a state that
`settled` must find sound.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from extender.emulator.devices import Health
from extender.emulator.reservation_pods import Reporting
from extender.errors import ApiError, ConflictError, NotFoundError
from tests.scenarios import pods as shorthand

if TYPE_CHECKING:
    from tests.scenarios.runner import Run

Json = dict[str, Any]
T = TypeVar("T")

HERE = "runai-team-a"
PODS = f"/api/v1/namespaces/{HERE}/pods"
RESERVATIONS = "/api/v1/namespaces/runai-reservation/pods"
WITHIN_S = 40.0


async def sharers_see_their_device_and_it_is_held(run: Run) -> None:
    a, b = await share(run, "a", "0.5"), await share(run, "b", "0.5")
    (reservation,) = await reservations(run)
    (held,) = held_by(run, reservation)
    for one in (a, b):
        seen = run.kubelets.environment(one["metadata"]["uid"])["main"]
        assert seen["NVIDIA_VISIBLE_DEVICES"] == held, seen
        assert seen["RUNAI_GPU_FRACTION"] == seen["GPU_PORTION"] == seen["RUNAI_NUM_OF_GPUS"] == "0.5"
        assert seen["RUNAI_GPU_MEMORY_MIB"] == "40000"
        assert one["metadata"]["annotations"]["runai-gpu-uuid"] == held
    # Whoever comes with a whole request, by whatever scheduler, gets the other device, and the next one none.
    whole = await make(run, {"name": "whole", "gpus": 1})
    await until(lambda: is_in(run, whole, "Running"))
    assert held not in held_by(run, whole)
    foreign = await force(run, "foreign", "node-0")
    await until(lambda: is_in(run, foreign, "Failed"))
    await remove(run, "foreign", "whole", "a")
    assert len(await reservations(run)) == 1
    await remove(run, "b")
    await until(lambda: none_left(run))


async def several_devices_are_held_one_by_one(run: Run) -> None:
    short = {"name": "two", "memory": 20_000, "devices": 2}
    two = await share(run, "two", short=short)
    uuids = two["metadata"]["annotations"]["runai-gpu-uuid"].split(",")
    assert len(set(uuids)) == 2
    seen = run.kubelets.environment(two["metadata"]["uid"])["main"]
    assert seen["NVIDIA_VISIBLE_DEVICES"] == ",".join(uuids)
    assert seen["RUNAI_NUM_OF_GPUS"] == "0.5"  # a quarter of each of two
    held = {one for each in await reservations(run) for one in held_by(run, each)}
    assert held == set(uuids)


async def a_quantity_is_a_fraction_in_jobs_and_deployments(run: Run) -> None:
    template = {
        "spec": {
            "schedulerName": "runai-scheduler",
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i", "resources": {"limits": {"nvidia.com/gpu": "0.5"}}}],
        }
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": template}}
    await run.client.create(f"/apis/batch/v1/namespaces/{HERE}/jobs", job)
    served = {**template, "metadata": {"labels": {"app": "d"}}, "spec": {**template["spec"], "restartPolicy": "Always"}}
    spec = {"selector": {"matchLabels": {"app": "d"}}, "template": served}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    await run.client.create(f"/apis/apps/v1/namespaces/{HERE}/deployments", deployment)
    cron = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}
    made = await run.client.create(
        f"/apis/batch/v1/namespaces/{HERE}/cronjobs",
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": cron},
    )
    written = made["spec"]["jobTemplate"]["spec"]["template"]
    assert written["metadata"]["annotations"] == {"gpu-fraction": "0.5"}, written

    async def both_run() -> list[Json]:
        listed, _ = await run.client.list(PODS)
        return listed if len(listed) == 2 and all(one["status"]["phase"] == "Running" for one in listed) else []

    for one in await until(both_run):
        assert one["metadata"]["annotations"]["gpu-fraction"] == "0.5"
        assert run.kubelets.environment(one["metadata"]["uid"])["c"]["NVIDIA_VISIBLE_DEVICES"].startswith("GPU-")
    # The same YAML once more, as `kubectl apply` sends it.
    again = {"spec": {"template": {"spec": {"containers": served["spec"]["containers"]}}}}
    await run.client.patch(f"/apis/apps/v1/namespaces/{HERE}/deployments/d", again, kind="strategic")
    bad = {
        **job,
        "metadata": {"name": "bad"},
        "spec": {"template": {**template, "metadata": {"annotations": {"gpu-fraction": "2"}}}},
    }
    bad["spec"]["template"]["spec"] = {**template["spec"], "containers": [{"name": "c", "image": "i"}]}
    with pytest.raises(ApiError, match=r"gpu-fraction annotation value must be a positive number smaller than 1\.0"):
        await run.client.create(f"/apis/batch/v1/namespaces/{HERE}/jobs", bad)
    for path in (f"batch/v1/namespaces/{HERE}/jobs/j", f"apps/v1/namespaces/{HERE}/deployments/d"):
        await run.client.delete(f"/apis/{path}", options={"propagationPolicy": "Background"})
    await run.client.delete(f"/apis/batch/v1/namespaces/{HERE}/cronjobs/c")
    await until(lambda: none_left(run))


async def a_reservation_deleted_by_hand_comes_back_and_nobody_is_evicted(run: Run) -> None:
    one = await share(run, "a", "0.5")
    (before,) = await reservations(run)
    await run.client.delete(f"{RESERVATIONS}/{before['metadata']['name']}", options={"gracePeriodSeconds": 0})

    async def again() -> bool:
        found = await reservations(run)
        return len(found) == 1 and found[0]["metadata"]["uid"] != before["metadata"]["uid"] and bool(uuid_of(found[0]))

    await until(again)
    await until(lambda: counted(run, "missing"))
    assert (await read(run, "a"))["metadata"]["uid"] == one["metadata"]["uid"]


async def a_lost_device_is_found_again(run: Run) -> None:
    """Somebody takes the device while nothing reserves it, and gives it back while we hold every other one."""
    one, thief, held = await lose(run, "a")

    async def looking() -> bool:
        found = await reservations(run)
        return any(uuid_of(each) not in ("", held) for each in found)

    await until(looking)
    await remove(run, thief)

    async def found() -> bool:
        return [uuid_of(each) for each in await reservations(run)] == [held]

    await until(found)
    assert (await read(run, "a"))["metadata"]["uid"] == one["metadata"]["uid"], "the sharer was evicted"


async def sharers_are_evicted_once_their_device_is_proven_to_be_anothers(run: Run) -> None:
    await lose(run, "a")
    await force(run, "second", "node-0")  # the last device that is free
    await until(lambda: has_gone(run, "a"))
    await until(lambda: counted(run, "taken"))
    await remove(run, "thief", "second")
    await until(lambda: none_left(run))


async def a_duplicate_goes(run: Run) -> None:
    await share(run, "a", "0.5")
    (right,) = await reservations(run)
    twin = {key: right[key] for key in ("apiVersion", "kind", "spec") if key in right}
    kept = {key: right["metadata"][key] for key in ("labels", "namespace", "ownerReferences")}
    twin = {"apiVersion": "v1", "kind": "Pod", **twin, "metadata": {**kept, "name": "gpu-reservation-twin"}}
    await run.client.create(RESERVATIONS, twin)
    await until(lambda: counted(run, "duplicate"))

    async def only_the_first() -> bool:
        return [each["metadata"]["uid"] for each in await reservations(run)] == [right["metadata"]["uid"]]

    await until(only_the_first)


async def labels_edited_by_hand_are_put_right(run: Run) -> None:
    one = await share(run, "a", "0.5")
    (reservation,) = await reservations(run)
    group = one["metadata"]["labels"]["runai-gpu-group"]
    edit = {"metadata": {"labels": {"runai-gpu-group": "mine"}}}
    await run.client.patch(f"{PODS}/a", {"metadata": {**edit["metadata"], "annotations": {"runai-gpu": "1"}}})
    await run.client.patch(f"{RESERVATIONS}/{reservation['metadata']['name']}", edit)

    async def right() -> bool:
        again, held = await read(run, "a"), (await reservations(run))[0]
        return (
            again["metadata"]["labels"]["runai-gpu-group"] == group == held["metadata"]["labels"]["runai-gpu-group"]
            and again["metadata"]["annotations"]["runai-gpu"] == one["metadata"]["annotations"]["runai-gpu"]
        )

    await until(right)


async def a_config_map_deleted_by_hand_comes_back(run: Run) -> None:
    one = await share(run, "a", "0.5")
    path = f"/api/v1/namespaces/{HERE}/configmaps/{one['metadata']['annotations']['runai/shared-gpu-configmap']}"
    before = await run.client.get(path)
    await run.client.delete(path)

    async def again() -> bool:
        with contextlib.suppress(NotFoundError):
            found = await run.client.get(path)
            return bool(found["data"] == before["data"])
        return False

    await until(again)


async def nobody_joins_a_device_that_is_not_healthy(run: Run) -> None:
    one = await share(run, "a", "0.5")
    sick = one["metadata"]["annotations"]["runai-gpu-uuid"]
    await run.kubelets.set_health("node-0", sick, Health.UNHEALTHY)
    await until(lambda: has_event(run, "GpuUnhealthy", "a"))
    other = await share(run, "b", "0.5")
    assert other["metadata"]["annotations"]["runai-gpu-uuid"] != sick
    assert (await read(run, "a"))["status"]["phase"] == "Running"
    await run.kubelets.set_health("node-0", sick, Health.HEALTHY)


async def a_node_that_cannot_hold_a_device_is_left_for_another(run: Run) -> None:
    """node-0 refuses, or never says which device it gave: the pod has a reason, and runs on node-1."""
    for reporting in (Reporting.REFUSED, Reporting.SILENT):
        run.kubelets.set_reporting("node-0", reporting)
        one = await make(run, {"name": "a", "fraction": "0.5"})
        await until(lambda one=one: is_in(run, one, "Running"))
        assert (await read(run, "a"))["spec"]["nodeName"] == "node-1"
        await until(lambda: has_event(run, "GpuNotReserved", "a"))
        await remove(run, "a")
        await until(lambda: none_left(run))
    run.kubelets.set_reporting("node-0", Reporting.NORMAL)


async def the_reservation_goes_with_its_node(run: Run) -> None:
    await share(run, "a", "0.5")
    await run.client.delete("/api/v1/nodes/node-0")
    await run.step("remove_pods_of_lost_nodes", None)
    await until(lambda: none_left(run))


# ---------------------------------------------------------------------------------------------------- what they use


async def make(run: Run, short: Json) -> Json:
    await run.create(shorthand.pod({"namespace": HERE, **short}))
    return await read(run, short["name"])


async def share(run: Run, name: str, fraction: str = "", *, short: Json | None = None) -> Json:
    """A pod with a share, once it runs."""
    made = await make(run, short or {"name": name, "fraction": fraction})
    await until(lambda: is_in(run, made, "Running"))
    return await read(run, name)


async def force(run: Run, name: str, node: str) -> Json:
    """A pod with a whole GPU that no scheduler is asked about."""
    pod = shorthand.pod({"name": name, "namespace": HERE, "gpus": 1})
    pod["spec"] |= {"nodeName": node, "schedulerName": "other"}
    pod["metadata"]["labels"]["runai/queue"] = "team-a"
    await run.create(pod)
    return await read(run, name)


async def lose(run: Run, name: str) -> tuple[Json, str, str]:
    """A sharer whose device a pod called `thief` has got: the extender was not there to hold it."""
    one = await share(run, name, "0.5")
    (reservation,) = await reservations(run)
    held = uuid_of(reservation)
    await run.extender.kill()
    await run.client.delete(f"{RESERVATIONS}/{reservation['metadata']['name']}", options={"gracePeriodSeconds": 0})
    await until(lambda: none_left(run))
    thief = await force_unseen(run, "thief")
    await until(lambda: is_in(run, thief, "Running"))
    assert held in held_by(run, thief)
    await run.extender.start()
    return one, "thief", held


async def force_unseen(run: Run, name: str) -> Json:
    """As `force`, without the webhook, which has died with the extender."""
    pod = shorthand.pod({"name": name, "namespace": "default", "gpus": 1})
    pod["spec"] |= {"nodeName": "node-0", "schedulerName": "other"}
    pod["metadata"]["labels"]["runai/queue"] = "team-a"
    with contextlib.suppress(ConflictError):
        return await run.client.create("/api/v1/namespaces/default/pods", pod)
    return await run.client.get(f"/api/v1/namespaces/default/pods/{name}")


async def read(run: Run, name: str) -> Json:
    return await run.client.get(f"{PODS}/{name}")


async def remove(run: Run, *names: str) -> None:
    for name in names:
        for namespace in (HERE, "default"):
            await run.delete(namespace, name, grace_s=0)
        await until(lambda name=name: has_gone(run, name))


async def reservations(run: Run) -> list[Json]:
    listed, _ = await run.client.list(RESERVATIONS)
    return sorted(
        (one for one in listed if not one["metadata"].get("deletionTimestamp")), key=lambda one: one["metadata"]["name"]
    )


def uuid_of(reservation: Json) -> str:
    return str((reservation["metadata"].get("annotations") or {}).get("run.ai/reserve_for_gpu_index", ""))


def held_by(run: Run, pod: Json) -> tuple[str, ...]:
    """The devices that the kubelet of node-0 gave the pod."""
    given = run.kubelets.devices("node-0").held_by(pod["metadata"]["uid"])
    return tuple(uuid for uuids in given.values() for uuid in uuids)


async def none_left(run: Run) -> bool:
    return not (await run.client.list(RESERVATIONS))[0]


async def has_gone(run: Run, name: str) -> bool:
    for namespace in (HERE, "default"):
        with contextlib.suppress(NotFoundError):
            await run.client.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
            return False
    return True


async def is_in(run: Run, pod: Json, phase: str) -> bool:
    metadata = pod["metadata"]
    found = await run.client.get(f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}")
    return bool(found["status"].get("phase") == phase)


async def has_event(run: Run, reason: str, name: str) -> bool:
    listed, _ = await run.client.list(f"/api/v1/namespaces/{HERE}/events")
    return any(one["reason"] == reason and one["involvedObject"]["name"] == name for one in listed)


async def counted(run: Run, reason: str) -> bool:
    return (await run.extender.metrics()).get(f'runai_gpu_sharing_repairs_total{{reason="{reason}"}}', 0.0) > 0


async def until(claim: Callable[[], Awaitable[T]], within_s: float = WITHIN_S) -> T:
    """What `claim` answers once that is true."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not (found := await claim()):
        assert asyncio.get_running_loop().time() < deadline, f"still not so after {within_s:g} s"
        await asyncio.sleep(0.05)
    return found
