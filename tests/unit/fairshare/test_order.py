"""Who goes next: behaviour.md 6.5 (queues), 6.6 (jobs), vectors S3 and S14."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extender.fairshare.order import Fill, Turns, fill, job_key, queue_key
from extender.fairshare.tree import QuotaTree
from extender.model.amounts import NOTHING, Amounts
from extender.model.names import ProjectName
from extender.model.queue import Queue, Quota

TOTAL = Amounts(100_000, 100_000, 100_000)


def gpus(number: float) -> Amounts:
    return Amounts(gpu_milli=round(number * 1000))


def queue(name: str, deserved: float = 0, *, priority: int = 100, created: float = 0.0, department: str = "") -> Queue:
    return replace(
        Queue(name, Quota(gpu_milli=round(deserved * 1000))), priority=priority, created=created, department=department
    )


@pytest.mark.parametrize(
    ("first", "second"),  # (queue, fair share, held, next job, victims)
    [
        pytest.param(
            (queue("z", 4), 4, 3, 1, 0),
            (queue("a", 2, priority=999), 9, 2, 1, 0),
            id="2: within quota with its next job",
        ),
        pytest.param((queue("z", 0, priority=101), 4, 3, 1, 0), (queue("a"), 4, 0, 1, 0), id="3: queue priority"),
        pytest.param((queue("z"), 1, 0, 9, 0), (queue("a"), 0, 0, 1, 0), id="4: no share at all goes last"),
        pytest.param((queue("z"), 4, 2, 1, 0), (queue("a"), 4, 1, 3, 0), id="5: smaller dominant share with the job"),
        pytest.param((queue("z"), 4, 3, 1, 2), (queue("a"), 4, 2, 1, 0), id="5: without what it would lose"),
        pytest.param((queue("z"), 4, 1, 3, 0), (queue("a"), 4, 2, 2, 0), id="6: smaller dominant share without it"),
        pytest.param((queue("z"), 2, 1, 1, 0), (queue("a"), 4, 2, 2, 0), id="7: smaller allocatable share"),
        pytest.param((queue("z", created=1), 4, 1, 1, 0), (queue("a", created=2), 4, 1, 1, 0), id="8: older"),
        pytest.param((queue("a"), 4, 1, 1, 0), (queue("b"), 4, 1, 1, 0), id="equal age: by name"),
    ],
)
def test_the_first_difference_decides(
    first: tuple[Queue, float, float, float, float], second: tuple[Queue, float, float, float, float]
) -> None:
    tree = QuotaTree(TOTAL, [first[0], second[0]])
    shares, keys = {}, []
    for stated, fair, held, _, _ in (first, second):
        tree.allocate(tree.projects[ProjectName(stated.name)], gpus(held), preemptible=True)
        shares[stated.name] = replace(TOTAL, gpu_milli=round(fair * 1000))
    tree.take_shares(shares)
    for stated, _, _, job, victims in (first, second):
        keys.append(queue_key(tree.projects[ProjectName(stated.name)], gpus(job), TOTAL, gpus(victims)))
    assert keys[0] < keys[1]


def test_above_its_fair_share_of_everything_goes_last() -> None:
    tree = QuotaTree(TOTAL, [queue("z", 1), queue("a", 9, priority=101)])
    z, a = tree.projects.values()
    tree.take_shares({"z": Amounts(4000, 4000, 4000), "a": Amounts(4000, 4000, 4000)})
    tree.allocate(z, gpus(4), preemptible=True)
    tree.allocate(a, Amounts(4001, 4001, 4001), preemptible=True)
    assert queue_key(z, gpus(4), TOTAL) < queue_key(a, gpus(1), TOTAL)
    tree.release(a, Amounts(0, 0, 1), preemptible=True)  # some memory of its share is left to others
    assert queue_key(a, gpus(1), TOTAL) < queue_key(z, gpus(4), TOTAL)


def test_the_dominant_resource_decides() -> None:
    tree = QuotaTree(Amounts(10_000, 10_000, 10_000), [Queue("a", Quota(0, 0, 0)), Queue("b", Quota(0, 0, 0))])
    a, b = tree.projects.values()
    tree.take_shares({"a": Amounts(4000, 4000, 4000), "b": Amounts(4000, 4000, 4000)})
    assert queue_key(b, Amounts(2000, 2000, 2000), TOTAL) < queue_key(a, Amounts(0, 0, 2001), TOTAL)


def test_an_unlimited_share_is_weighed_against_the_total() -> None:
    tree = QuotaTree(gpus(8), [Queue("a"), Queue("b")])
    a, b = tree.projects.values()
    tree.refresh()
    assert queue_key(b, gpus(1), gpus(8)) < queue_key(a, gpus(2), gpus(8))


def served(tree: QuotaTree, waiting: dict[str, list[float]]) -> list[str]:
    """Who is served in turn while everything that waits is placed at once."""
    for name, jobs in waiting.items():
        for job in jobs:
            tree.request(tree.projects[ProjectName(name)], gpus(job))
    turns = Turns(tree)
    queues = {tree.projects[ProjectName(name)]: list(jobs) for name, jobs in waiting.items()}
    for project, jobs in queues.items():
        turns.offer(project, gpus(jobs[0]) if jobs else None)
    order = []
    while (project := turns.first()) is not None:
        jobs = queues[project]
        tree.allocate(project, gpus(jobs.pop(0)), preemptible=True)
        turns.offer(project, gpus(jobs[0]) if jobs else None)
        order.append(project.queue.name)
    return order


def test_s3_projects_alternate() -> None:
    tree = QuotaTree(gpus(4), [queue("a", 1), queue("b", 1)])
    a = tree.projects[ProjectName("a")]
    tree.request(a, gpus(2))
    tree.allocate(a, gpus(2), preemptible=True)
    assert served(tree, {"a": [1, 1, 1], "b": [1, 1, 1]}) == ["b", "b", "a", "b", "a", "a"]


def test_departments_are_compared_before_their_projects() -> None:
    tree = QuotaTree(
        gpus(8),
        [queue("a1", 4, department="a"), queue("a2", 0, department="a"), queue("b1", 0, department="b")],
        [queue("a", 2), queue("b", 2)],
    )
    # Project a1 stays within its quota throughout; its department does so only once.
    assert served(tree, {"a1": [2, 2], "a2": [1], "b1": [1, 1, 1]}) == ["b1", "a1", "b1", "a1", "b1", "a2"]


def test_nothing_waits() -> None:
    tree = QuotaTree(gpus(8), [queue("a"), queue("b", department="d")], [queue("d"), queue("empty")])
    turns = Turns(tree)
    assert turns.first() is None
    for project in tree.projects.values():
        turns.offer(project, NOTHING)
    assert turns.first() is not None
    for project in tree.projects.values():
        turns.offer(project, None)
    assert turns.first() is None


def test_a_turn_that_was_undone_comes_again() -> None:
    tree = QuotaTree(gpus(8), [queue("a"), queue("b")])
    for project in tree.projects.values():
        tree.request(project, gpus(4))
    a, b = tree.projects.values()
    turns = Turns(tree)
    turns.offer(a, gpus(1))
    turns.offer(b, gpus(1))
    for _ in range(3):
        assert turns.first() is a
        tree.allocate(a, gpus(1), preemptible=True)
        turns.offer(a, gpus(1))
        assert turns.first() is b
        tree.release(a, gpus(1), preemptible=True)
        turns.offer(a, gpus(1))


def test_s14_jobs_of_a_queue() -> None:
    jobs = {
        "inference": job_key(125, Fill.AT_MINIMUM, 9, "x"),
        "build": job_key(100, Fill.BELOW_MINIMUM, 9, "x"),
        "train, below": job_key(50, fill(1, 2), 9, "x"),
        "train, at, older": job_key(50, fill(2, 2), 1, "x"),
        "train, at": job_key(50, fill(2, 2), 2, "x"),
        "train, at, by uid": job_key(50, fill(2, 2), 2, "y"),
        "train, above": job_key(50, fill(3, 2), 0, "x"),
    }
    assert sorted(jobs, key=jobs.__getitem__) == list(jobs)
