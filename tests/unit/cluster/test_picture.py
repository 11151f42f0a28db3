from __future__ import annotations

import pytest

from extender.cluster import audit
from extender.cluster.picture import HoldState, Picture
from extender.model.names import NodeName
from extender.model.pod import Phase, Placement
from extender.model.queue import Department, Project
from extender.pods import bind
from extender.pods.bind import BindRequest
from tests.builders import (
    NAMESPACE,
    POLICY,
    PROJECT,
    free,
    gpus_held,
    held,
    is_sound,
    node,
    offer,
    placement_of,
    pod,
    pod_group,
    pod_object,
    queue,
    seat_of,
    state_of,
    uid,
    world,
)


def reserved(*names: str, gpus: int = 2) -> Picture:
    """A node n of `gpus` GPUs with a seat of one for each of `names`."""
    picture = world(node("n", gpus=gpus))
    for name in names:
        assert offer(picture, pod(name, gpus=1)).nodes == ("n",)
    return picture


# Versions, names and uids


def test_an_older_version_changes_nothing() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", gpus=1, version=9, on="n", indices=[0], phase="Running"))
    picture.upsert_pod(pod("p", gpus=1, version=8))
    assert state_of(picture, "p") is HoldState.BOUND
    assert picture.pods[uid("p")].pod.phase is Phase.RUNNING


def test_the_same_version_again_changes_nothing() -> None:
    picture = world(node("n"))
    for _ in range(2):
        picture.upsert_pod(pod("p", gpus=1, version=9, on="n", indices=[0]))
    assert held(picture, "n") == {0: 1000}
    assert gpus_held(picture) == (1000, 0)


def test_a_finished_pod_is_not_resurrected_by_a_late_event() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", gpus=1, version=5, on="n", indices=[0], phase="Succeeded"))
    picture.upsert_pod(pod("p", gpus=1, version=4, on="n", indices=[0], phase="Running"))
    assert held(picture, "n") == {}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finishing_frees_once(phase: str) -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", gpus=1, version=1, on="n", indices=[0], phase="Running"))
    for version in (2, 3):
        picture.upsert_pod(pod("p", gpus=1, version=version, on="n", indices=[0], phase=phase))
        assert held(picture, "n") == {}
        assert gpus_held(picture) == (0, 0)


def test_terminating_holds_until_it_is_gone() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", gpus=1, version=1, on="n", indices=[0], phase="Running"))
    picture.upsert_pod(pod("p", gpus=1, version=2, on="n", indices=[0], phase="Running", deleting=True))
    assert held(picture, "n") == {0: 1000}
    picture.delete_pod(uid("p"))
    assert held(picture, "n") == {}


def test_a_tombstone_ignores_late_events() -> None:
    picture = world(node("n"))
    picture.delete_pod(uid("p"))  # the delete came first
    assert picture.upsert_pod(pod("p", gpus=1, on="n", indices=[0])) is None
    assert picture.is_gone(uid("p"))
    assert held(picture, "n") == {}


def test_the_same_name_with_a_new_uid_is_another_pod() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", uid="old", version=1, gpus=1, on="n", indices=[0]))
    picture.upsert_pod(pod("p", uid="new", version=2, gpus=1, on="n", indices=[1]))
    assert held(picture, "n") == {1: 1000}
    # The old one's events are late: they free nothing of the new one, and bring nothing back.
    picture.upsert_pod(pod("p", uid="old", version=3, gpus=1, on="n", indices=[0]))
    picture.delete_pod(pod("p", uid="old").uid)
    assert held(picture, "n") == {1: 1000}
    assert picture.pods.keys() == {"new"}


def test_a_scheduler_may_know_the_new_pod_before_the_watch_does() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", uid="old", version=1, gpus=1, on="n", indices=[0]))
    picture.upsert_pod(pod("p", uid="new", version=2, gpus=1), watched=False)
    assert picture.pods.keys() == {"old", "new"}  # the old one runs until the watch says otherwise
    picture.delete_pod(pod("p", uid="old").uid)
    picture.upsert_pod(pod("p", uid="new", version=2, gpus=1))
    assert picture.pods["new"].watched  # type: ignore[index]
    picture.upsert_pod(pod("p", uid="newer", version=3))
    assert picture.pods.keys() == {"newer"}


