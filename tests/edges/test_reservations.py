"""Reservation pods at an API server that says yes, no, or nothing: held and named, or a reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from extender import metrics
from extender.cluster.picture import Picture
from extender.controllers import gpu_maps
from extender.controllers import reservations as module
from extender.controllers.gpu_maps import GpuMaps
from extender.controllers.reservations import ReservationPolicy, Reservations, own_image
from extender.errors import ApiError, ReservationError
from extender.kube.events import EventRecorder
from extender.model.names import NodeName
from extender.model.pod import Pod
from extender.wire.reservations import reservation_pod
from tests.builders import node, offer, pod, reservation, world
from tests.edges.stub import StubApi, by_method, failure, reply

NODE = NodeName("n1")
GROUP = "0123456789abcdef"
PODS = "/api/v1/namespaces/runai-reservation/pods"


class Said:
    """An EventRecorder that remembers."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str, str]] = []

    def record(self, subject: Any, kind: str, reason: str, message: str) -> None:
        self.texts.append((subject.name, reason, message))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK_S", 0.005)
    monkeypatch.setattr(module, "_POLL_S", 0.02)
    monkeypatch.setattr(module, "_UNUSED_FOR_S", 0.0)
    monkeypatch.setattr(module, "_UNREPORTED_FOR_S", 0.0)
    monkeypatch.setattr(module, "_FIRST_REST_S", 0.02)


def reservations(api: StubApi, picture: Picture, said: Said | None = None, **policy: float) -> Reservations:
    events = cast("EventRecorder", said or Said())
    given = ReservationPolicy("image", **{"timeout_s": 0.3, "takeover_s": 0.0, **policy})  # type: ignore[arg-type]
    return Reservations(api.client, picture, events, lambda: True, given)


def made(**more: Any) -> dict[str, Any]:
    """The reservation as the API server stores it."""
    obj = reservation_pod(GROUP, NODE, "n1-uid", 0, image="image")
    obj["metadata"] |= {"uid": "r-uid", "resourceVersion": "3", **more}
    return {**obj, "status": {"phase": "Pending"}}


def reported(uuid: str = "GPU-a") -> dict[str, Any]:
    obj = made(resourceVersion="5")
    obj["metadata"]["annotations"]["run.ai/reserve_for_gpu_index"] = uuid
    return {**obj, "status": {"phase": "Running"}}


def show(picture: Picture, held: Reservations, one: Pod) -> None:
    picture.upsert_pod(one)
    held.see(picture.pods[one.uid].pod)


async def ensure(held: Reservations, left_s: float = 0.3) -> str:
    return await held.ensure(NODE, GROUP, 0, time.monotonic() + left_s)


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not claim():
            await asyncio.sleep(0.005)


async def test_a_device_is_held_before_it_is_named() -> None:
    async with StubApi() as api:
        api.script = [reply(made(), 201)]
        picture = world(node("n1"))
        held = reservations(api, picture)
        asked = [asyncio.create_task(ensure(held)) for _ in range(2)]
        await until(lambda: len(api.requests) > 0)
        await asyncio.sleep(0.05)
        show(picture, held, module.wire.parse(reported()))
        assert await asyncio.gather(*asked) == ["GPU-a", "GPU-a"]
        assert {request[:2] for request in api.requests} == {("POST", PODS)}
        body = api.bodies[0]
        assert body["metadata"]["name"] == f"gpu-reservation-{GROUP}"
        assert body["metadata"]["ownerReferences"][0]["name"] == "n1"
        assert body["spec"]["nodeName"] == "n1"
        assert body["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert body["spec"]["tolerations"] == [{"operator": "Exists"}]


async def test_one_that_is_there_costs_no_call() -> None:
    async with StubApi() as api:
        api.script = [failure(500)]
        picture = world(node("n1"))
        picture.upsert_pod(reservation(GROUP, "n1", gpu="GPU-a"))
        assert await ensure(reservations(api, picture)) == "GPU-a"
        assert api.requests == []


async def test_one_that_another_replica_made_is_taken_in() -> None:
    async with StubApi() as api:
        api.script = [by_method(POST=failure(409), GET=reply(reported("GPU-b")))]
        assert await ensure(reservations(api, world(node("n1")))) == "GPU-b"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            failure(403, "Forbidden"),
            "no GPU of n1 could be reserved: POST /api/v1/namespaces/runai-reservation/pods: 403 no: Forbidden",
        ),
        (reply(made(), 201), "no GPU of n1 was reserved in 0.3 s: pod runai-reservation/gpu-reservation-"),
        (by_method(POST=failure(409), GET=failure(404)), "no GPU of n1 was reserved in 0.3 s: there is no pod"),
    ],
)
async def test_what_does_not_come_about_has_a_reason_in_time(answer: Any, text: str) -> None:
    async with StubApi() as api:
        api.script = [answer]
        began = time.monotonic()
        with pytest.raises(ReservationError) as refused:
            await ensure(reservations(api, world(node("n1"))))
        assert str(refused.value).startswith(text)
        assert time.monotonic() - began < 2


