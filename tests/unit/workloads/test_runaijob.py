"""The next step of a RunaiJob, case by case; and whatever happens to its pods, it comes to an end or to rest."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.model import timestamps
from extender.workloads import indexes
from extender.workloads.attempts import Place, pod_name
from extender.workloads.runaijob import Step, pod_of, sync

Json = dict[str, Any]

NOW = 1_800_000_000.0
START = timestamps.text(NOW)
DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]


def job(
    status: Json | None = None, *, annotations: Json | None = None, template: Json | None = None, **spec: Any
) -> Json:
    pods = template or {"metadata": {"labels": {"release": "j"}}, "spec": {"containers": [{"name": "main"}]}}
    return {
        "metadata": {"name": "j", "namespace": "ns", "uid": "u-j", "annotations": annotations or {}},
        "spec": {"template": pods, **spec},
        "status": {"startTime": START, **(status or {})},
    }


def pod(
    index: int = 0,
    attempt: int = 0,
    phase: str = "Running",
    *,
    leaving: bool = False,
    at: float = NOW,
    restarts: int = 0,
    **status: Any,
) -> Json:
    state: Json = {"terminated": {"finishedAt": timestamps.text(at)}} if phase in ("Succeeded", "Failed") else {}
    metadata = {
        "name": f"j-{index}-{attempt}",
        "uid": f"u-{index}-{attempt}",
        "creationTimestamp": timestamps.text(at),
        **({"deletionTimestamp": START} if leaving else {}),
    }
    containers = [{"name": "main", "state": state, "restartCount": restarts}]
    return {"metadata": metadata, "spec": {}, "status": {"phase": phase, "containerStatuses": containers, **status}}


def deleted(step: Step) -> list[str]:
    return [one["metadata"]["name"] for one in step.delete]


def condition(step: Step, kind: str) -> tuple[str, str]:
    assert step.status is not None
    return next(((one["status"], one["reason"]) for one in step.status["conditions"] if one["type"] == kind), ("", ""))


# Making pods.


MAKES: dict[str, tuple[Json, list[Json], list[tuple[int, int]]]] = {
    "one pod where nothing is said": (job(), [], [(0, 0)]),
    "completions alone": (job(completions=3), [], [(0, 0)]),
    "as many at the same time as told": (job(completions=3, parallelism=2), [], [(0, 0), (1, 0)]),
    "no more than are to be done": (job(completions=3, parallelism=9), [], [(0, 0), (1, 0), (2, 0)]),
    "parallelism alone: a place each": (job(parallelism=2), [], [(0, 0), (1, 0)]),
    "none at parallelism 0": (job(completions=3, parallelism=0), [], []),
    "enough run": (job(completions=3, parallelism=2), [pod(0), pod(1, phase="Pending")], []),
    "the lowest index that is free": (job(completions=4, parallelism=2), [pod(1)], [(0, 0)]),
    "one is done, the next": (job(completions=3), [pod(0, phase="Succeeded")], [(1, 0)]),
    "what was done stays done without its pod": (job({"completedIndexes": "0-1"}, completions=3), [], [(2, 0)]),
    "numbers are not given twice": (job({"attempts": {"0": 3}}), [], [(0, 3)]),
    "one that leaves keeps its place": (job(completions=2, parallelism=1), [pod(0, leaving=True)], []),
    "one that leaves keeps its index": (job(completions=2, parallelism=2), [pod(0, leaving=True)], [(1, 0)]),
    "a pod that is none of ours is nobody's attempt": (
        job(),
        [{**pod(), "metadata": {"name": "j-x", "uid": "x"}}],
        [(0, 0)],
    ),
    "shared work, one is done: no other starts": (job(parallelism=3), [pod(0, phase="Succeeded"), pod(1)], []),
}


@pytest.mark.parametrize(("one", "pods", "expected"), MAKES.values(), ids=MAKES)
def test_which_pods_are_made(one: Json, pods: list[Json], expected: list[tuple[int, int]]) -> None:
    before = copy.deepcopy((one, pods))
    assert sync(one, pods, NOW).create == tuple(Place(*place) for place in expected)
    assert (one, pods) == before


def test_many_are_made_in_several_steps() -> None:
    step = sync(job(completions=250, parallelism=250), [], NOW)
    assert (len(step.create), step.again_s) == (100, 0.0)


def test_the_pod_is_the_template_and_says_whose_it_is() -> None:
    template = {
        "metadata": {"labels": {"release": "j", "run.ai/pod-index": "forged"}, "annotations": {"gpu-fraction": "0.5"}},
        "spec": {"containers": [{"name": "main", "image": "i"}], "schedulerName": "runai-scheduler"},
    }
    made = pod_of(job(template=template), Place(1, 2))
    assert made["metadata"]["name"] == "j-1-2" == pod_name("j", Place(1, 2))
    assert made["metadata"]["labels"] == {
        "release": "j",
        "run.ai/job-uid": "u-j",
        "run.ai/runaijob-name": "j",
        "run.ai/pod-index": "1",
    }
    assert made["metadata"]["annotations"] == {"gpu-fraction": "0.5"}
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("RunaiJob", "u-j", True)
    assert made["spec"] == {"restartPolicy": "Never", **template["spec"]}
    template["spec"]["restartPolicy"] = "OnFailure"
    assert pod_of(job(template=template), Place(0, 0))["spec"]["restartPolicy"] == "OnFailure"


# Failures.


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 10), (2, 20), (3, 40), (6, 320), (7, 360), (20, 360)])
def test_the_pause_after_a_failure_doubles(failures: int, pause_s: int) -> None:
    one = job({"failed": failures, "attempts": {"0": failures}}, backoffLimit=99)
    pods = [pod(0, number, "Failed", at=NOW - 1000 + number) for number in range(failures)]
    last = NOW - 1000 + failures - 1
    step = sync(one, pods, last + 4)
    assert (step.create, step.again_s) == ((), pause_s - 4)
    assert sync(one, pods, last + pause_s).create == (Place(0, failures),)


def test_a_kubelet_with_a_fast_clock_does_not_prolong_the_pause() -> None:
    assert sync(job(), [pod(phase="Failed", at=NOW + 3600)], NOW).again_s == 10


def test_another_index_does_not_wait_for_one_that_failed() -> None:
    step = sync(job(completions=2), [pod(0, phase="Failed")], NOW)
    assert (step.create, step.again_s) == ((Place(1, 0),), None)


def test_failures_are_counted_once_and_for_ever() -> None:
    one = job(completions=1)
    pods = [pod(phase="Failed")]
    first = sync(one, pods, NOW)
    assert first.status is not None
    assert (first.status["failed"], first.status["attempts"]) == (1, {"0": 1})
    one["status"] = first.status
    assert sync(one, pods, NOW).status is None
    assert sync(one, [], NOW).status is None  # its pod was deleted by hand
    again = sync(one, [pod(0, 1, "Failed")], NOW)
    assert again.status is not None
    assert (again.status["failed"], again.status["attempts"]) == (2, {"0": 2})


def test_a_failure_counts_although_its_pod_has_gone() -> None:
    step = sync(job(), [], NOW, gone=[pod(phase="Failed")])
    assert step.status is not None
    assert (step.status["failed"], step.create) == (1, ())


@pytest.mark.parametrize(
    ("limit", "failed", "ends"), [(0, 1, True), (2, 2, False), (2, 3, True), (None, 6, False), (None, 7, True)]
)
def test_the_backoff_limit(limit: int | None, failed: int, ends: bool) -> None:
    spec = {} if limit is None else {"backoffLimit": limit}
    pods = [pod(index, phase="Failed") for index in range(failed)]
    step = sync(job(completions=20, parallelism=9, **spec), [*pods, pod(12)], NOW)
    assert condition(step, "Failed") == (("True", "BackoffLimitExceeded") if ends else ("", ""))
    assert deleted(step) == (["j-12-0"] if ends else [])
    assert [(news.type, news.reason) for news in step.news] == ([("Warning", "BackoffLimitExceeded")] if ends else [])


@pytest.mark.parametrize(("limit", "restarts", "ends"), [(3, 2, False), (3, 3, True), (0, 0, False), (0, 1, True)])
def test_restarts_in_place_count_against_the_limit(limit: int, restarts: int, ends: bool) -> None:
    template = {"spec": {"containers": [], "restartPolicy": "OnFailure"}}
    step = sync(job({"active": 1}, template=template, backoffLimit=limit), [pod(restarts=restarts)], NOW)
    assert (step.status is not None) is ends
    never = job({"active": 1}, backoffLimit=limit)
    assert sync(never, [pod(restarts=restarts)], NOW).status is None


# Evictions.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (pod(leaving=True), []),
        (pod(leaving=True, conditions=DISRUPTED), []),
        (pod(leaving=True, phase="Failed"), []),
        (pod(phase="Failed", conditions=DISRUPTED), [Place(0, 1)]),
        (pod(phase="Failed", reason="Evicted"), [Place(0, 1)]),
    ],
    ids=["deleted", "evicted", "killed by its deletion", "evicted by the kubelet", "node pressure"],
)
def test_what_is_taken_away_has_not_failed_and_is_replaced_when_it_has_gone(before: Json, after: list[Place]) -> None:
    one = job()
    step = sync(one, [before], NOW)
    assert step.status is not None
    assert step.status["failed"] == 0
    assert step.status["attempts"] == {"0": 1}
    if before["status"]["phase"] == "Running":
        assert list(step.create) == after
    assert sync({**one, "status": step.status}, [], NOW).create == (Place(0, 1),)


def test_success_on_the_way_out_counts() -> None:
    one = job()
    leaving = sync(one, [pod(leaving=True)], NOW)
    one["status"] = leaving.status
    step = sync(one, [pod(leaving=True, phase="Succeeded")], NOW)
    assert condition(step, "Complete")[0] == "True"
    assert step.status is not None
    assert step.status["attempts"] == {}


EVICTED = pod(leaving=True, conditions=DISRUPTED)
BUILD = {"metadata": {"labels": {"priorityClassName": "interactive-preemptible"}}, "spec": {"containers": []}}
ENDING: dict[str, Json] = {
    "by annotation": job(annotations={"runai/terminate-after-preemption": "true"}, completions=2, parallelism=2),
    "by the class that a label names": job(template=BUILD, completions=2, parallelism=2),
    "by the class of the spec": job(
        template={"spec": {"containers": [], "priorityClassName": "build-preemptible"}}, completions=2, parallelism=2
    ),
}


@pytest.mark.parametrize("one", ENDING.values(), ids=ENDING)
@pytest.mark.parametrize("has_gone", [False, True])
def test_terminate_after_preemption(one: Json, has_gone: bool) -> None:
    pods = ([], [EVICTED]) if has_gone else ([EVICTED], [])
    step = sync(one, [*pods[0], pod(1)], NOW, gone=pods[1])
    assert condition(step, "Failed") == ("True", "Preempted")
    assert deleted(step) == ["j-1-0"]
    assert not step.create


def test_a_pod_that_was_only_deleted_was_not_preempted() -> None:
    one = next(iter(ENDING.values()))
    assert condition(sync(one, [pod(leaving=True)], NOW), "Failed") == ("", "")


def test_a_job_that_may_go_on_after_an_eviction_does() -> None:
    one = job(annotations={"runai/terminate-after-preemption": "false"})
    assert sync(one, [], NOW, gone=[EVICTED]).create == (Place(0, 1),)


# The end.


def test_complete() -> None:
    one = job({"active": 1}, completions=2)
    step = sync(one, [pod(0, phase="Succeeded"), pod(1, phase="Succeeded")], NOW)
    assert condition(step, "Complete") == ("True", "CompletionsReached")
    assert step.status is not None
    assert (step.status["succeeded"], step.status["completedIndexes"], step.status["active"]) == (2, "0-1", 0)
    assert step.status["completionTime"] == START
    assert [news.reason for news in step.news] == ["Completed"]


@pytest.mark.parametrize(
    ("one", "pods", "ends"),
    [
        (job(completions=0), [], True),
        (job(parallelism=2), [pod(0, phase="Succeeded"), pod(1)], False),
        (job(parallelism=2), [pod(0, phase="Succeeded"), pod(1, phase="Failed")], True),
        (job(parallelism=0), [], False),
    ],
)
def test_when_it_is_complete(one: Json, pods: list[Json], ends: bool) -> None:
    step = sync(one, pods, NOW)
    assert (step.status is not None and condition(step, "Complete")[0] == "True") is ends


def test_the_deadline_counts_from_the_start() -> None:
    one = job({"active": 1}, activeDeadlineSeconds=60)
    assert sync(one, [pod()], NOW + 59).again_s == 1
    step = sync(one, [pod()], NOW + 60)
    assert condition(step, "Failed") == ("True", "DeadlineExceeded")
    assert deleted(step) == ["j-0-0"]


def ended(kind: str = "Complete", **spec: Any) -> Json:
    stamp = {"type": kind, "status": "True", "reason": "r", "message": "m", "lastTransitionTime": START}
    return job({"conditions": [stamp], "succeeded": 1}, **spec)


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_what_has_ended_starts_nothing_and_leaves_nothing_running(kind: str) -> None:
    one = ended(kind, completions=5, parallelism=5)
    assert sync(one, [], NOW) == Step()
    step = sync(one, [pod(0, 7), pod(1, leaving=True), pod(2, phase="Failed")], NOW)
    assert deleted(step) == ["j-0-7"]
    assert (step.status, step.create) == (None, ())


def test_time_to_live() -> None:
    assert sync(ended(), [], NOW + 10**6) == Step()
    assert sync(ended(ttlSecondsAfterFinished=90), [], NOW + 30) == Step(again_s=60)
    assert sync(ended(ttlSecondsAfterFinished=90), [], NOW + 90) == Step(delete_job=True)
    assert sync(ended("Failed", ttlSecondsAfterFinished=0), [], NOW) == Step(delete_job=True)


def test_a_job_that_is_being_deleted_is_left_alone() -> None:
    one = job()
    one["metadata"]["deletionTimestamp"] = START
    assert sync(one, [pod()], NOW) == Step()


# Changes of the spec.


def test_suspend_and_resume() -> None:
    one = job({"active": 1, "failed": 2}, suspend=True, activeDeadlineSeconds=1)
    step = sync(one, [pod(), pod(1, phase="Succeeded")], NOW + 100)
    assert (deleted(step), step.create) == (["j-0-0"], ())
    assert condition(step, "Suspended") == ("True", "JobSuspended")
    assert step.status is not None
    assert "startTime" not in step.status
    assert (step.status["failed"], step.status["completedIndexes"]) == (2, "1")
    one["status"] = step.status
    assert sync(one, [pod(leaving=True)], NOW + 101).news == ()
    one["spec"]["suspend"] = False
    resumed = sync(one, [], NOW + 200)
    assert condition(resumed, "Suspended") == ("False", "JobResumed")
    assert resumed.status is not None
    assert resumed.status["startTime"] == timestamps.text(NOW + 200)
    assert resumed.create == (Place(0, 0),)


def test_a_job_that_is_made_suspended_does_not_start() -> None:
    step = sync({**job(suspend=True), "status": {}}, [], NOW)
    assert (step.create, step.delete) == ((), ())
    assert condition(step, "Suspended")[0] == "True"


def test_fewer_at_the_same_time_those_that_wait_leave_first() -> None:
    pods = [pod(0, phase="Pending"), pod(1), pod(2)]
    one = job(completions=9, parallelism=3)
    assert deleted(sync({**one, "spec": {**one["spec"], "parallelism": 2}}, pods, NOW)) == ["j-0-0"]
    step = sync({**one, "spec": {**one["spec"], "parallelism": 1}}, pods, NOW)
    assert deleted(step) == ["j-0-0", "j-2-0"]
    assert step.status is not None
    assert step.status["active"] == 1


def test_fewer_completions_and_two_of_one_index() -> None:
    step = sync(job(completions=2, parallelism=9), [pod(0), pod(0, 1), pod(1), pod(5)], NOW)
    assert deleted(step) == ["j-0-1", "j-5-0"]
    assert step.create == ()


# Whatever happens.


class World:
    """Pods and the job as an API server has them, a controller that carries steps out, and its belated view."""

    def __init__(self, one: Json) -> None:
        self.job = one
        self.job["status"] = {}
        self.pods: dict[str, Json] = {}
        self.gone: list[Json] = []
        self.now = NOW
        self.made = 0
        self.was_deleted = False

    def step(self) -> None:
        """Carry out one step, and check what must hold whatever came before."""
        step = sync(self.job, list(self.pods.values()), self.now, gone=self.gone)
        before = self.job["status"]
        if step.status is not None:
            for key in ("succeeded", "failed"):
                assert step.status.get(key, 0) >= before.get(key, 0), "counts never run backwards"
            self.job["status"] = step.status
        assert not (step.create and self.ends(before)), "what has ended starts nothing"
        self.gone = []
        for one in step.delete:
            self.remove(one["metadata"]["name"])
        for place in step.create:
            made = pod_of(self.job, place)
            name = made["metadata"]["name"]
            assert name not in self.pods, "a name that is there"
            self.made += 1
            made["metadata"] |= {"uid": f"u{self.made}", "creationTimestamp": timestamps.text(self.now)}
            self.pods[name] = {**made, "status": {"phase": "Pending"}}
        self.was_deleted |= step.delete_job
        self.check()
        # What was decided once is not decided again: nothing changed, nothing is due.
        if not step.delete and not step.create:
            again = sync(self.job, list(self.pods.values()), self.now)
            assert (again.status, again.delete, again.create) == (None, (), ())

    @staticmethod
    def ends(status: Json) -> list[str]:
        """The conditions that say that the job has ended."""
        return [one["type"] for one in status.get("conditions") or () if one["type"] in ("Complete", "Failed")]

    def check(self) -> None:
        spec = self.job["spec"]
        running = [one for one in self.pods.values() if one["status"]["phase"] in ("Pending", "Running")]
        assert len(running) <= self.most_parallel()
        if spec.get("completions") is not None:
            assert self.job["status"].get("succeeded", 0) <= spec["completions"]

    def most_parallel(self) -> int:
        given = self.job["spec"].get("parallelism")
        return 1 if given is None else max(given, self.parallelism_before)

    parallelism_before = 0

    def remove(self, name: str, *, at_once: bool = False) -> None:
        one = self.pods[name]
        if at_once or one["metadata"].get("deletionTimestamp"):
            self.gone.append(self.pods.pop(name))
        else:
            self.pods[name] = {**one, "metadata": {**one["metadata"], "deletionTimestamp": timestamps.text(self.now)}}

    def becomes(self, name: str, phase: str, **status: Any) -> None:
        one = self.pods[name]
        if one["status"]["phase"] in ("Pending", "Running"):
            stopped = [{"state": {"terminated": {"finishedAt": timestamps.text(self.now)}}}]
            self.pods[name] = {**one, "status": {"phase": phase, "containerStatuses": stopped, **status}}

    def happens(self, event: str, number: int) -> None:
        names = sorted(self.pods)
        name = names[number % len(names)] if names else ""
        match event:
            case "step":
                self.step()
            case "time":
                self.now += (1, 10, 60, 400)[number % 4]
            case "suspend":
                self.job["spec"]["suspend"] = bool(number % 2)
            case "restart":  # of the controller: what it had seen go, it forgets
                self.gone = []
            case "parallelism":
                self.parallelism_before = max(self.parallelism_before, self.job["spec"].get("parallelism") or 1)
                self.job["spec"]["parallelism"] = number % 4
            case _ if not name:
                pass
            case "run":
                self.becomes(name, "Running")
            case "succeed":
                self.becomes(name, "Succeeded")
            case "fail":
                self.becomes(name, "Failed")
            case "evict":
                self.becomes(name, "Running", conditions=DISRUPTED)
                self.remove(name)
            case "evict by kubelet":
                self.becomes(name, "Failed", reason="Evicted")
            case "delete":
                self.remove(name)
            case "vanish":
                self.remove(name, at_once=True)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["step"] * 6
            + ["time", "suspend", "restart", "parallelism", "run", "succeed", "fail", "evict", "evict by kubelet"]
            + ["delete", "vanish"]
        ),
        st.integers(0, 7),
    ),
    max_size=60,
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "completions": st.integers(0, 4),
        "parallelism": st.integers(0, 4),
        "backoffLimit": st.integers(0, 3),
        "activeDeadlineSeconds": st.sampled_from([30, 1000]),
        "ttlSecondsAfterFinished": st.sampled_from([0, 60]),
        "suspend": st.booleans(),
    },
)


@given(SPECS, EVENTS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_history_ends_or_comes_to_rest(spec: Json, history: list[tuple[str, int]], preemptible: bool) -> None:
    world = World(job(annotations={"runai/terminate-after-preemption": "true"} if preemptible else {}, **spec))
    for event, number in history:
        world.happens(event, number)
    # From here on all goes well.
    for _ in range(60):
        world.step()
        for name in sorted(world.pods):
            if world.pods[name]["metadata"].get("deletionTimestamp"):
                world.remove(name)
            else:
                world.becomes(name, "Succeeded")
        world.now += 400
    spec = world.job["spec"]
    ends = world.ends(world.job["status"])
    rests = spec.get("suspend") or spec.get("parallelism") == 0
    assert rests or len(ends) == 1
    assert not [one for one in world.pods.values() if one["status"]["phase"] in ("Pending", "Running")]
    if ends and "ttlSecondsAfterFinished" in spec:
        assert world.was_deleted
    if spec.get("completions") is not None and ends == ["Complete"]:
        assert world.job["status"]["succeeded"] == spec["completions"]


@given(st.sets(st.integers(0, 40)))
def test_indexes_there_and_back(some: set[int]) -> None:
    assert indexes.parse(indexes.text(some), below=100) == some


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", set()),
        (None, set()),
        ("0-2,5", {0, 1, 2, 5}),
        ("x,1-", {1}),
        ("-3", set()),
        ("4-2", set()),
        ("0-9999999999", set()),
    ],
)
def test_indexes_that_cannot_be_read(written: object, expected: set[int]) -> None:
    assert indexes.parse(written, below=10) == expected
