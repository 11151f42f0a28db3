"""The mini kube-scheduler against a scripted extender, over real HTTP and the embedded API server.

Each behaviour here was seen on kube-scheduler 1.36; the section of the protocol notes is in the test's name or text.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web

from extender.emulator.cluster import EmbeddedCluster
from extender.emulator.scheduler import ExtenderConfig, MiniScheduler, SchedulerConfig
from extender.kube.client import KubeClient
from tests.emulator.scripted import NAME, PODS, Call, ScriptedExtender, first_only, nobody, pod, serving, until

Json = dict[str, Any]


CONFIG = SchedulerConfig(
    scheduler_names=frozenset({NAME}),
    extenders=(
        ExtenderConfig(
            "http://127.0.0.1:1/extender/",
            filter_verb="filter",
            prioritize_verb="prioritize",
            weight=2,
            node_cache_capable=True,
            timeout_s=1.0,
        ),
        ExtenderConfig("http://127.0.0.1:1/extender/", bind_verb="bind", node_cache_capable=True, timeout_s=1.0),
    ),
    initial_backoff_s=0.05,
    max_backoff_s=0.4,
    backoff_window_s=0.0,
)


@dataclass
class Bench:
    cluster: EmbeddedCluster
    extender: ScriptedExtender
    scheduler: MiniScheduler

    @property
    def client(self) -> KubeClient:
        return self.cluster.client

    async def create(self, name: str = "p", **spec: Any) -> Json:
        return await self.client.create(PODS, pod(name, **spec))

    async def pod(self, name: str = "p") -> Json:
        return await self.client.get(f"{PODS}/{name}")

    async def bound(self, name: str = "p") -> str:
        """The node that a pod gets, as soon as it has one."""
        found: Json = {}

        async def look() -> bool:
            found.update(await self.pod(name))
            return bool(found["spec"].get("nodeName"))

        await until(look)
        return str(found["spec"]["nodeName"])

    async def condition(self, name: str = "p") -> Json:
        for condition in (await self.pod(name))["status"].get("conditions") or ():
            if condition["type"] == "PodScheduled":
                return dict(condition)
        return {}

    async def events(self, reason: str) -> list[Json]:
        items, _ = await self.client.list("/api/v1/namespaces/default/events")
        return [item for item in items if item["reason"] == reason]

    async def calls(self, count: int) -> list[Call]:
        """All calls, once there are `count`."""
        await until(lambda: len(self.extender.calls) >= count)
        return self.extender.calls

    async def quiet(self) -> None:
        """Until the scheduler has had nothing to do for long enough that its own writes have come back to it."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.15:
            if not self.scheduler.is_idle:
                quiet_since = time.monotonic()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def a_bench(config: SchedulerConfig = CONFIG, nodes: int = 2) -> AsyncIterator[Bench]:
    async with (
        EmbeddedCluster(nodes=nodes, scheduler_config=config) as cluster,
        serving(cluster.client) as (extender, url),
    ):
        yield Bench(cluster, extender, cluster.start_scheduler(url))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with a_bench() as bench:
        yield bench


