"""The book by node pool: what is held where, whose limits bind there, and the quota tree made from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extender.cluster.quota import Charge, QuotaBook
from extender.fairshare.capacity import Usage
from extender.model.amounts import Amounts
from extender.model.names import ProjectName
from extender.model.queue import Department, Project, Queue, Quota
from extender.model.verdict import Reason
from extender.pods.admit import admit
from tests.builders import node, offer, pod, queue, world

A, B = ProjectName("a"), ProjectName("b")


def gpus(number: int) -> Amounts:
    return Amounts(gpu_milli=1000 * number)


def held(number: int, fixed: int = 0) -> Usage:
    return Usage(gpus(number), gpus(fixed))


def book(*projects: Queue, departments: tuple[Queue, ...] = ()) -> QuotaBook:
    made = QuotaBook()
    made.replace_projects(map(Project, projects))
    made.replace_departments(map(Department, departments))
    return made


def test_pools_are_counted_apart() -> None:
    made = book(queue("a", department="d"), departments=(queue("d"),))
    made.charge(Charge(A, gpus(1), preemptible=True))
    made.charge(Charge(A, gpus(2), preemptible=False, pool="a100"))
    assert (made.usage(A, "default"), made.usage(A, "a100"), made.usage(A)) == (held(1), held(2, 2), held(3, 2))
    assert made.department_usage("d", "a100") == held(2, 2)
    assert made.department_usage("d") == held(3, 2)
    assert dict(made.holders()) == {A: held(3, 2)}
    made.refund(Charge(A, gpus(2), preemptible=False, pool="a100"))
    assert made.usage(A) == made.department_usage("d") == held(1)
    assert made.usage(A, "a100") == held(0)


def test_the_path_goes_up_to_the_top() -> None:
    made = book(queue("a", department="low"), departments=(queue("low", department="top"), queue("top")))
    made.charge(Charge(A, gpus(1), preemptible=True))
    assert [(one.name, usage) for one, usage in made.path(A)] == [("a", held(1)), ("low", held(1)), ("top", held(1))]
    made.delete_department("low")
    assert [one.name for one, _ in made.path(A)] == ["a"]
    assert made.department_usage("top") == held(0)
    made.upsert_department(Department(queue("low", department="top")))
    assert made.department_usage("top") == held(1)


@pytest.mark.parametrize(
    "parents", [{"d": "d"}, {"d": "e", "e": "d"}, {"d": "e", "e": "f", "f": "e"}, {"d": "e", "e": "f", "f": "d"}]
)
def test_departments_in_a_circle_end_somewhere(parents: dict[str, str]) -> None:
    made = book(queue("a", department="d"), departments=tuple(queue(one, department=up) for one, up in parents.items()))
    made.charge(Charge(A, gpus(1), preemptible=True))
    names = [one.name for one, _ in made.path(A)]
    assert names[:2] == ["a", "d"]
    assert len(names) == len(set(names))
    tree = made.quota_tree("default", gpus(8))
    assert [one.queue.name for one in tree.projects[A].path()] == names


def test_a_tree_has_what_everybody_holds_in_its_pool() -> None:
    made = book(queue("a", deserved=1000, department="d"), queue("b", department="d"), departments=(queue("d"),))
    made.charge(Charge(A, gpus(3), preemptible=True))
    made.charge(Charge(A, gpus(1), preemptible=False))
    made.charge(Charge(B, gpus(5), preemptible=False, pool="a100"))
    tree = made.quota_tree("default", gpus(8))
    a, b, d = tree.projects[A], tree.projects[B], tree.departments["d"]
    assert (a.held(), b.held(), d.held()) == (held(4, 1), held(0), held(4, 1))
    assert (a.requested[0], b.requested[0], d.requested[0]) == (4000, 0, 4000)
    tree.refresh()
    assert a.fair[0] == 4000
    elsewhere = made.quota_tree("a100", gpus(8))
    assert elsewhere.projects[B].held() == held(5, 5)
    assert elsewhere.projects[A].deserved[0] == 0


def test_changing_a_tree_leaves_the_book_alone() -> None:
    made = book(queue("a"))
    made.charge(Charge(A, gpus(1), preemptible=True))
    tree = made.quota_tree("default", gpus(8))
    tree.allocate(tree.projects[A], gpus(4), preemptible=True)
    assert made.usage(A) == held(1)
    assert made.quota_tree("default", gpus(8)).projects[A].held() == held(1)


def test_who_holds_without_being_a_project_has_a_place_and_no_claim() -> None:
    made = book(queue("a", department="d"), queue("b", department="d"), departments=(queue("d"),))
    made.charge(Charge(A, gpus(2), preemptible=False))
    made.charge(Charge(ProjectName("never-made"), gpus(1), preemptible=True))
    made.delete_project(A)
    tree = made.quota_tree("default", gpus(8))
    tree.request(tree.projects[B], gpus(8))
    tree.refresh()
    assert tree.projects[A].held() == held(2, 2)
    assert tree.departments["d"].held() == held(2, 2)  # its pods still run in the department
    assert tree.projects[ProjectName("never-made")].parent is tree.root
    assert (tree.projects[A].fair[0], tree.projects[B].fair[0]) == (0, 8000)
    made.refund(Charge(A, gpus(2), preemptible=False))
    assert A not in made.quota_tree("default", gpus(8)).projects


def test_limits_bind_where_the_pod_runs() -> None:
    project = Project(
        replace(queue(deserved=1000, limit=1000)), {"a100": queue(deserved=0, limit=2000)}, default_pools=("a100",)
    )
    picture = world(node("n1", pool="a100"))
    picture.upsert_project(project)
    assert offer(picture, pod("p1", gpus=2)).verdict is None
    assert picture.quotas.usage(ProjectName(project.name), "a100") == held(2)
    refused = offer(picture, pod("p2", gpus=1)).verdict
    assert refused is not None
    assert refused.reason is Reason.OVER_LIMIT
    assert "Limit is 2 GPUs, currently 2 GPUs allocated and workload requested 1 GPUs" in refused.message
    elsewhere = picture.upsert_pod(pod("p3", gpus=1, labels={"kai.scheduler/node-pool": "default"}))
    assert elsewhere is not None
    assert admit(picture, elsewhere) is None


def test_one_pool_of_several_is_enough() -> None:
    picture = world(node("n1"))
    walled = replace(queue(), deserved=Quota(gpu_milli=0), limit=Quota(gpu_milli=0))
    picture.upsert_project(Project(walled, {"a100": queue(limit=1000)}, default_pools=("default", "a100")))
    record = picture.upsert_pod(pod("p1", gpus=1))
    assert record is not None
    assert admit(picture, record) is None
    too_much = picture.upsert_pod(pod("p2", gpus=2))
    assert too_much is not None
    refusal = admit(picture, too_much)
    assert refusal is not None
    assert "Limit is 0 GPUs" in refusal.message  # the pool that is tried first tells why


def test_a_node_that_changes_pools_takes_its_pods_along() -> None:
    picture = world(node("n1"))
    picture.upsert_pod(pod("p", gpus=1, on="n1", indices=[0]))
    team = ProjectName("team-a")
    assert picture.quotas.usage(team, "default") == held(1)
    picture.upsert_node(node("n1", pool="a100"))
    assert (picture.quotas.usage(team, "default"), picture.quotas.usage(team, "a100")) == (held(0), held(1))