async def test_a_kubelet_that_refuses_is_heard_at_once() -> None:
    async with StubApi() as api:
        api.script = [reply(made(), 201)]
        picture = world(node("n1"))
        held = reservations(api, picture)
        asked = asyncio.create_task(ensure(held, 60))
        await until(lambda: bool(picture.sharing.reservations))
        failed = made(resourceVersion="5") | {"status": {"phase": "Failed", "reason": "OutOfpods", "message": "full"}}
        show(picture, held, module.wire.parse(failed))
        with pytest.raises(ReservationError, match=r"kubelet of n1 refused .* OutOfpods: full"):
            await asked


async def test_a_device_that_was_lost_takes_nobody_more() -> None:
    async with StubApi() as api:
        api.script = [failure(500)]
        picture = world(node("n1"))
        notes = {"runai-gpu-share": "500", "runai-gpu-uuid": "GPU-a"}
        picture.upsert_pod(pod("s", fraction="0.5", on="n1", indices=(0,), gpu_groups=(GROUP,), annotations=notes))
        picture.upsert_pod(reservation(GROUP, "n1", gpu="GPU-b"))
        with pytest.raises(ReservationError, match="is being found again"):
            await ensure(reservations(api, picture))


async def run_until(held: Reservations, claim: Callable[[], bool]) -> None:
    task = asyncio.create_task(held.run())
    try:
        await until(claim)
        await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_last_sharers_end_is_the_reservations() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        picture = world(node("n1"))
        offer(picture, pod("half", fraction="0.5"))
        ((_, group),) = picture.sharing.sharers
        picture.upsert_pod(reservation(group, "n1", gpu="GPU-a"))
        held = reservations(api, picture)
        task = asyncio.create_task(held.run())
        await asyncio.sleep(0.1)
        assert api.requests == [], "a seat that is only reserved protects it"
        picture.delete_pod(pod("half").uid)
        await until(lambda: bool(api.requests))
        task.cancel()
        assert api.requests[0][:2] == ("DELETE", f"{PODS}/gpu-reservation-{group}")
        assert api.bodies[0]["preconditions"] == {"uid": f"gpu-reservation-{group}-uid"}


async def test_nobody_joins_a_device_while_its_reservations_are_being_deleted() -> None:
    async with StubApi() as api:

        async def slow(_: Any) -> Any:
            await asyncio.sleep(60)

        api.script = [slow]
        picture = world(node("n1", gpus=2))
        picture.upsert_pod(reservation(GROUP, "n1", gpu="GPU-a"))
        picture.upsert_pod(reservation(GROUP, "n1", spare=1, gpu="GPU-b"))
        task = asyncio.create_task(reservations(api, picture).run())
        await until(lambda: bool(api.requests))
        assert len(picture.sharing.closing) == 2
        assert not offer(picture, pod("late", fraction="0.5")).nodes
        task.cancel()


async def test_a_kubelet_that_refuses_again_and_again_is_asked_ever_more_rarely() -> None:
    async with StubApi() as api:
        picture = world(node("n1"))
        notes = {"runai-gpu-share": "500", "runai-gpu-uuid": "GPU-a"}
        picture.upsert_pod(pod("s", fraction="0.5", on="n1", indices=(0,), gpu_groups=(GROUP,), annotations=notes))

        async def answer(request: Any) -> Any:
            """Whatever is made has failed when it is next seen, and is gone when it is deleted."""
            if request.method == "DELETE":
                for uids in list(picture.sharing.reservations.values()):
                    for uid in list(uids):
                        picture.delete_pod(uid)
                return await reply({})(request)
            obj = made(uid=f"r-{len(api.requests)}") | {"status": {"phase": "Failed", "reason": "OutOfpods"}}
            return await reply(obj, 201)(request)

        api.script = [answer]
        task = asyncio.create_task(reservations(api, picture).run())
        await asyncio.sleep(0.6)
        task.cancel()
        made_ones = sum(1 for method, *_ in api.requests if method == "POST")
        assert 3 <= made_ones <= 6, made_ones


async def test_nothing_goes_in_the_first_moments_of_a_new_active_replica() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        picture = world(node("n1"))
        picture.upsert_pod(reservation(GROUP, "n1", gpu="GPU-a"))
        task = asyncio.create_task(reservations(api, picture, takeover_s=0.3).run())
        await asyncio.sleep(0.15)
        assert api.requests == []
        await until(lambda: bool(api.requests))
        task.cancel()
        assert api.requests[0][0] == "DELETE"