class TestRequests:
    async def test_filter_is_sent_as_kube_scheduler_sends_it(self, bench: Bench) -> None:
        await bench.create()
        await bench.bound()
        call = bench.extender.calls[0]
        assert call.raw.startswith(b'{"Pod":{"metadata":{')
        assert call.raw.endswith(b',"Nodes":null,"NodeNames":["node-0","node-1"]}')
        assert list(call.body) == ["Pod", "Nodes", "NodeNames"]
        sent = call.body["Pod"]
        assert not sent.keys() & {"kind", "apiVersion"}
        assert "managedFields" not in sent["metadata"]
        assert "nodeName" not in sent["spec"]

    async def test_headers_are_those_of_the_go_client(self, bench: Bench) -> None:
        await bench.create()
        await bench.bound()
        headers = bench.extender.calls[0].headers
        assert headers["Content-Type"] == "application/json"
        assert headers["User-Agent"] == "Go-http-client/1.1"
        assert headers["Accept-Encoding"] == "gzip"
        assert headers["Content-Length"] == str(len(bench.extender.calls[0].raw))
        assert "Accept" not in headers

    async def test_bind_names_the_pod_and_the_node_and_nothing_else(self, bench: Bench) -> None:
        bench.extender.filter = first_only
        uid = (await bench.create())["metadata"]["uid"]
        await bench.bound()
        (call,) = bench.extender.of("bind")
        expected = f'{{"PodName":"p","PodNamespace":"default","PodUID":"{uid}","Node":"node-0"}}'
        assert call.raw == expected.encode()

    async def test_nodes_are_sent_whole_to_an_extender_without_a_cache(self) -> None:
        filtering = replace(CONFIG.extenders[0], node_cache_capable=False)
        config = replace(CONFIG, extenders=(filtering, CONFIG.extenders[1]))
        async with a_bench(config) as bench:
            bench.extender.filter = lambda body: {"Nodes": {"items": body["Nodes"]["items"][:1]}}
            await bench.create()
            assert await bench.bound() == "node-0"
            body = bench.extender.calls[0].body
        assert body["NodeNames"] is None
        assert body["Nodes"]["metadata"] == {}
        assert [node["metadata"]["name"] for node in body["Nodes"]["items"]] == ["node-0", "node-1"]

    async def test_only_managed_resources_are_sent_where_they_are_listed(self) -> None:
        managed = tuple(replace(e, managed_resources=frozenset({"nvidia.com/gpu"})) for e in CONFIG.extenders)
        async with a_bench(replace(CONFIG, extenders=managed)) as bench:
            await bench.create("plain")
            await bench.bound("plain")
            assert bench.extender.calls == []
            await bench.create("gpu", gpus=1)
            await bench.bound("gpu")
            assert bench.extender.verbs() == ["filter", "prioritize", "bind"]


