"""In-tree filters, scores, effective requests and the cache: tables of situations."""

from __future__ import annotations

from typing import Any

import pytest

from extender.emulator.pod_resources import pod_requests
from extender.emulator.scheduler.affinity import matches_node, tolerates
from extender.emulator.scheduler.cache import Cache, NodeState, PodView
from extender.emulator.scheduler.fit import in_tree_scores, reject

Json = dict[str, Any]


def node(
    name: str = "n", *, labels: Json | None = None, taints: list[Json] | None = None, **allocatable: str
) -> NodeState:
    state = NodeState(name)
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "10", **{k.replace("_", "."): v for k, v in allocatable.items()}}
    state.set(
        {"metadata": {"labels": labels or {}}, "spec": {"taints": taints or []}, "status": {"allocatable": amounts}}
    )
    return state


def pod(name: str = "p", **spec: Any) -> PodView:
    return PodView({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": {"containers": [], **spec}})


def container(ports: list[Json] | None = None, **requests: str) -> Json:
    return {
        "name": "c",
        "resources": {"requests": {k.replace("_", "."): v for k, v in requests.items()}},
        "ports": ports or [],
    }


def affinity(*terms: Json) -> Json:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}}


def expression(key: str, operator: str, *values: str) -> Json:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


LABELS = {"zone": "a", "gpus": "8"}


@pytest.mark.parametrize(
    ("spec", "matches"),
    [
        ({}, True),
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "b"}}, False),
        ({"affinity": affinity(expression("zone", "In", "a", "b"))}, True),
        ({"affinity": affinity(expression("zone", "NotIn", "a"))}, False),
        ({"affinity": affinity(expression("rack", "NotIn", "a"))}, True),
        ({"affinity": affinity(expression("zone", "Exists"))}, True),
        ({"affinity": affinity(expression("zone", "DoesNotExist"))}, False),
        ({"affinity": affinity(expression("gpus", "Gt", "7"))}, True),
        ({"affinity": affinity(expression("gpus", "Gt", "8"))}, False),
        ({"affinity": affinity(expression("gpus", "Lt", "9"))}, True),
        ({"affinity": affinity(expression("zone", "Lt", "9"))}, False),
        ({"affinity": affinity(expression("zone", "In", "b"), expression("gpus", "In", "8"))}, True),
        ({"affinity": affinity({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]})}, True),
        ({"affinity": affinity({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["m"]}]})}, False),
        ({"affinity": affinity({})}, False),
        ({"nodeSelector": {"zone": "a"}, "affinity": affinity(expression("zone", "In", "b"))}, False),
    ],
)
def test_node_affinity(spec: Json, matches: bool) -> None:
    assert matches_node(spec, "n", LABELS) is matches


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "value": "yes", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "value": "yes", "effect": "NoExecute"}, False),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: Json, covers: bool) -> None:
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    assert tolerates({"tolerations": [toleration]}, taint) is covers


HARD = {"key": "k", "effect": "NoSchedule"}
SOFT = {"key": "k", "effect": "PreferNoSchedule"}


@pytest.mark.parametrize(
    ("asks", "offers", "plugin", "reason"),
    [
        (pod(), node(), None, None),
        (pod(), node(taints=[SOFT]), None, None),
        (pod(), node(taints=[HARD]), "TaintToleration", "node(s) had untolerated taint(s)"),
        (pod(containers=[container(cpu="5")]), node(), "NodeResourcesFit", "Insufficient cpu"),
        (pod(containers=[container(nvidia_com="1")]), node(), "NodeResourcesFit", "Insufficient nvidia.com"),
        (pod(), node(pods="0"), "NodeResourcesFit", "Too many pods"),
        (pod(nodeSelector={"a": "b"}), node(), "NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
    ],
)
def test_in_tree_filters(asks: PodView, offers: NodeState, plugin: str | None, reason: str | None) -> None:
    rejection = reject(asks, offers)
    assert (rejection.plugin if rejection else None) == plugin
    assert (rejection.reasons[0] if rejection else None) == reason


def test_an_unschedulable_node_takes_only_who_tolerates_that() -> None:
    offers = node()
    offers.is_unschedulable = True
    rejection = reject(pod(), offers)
    assert rejection is not None
    assert rejection.reasons == ("node(s) were unschedulable",)
    assert reject(pod(tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]), offers) is None


def test_every_short_resource_is_named() -> None:
    rejection = reject(pod(containers=[container(cpu="5", memory="9Gi")]), node())
    assert rejection is not None
    assert rejection.reasons == ("Insufficient cpu", "Insufficient memory")


