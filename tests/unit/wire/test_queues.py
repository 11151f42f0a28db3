"""Projects, departments, PodGroups and topologies as deciding sees them: every figure, and every refusal."""

from __future__ import annotations

import re
from typing import Any

import pytest

from extender.errors import MalformedError
from extender.model import durations
from extender.model.queue import (
    Department,
    PodGroup,
    Project,
    Queue,
    Quota,
    SubGroupSpec,
    TopologyConstraint,
    Weights,
    Work,
)
from extender.wire.resources import parse_department, parse_podgroup, parse_project, parse_topology

Json = dict[str, Any]


def project(**spec: Any) -> Project:
    obj = {"metadata": {"name": "team-a", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}
    return parse_project(obj).to_model()


def department(**spec: Any) -> Department:
    return parse_department({"metadata": {"name": "d"}, "spec": spec}).to_model()


def group(**spec: Any) -> PodGroup:
    return parse_podgroup({"metadata": {"name": "g", "namespace": "n"}, "spec": spec}).to_model()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", 30.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        ("0", 0.0),
        ("-1s", -1.0),
        ("10us", 1e-5),
    ],
)
def test_durations(text: str, expected: float) -> None:
    assert durations.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "30", "s", "1d", "1 s", "+1s", "1s\n", "1e3s", "--1s", "9" * 10 + "s", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        durations.seconds(text)


def test_what_a_project_is_by_default() -> None:
    assert project() == Project(
        Queue(
            "team-a",
            Quota(gpu_milli=0),
            Quota(),
            department="default",
            weights=Weights(2, 2, 2),
            created=1_767_225_600.0,
        )
    )


def test_a_projects_place_among_its_siblings() -> None:
    made = project(
        gpuOverQuotaWeight=3,
        priority=200,
        preemptMinRuntime="30s",
        reclaimMinRuntime="1m",
        nodePoolsResources=[
            {"pool": "default", "cpu": {"overQuotaWeight": 0}},
            {"pool": "a100", "gpu": {"overQuotaWeight": 1}},
        ],
    )
    assert made.queue.weights == Weights(3, 0, 3)
    assert made.queue_in("a100").weights == Weights(1, 3, 3)
    for queue in (made.queue, made.queue_in("a100"), made.queue_in("unheard-of")):
        assert (queue.priority, queue.preempt_min_runtime_s, queue.reclaim_min_runtime_s) == (200, 30.0, 60.0)


OVER = {"deservedGpus": 2}  # may go over its quota
WALLED = {"deservedGpus": 2, "maxAllowedGpus": 2}  # may not


@pytest.mark.parametrize(
    ("top", "entry", "deserved", "limit"),
    [
        pytest.param(OVER, None, 0, None, id="nothing guaranteed where it has no figures"),
        pytest.param(WALLED, None, 0, 0, id="nothing at all where it may not go over"),
        pytest.param(OVER, {"deserved": 4}, 4000, None, id="its own quota"),
        pytest.param(OVER, {"deserved": 4, "maxAllowed": 5}, 4000, 5000, id="its own limit"),
        pytest.param(WALLED, {"deserved": 4}, 4000, 4000, id="over quota off holds in every pool"),
        pytest.param(WALLED, {"deserved": 4, "maxAllowed": -1}, 4000, None, id="unless the pool says otherwise"),
        pytest.param({"deservedGpus": 2, "maxAllowedGpus": 3}, {}, 0, None, id="a limit above the quota is the pool's"),
    ],
)
def test_a_project_in_another_pool(top: Json, entry: Json | None, deserved: int, limit: int | None) -> None:
    entries = [] if entry is None else [{"pool": "a100", "gpu": entry, "memory": {"maxAllowed": 100}}]
    queue = project(**top, nodePoolsResources=entries).queue_in("a100")
    assert queue.deserved == Quota(gpu_milli=deserved)
    assert queue.limit == Quota(gpu_milli=limit, memory_mib=100 if entries else None)
    assert queue.name == "team-a"


def test_a_department_says_nothing_where_it_has_no_figures() -> None:
    made = department(parent="top", deservedGpus=4, maxAllowedGpus=4, reclaimMinRuntime="1h")
    assert (made.name, made.parent) == ("d", "top")
    assert (made.queue.deserved, made.queue.limit) == (Quota(gpu_milli=4000), Quota(gpu_milli=4000))
    elsewhere = made.queue_in("a100")
    assert (elsewhere.deserved, elsewhere.limit) == (Quota(), Quota())
    assert elsewhere.reclaim_min_runtime_s == 3600.0


def test_node_types_and_time_limits_go_by_what_the_work_is() -> None:
    made = project(
        nodeAffinityTrain=["v100", "a100"],
        nodeAffinityInteractive=["t4"],
        interactiveJobTimeLimitSecs=60,
        trainingJobTimeLimitSecs=0,
        defaultNodePools=["b", "a"],
    )
    assert [made.node_types_for(work) for work in Work] == [("a100", "v100"), ("t4",), ("t4",)]
    assert [made.time_limit_for(work) for work in Work] == [None, 60, None]
    assert made.default_pools == ("b", "a")