class TestPlacement:
    async def test_one_node_in_the_answer_is_taken_without_prioritize(self, bench: Bench) -> None:
        bench.extender.filter = lambda _: {"NodeNames": ["node-1"]}
        await bench.create()
        assert await bench.bound() == "node-1"
        assert bench.extender.verbs() == ["filter", "bind"]

    async def test_scores_decide_between_several_nodes(self, bench: Bench) -> None:
        bench.extender.prioritize = lambda _: [{"Host": "node-1", "Score": 10}, {"Host": "ghost", "Score": 10}]
        await bench.create()
        assert await bench.bound() == "node-1"
        assert bench.extender.verbs() == ["filter", "prioritize", "bind"]
        assert list(bench.extender.of("prioritize")[0].body) == ["Pod", "Nodes", "NodeNames"]

    @pytest.mark.parametrize(
        "answer",
        [b"no json", {"Host": "node-1"}, [{"Host": "node-1", "Score": 5.5}], web.Response(status=500)],
        ids=["malformed", "no list", "fractional score", "status 500"],
    )
    async def test_a_broken_prioritize_is_ignored(self, bench: Bench, answer: Any) -> None:
        bench.extender.prioritize = lambda _: answer
        await bench.create()
        assert await bench.bound() == "node-0"

    async def test_keys_are_read_in_any_case_and_what_follows_the_value_is_not_read(self, bench: Bench) -> None:
        bench.extender.filter = lambda _: b'{"nodenames":["node-1"],"new":1} trailing'
        await bench.create()
        assert await bench.bound() == "node-1"

    async def test_the_nominated_node_is_tried_first_and_alone(self, bench: Bench) -> None:
        gate = [{"name": "test/hold"}]
        await bench.create(schedulingGates=gate)
        await bench.client.patch(f"{PODS}/p/status", {"status": {"nominatedNodeName": "node-1"}})
        await bench.client.patch(f"{PODS}/p", {"spec": {"schedulingGates": None}})
        assert await bench.bound() == "node-1"
        assert bench.extender.calls[0].body["NodeNames"] == ["node-1"]
        assert bench.extender.verbs() == ["filter", "bind"]

    async def test_a_refused_nominated_node_is_followed_by_all_in_the_same_cycle(self, bench: Bench) -> None:
        bench.extender.filter = lambda body: {"NodeNames": [n for n in body["NodeNames"] if n == "node-0"]}
        await bench.create(schedulingGates=[{"name": "test/hold"}])
        await bench.client.patch(f"{PODS}/p/status", {"status": {"nominatedNodeName": "node-1"}})
        await bench.client.patch(f"{PODS}/p", {"spec": {"schedulingGates": None}})
        assert await bench.bound() == "node-0"
        offered = [call.body["NodeNames"] for call in bench.extender.of("filter")]
        assert offered == [["node-1"], ["node-0", "node-1"]]

    async def test_the_next_filter_comes_before_a_slow_bind_has_ended(self, bench: Bench) -> None:
        released = asyncio.Event()
        store = bench.extender.store

        async def slow(body: Json) -> Json:
            await released.wait()
            return await store(body)

        bench.extender.store = slow  # type: ignore[method-assign]
        bench.extender.filter = first_only
        await bench.create("a", gpus=3)
        await bench.create("b", gpus=3)
        calls = await bench.calls(4)
        released.set()
        assert {await bench.bound("a"), await bench.bound("b")} == {"node-0", "node-1"}
        # The first pod is assumed: its node is not offered to the second one any more.
        assert [call.body.get("NodeNames") for call in calls if call.verb == "filter"] == [
            ["node-0", "node-1"],
            ["node-1"],
        ]

    async def test_higher_priority_goes_first(self, bench: Bench) -> None:
        await bench.client.create(
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "urgent"},
                "value": 7,
            },
        )
        bench.extender.delay_s = 0.1
        await bench.create("first")
        await bench.calls(1)
        await bench.create("low")
        await bench.create("high", priorityClassName="urgent")
        await bench.bound("low")
        order = [call.body["Pod"]["metadata"]["name"] for call in bench.extender.of("filter")]
        assert order == ["first", "high", "low"]

    async def test_without_a_binder_the_scheduler_binds_itself(self) -> None:
        async with a_bench(replace(CONFIG, extenders=CONFIG.extenders[:1])) as bench:
            await bench.create()
            await bench.bound()
            assert "bind" not in bench.extender.verbs()
            await until(lambda: bench.events("Scheduled"))