@pytest.mark.parametrize("watched", [False, True])
def test_a_late_event_of_an_earlier_pod_does_not_bury_its_successor(watched: bool) -> None:
    picture = world(node("n"))
    # kube-scheduler's watch is ahead of ours: the pod was made, deleted and made again before we saw the first.
    picture.upsert_pod(pod("p", uid="new", version=20, gpus=1, on="n", indices=[0]), watched=watched)
    picture.upsert_pod(pod("p", uid="old", version=10, gpus=1))
    picture.delete_pod(pod("p", uid="old").uid)
    picture.upsert_pod(pod("p", uid="new", version=20, gpus=1, on="n", indices=[0]))
    assert held(picture, "n") == {0: 1000}
    assert picture.pods.keys() == {"new"}


# Lists


def test_a_list_removes_what_it_lacks() -> None:
    picture = world(node("n"))
    for name, index in (("a", 0), ("b", 1)):
        picture.upsert_pod(pod(name, gpus=1, version=5, on="n", indices=[index]))
    picture.replace_pods([pod("b", gpus=1, version=5, on="n", indices=[1]), pod("c", version=6)], 7)
    assert picture.pods.keys() == {"b-uid", "c-uid"}
    assert held(picture, "n") == {1: 1000}
    assert is_sound(picture)


def test_a_list_does_not_remove_what_is_newer_than_it() -> None:
    picture = world(node("n"))
    offer(picture, pod("young", gpus=1, version=20))
    picture.replace_pods([], 10)
    assert state_of(picture, "young") is HoldState.RESERVED
    picture.replace_pods([], 30)
    assert picture.pods == {}
    assert held(picture, "n") == {}


def test_a_list_from_before_our_binding_does_not_free_it() -> None:
    picture = reserved("p")
    picture.set_state(uid("p"), HoldState.BINDING)
    picture.confirm(uid("p"), seat_of(picture, uid("p")))
    picture.replace_pods([pod("p", gpus=1, version=1)], 50)
    assert state_of(picture, "p") is HoldState.BOUND
    assert held(picture, "n") == {0: 1000}


def test_nodes_that_a_list_lacks_are_gone() -> None:
    picture = world(node("a"), node("b"))
    picture.replace_nodes([node("b", gpus=1), node("c")])
    assert sorted(one.name for one in picture.nodes()) == ["b", "c"]
    assert free(picture, "b") == [1000]
    assert is_sound(picture)


# Holds


def test_holds_move_along_and_only_forward() -> None:
    picture = reserved("p")
    assert [record.pod.uid for record in picture.provisional()] == [uid("p")]
    picture.set_state(uid("p"), HoldState.BINDING)
    assert state_of(picture, "p") is HoldState.BINDING
    picture.confirm(uid("p"), seat_of(picture, uid("p")))
    picture.set_state(uid("p"), HoldState.UNKNOWN)  # a late word about a Binding that is stored
    assert state_of(picture, "p") is HoldState.BOUND
    assert list(picture.provisional()) == []


def test_words_about_pods_that_hold_nothing_change_nothing() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p"))
    for subject in (uid("p"), uid("never-seen")):
        picture.set_state(subject, HoldState.BINDING)
        picture.confirm(subject, seat_of(picture, subject))
        picture.release(subject)
        picture.delete_pod(uid("never-seen"))
    assert state_of(picture, "p") is None


def test_the_watch_confirms_what_we_reserved() -> None:
    picture = reserved("p")
    picture.upsert_pod(pod("p", version=2, gpus=1, on="n", indices=[0]))
    assert state_of(picture, "p") is HoldState.BOUND
    assert list(picture.provisional()) == []
    assert is_sound(picture)


def test_what_the_api_server_says_is_the_truth() -> None:
    picture = reserved("p", gpus=4)
    picture.upsert_node(node("other"))
    picture.upsert_pod(pod("p", version=2, gpus=1, on="other", indices=[3]))
    assert placement_of(picture, "p") == Placement(NodeName("other"), ((3, ""),))
    assert held(picture, "n") == {}
    assert is_sound(picture)


def test_a_pod_bound_by_others_holds_whole_devices() -> None:
    picture = world(node("n", gpus=4))
    picture.upsert_pod(pod("foreign", gpus=2, on="n"))
    assert free(picture, "n") == [1000, 1000, 0, 0]
    assert gpus_held(picture) == (2000, 0)


def test_rules_do_not_apply_to_what_runs_already() -> None:
    picture = world(node("n", gpus=1), projects=[queue(limit=0, deserved=0)])
    for name in ("a", "b"):
        picture.upsert_pod(pod(name, fraction="0.8", on="n", indices=[0], gpu_groups=["g"]))
    assert held(picture, "n") == {0: 1600}
    assert free(picture, "n") == [0]
    assert audit.check(picture) == []
    assert audit.overcommitted(picture) == ["n/0: 1600"]


# Nodes


