"""Who pays, and may it be preempted: DESIGN section 4, behaviour.md 6.2 and 6.11."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extender.cluster.grouping import group_key_of, group_name
from extender.cluster.membership import Membership
from extender.model.pod import Owner, Pod
from extender.model.queue import PodGroup, Project, Work
from tests.builders import NAMESPACE, pod, pod_group, queue


def knowing(*groups: PodGroup, label: str = "", classes: dict[str, int] | None = None) -> Membership:
    return Membership(
        groups={(group.namespace, group.name): group for group in groups},
        namespaces={NAMESPACE: label, "plain": "", "shared": "team-s"},
        priority_classes=classes or {},
    )


@pytest.mark.parametrize(
    ("subject", "groups", "label", "project"),
    [
        pytest.param(
            pod("p", group="g", queue="labelled"), [pod_group("g", queue="grouped")], "x", "grouped", id="1 its group"
        ),
        pytest.param(
            pod("p", labels={"runai/queue": "q1", "kai.scheduler/queue": "q2", "project": "q3"}), [], "x", "q1",
            id="2 label runai/queue",
        ),
        pytest.param(
            pod("p", labels={"kai.scheduler/queue": "q2", "project": "q3"}), [], "x", "q2", id="3 label of KAI"
        ),
        pytest.param(pod("p", labels={"project": "q3"}), [], "x", "q3", id="4 label project"),
        pytest.param(pod("p"), [], "x", "x", id="5 label of the namespace"),
        pytest.param(pod("p"), [], "", "team-a", id="6 name of the namespace"),
        pytest.param(pod("p", namespace="plain"), [], "", None, id="7 none"),
        pytest.param(pod("p", namespace="never-seen"), [], "", None, id="a namespace we do not know"),
        pytest.param(pod("p", namespace="runai-"), [], "", None, id="a namespace without a project's name"),
        pytest.param(pod("p", namespace="shared"), [], "", "team-s", id="a shared namespace"),
        pytest.param(pod("p", labels={"runai/queue": ""}), [], "x", "x", id="an empty label is none"),
        pytest.param(pod("p", group="g", queue="q"), [pod_group("g")], "", "q", id="a group without a queue"),
        pytest.param(pod("p", group="g", queue="q"), [], "", "q", id="a group that is missing"),
        pytest.param(
            pod("p", group="g"), [pod_group("g", namespace="plain", queue="other")], "", "team-a",
            id="a group of that name elsewhere",
        ),
        pytest.param(pod("p", group="g"), [pod_group("g", queue="g")], "", "g", id="a group whose queue is its name"),
        pytest.param(pod("p", group="p"), [], "", "team-a", id="a pod whose group is itself"),
        pytest.param(
            pod("p", annotations={"pod-group-name": "g"}), [pod_group("g", queue="q")], "", "q", id="a grouper's key"
        ),
    ],
)  # fmt: skip
def test_the_first_that_is_set_pays(subject: Pod, groups: list[PodGroup], label: str, project: str | None) -> None:
    assert knowing(*groups, label=label).project_of(subject) == project


CLASSES = {"build": 100, "train": 50, "own": 200}


@pytest.mark.parametrize(
    ("subject", "groups", "priority"),
    [
        pytest.param(pod("p"), [], 50, id="by default train"),
        pytest.param(pod("p", owner="Job"), [], 50, id="a Job trains"),
        pytest.param(pod("p", owner="StatefulSet"), [], 100, id="a StatefulSet builds"),
        pytest.param(pod("p", owner="ReplicaSet"), [], 125, id="a Deployment serves"),
        pytest.param(pod("p", priority_class="own"), [], 200, id="a class of the cluster"),
        pytest.param(pod("p", priority_class="interactive-preemptible"), [], 75, id="a class of ours, not installed"),
        pytest.param(pod("p", priority_class="build-preemptible"), [], 75, id="its other name"),
        pytest.param(pod("p", owner="StatefulSet", priority_class="train"), [], 50, id="a class before the kind"),
        pytest.param(
            pod("p", priority_class="train", labels={"priorityClassName": "build"}), [], 100, id="a label before spec"
        ),
        pytest.param(
            pod("p", group="g", priority_class="train"), [pod_group("g", priority_class="build")], 100, id="its group"
        ),
        pytest.param(
            pod("p", group="g", priority_class="train"), [pod_group("g", priority_class="none")], 50,
            id="a class nobody made",
        ),
        pytest.param(pod("p", priority_class="gone", priority=300), [], 300, id="a class since deleted: its value"),
        pytest.param(pod("p", priority=0), [], 50, id="the value of no class is none"),
        pytest.param(pod("p", priority_class="gone"), [], 50, id="neither class nor value"),
    ],
)  # fmt: skip
def test_priority(subject: Pod, groups: list[PodGroup], priority: int) -> None:
    membership = knowing(*groups, classes=CLASSES)
    assert membership.priority_of(subject) == priority
    assert membership.is_preemptible(subject) == (priority < 100)


def test_an_unknown_class_in_a_label_has_no_value() -> None:
    subject = pod("p", labels={"priorityClassName": "typo"}, priority=0)
    assert knowing(classes=CLASSES).priority_of(subject) == 50


def test_the_clusters_own_value_of_our_class_wins() -> None:
    membership = knowing(classes={"build": 90})
    assert membership.priority_of(pod("p", priority_class="build")) == 90


@pytest.mark.parametrize(("says", "expected"), [(None, False), (True, True), (False, False)])
def test_a_group_says_itself_whether_it_is_preemptible(says: bool | None, expected: bool) -> None:
    group = replace(pod_group("g", priority_class="build"), preemptible=says)
    assert knowing(group).is_preemptible(pod("p", group="g")) is expected


def test_the_group_made_for_an_owner_counts_before_its_pods_name_it() -> None:
    subject = pod("p", owner="Job")
    membership = knowing(replace(pod_group("pg-owner-owner-uid", queue="q"), preemptible=False))
    assert membership.project_of(subject) == "q"
    assert not membership.is_preemptible(subject)


@pytest.mark.parametrize(
    ("subject", "key"),
    [
        pytest.param(pod("p", group="g", owner="Job"), "runai-team-a/g", id="the group that it names"),
        pytest.param(pod("p", owner="Job"), "runai-team-a/pg-owner-owner-uid", id="one Job is one group"),
        pytest.param(pod("p", owner="StatefulSet"), "runai-team-a/pg-owner-owner-uid", id="so is a StatefulSet"),
        pytest.param(pod("p", owner="MPIJob"), "runai-team-a/pg-owner-owner-uid", id="and any kind that trains"),
        pytest.param(pod("p", owner="ReplicaSet"), "runai-team-a/pg-p-p-uid", id="replicas serve each alone"),
        pytest.param(pod("p", owner="DaemonSet"), "runai-team-a/pg-p-p-uid", id="as does a pod of each node"),
        pytest.param(pod("p"), "runai-team-a/pg-p-p-uid", id="a pod of its own"),
    ],
)
def test_pods_of_one_group(subject: Pod, key: str) -> None:
    assert group_key_of(subject) == key


def test_a_groups_name_fits_into_a_name() -> None:
    assert len(group_name(Owner("Job", "x" * 253, "u" * 36))) <= 253


@pytest.mark.parametrize(
    ("priority_class", "work"),
    [
        ("train", Work.TRAINING),
        ("", Work.TRAINING),
        ("interactive-preemptible", Work.INTERACTIVE),
        ("build", Work.INTERACTIVE),
        ("inference", Work.INFERENCE),
    ],
)
def test_what_a_pod_is_for(priority_class: str, work: Work) -> None:
    assert knowing().work_of(pod("p", priority_class=priority_class)) is work


def test_where_a_pod_may_go() -> None:
    own = pod("p", group="g", labels={"kai.scheduler/node-pool": "own"})
    member, plain = pod("p", group="g"), pod("p")
    membership = knowing(replace(pod_group("g"), pools=("b", "a")))
    project = Project(queue(), default_pools=("c", "default"))
    assert membership.pools_of(own, project) == ("own",)
    assert membership.pools_of(member, project) == ("b", "a")
    assert membership.pools_of(plain, project) == ("c", "default")
    assert membership.pools_of(plain, Project(queue())) == membership.pools_of(plain, None) == ("default",)
