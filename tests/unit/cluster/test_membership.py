"""Who pays, and may it be preempted: DESIGN section 4, behaviour.md 6.2 and 6.11."""

from __future__ import annotations

import pytest

from extender.cluster.membership import Membership
from extender.model.pod import Pod
from extender.model.queue import PodGroup
from tests.builders import NAMESPACE, pod, pod_group


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