def test_shrinking_and_growing() -> None:
    picture = world(node("n", gpus=4))
    for index in range(3):
        picture.upsert_pod(pod(f"p{index}", fraction="0.5", on="n", indices=[index], gpu_groups=[f"g{index}"]))
    assert free(picture, "n") == [500, 500, 500, 1000]
    picture.upsert_node(node("n", gpus=2, slots=4))
    assert free(picture, "n") == [0, 0, 0, 0]
    assert offer(picture, pod("q", fraction="0.1")).nodes == ()
    picture.upsert_node(node("n", gpus=0, slots=4))
    assert free(picture, "n") == [0, 0, 0, 0]
    picture.delete_pod(uid("p0"))
    picture.upsert_node(node("n", gpus=2, slots=4))
    assert free(picture, "n") == [0, 500, 500, 0]
    picture.upsert_node(node("n", gpus=4))
    assert free(picture, "n") == [1000, 500, 500, 1000]
    picture.upsert_node(node("n", gpus=1))  # capacity too: the devices of p1 and p2 are beyond it
    assert free(picture, "n") == [0]
    assert is_sound(picture)


def test_a_deleted_node_keeps_the_record_of_its_pods() -> None:
    picture = world(node("n", gpus=2))
    picture.upsert_pod(pod("p", gpus=1, on="n", indices=[1]))
    picture.delete_node(NodeName("n"))
    assert picture.ledger(NodeName("n")) is None
    assert offer(picture, pod("q", gpus=1), "n").nodes == ()
    assert gpus_held(picture) == (1000, 0)
    picture.upsert_node(node("n", gpus=2, uid="made-again"))
    assert free(picture, "n") == [1000, 0]
    picture.delete_node(NodeName("n"))
    picture.delete_pod(uid("p"))
    picture.delete_node(NodeName("n"))
    assert gpus_held(picture) == (0, 0)
    assert is_sound(picture)


def test_a_pod_may_come_before_its_node() -> None:
    picture = world(node("other"))
    picture.upsert_pod(pod("p", gpu_memory=1024, on="n", indices=[0], gpu_groups=["g"]))
    assert gpus_held(picture) == (1000, 0)  # unknown GPUs: a whole one
    picture.upsert_node(node("n", gpu_memory=4096))
    assert gpus_held(picture) == (250, 0)
    assert held(picture, "n") == {0: 250}
    assert is_sound(picture)


def test_memory_shares_follow_the_nodes_gpu_memory() -> None:
    picture = world(node("n", gpu_memory=16_384))
    picture.upsert_pod(pod("p", gpu_memory=4096, on="n", indices=[0], gpu_groups=["g"]))
    assert (held(picture, "n"), gpus_held(picture)) == ({0: 250}, (250, 0))
    picture.upsert_node(node("n", gpu_memory=8192))
    assert (held(picture, "n"), gpus_held(picture)) == ({0: 500}, (500, 0))
    picture.upsert_node(node("n", gpu_memory=None))
    assert (held(picture, "n"), gpus_held(picture)) == ({0: 1000}, (1000, 0))
    assert is_sound(picture)


# Who pays


def test_a_hold_is_paid_by_whoever_should_pay_now() -> None:
    picture = world(node("n"), projects=[queue("team-a"), queue("team-b"), queue("team-c")])
    picture.upsert_pod(pod("p", gpus=1, on="n", indices=[0], group="g"))
    assert gpus_held(picture, "team-a") == (1000, 0)
    picture.upsert_group(pod_group("g", queue="team-b", priority_class="build"))
    assert (gpus_held(picture, "team-a"), gpus_held(picture, "team-b")) == ((0, 0), (1000, 1000))
    picture.delete_group("runai-team-a", "g")
    picture.upsert_namespace("runai-team-a", "team-c")
    assert gpus_held(picture, "team-c") == (1000, 0)
    picture.replace_namespaces({"runai-team-a": "team-b"})
    assert gpus_held(picture, "team-b") == (1000, 0)
    picture.replace_groups([pod_group("g", queue="team-c")])
    assert gpus_held(picture, "team-c") == (1000, 0)
    picture.replace_groups([])
    picture.delete_namespace("runai-team-a")
    assert gpus_held(picture, "team-a") == (1000, 0)
    assert is_sound(picture)


def test_priority_classes_decide_what_cannot_be_taken_back() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", gpus=1, on="n", indices=[0], priority_class="own"))
    assert gpus_held(picture) == (1000, 0)
    picture.set_priority_classes({"own": 100})
    assert gpus_held(picture) == (1000, 1000)
    assert is_sound(picture)