class TestRefusals:
    async def test_a_constant_refusal_costs_two_calls_and_then_nothing(self, bench: Bench) -> None:
        bench.extender.filter = nobody
        await bench.create()
        await bench.quiet()
        # The second call comes because our own status patch is an event, too; its text changes nothing any more.
        assert bench.extender.verbs() == ["filter", "filter"]
        condition = await bench.condition()
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        assert condition["message"] == "0/2 nodes are available: 1 no GPU for it."
        # One event for each version of the pod that was looked at, as client-go tells them apart.
        assert [event["message"] for event in await bench.events("FailedScheduling")] == 2 * [condition["message"]]

    async def test_a_changing_text_makes_it_come_back_for_ever(self, bench: Bench) -> None:
        count = iter(range(1000))
        bench.extender.filter = lambda _: {"FailedNodes": {"node-0": f"attempt {next(count)}"}}
        await bench.create()
        await bench.calls(5)

    async def test_listed_reasons_are_counted_and_unlisted_nodes_have_no_text(self, bench: Bench) -> None:
        bench.extender.filter = lambda body: {
            "NodeNames": [],
            "FailedNodes": {"node-0": "busy", "node-1": "busy"},
            "FailedAndUnresolvableNodes": {"node-1": "too small"},
        }
        await bench.create()
        await until(lambda: bench.condition())
        assert (await bench.condition())["message"] == "0/2 nodes are available: 1 busy, 1 too small."

    @pytest.mark.parametrize("what", ["node changed", "pod bound", "pod deleted", "own annotation"])
    async def test_an_event_in_the_cluster_wakes_a_refused_pod(self, bench: Bench, what: str) -> None:
        elsewhere = pod("elsewhere", nodeName="node-0")
        if what == "pod deleted":
            await bench.client.create(PODS, elsewhere)
        bench.extender.filter = nobody
        await bench.create()
        await bench.quiet()
        assert bench.scheduler.counts()["unschedulable"] == 1
        bench.extender.filter = first_only
        match what:
            case "node changed":
                await bench.client.patch("/api/v1/nodes/node-1", {"metadata": {"annotations": {"a": "b"}}})
            case "pod bound":
                await bench.client.create(PODS, elsewhere)
            case "pod deleted":
                await bench.client.delete(f"{PODS}/elsewhere", options={"gracePeriodSeconds": 0})
            case _:
                await bench.client.patch(f"{PODS}/p", {"metadata": {"annotations": {"a": "b"}}})
        assert await bench.bound() == "node-0"

    async def test_a_node_heartbeat_wakes_nobody(self, bench: Bench) -> None:
        bench.extender.filter = nobody
        await bench.create()
        await bench.quiet()
        beat = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2030-01-01T00:00:00Z"}
        await bench.client.patch("/api/v1/nodes/node-0/status", {"status": {"conditions": [beat]}}, kind="strategic")
        await asyncio.sleep(0.3)
        assert len(bench.extender.calls) == 2

    async def test_nothing_is_asked_when_no_node_passes_in_tree(self, bench: Bench) -> None:
        await bench.create(gpus=5)
        await until(lambda: bench.condition())
        assert (await bench.condition())["message"] == "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
        assert bench.extender.calls == []

    async def test_nodes_that_affinity_does_not_name_are_left_out_before_any_filter(self, bench: Bench) -> None:
        field = {"key": "metadata.name", "operator": "In", "values": ["node-1"]}
        required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
        await bench.create(affinity=affinity, gpus=5)
        await until(lambda: bench.condition())
        assert (await bench.condition())["message"] == (
            "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]."
        )

    async def test_repeated_errors_of_one_version_are_one_event_with_a_series(self, bench: Bench) -> None:
        bench.extender.filter = lambda _: {"Error": "cannot judge now"}
        await bench.create()
        async with asyncio.timeout(5):
            while not any(event.get("series") for event in await bench.events("FailedScheduling")):
                await asyncio.sleep(0.01)
        first, second = sorted(await bench.events("FailedScheduling"), key=lambda event: event["eventTime"])
        assert "series" not in first
        assert second["series"]["count"] >= 2

    async def test_pods_of_other_schedulers_are_counted_and_left_alone(self, bench: Bench) -> None:
        await bench.client.create(PODS, pod("other", gpus=4, nodeName="node-0"))
        await bench.client.create(PODS, pod("waiting", schedulerName="default-scheduler"))
        await bench.create(gpus=1)
        assert await bench.bound() == "node-1"
        assert {call.body["Pod"]["metadata"]["name"] for call in bench.extender.of("filter")} == {"p"}

    async def test_a_gated_pod_costs_no_call_until_its_last_gate_is_gone(self, bench: Bench) -> None:
        await bench.create(schedulingGates=[{"name": "test/a"}, {"name": "test/b"}])
        await bench.client.patch(f"{PODS}/p", {"metadata": {"annotations": {"a": "b"}}})
        await bench.client.patch(f"{PODS}/p", {"spec": {"schedulingGates": [{"name": "test/b"}]}})
        await asyncio.sleep(0.2)
        assert bench.extender.calls == []
        assert bench.scheduler.counts()["gated"] == 1
        await bench.client.patch(f"{PODS}/p", {"spec": {"schedulingGates": None}})
        await bench.bound()


