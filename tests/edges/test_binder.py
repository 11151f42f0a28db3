"""What becomes of a bind, whatever the API server does: stored once, never lost, never a false success."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from extender.cluster import audit
from extender.cluster.picture import HoldState, Picture
from extender.controllers import binder as module
from extender.controllers.binder import Binder
from extender.model.gpu import GpuRequest
from extender.model.names import NodeName, PodUID
from extender.model.node import Node
from extender.model.pod import Pod
from extender.model.queue import Project, Queue
from extender.pods.bind import BindRequest
from extender.pods.filter import filter_pod
from extender.pods.placement import Policy
from tests.edges.stub import StubApi, by_method, failure, reply, stream

UID = PodUID("uid-1")
REQUEST = BindRequest("runai-a", "p", UID, NodeName("n1"))
CREATED = reply({"kind": "Status", "status": "Success"}, 201)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.001)
    monkeypatch.setattr(module, "_POST_S", 0.05)


def picture(*, seen: bool = True) -> Picture:
    made = Picture()
    made.upsert_project(Project(Queue("a")))
    for name in ("n1", "n2"):
        made.upsert_node(Node(NodeName(name), "", gpus=2, gpu_slots=2))
    if seen:
        pod = Pod(UID, "runai-a", "p", 5, gpu=GpuRequest(1, share_milli=500))
        filter_pod(made, pod, ["n1"], Policy(), now=time.monotonic())
    return made


def stored(node: str = "", *, uid: str = UID, devices: str = "0") -> Any:
    """The pod as the API server would return it."""
    annotations = {"gpu-fraction": "0.5"} | ({"runai-gpu": devices} if node else {})
    metadata = {"name": "p", "namespace": "runai-a", "uid": uid, "resourceVersion": "9", "annotations": annotations}
    if node:
        metadata["labels"] = {"runai-gpu-group": "g"}
    return reply({"metadata": metadata, "spec": {"nodeName": node, "containers": []}, "status": {}})


def binder(api: StubApi, made: Picture, *, active: bool = True, timeout_s: float = 0.2) -> Binder:
    return Binder(api.client, made, Policy(), lambda: active, timeout_s=timeout_s)


async def test_one_write_says_node_devices_group_and_uid() -> None:
    async with StubApi() as api:
        api.script = [CREATED]
        made = picture()
        assert await binder(api, made).bind(REQUEST) == ""
        assert api.requests == [("POST", "/api/v1/namespaces/runai-a/pods/p/binding", {})]
        metadata = api.bodies[0]["metadata"]
        assert metadata["uid"] == UID
        group = metadata["labels"]["runai-gpu-group"]
        assert metadata["annotations"] == {
            "runai-gpu-group": group,
            "runai-gpu": "0",
            "runai-gpu-share": "500",
            "received-resource-type": "Fraction",
        }
        assert list(metadata["labels"]) == ["runai-gpu-group"]
        assert api.bodies[0]["target"]["name"] == "n1"
        hold = made.pods[UID].hold
        assert hold is not None
        assert hold.state is HoldState.BOUND
        assert audit.check(made) == []


# What the API server answers, what kube-scheduler hears ("" is success), and what the pod then holds.
CASES: dict[str, tuple[list[Any], str, HoldState | None]] = {
    "409, and it is ours": ([failure(409), stored("n1")], "", HoldState.BOUND),
    "409, on another node": ([failure(409), stored("n2")], "already bound to node n2", HoldState.BOUND),
    "409, unbound: deleting or gated": ([failure(409), stored()], "no", None),
    "409, made again under its name": ([failure(409), stored(uid="uid-2")], "is deleted", None),
    "404, gone": ([failure(404), failure(404)], "is deleted", None),
    "404, but it is there": ([failure(404), stored()], "no", None),
    "403": ([failure(403)], "no", None),
    "422": ([failure(422)], "no", None),
    "500, not stored, then stored": ([failure(500), stored(), CREATED], "", HoldState.BOUND),
    "500, stored all the same": ([failure(500), stored("n1")], "", HoldState.BOUND),
    "500 for ever: it may still land": ([by_method(POST=failure(500), GET=stored())], "no", HoldState.UNKNOWN),
    "500, and reading fails too": ([failure(500)], "no", HoldState.UNKNOWN),
    "429, then stored": ([failure(429, headers={"Retry-After": "0"}), stored(), CREATED], "", HoldState.BOUND),
    "no answer, stored": ([stream(then="hang"), stored("n1")], "", HoldState.BOUND),
    "no answer, not stored, then stored": ([stream(then="hang"), stored(), CREATED], "", HoldState.BOUND),
    "no answer, then refused: the first may land": (
        [stream(then="hang"), stored(), failure(409), stored()],
        "no",
        HoldState.UNKNOWN,
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_outcomes(case: str) -> None:
    script, error, state = CASES[case]
    async with StubApi() as api:
        api.script = list(script)
        made = picture()
        answer = await binder(api, made).bind(REQUEST)
        assert (answer == "") == (error == "")
        assert error in answer
        record = made.pods.get(UID)
        hold = record.hold if record is not None else None
        assert (hold.state if hold is not None else None) is state
        assert audit.check(made) == []


async def test_two_binds_of_one_pod_at_once_are_one_write() -> None:
    async with StubApi() as api:
        api.script = [CREATED]
        bound = binder(api, picture())
        assert await asyncio.gather(*(bound.bind(REQUEST) for _ in range(5))) == [""] * 5
        assert len(api.requests) == 1


async def test_a_bind_elsewhere_while_one_is_under_way_is_refused() -> None:
    async with StubApi() as api:
        api.script = [CREATED]
        bound = binder(api, picture())
        elsewhere = BindRequest("runai-a", "p", UID, NodeName("n2"))
        first, second = await asyncio.gather(bound.bind(REQUEST), bound.bind(elsewhere))
        assert first == ""
        assert "node n1 is under way" in second


async def test_binding_again_is_success_without_a_write() -> None:
    async with StubApi() as api:
        api.script = [CREATED]
        bound = binder(api, picture())
        assert [await bound.bind(REQUEST), await bound.bind(REQUEST)] == ["", ""]
        assert len(api.requests) == 1


async def test_after_a_restart_the_pod_is_read_and_planned_on_that_node() -> None:
    async with StubApi() as api:
        api.script = [stored(), CREATED]
        made = picture(seen=False)
        assert await binder(api, made).bind(REQUEST) == ""
        assert [method for method, _, _ in api.requests] == ["GET", "POST"]
        assert made.table.arrays().total_free[made.table.row_of[NodeName("n1")]] == 1500


async def test_after_a_restart_a_full_node_is_an_error_and_nothing_is_held() -> None:
    async with StubApi() as api:
        api.script = [stored()]
        made = picture(seen=False)
        made.upsert_node(Node(NodeName("n1"), "", gpus=0, gpu_slots=0))
        assert "does not fit on node n1" in await binder(api, made).bind(REQUEST)
        assert list(made.provisional()) == []


async def test_a_node_that_went_is_refused_although_the_api_server_would_take_it() -> None:
    async with StubApi() as api:
        api.script = [CREATED]
        made = picture()
        made.delete_node(NodeName("n1"))
        assert await binder(api, made).bind(REQUEST) == "node n1 does not exist"
        assert api.requests == []
        assert list(made.provisional()) == []


async def test_a_replica_that_is_not_active_writes_nothing() -> None:
    async with StubApi() as api:
        api.script = [CREATED]
        made = picture()
        assert await binder(api, made, active=False).bind(REQUEST) == "another replica is active"
        assert api.requests == []
        assert list(made.provisional()) == []


@pytest.mark.parametrize(
    ("truth", "age_s", "state"),
    [
        (stored("n1"), 0.0, HoldState.BOUND),
        (failure(404), 0.0, None),
        (stored(), 0.0, HoldState.UNKNOWN),  # it may still land
        (stored(), 100.0, None),
        (failure(503), 100.0, HoldState.UNKNOWN),  # nobody knows
    ],
    ids=["bound", "gone", "unbound", "unbound for long", "unreadable"],
)
async def test_an_unknown_outcome_is_read_back_until_it_is_known(truth: Any, age_s: float, state: Any) -> None:
    async with StubApi() as api:
        api.script = [failure(500)]
        made = picture()
        bound = binder(api, made, timeout_s=0.01)
        await bound.bind(REQUEST)
        hold = made.pods[UID].hold
        assert hold is not None
        hold.since -= age_s
        api.script = [truth]
        await bound.read_back(UID, give_up_after_s=90.0)
        record = made.pods.get(UID)
        after = record.hold.state if record is not None and record.hold is not None else None
        assert after is state
        assert audit.check(made) == []


async def test_a_bind_that_starts_while_we_read_back_is_left_alone() -> None:
    async with StubApi() as api:
        api.script = [failure(500)]
        made = picture()
        bound = binder(api, made, timeout_s=0.01)
        await bound.bind(REQUEST)
        hold = made.pods[UID].hold
        assert hold is not None
        hold.since -= 100.0

        async def meanwhile(request: Any) -> Any:
            made.set_state(UID, HoldState.BINDING)  # kube-scheduler came back and a Binding is on its way
            return await stored()(request)

        api.script = [meanwhile]
        await bound.read_back(UID, give_up_after_s=90.0)
        assert made.pods[UID].hold is hold
        assert hold.state is HoldState.BINDING


async def test_a_stored_answer_that_is_not_json_is_read_back() -> None:
    async def nonsense(_: Any) -> Any:
        from aiohttp import web

        return web.Response(text="<html>welcome</html>", status=201)

    async with StubApi() as api:
        api.script = [nonsense, stored("n1")]
        made = picture()
        assert await binder(api, made).bind(REQUEST) == ""
        assert [method for method, _, _ in api.requests] == ["POST", "GET"]