def test_idle_limits_go_by_what_the_work_is_and_whether_it_may_be_preempted() -> None:
    made = project(
        interactiveJobMaxIdleDurationSecs=10,
        interactivePreemptibleJobMaxIdleDurationSecs=20,
        trainingJobMaxIdleDurationSecs=30,
    )
    limits = {
        (work, preemptible): made.idle_limit_for(work, preemptible=preemptible)
        for work in Work
        for preemptible in (True, False)
    }
    assert limits == {
        (Work.TRAINING, True): 30,
        (Work.TRAINING, False): 30,
        (Work.INTERACTIVE, True): 20,
        (Work.INTERACTIVE, False): 10,
        (Work.INFERENCE, True): None,
        (Work.INFERENCE, False): None,
    }
    assert made.limits_idleness
    without = project(trainingJobMaxIdleDurationSecs=0)
    assert without.idle_limit_for(Work.TRAINING, preemptible=True) is None
    assert not without.limits_idleness


def test_everything_a_group_can_say() -> None:
    made = group(
        queue="team-a",
        minSubGroup=1,
        subGroups=[
            {"name": "replica-0", "minSubGroup": 2, "topologyConstraint": {"topology": "t"}},
            {"name": "leader", "parent": "replica-0", "minMember": 1},
            {"name": "workers", "parent": "replica-0", "minMember": 3},
        ],
        topologyConstraint={
            "topology": "dc",
            "requiredTopologyLevel": "topology.kubernetes.io/zone",
            "preferredTopologyLevel": "rack",
        },
        priorityClassName="build",
        preemptibility="preemptible",
        preemptionDelay="5m",
        stalenessGracePeriod="-1s",
        minRuntime="1h",
        nodePools=["b", "a"],
    )
    assert made == PodGroup(
        "n",
        "g",
        queue=made.queue,
        min_parts=1,
        subgroups=(
            SubGroupSpec("replica-0", min_parts=2, topology=TopologyConstraint("t")),
            SubGroupSpec("leader", "replica-0", 1),
            SubGroupSpec("workers", "replica-0", 3),
        ),
        topology=TopologyConstraint("dc", "topology.kubernetes.io/zone", "rack"),
        priority_class="build",
        preemptible=True,
        preemption_delay_s=300.0,
        stale_after_s=-1.0,
        min_runtime_s=3600.0,
        pools=("b", "a"),
    )
    assert made.minimum == 4


@pytest.mark.parametrize(("spec", "minimum"), [({}, 1), ({"minMember": 0}, 1), ({"minMember": 3}, 3)])
def test_the_minimum_of_a_plain_group(spec: Json, minimum: int) -> None:
    assert group(**spec).minimum == minimum


def leaf(name: str, **more: Any) -> Json:
    return {"name": name, "minMember": 1, **more}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"minMember": 2, "minSubGroup": 1}, "minMember and minSubGroup exclude each other"),
        ({"subGroups": [leaf("a"), leaf("a")]}, "named more than once: a"),
        ({"subGroups": [leaf("a", parent="b")]}, "the parent 'b' of 'a' is not among them"),
        ({"subGroups": [{"name": "a"}]}, "'a' has no parts, so it needs minMember"),
        ({"subGroups": [leaf("a"), leaf("b", parent="a")]}, "'a' has parts, so minMember cannot be said of it"),
        ({"subGroups": [leaf("a", minSubGroup=1)]}, "'a' has both minMember and minSubGroup"),
        ({"subGroups": [{"name": "a", "parent": "a"}]}, "'a' is above itself"),
        (
            {"subGroups": [{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}, leaf("c", parent="a")]},
            "'a' is above itself",
        ),
        ({"subGroups": [leaf("a", minMember=-1)]}, r"subGroups\[0\].minMember should be greater than or equal to 0"),
        ({"preemptibility": "never"}, "preemptibility should be 'preemptible' or 'non-preemptible'"),
        ({"preemptionDelay": "-5m"}, "preemptionDelay"),
        ({"stalenessGracePeriod": "soon"}, "stalenessGracePeriod"),
        ({"topologyConstraint": {"topology": ""}}, "topologyConstraint.topology"),
        ({"topologyConstraint": {"topology": "t", "requiredTopologyLevel": "a b"}}, "requiredTopologyLevel"),
    ],
)
def test_a_wrong_group_is_refused_with_its_reason(spec: Json, message: str) -> None:
    with pytest.raises(MalformedError, match=r"^PodGroup n/g: ") as refused:
        group(**spec)
    assert re.search(message, str(refused.value))


def test_a_minimum_of_more_parts_than_there_are_is_accepted() -> None:
    assert group(minSubGroup=5, subGroups=[leaf("a")]).min_parts == 5


def test_topologies() -> None:
    levels = ["topology.kubernetes.io/zone", "rack", "kubernetes.io/hostname"]
    obj = {"metadata": {"name": "dc"}, "spec": {"levels": [{"nodeLabel": one} for one in levels]}}
    assert parse_topology(obj).levels == tuple(levels)


@pytest.mark.parametrize(
    "levels", [None, [], [{}], [{"nodeLabel": ""}], [{"nodeLabel": "a b"}], [{"nodeLabel": "a"}, {"nodeLabel": "a"}]]
)
def test_a_topology_names_its_levels(levels: Any) -> None:
    with pytest.raises(MalformedError, match=r"^Topology dc: "):
        parse_topology({"metadata": {"name": "dc"}, "spec": {"levels": levels}})