def test_an_ignored_extended_resource_is_not_judged() -> None:
    asks = pod(containers=[{"name": "c", "resources": {"requests": {"runai.ai/share": "1"}}}])
    assert reject(asks, node(), frozenset({"runai.ai/share"})) is None
    assert reject(asks, node()) is not None


@pytest.mark.parametrize(
    ("taken", "wanted", "clash"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, True),
        ({"hostPort": 80}, {"hostPort": 81}, False),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, False),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.2"}, False),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80}, True),
        ({"containerPort": 80}, {"containerPort": 80}, False),
    ],
)
def test_host_ports(taken: Json, wanted: Json, clash: bool) -> None:
    offers = node()
    offers.add(pod("other", containers=[container([taken])]))
    rejection = reject(pod(containers=[container([wanted])]), offers)
    assert (rejection is not None) is clash


def test_scores_prefer_the_emptier_the_preferred_and_the_untainted_node() -> None:
    full, empty = node("full"), node("empty")
    full.add(pod("other", containers=[container(cpu="3")]))
    scores = in_tree_scores(pod(containers=[container(cpu="1")]), [full, empty])
    assert scores["empty"] > scores["full"]
    wish = {"weight": 5, "preference": expression("zone", "In", "a")}
    preferred = pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}})
    scores = in_tree_scores(preferred, [node("plain"), node("liked", labels=LABELS)])
    assert scores["liked"] - scores["plain"] == 200
    scores = in_tree_scores(pod(), [node("plain"), node("tainted", taints=[SOFT])])
    assert scores["plain"] - scores["tainted"] == 300


@pytest.mark.parametrize(
    ("spec", "cpu_milli"),
    [
        ({"containers": [container(cpu="1"), container(cpu="500m")]}, 1500),
        ({"containers": [container(cpu="1")], "initContainers": [container(cpu="3"), container(cpu="2")]}, 3000),
        (
            {
                "containers": [container(cpu="1")],
                "initContainers": [{**container(cpu="1"), "restartPolicy": "Always"}, container(cpu="3")],
            },
            4000,
        ),
        (
            {
                "containers": [container(cpu="3")],
                "initContainers": [{**container(cpu="1"), "restartPolicy": "Always"}, container(cpu="1")],
            },
            4000,
        ),
        ({"containers": [container(cpu="1")], "overhead": {"cpu": "250m"}}, 1250),
        ({"containers": [container(cpu="1")], "resources": {"requests": {"cpu": "2"}}}, 2000),
        ({"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]}, 2000),
        ({"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}}]}, 1000),
    ],
    ids=["sum", "largest init", "side-car first", "side-car stays", "overhead", "pod level", "limit only", "both"],
)
def test_effective_request(spec: Json, cpu_milli: int) -> None:
    assert pod_requests({"spec": spec}) == {"cpu": cpu_milli, "pods": 1}


class TestCache:
    def node(self, cache: Cache, name: str) -> NodeState:
        cache.set_node(name, {"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4"}}})
        state = cache.node(name)
        assert state is not None
        return state

    def on(self, node: str) -> PodView:
        return pod(containers=[container(cpu="1")], nodeName=node)

    def test_an_assumed_pod_counts_until_it_is_forgotten(self) -> None:
        cache = Cache()
        state = self.node(cache, "a")
        cache.assume(self.on(""), "a")
        assert state.used["cpu"] == 1000
        assert cache.forget("p")
        assert state.used["cpu"] == 0
        assert not cache.forget("p")

    def test_the_watch_confirms_and_then_it_cannot_be_forgotten(self) -> None:
        cache = Cache()
        state = self.node(cache, "a")
        cache.assume(self.on(""), "a")
        cache.set_pod(self.on("a"))
        assert not cache.is_assumed("p")
        assert not cache.forget("p")
        assert state.used["cpu"] == 1000

    def test_the_watch_wins_over_what_was_assumed(self) -> None:
        cache = Cache()
        a, b = self.node(cache, "a"), self.node(cache, "b")
        cache.assume(self.on(""), "a")
        cache.set_pod(self.on("b"))
        assert (a.used["cpu"], b.used["cpu"]) == (0, 1000)

    def test_a_pod_seen_twice_counts_once(self) -> None:
        cache = Cache()
        state = self.node(cache, "a")
        cache.set_pod(self.on("a"))
        cache.set_pod(self.on("a"))
        assert state.used["cpu"] == 1000

    def test_pods_of_a_deleted_node_count_again_when_it_returns(self) -> None:
        cache = Cache()
        self.node(cache, "a")
        cache.set_pod(self.on("a"))
        cache.set_node("a", None)
        assert cache.nodes() == []
        assert self.node(cache, "a").used["cpu"] == 1000
