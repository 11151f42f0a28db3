"""/explain: one reason, a place in the order, and what would make it fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from extender.cluster.picture import Picture
from extender.model import names
from extender.model.pod import Owner
from extender.model.queue import PodGroup
from extender.planning.planner import Planner
from extender.planning.settings import Settings
from extender.servers.explain import explain
from extender.servers.operations import Operations
from tests.builders import NAMESPACE, PROJECT, node, pod, queue, uid, world

Json = dict[str, Any]


def waiting(picture: Picture, name: str, group: str = "", gpus: int = 1, created: str = "2026-01-01T00:00:00Z") -> None:
    picture.upsert_pod(replace(pod(name, gpus=gpus), gates=(names.SCHEDULING_GATE,), group=group, created=created))


async def asked(picture: Picture, path: str) -> tuple[int, Json]:
    planner = Planner(picture, Settings())
    planner.allocate(0.0, 0.0)
    operations = Operations(picture, CollectorRegistry(), lambda: "", lambda: None, planner)
    async with TestClient(TestServer(operations.app())) as client, client.get(f"/explain/{path}") as answer:
        return answer.status, await answer.json()


async def test_a_gang_that_does_not_fit() -> None:
    picture = world(node("a", gpus=2), projects=[queue(deserved=2000)])
    picture.upsert_group(PodGroup(NAMESPACE, "g", min_member=3))
    for name in ("g0", "g1", "g2"):
        waiting(picture, name, "g")
    status, told = await asked(picture, f"{NAMESPACE}/g")
    assert status == 200
    assert (told["queue"], told["position"], told["reason"]) == (PROJECT, 1, "NotEnoughResources")
    assert told["members"] == {"pending": 3}
    assert told["would_fit"] == (
        "3 GPUs come free on nodes that accept it; 2 GPUs are free in all, at most 2 whole ones on one node"
    )
    assert told["queue_status"]["shares"] == {"deserved_gpus": 2.0, "fair_share_gpus": 2.0, "limit_gpus": None}
    # By the name of one of its pods, too.
    assert (await asked(picture, f"{NAMESPACE}/g1"))[1]["group"] == f"{NAMESPACE}/g"


async def test_an_incomplete_gang_and_its_place_in_the_order() -> None:
    picture = world(node("a", gpus=2))
    picture.upsert_group(PodGroup(NAMESPACE, "g", min_member=3))
    waiting(picture, "g0", "g")
    waiting(picture, "first", gpus=8, created="2020-01-01T00:00:00Z")
    _, told = await asked(picture, f"{NAMESPACE}/g")
    assert (told["reason"], told["would_fit"]) == ("GangIncomplete", "2 more pod(s) of the group have to be created")
    assert told["position"] == 2


async def test_over_the_limit() -> None:
    picture = world(node("a", gpus=2), projects=[queue(limit=0)])
    waiting(picture, "p")
    _, told = await asked(picture, f"{NAMESPACE}/p")
    assert told["reason"] == "OverLimit"
    assert "quota has reached the allowable limit" in told["message"]
    assert told["would_fit"] == f"the limit of {PROJECT} or of its department is raised, or its pods free 1 GPUs"


async def test_nobody_of_that_name() -> None:
    status, told = await asked(world(node("a")), f"{NAMESPACE}/ghost")
    assert status == 404
    assert "no PodGroup and no pod of ours is called ghost" in told["error"]


async def test_what_no_node_could_hold_is_told_with_the_largest_node() -> None:
    picture = world(node("a", gpus=2), node("b", gpus=4))
    waiting(picture, "p", gpus=5)
    _, told = await asked(picture, f"{NAMESPACE}/p")
    never = (
        f"The pod {NAMESPACE}/p requires GPU: 5, CPU: 0 (cores), memory: 0 (GB), pods: 1. "
        "Max GPU resources available in a single node in the default node-pool is topped at 4"
    )
    assert told["message"] == (
        "No nodes with enough resources were found: 2 node(s) didn't have enough resources: GPUs. "
        f"Requested: 5 GPUs. {never}"
    )
    assert told["would_fit"] == f"a node is added that is large enough for it: {never}"


async def test_a_node_pool_without_gpus() -> None:
    picture = world(node("a", gpus=None), projects=[queue()])
    waiting(picture, "p")
    _, told = await asked(picture, f"{NAMESPACE}/p")
    assert told["message"].endswith("pods: 1. No node in the default node-pool has GPU resources")


async def test_by_the_name_of_the_workload_too() -> None:
    picture = world(node("a", gpus=1))
    for name in ("train-x", "train-y"):
        waiting(picture, name)
        owner = Owner("Job", "train", "train-uid", "batch/v1")
        picture.upsert_pod(replace(picture.pods[uid(name)].pod, owner=owner))
    assert (await asked(picture, f"{NAMESPACE}/train"))[1]["group"] == f"{NAMESPACE}/pg-train-train-uid"
    assert (await asked(picture, f"{NAMESPACE}/nobody"))[0] == 404


async def test_who_is_promised_a_place_is_told_that_others_have_yet_to_leave() -> None:
    picture = world(node("a", gpus=1))
    picture.upsert_pod(pod("train", gpus=1, on="a", indices=[0]))
    picture.upsert_pod(replace(pod("build", gpus=1, priority_class="build"), gates=(names.SCHEDULING_GATE,)))
    planner = Planner(picture, Settings())
    planner.take_back(0.0, 0.0)
    told = explain(picture, planner, NAMESPACE, "build")
    assert told is not None
    assert (told["reason"], told["promised"]) == ("WaitingForOthers", ["build"])
    assert told["would_fit"] == "the pods that are making way for it have ended"
