"""The checks that no node can change, and their order (behaviour.md 12.11)."""

from __future__ import annotations

from typing import Any

import pytest

from extender.cluster.picture import Picture
from extender.model.pod import Pod
from extender.model.verdict import Reason, Verdict
from extender.pods.admit import admit
from tests.builders import node, pod, pod_group, queue, world


def judged(picture: Picture, subject: Pod) -> Verdict | None:
    record = picture.upsert_pod(subject)
    assert record is not None
    return admit(picture, record)


def reason(picture: Picture, subject: Pod) -> Reason | None:
    verdict = judged(picture, subject)
    return verdict.reason if verdict else None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, None, id="cpu only"),
        pytest.param({"gpus": 1}, None, id="one GPU"),
        pytest.param({"gpus": 1, "on": "n", "indices": [0]}, Reason.ALREADY_BOUND, id="bound"),
        pytest.param({"on": "nowhere"}, Reason.ALREADY_BOUND, id="bound to a node we do not know"),
        pytest.param({"deleting": True}, Reason.POD_DELETED, id="terminating"),
        pytest.param({"phase": "Succeeded"}, Reason.POD_FINISHED, id="succeeded"),
        pytest.param({"phase": "Failed"}, Reason.POD_FINISHED, id="failed"),
        pytest.param({"fraction": "1.0"}, Reason.INVALID_GPU_REQUEST, id="malformed"),
        pytest.param({"fraction": "0.5", "gpus": 1}, Reason.INVALID_GPU_REQUEST, id="contradiction"),
        pytest.param({"namespace": "plain"}, Reason.QUEUE_DOES_NOT_EXIST, id="S16 no project"),
        pytest.param({"queue": "nobody"}, Reason.QUEUE_DOES_NOT_EXIST, id="a project nobody made"),
        pytest.param({"fraction": "2", "queue": "nobody"}, Reason.INVALID_GPU_REQUEST, id="malformed comes first"),
        pytest.param({"group": "missing"}, None, id="a group that is missing: the namespace pays"),
        pytest.param({"group": "p"}, None, id="a group that is the pod itself"),
    ],
)
def test_verdicts(given: dict[str, Any], expected: Reason | None) -> None:
    assert reason(world(node("n")), pod("p", **given)) == expected


def test_a_group_whose_queue_is_its_own_name_has_no_project() -> None:
    picture = world(node("n"))
    picture.upsert_group(pod_group("g", queue="g"))
    verdict = judged(picture, pod("p", group="g"))
    assert verdict is not None
    assert (verdict.reason, verdict.message) == (
        Reason.QUEUE_DOES_NOT_EXIST,
        "project g of pod runai-team-a/p does not exist",
    )


def test_a_missing_project_is_no_licence() -> None:
    picture = world(node("n"), projects=[queue("other")])
    assert reason(picture, pod("p")) is Reason.QUEUE_DOES_NOT_EXIST


def test_s5_s6_with_the_numbers_of_what_runs() -> None:
    picture = world(node("n"), projects=[queue(deserved=2000, limit=4000)])
    picture.upsert_pod(pod("i1", gpus=1, on="n", indices=[0], priority_class="build"))
    picture.upsert_pod(pod("i2", fraction="0.5", on="n", indices=[1], gpu_groups=["g"], priority_class="build"))
    s5 = judged(picture, pod("i3", gpus=1, priority_class="build"))
    assert s5 is not None
    assert s5.message == (
        "Non-preemptible workload is over quota. Workload requested 1 GPUs, but team-a quota is 2 GPUs, while 1.5 GPUs "
        "are already allocated for non-preemptible pods. Use a preemptible workload to go over quota."
    )
    assert judged(picture, pod("i4", gpus=1, priority_class="interactive-preemptible")) is None
    picture.upsert_pod(pod("t1", gpus=2, on="n", indices=[2, 3]))
    s6 = judged(picture, pod("t2", gpus=1))
    assert s6 is not None
    assert s6.message == (
        "team-a quota has reached the allowable limit of GPUs. Limit is 4 GPUs, currently 3.5 GPUs allocated and "
        "workload requested 1 GPUs"
    )


def test_the_department_is_asked_too() -> None:
    picture = world(
        node("n"),
        projects=[queue(department="d"), queue("team-b", department="d")],
        departments=[queue("d", limit=2000)],
    )
    picture.upsert_pod(pod("b", gpus=2, on="n", indices=[0, 1], queue="team-b"))
    verdict = judged(picture, pod("p", fraction="0.1"))
    assert verdict is not None
    assert verdict.message.startswith("d quota has reached the allowable limit of GPUs. Limit is 2 GPUs")


def test_before_placement_memory_counts_on_the_smallest_gpu() -> None:
    picture = world(node("big", gpu_memory=40_960), projects=[queue(limit=250)])
    assert judged(picture, pod("p", gpu_memory=10_240)) is None
    picture.upsert_node(node("small", gpu_memory=16_384))
    assert reason(picture, pod("p", gpu_memory=10_240)) is Reason.OVER_LIMIT


def test_the_text_for_kube_scheduler_stays_the_same_as_usage_moves() -> None:
    picture = world(node("n"), projects=[queue(limit=1000)])
    texts = set()
    for number in range(3):
        picture.upsert_pod(pod(f"x{number}", gpus=1, on="n", indices=[number]))
        verdict = judged(picture, pod("p", gpus=1))
        assert verdict is not None
        texts.add(verdict.constant)
    assert texts == {"OverLimit: the project has reached the allowable limit"}