def test_a_deleted_project_keeps_its_usage_until_its_pods_end() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", gpus=1, on="n", indices=[0]))
    picture.delete_project(PROJECT)
    assert gpus_held(picture) == (1000, 0)
    picture.upsert_project(Project(queue(limit=1000)))
    assert gpus_held(picture) == (1000, 0)
    picture.delete_pod(uid("p"))
    assert gpus_held(picture) == (0, 0)
    assert next(iter(picture.quotas.holders()))[1].allocated.gpu_milli == 0


def test_a_department_sums_its_projects() -> None:
    picture = world(
        node("n"),
        projects=[queue("team-a", department="d"), queue("team-b", department="d"), queue("team-c")],
        departments=[queue("d", limit=2000)],
    )
    for number, project in enumerate(("team-a", "team-b", "team-c")):
        picture.upsert_pod(pod(f"p{number}", gpus=1, on="n", indices=[number], queue=project))
    assert picture.quotas.department_usage("d").allocated.gpu_milli == 2000
    assert [one.name for one, _ in picture.quotas.path(PROJECT)] == ["team-a", "d"]
    picture.delete_department("d")
    assert [one.name for one, _ in picture.quotas.path(PROJECT)] == ["team-a"]
    picture.replace_departments([Department(queue("d"))])
    picture.replace_projects([Project(queue("team-b", department="d"))])
    assert picture.quotas.department_usage("d").allocated.gpu_milli == 2000  # until team-a's pod has ended
    picture.delete_pod(uid("p0"))
    assert picture.quotas.department_usage("d").allocated.gpu_milli == 1000


def test_a_deleted_projects_pods_still_count_in_its_department() -> None:
    picture = world(
        node("n"), projects=[queue(department="d"), queue("team-b", department="d")], departments=[queue("d")]
    )
    picture.upsert_pod(pod("p", gpus=1, on="n", indices=[0]))
    picture.delete_project(PROJECT)
    assert picture.quotas.department_usage("d").allocated.gpu_milli == 1000


# What could turn a "no" into a "yes" moves the generation, so that refused pods are looked at again.


def test_what_moves_the_generation() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", gpus=1, on="n", indices=[0]))
    changes = {
        "a node grows": lambda: picture.upsert_node(node("n", gpus=9)),
        "a node comes": lambda: picture.upsert_node(node("m")),
        "a project changes": lambda: picture.upsert_project(Project(queue(limit=5))),
        "projects are listed": lambda: picture.replace_projects([Project(queue())]),
        "a department changes": lambda: picture.upsert_department(Department(queue("d"))),
        "a department goes": lambda: picture.delete_department("d"),
        "a group comes": lambda: picture.upsert_group(pod_group("g")),
        "a namespace is labelled": lambda: picture.upsert_namespace("x", "team-a"),
        "a pod finishes": lambda: picture.upsert_pod(pod("p", gpus=1, version=2, on="n", phase="Failed")),
    }
    for what, change in changes.items():
        before = picture.generation
        change()
        assert picture.generation > before, what


@pytest.mark.parametrize("change", ["node goes", "pod elsewhere"])
def test_what_moves_it_in_a_roundabout_way(change: str) -> None:
    """The smallest GPUs go, and requests for memory get cheaper; a seat is left because its pod is bound elsewhere."""
    picture = world(node("n", gpu_memory=4096), node("m"))
    offer(picture, pod("p", gpus=1), "m")
    before = picture.generation
    if change == "node goes":
        picture.delete_node(NodeName("n"))
    else:
        picture.upsert_pod(pod("p", gpus=1, version=2, on="n", indices=[0]))
    assert picture.generation > before


# What users can edit on their own running pods