async def test_an_orphan_is_a_repair_with_an_event_and_a_count() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        picture, said = world(node("n1")), Said()
        picture.upsert_pod(reservation(GROUP, "n1", gpu="GPU-a"))
        before = metrics.GPU_REPAIRS.labels("orphan")._value.get()
        await run_until(reservations(api, picture, said), lambda: bool(said.texts))
        assert metrics.GPU_REPAIRS.labels("orphan")._value.get() == before + 1
        assert said.texts[0][1] == "GpuSharingRepaired"


async def test_a_failed_write_is_tried_again_and_holds_nobody_else_up() -> None:
    async with StubApi() as api:
        api.script = [failure(500), failure(500), reply({})]
        picture = world(node("n1"))
        picture.upsert_pod(reservation(GROUP, "n1", gpu="GPU-a"))
        await run_until(reservations(api, picture), lambda: len(api.requests) >= 3)
        assert {request[0] for request in api.requests} == {"DELETE"}


async def test_records_that_somebody_edited_are_written_again() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        picture, said = world(node("n1")), Said()
        held = reservations(api, picture, said)
        notes = {"runai-gpu-share": "500", "runai-gpu-uuid": "GPU-a", "runai-gpu-group": GROUP}
        given: dict[str, Any] = {"fraction": "0.5", "on": "n1", "indices": (0,), "annotations": notes}
        picture.upsert_pod(reservation(GROUP, "n1", gpu="GPU-a"))
        show(picture, held, pod("s", gpu_groups=(GROUP,), **given))
        edited = pod("s", version=2, **{**given, "indices": (3,), "gpu_groups": ("mine",)})
        picture.upsert_pod(edited)
        held.see(edited)
        await run_until(held, lambda: bool(said.texts))
        (patch,) = [body for (method, *_), body in zip(api.requests, api.bodies, strict=True) if method == "PATCH"]
        assert patch["metadata"]["labels"] == {"runai-gpu-group": GROUP}
        assert patch["metadata"]["annotations"]["runai-gpu"] == "0"
        assert patch["metadata"]["annotations"]["runai-gpu-uuid"] == "GPU-a"
        assert said.texts[0][:2] == ("s", "GpuSharingRepaired")


async def test_sharers_of_a_sick_device_are_told() -> None:
    async with StubApi() as api:
        picture, said = world(node("n1")), Said()
        picture.upsert_pod(pod("s", fraction="0.5", on="n1", indices=(0,), gpu_groups=(GROUP,)))
        show(picture, reservations(api, picture, said), reservation(GROUP, "n1", gpu="GPU-a", health="Unhealthy"))
        assert said.texts == [("s", "GpuUnhealthy", "GPU GPU-a of node n1, which this pod shares, is not healthy")]


async def test_our_image_is_that_of_the_pod_we_run_in() -> None:
    async with StubApi() as api:
        spec = {"containers": [{"image": "kube-scheduler"}, {"image": "ours:1", "args": ["serve"]}]}
        api.script = [reply({"spec": spec}), failure(404), failure(503)]
        assert await own_image(api.client, "runai", "me") == "ours:1"
        assert (await own_image(api.client, "runai", "me")).startswith("runai-scheduler:")
        with pytest.raises(ApiError):  # asked again when the next device is held: a wrong image would never start
            await own_image(api.client, "runai", "me")


async def test_a_gpu_that_two_devices_of_the_plugin_stand_for_is_not_shared_twice() -> None:
    async with StubApi() as api:
        picture = world(node("n1"))
        picture.upsert_pod(reservation(GROUP, "n1", gpu="GPU-a"))
        picture.upsert_pod(reservation("fedcba9876543210", "n1", device=1, gpu="GPU-a"))
        with pytest.raises(ReservationError, match="is reserved for fedcba9876543210 already"):
            await ensure(reservations(api, picture))


async def test_a_deletion_that_did_not_come_about_is_forgotten_by_who_is_not_active_any_more() -> None:
    async with StubApi() as api:
        api.script = [failure(503)]
        picture, active = world(node("n1", gpus=1)), [True]
        picture.upsert_pod(reservation(GROUP, "n1", gpu="GPU-a"))
        held = reservations(api, picture)
        held._is_active = lambda: active[0]
        task = asyncio.create_task(held.run())
        await until(lambda: bool(picture.sharing.closing))
        active[0] = False
        await until(lambda: not picture.sharing.closing)
        notes = {"runai-gpu-share": "500", "runai-gpu-uuid": "GPU-a"}
        picture.upsert_pod(pod("s", fraction="0.5", on="n1", indices=(0,), gpu_groups=(GROUP,), annotations=notes))
        sent = len(api.requests)
        active[0] = True
        await asyncio.sleep(0.15)
        task.cancel()
        assert len(api.requests) == sent, "it is in use by now"


