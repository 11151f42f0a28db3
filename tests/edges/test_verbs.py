"""The verbs over real HTTP: what kube-scheduler's client relies on, and what bad input gets."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import orjson
import pytest

from extender import metrics
from extender.cluster.picture import Picture
from extender.controllers.binder import Binder
from extender.controllers.upkeep import Upkeep
from extender.model.names import NodeName
from extender.model.node import Node
from extender.model.queue import Project, Queue
from extender.pods.bind import BindRequest
from extender.pods.placement import Policy
from extender.servers.listener import Listener
from extender.servers.verbs import Verbs

LIMIT = 64 * 1024


@dataclass
class Bench:
    """A server over a picture of two nodes, with a binder that only remembers."""

    session: aiohttp.ClientSession
    url: str
    picture: Picture
    why_not: str = ""
    bound: list[BindRequest] = field(default_factory=list)

    async def post(self, verb: str, body: object, **headers: str) -> tuple[int, Any, aiohttp.ClientResponse]:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.session.post(f"{self.url}/extender/{verb}", data=data, headers=headers) as response:
            payload = await response.read()
        return response.status, orjson.loads(payload) if response.status == 200 else payload, response


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    picture = Picture()
    picture.upsert_project(Project(Queue("a")))
    for name in ("n1", "n2"):
        picture.upsert_node(Node(NodeName(name), "", gpus=1, gpu_slots=1, gpu_memory_mib=1000))
    made = Bench(aiohttp.ClientSession(), "", picture)

    class Remembering:
        async def bind(self, request: BindRequest) -> str:
            made.bound.append(request)
            return ""

        def refused(self, *_: object) -> None: ...

    verbs = Verbs(
        picture,
        Policy(),
        cast("Binder", Remembering()),
        cast("Upkeep", Remembering()),
        lambda: made.why_not,
        answer_all=False,
        max_body_bytes=LIMIT,
    )
    listener = Listener(verbs.app(), "127.0.0.1:0")
    await listener.start()
    made.url = listener.url
    yield made
    await made.session.close()
    await listener.stop()


def pod(name: str = "p", annotations: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    fields = {"name": name, "namespace": "runai-a", "uid": f"uid-{name}", "annotations": annotations or {}, **metadata}
    return {"metadata": fields, "spec": {"containers": [{"name": "c"}]}, "status": {}}


def args(obj: object, names: list[str] | None = None) -> dict[str, Any]:
    return {"Pod": obj, "Nodes": None, "NodeNames": ["n1", "n2"] if names is None else names}


HALF = {"gpu-fraction": "0.5"}


async def test_a_seat_is_one_node_with_a_content_length_on_one_connection(bench: Bench) -> None:
    status, answer, response = await bench.post("filter", args(pod(annotations=HALF)))
    assert status == 200
    assert answer == {
        "Nodes": None,
        "NodeNames": ["n1"],
        "FailedNodes": {},
        "FailedAndUnresolvableNodes": {},
        "Error": "",
    }
    assert int(response.headers["Content-Length"]) > 0
    assert "Transfer-Encoding" not in response.headers
    assert response.headers["Content-Type"].startswith("application/json")


async def test_a_trailing_slash_and_a_gzip_body_are_the_same_question(bench: Bench) -> None:
    body = gzip.compress(orjson.dumps(args(pod(annotations=HALF))))
    _, answer, _ = await bench.post("filter/", body, **{"Content-Encoding": "gzip"})
    assert answer["NodeNames"] == ["n1"]


async def test_unknown_paths_and_methods_are_small_refusals(bench: Bench) -> None:
    assert (await bench.post("nothing", {}))[0] == 404
    async with bench.session.get(f"{bench.url}/extender/filter") as response:
        assert response.status == 405


BAD_BODIES = {
    "empty": b"",
    "truncated": b'{"Pod": {',
    "not an object": b"[1,2]",
    "no pod": b'{"NodeNames": ["n1"]}',
    "null pod": b'{"Pod": null, "NodeNames": ["n1"]}',
    "pod without uid": b'{"Pod": {"metadata": {"name": "p"}}, "NodeNames": ["n1"]}',
    "pod of texts": b'{"Pod": {"metadata": "m", "spec": "s"}, "NodeNames": ["n1"]}',
    "names of numbers": b'{"Pod": {"metadata": {"name": "p", "uid": "u"}}, "NodeNames": [1]}',
    "names of one text": b'{"Pod": {"metadata": {"name": "p", "uid": "u"}}, "NodeNames": "n1"}',
    "invalid utf-8": b'{"Pod": {"metadata": {"name": "\xff", "uid": "u"}}}',
    "deep nesting": b"[" * 20_000,
    "a number too large": b'{"Pod": {"metadata": {"name": "p", "uid": "u", "generation": 1e999}}, "NodeNames": []}',
}


@pytest.mark.parametrize("verb", ["filter", "bind", "prioritize", "preempt"])
@pytest.mark.parametrize("case", BAD_BODIES)
async def test_a_bad_body_gets_an_answer_of_the_protocol_and_changes_nothing(
    bench: Bench, verb: str, case: str
) -> None:
    revision = bench.picture.revision
    status, answer, _ = await bench.post(verb, BAD_BODIES[case])
    assert status == 200
    if verb in ("filter", "bind") and case != "a number too large":
        assert answer["Error"].startswith(f"malformed {verb} request: ")
        assert len(answer["Error"]) < 300
        assert "Traceback" not in answer["Error"]
    assert bench.picture.revision == revision
    assert bench.bound == []
    assert (await bench.post("filter", args(pod(annotations=HALF))))[1]["NodeNames"] == ["n1"]


async def test_a_body_over_the_limit_is_413_and_the_next_request_is_served(bench: Bench) -> None:
    assert (await bench.post("filter", b"x" * (LIMIT + 1)))[0] == 413
    assert (await bench.post("filter", args(pod(annotations=HALF))))[1]["NodeNames"] == ["n1"]


async def test_a_reject_is_constant_text_for_every_node_beyond_preemptions_help(bench: Bench) -> None:
    bench.picture.delete_project("a")
    _, answer, _ = await bench.post("filter", args(pod(annotations=HALF)))
    text = "QueueDoesNotExist: the pod has no project that exists"
    assert answer["FailedAndUnresolvableNodes"] == {"n1": text, "n2": text}
    assert answer["NodeNames"] == []
    assert answer["Error"] == ""
    bench.picture.upsert_node(Node(NodeName("n3"), "", gpus=8, gpu_slots=8))
    assert (await bench.post("filter", args(pod(annotations=HALF))))[1] == answer


async def test_nodes_sent_as_objects_come_back_untouched(bench: Bench) -> None:
    node = {"metadata": {"name": "n2", "labels": {"x": "y"}}, "spec": {"weird": [1]}}
    question = {"Pod": pod(annotations=HALF), "Nodes": {"metadata": {}, "items": [node]}, "NodeNames": None}
    _, answer, _ = await bench.post("filter", question)
    assert answer["Nodes"]["items"] == [node]
    assert answer["NodeNames"] is None


@pytest.mark.parametrize(
    "names", [[], None, ["never-heard-of"]], ids=["no names", "neither names nor nodes", "unknown"]
)
async def test_without_a_node_we_know_nothing_passes_and_nothing_is_held(bench: Bench, names: Any) -> None:
    question = {"Pod": pod(annotations=HALF), "Nodes": None, "NodeNames": names}
    status, answer, _ = await bench.post("filter", question)
    assert status == 200
    assert not answer["NodeNames"]
    assert list(bench.picture.provisional()) == []


async def test_ten_thousand_unknown_annotations_cost_nothing(bench: Bench) -> None:
    many = {f"example.com/a-{n}": "" for n in range(2_000)}
    assert (await bench.post("filter", args(pod(annotations=HALF | many))))[1]["NodeNames"] == ["n1"]


async def test_while_not_ready_filter_and_bind_are_errors_not_refusals(bench: Bench) -> None:
    bench.why_not = "not ready: waiting for the first list of pods"
    assert (await bench.post("filter", args(pod())))[1]["Error"] == bench.why_not
    binding = {"PodName": "p", "PodNamespace": "runai-a", "PodUID": "u", "Node": "n1"}
    assert (await bench.post("bind", binding))[1] == {"Error": bench.why_not}
    assert (await bench.post("prioritize", args(pod())))[1] == [{"Host": "n1", "Score": 0}, {"Host": "n2", "Score": 0}]


async def test_bind_answers_only_an_error(bench: Bench) -> None:
    binding = {"PodName": "p", "PodNamespace": "runai-a", "PodUID": "u", "Node": "n1"}
    assert (await bench.post("bind", binding))[1] == {"Error": ""}
    assert bench.bound[0].node == "n1"
    missing = {**binding, "PodUID": ""}
    assert (await bench.post("bind", missing))[1] == {"Error": "malformed bind request: PodUID is missing"}


async def test_go_clients_spell_keys_as_they_like(bench: Bench) -> None:
    question = {"pod": pod(annotations=HALF), "nodenames": ["n2"]}
    assert (await bench.post("filter", question))[1]["NodeNames"] == ["n2"]


async def test_two_pods_at_once_never_get_the_same_device(bench: Bench) -> None:
    whole = [{**pod(f"p{n}"), "spec": _whole()} for n in range(6)]
    answers = await asyncio.gather(*(bench.post("filter", args(one)) for one in whole))
    assert sorted(len(answer["NodeNames"]) for _, answer, _ in answers) == [0, 0, 0, 0, 1, 1]
    assert {answer["NodeNames"][0] for _, answer, _ in answers if answer["NodeNames"]} == {"n1", "n2"}


async def test_every_call_is_timed_and_counted(bench: Bench) -> None:
    before = _count("filter", "ok"), _count("filter", "error")
    await bench.post("filter", args(pod(annotations=HALF)))
    await bench.post("filter", b"")
    assert (_count("filter", "ok"), _count("filter", "error")) == (before[0] + 1, before[1] + 1)


def _whole() -> dict[str, Any]:
    return {"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}


def _count(verb: str, reason: str) -> float:
    value = metrics.REGISTRY.get_sample_value("runai_extender_decisions_total", {"verb": verb, "reason": reason})
    assert value is not None
    return value