def bound_by_us(**request: object) -> tuple[Picture, dict[str, str], dict[str, str]]:
    """A pod that runs where we bound it, and the annotations and labels of its object."""
    picture = world(node("n", gpus=2))
    subject = pod("p", version=1, **request)
    offer(picture, subject)
    step = bind.begin(picture, BindRequest("runai-team-a", "p", uid("p"), NodeName("n")), POLICY, now=0.0)
    assert isinstance(step, bind.Write)
    bind.settle(picture, uid("p"), bind.Outcome.STORED, seat_of(picture, uid("p")))
    stored = pod_object("p", version=2, on="n", phase="Running", **request)["metadata"]  # type: ignore[arg-type]
    annotations, labels = stored["annotations"] | step.annotations, stored["labels"] | step.labels
    picture.upsert_pod(pod("p", version=2, on="n", phase="Running", annotations=annotations, labels=labels))
    return picture, annotations, labels


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"gpu-fraction": "0.0001"}, id="a smaller fraction"),
        pytest.param({"gpu-fraction": None}, id="no fraction"),
        pytest.param({"gpu-fraction": "nonsense"}, id="a malformed fraction"),
        pytest.param({"gpu-fraction-num-devices": "2"}, id="more devices"),
        pytest.param({"runai-gpu": "1"}, id="another device"),
        pytest.param({"runai-gpu": None}, id="no device"),
        pytest.param({"runai-gpu-share": "1"}, id="a smaller share"),
    ],
)
def test_editing_a_running_pods_annotations_frees_nothing(edit: dict[str, str | None]) -> None:
    picture, annotations, labels = bound_by_us(fraction="0.9")
    edited = {key: value for key, value in (annotations | edit).items() if value is not None}
    picture.upsert_pod(pod("p", version=3, on="n", phase="Running", annotations=edited, labels=labels))
    assert held(picture, "n") == {0: 900}
    assert gpus_held(picture) == (900, 0)
    assert is_sound(picture)


def test_a_pod_bound_by_hand_that_asks_for_absurd_cpu() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", cpu="4e18", on="n"))
    assert is_sound(picture)


def test_a_node_that_offers_absurd_cpu() -> None:
    assert is_sound(world(node("n", cpu="4e18")))


def test_a_change_of_a_groups_status_alone_moves_nothing() -> None:
    picture = world(node("n"))
    picture.upsert_group(pod_group("g", queue="x"))
    before = (picture.generation, picture.revision)
    picture.upsert_group(pod_group("g", queue="x"))
    picture.replace_groups([pod_group("g", queue="x")])
    assert (picture.generation, picture.revision) == before


def test_the_pods_of_a_group_are_known_with_and_without_the_object() -> None:
    picture = world(node("n"))
    for name in ("a", "b"):
        picture.upsert_pod(pod(name, owner="Job"))
    picture.upsert_pod(pod("c", group="g"))

    def members() -> dict[tuple[str, str], list[str]]:
        return {key: sorted(one.pod.name for one in picture.pods_of_group(*key)) for key in picture.group_keys()}

    made = (NAMESPACE, "pg-owner-owner-uid")
    assert members() == {made: ["a", "b"], (NAMESPACE, "g"): ["c"]}
    picture.upsert_pod(pod("a", owner="Job", group=made[1], version=2))  # named on the pod: the same group
    picture.upsert_pod(pod("b", owner="Job", group="g", version=2))
    picture.delete_pod(uid("c"))
    assert members() == {made: ["a"], (NAMESPACE, "g"): ["b"]}
    picture.delete_pod(uid("a"))
    picture.delete_pod(uid("b"))
    assert members() == {}
    assert list(picture.pods_of_group(*made)) == []


def test_a_group_that_comes_later_charges_its_pods_anew() -> None:
    picture = world(node("n"), projects=[queue(), queue("x")])
    picture.upsert_pod(pod("p", gpus=1, owner="Job", on="n", indices=[0]))
    picture.upsert_pod(pod("other", gpus=1, on="n", indices=[1]))
    picture.upsert_group(pod_group("pg-owner-owner-uid", queue="x", priority_class="build"))
    assert gpus_held(picture, "x") == (1000, 1000)
    assert gpus_held(picture) == (1000, 0)
    picture.delete_group(NAMESPACE, "pg-owner-owner-uid")
    assert gpus_held(picture) == (2000, 0)


def test_the_smallest_and_the_largest_gpu_by_pool() -> None:
    picture = world(node("a", gpu_memory=40_960), node("b", gpu_memory=16_384, pool="old"), node("c", gpu_memory=None))
    assert picture.gpu_memory_mib() == (16_384, 40_960)
    assert picture.gpu_memory_mib("default") == (40_960, 40_960)
    assert picture.gpu_memory_mib("old") == (16_384, 16_384)
    assert picture.gpu_memory_mib("none") == (0, 0)
    picture.delete_node(NodeName("b"))
    assert picture.gpu_memory_mib() == (40_960, 40_960)
    assert picture.gpu_memory_mib("old") == (0, 0)


def test_before_its_node_is_known_memory_counts_by_the_smallest_gpu_of_the_pool_and_then_by_its_own() -> None:
    picture = world(
        node("a", gpu_memory=40_960),
        node("b", gpu_memory=16_384, pool="old"),
        projects=[queue(limit=500)],
    )
    # 20,480 MiB are more than a GPU of the pool `old` has, and half of one of the pool `default`.
    assert offer(picture, pod("half", gpu_memory=20_480)).nodes == ("a",)
    assert gpus_held(picture) == (500, 0)