# ConfigMaps

MAP = "half-abcdef0-shared-gpu"


def sharer(**given: Any) -> Pod:
    notes = {"runai/shared-gpu-configmap": MAP, "runai-gpu-share": "500", "runai-gpu-uuid": "GPU-a"}
    return pod("half", fraction="0.5", on="n1", indices=(0,), gpu_groups=(GROUP,), annotations=notes, **given)


def maps(api: StubApi, picture: Picture, said: Said | None = None) -> GpuMaps:
    return GpuMaps(api.client, picture, cast("EventRecorder", said or Said()), lambda: True)


def stored_map(owner: str, **data: str) -> dict[str, Any]:
    owners = [{"kind": "Pod", "name": "x", "uid": owner}] if owner else []
    return {
        "metadata": {"name": MAP, "uid": "map-uid", "resourceVersion": "4", "ownerReferences": owners},
        "data": data,
    }


async def write(api: StubApi, picture: Picture) -> None:
    one = sharer()
    assert one.placement is not None
    await maps(api, picture).write(one, one.placement, ["GPU-a"])


async def test_the_map_says_which_device_and_how_much_of_it() -> None:
    async with StubApi() as api:
        api.script = [reply({}, 201)]
        await write(api, world(node("n1", gpu_memory=40_000)))
        (body,) = api.bodies
        assert body["metadata"]["ownerReferences"][0]["uid"] == "half-uid"
        assert body["data"] == {
            "NVIDIA_VISIBLE_DEVICES": "GPU-a",
            "GPU_PORTION": "0.5",
            "RUNAI_GPU_FRACTION": "0.5",
            "RUNAI_GPU_MEMORY_MIB": "20000",
            "RUNAI_NUM_OF_GPUS": "0.5",
        }


async def test_one_of_an_earlier_try_is_brought_up_to_date() -> None:
    async with StubApi() as api:
        api.script = [by_method(POST=failure(409), GET=reply(stored_map("half-uid", A="b")), PUT=reply({}))]
        await write(api, world(node("n1")))
        assert [method for method, *_ in api.requests] == ["POST", "GET", "PUT"]
        assert api.bodies[-1]["metadata"]["resourceVersion"] == "4"


async def test_one_of_a_pod_that_has_gone_makes_way() -> None:
    async with StubApi() as api:
        api.script = [failure(409), reply(stored_map("gone-uid")), reply({}), reply({}, 201)]
        await write(api, world(node("n1")))
        assert [method for method, *_ in api.requests] == ["POST", "GET", "DELETE", "POST"]
        assert api.bodies[2]["preconditions"] == {"uid": "map-uid"}


async def test_one_of_a_pod_that_lives_is_a_reason() -> None:
    async with StubApi() as api:
        picture = world(node("n1"))
        picture.upsert_pod(pod("other"))
        api.script = [by_method(POST=failure(409), GET=reply(stored_map("other-uid")))]
        with pytest.raises(ReservationError, match="is of pod runai-team-a/other"):
            await write(api, picture)


async def test_only_the_pods_own_map_is_removed() -> None:
    async with StubApi() as api:
        api.script = [reply(stored_map("other-uid"))]
        await maps(api, world()).remove(sharer())
        assert [method for method, *_ in api.requests] == ["GET"]


async def test_a_map_that_somebody_deleted_comes_back_and_one_of_a_finished_pod_goes() -> None:
    async with StubApi() as api:
        picture, said = world(node("n1")), Said()
        picture.upsert_pod(sharer())
        loop = maps(api, picture, said)
        loop.listed({})
        loop.reflector.synced.set()
        api.script = [reply({}, 201)]
        task = asyncio.create_task(loop.run())
        await until(lambda: bool(said.texts))
        assert said.texts[0][1] == "GpuSharingRepaired"
        loop.changed("runai-team-a", MAP, gpu_maps._Map(sharer().uid, "GPU-a"))
        await asyncio.sleep(0.5)
        assert len(api.requests) == 1, "all is well"
        loop.changed("runai-team-a", MAP, gpu_maps._Map(sharer().uid, "all"))
        await until(lambda: len(api.requests) == 2)
        loop.changed("runai-team-a", MAP, gpu_maps._Map(sharer().uid, "GPU-a"))
        api.script = [by_method(GET=reply(stored_map("half-uid")), DELETE=reply({}))]
        picture.upsert_pod(sharer(version=2, phase="Succeeded"))
        loop.see(picture.pods[sharer().uid].pod)
        await until(lambda: api.requests[-1][0] == "DELETE")
        task.cancel()