class TestErrors:
    async def test_an_error_backs_off_and_no_event_shortens_it(self, bench: Bench) -> None:
        bench.extender.filter = lambda _: {"Error": "cannot judge now"}
        await bench.create()
        calls = await bench.calls(4)
        waits = [after.at - before.at for before, after in itertools.pairwise(calls)]
        assert waits[0] >= 0.05
        assert waits[1] >= 0.1
        assert waits[2] >= 0.2
        condition = await bench.condition()
        assert (condition["reason"], condition["message"]) == ("SchedulerError", "cannot judge now")

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (web.Response(status=503), "failed filter with extender at URL"),
            (b"", "EOF"),
            (b'{"NodeNames": [', "unexpected EOF"),
            (b"nope", "invalid character"),
            ([], "json: cannot unmarshal array into Go value of type v1.ExtenderFilterResult"),
            (
                {"NodeNames": "node-0"},
                "json: cannot unmarshal string into Go struct field ExtenderFilterResult.NodeNames of type []string",
            ),
            ({"NodeNames": ["ghost"]}, 'claims a filtered node "ghost" which is not found in the input node list'),
        ],
        ids=["status 503", "empty", "cut off", "malformed", "no object", "wrong type", "unknown node"],
    )
    async def test_no_usable_answer_is_a_scheduler_error(self, bench: Bench, answer: Any, text: str) -> None:
        bench.extender.filter = lambda _: answer
        await bench.create()
        await until(lambda: bench.condition())
        condition = await bench.condition()
        assert condition["reason"] == "SchedulerError"
        assert text in condition["message"]

    async def test_a_slow_extender_is_a_scheduler_error(self) -> None:
        hasty = tuple(replace(extender, timeout_s=0.1) for extender in CONFIG.extenders)
        async with a_bench(replace(CONFIG, extenders=hasty)) as bench:
            bench.extender.delay_s = 0.3
            await bench.create()
            await until(lambda: bench.condition())
            text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            assert (await bench.condition())["message"].endswith(text)

    async def test_neither_map_nor_names_means_no_node_and_no_error(self, bench: Bench) -> None:
        bench.extender.filter = lambda _: {"NodeNames": None, "Nodes": None}
        await bench.create()
        await until(lambda: bench.condition())
        assert (await bench.condition())["reason"] == "Unschedulable"

    async def test_a_failed_bind_is_given_up_and_tried_again_from_the_start(self, bench: Bench) -> None:
        answers = iter([{"Error": "API server away"}])
        bench.extender.filter = first_only
        bench.extender.bind = lambda _: next(answers)
        await bench.create(gpus=4)
        await bench.calls(2)
        bench.extender.bind = None
        assert await bench.bound() == "node-0"
        assert bench.extender.verbs() == ["filter", "bind", "filter", "bind"]
        # Had the first attempt stayed assumed, its GPUs would have hidden the node.
        assert bench.extender.of("filter")[1].body["NodeNames"] == ["node-0", "node-1"]

    async def test_a_bind_that_timed_out_but_was_stored_is_not_repeated(self) -> None:
        binder = replace(CONFIG.extenders[1], timeout_s=0.2)
        async with a_bench(replace(CONFIG, extenders=(CONFIG.extenders[0], binder))) as bench:
            store = bench.extender.store

            async def late(body: Json) -> Json:
                answer = await store(body)
                await asyncio.sleep(0.4)
                return answer

            bench.extender.store = late  # type: ignore[method-assign]
            bench.extender.filter = first_only
            await bench.create()
            await bench.bound()
            await bench.quiet()
            assert bench.extender.verbs() == ["filter", "bind"]
            assert await bench.events("FailedScheduling")

    async def test_a_pod_deleted_while_it_is_bound_does_not_come_back(self, bench: Bench) -> None:
        bench.extender.filter = first_only
        bench.extender.bind = lambda _: {"Error": "pod not found"}
        bench.extender.delay_s = 0.1
        await bench.create()
        await bench.calls(2)
        await bench.client.delete(f"{PODS}/p", options={"gracePeriodSeconds": 0})
        await bench.quiet()
        assert bench.extender.verbs() == ["filter", "bind"]
        assert bench.scheduler.is_idle

    async def test_the_watches_survive_a_server_that_forgets(self, bench: Bench) -> None:
        await bench.create("before")
        await bench.bound("before")
        faults = bench.cluster.server.faults
        faults.expire_history("pods")
        faults.cut_watches()
        await bench.create("after")
        await bench.bound("after")
