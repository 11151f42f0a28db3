"""The quota tree: what is counted where, and shares level by level (behaviour.md 5.4, 6.4, 12.5)."""

from __future__ import annotations

import pytest

from extender.errors import InvariantError
from extender.fairshare.tree import QuotaTree, Standing
from extender.model.amounts import Amounts
from extender.model.names import ProjectName
from extender.model.queue import Queue, Quota, Weights


def gpus(number: float) -> Amounts:
    return Amounts(gpu_milli=round(number * 1000))


def queue(
    name: str,
    deserved: float | None,
    department: str = "",
    *,
    weight: int = 1,
    limit: float | None = None,
    created: float = 0.0,
) -> Queue:
    return Queue(
        name,
        Quota(gpu_milli=None if deserved is None else round(deserved * 1000)),
        Quota(gpu_milli=None if limit is None else round(limit * 1000)),
        department,
        Weights(gpu=weight),
        created=created,
    )


def asked(tree: QuotaTree, **requests: float) -> dict[str, float]:
    """Fair shares in GPUs, projects and departments, once the projects ask for this."""
    for name, number in requests.items():
        tree.request(tree.projects[ProjectName(name)], gpus(number))
    tree.refresh()
    return {name: standing.fair[0] / 1000 for name, standing in (tree.departments | tree.projects).items()}


def test_projects_share_what_their_department_is_given() -> None:
    tree = QuotaTree(
        gpus(12),
        [queue("p1", 2, "d1"), queue("p2", 2, "d1", weight=3), queue("p3", 1, "d2")],
        [queue("d1", 4), queue("d2", 4)],
    )
    assert asked(tree, p1=20, p2=20, p3=3) == {"d1": 9, "d2": 3, "p1": 3, "p2": 6, "p3": 3}


def test_projects_that_deserve_more_than_their_department_do_not_raise_its_share() -> None:
    tree = QuotaTree(
        gpus(8), [queue("p1", 4, "d1"), queue("p2", 4, "d1"), queue("p3", 4, "d2")], [queue("d1", 4), queue("d2", 4)]
    )
    assert asked(tree, p1=8, p2=8, p3=8) == {"d1": 4, "d2": 4, "p1": 4, "p2": 4, "p3": 4}


def test_a_department_without_a_figure_deserves_what_its_projects_do() -> None:
    tree = QuotaTree(gpus(8), [queue("p1", 1, "d1"), queue("p2", 3, "d2")], [queue("d1", None), queue("d2", None)])
    assert asked(tree, p1=8, p2=8) == {"d1": 3, "d2": 5, "p1": 3, "p2": 5}
    department = tree.departments["d1"]
    assert department.deserved[0] == 1000
    assert department.quota[0] > 10**15  # and does not bind what cannot be preempted
    assert department.queue.deserved.gpu_milli is None


def test_a_department_asks_for_no_more_than_its_projects_may_have() -> None:
    tree = QuotaTree(gpus(8), [queue("p1", 0, "d1", limit=2), queue("p2", 0, "d2")], [queue("d1", 4), queue("d2", 0)])
    assert asked(tree, p1=100, p2=100) == {"d1": 2, "d2": 6, "p1": 2, "p2": 6}


@pytest.mark.parametrize(
    ("deserved", "limit", "asks", "allocatable"),
    [
        pytest.param(3, None, 1, 3, id="quota that is not asked for"),
        pytest.param(1, None, 4, 4, id="fair share above quota"),
        pytest.param(3, 2, 4, 2, id="the limit caps both"),
    ],
)
def test_allocatable_share(deserved: float, limit: float | None, asks: float, allocatable: float) -> None:
    tree = QuotaTree(gpus(8), [queue("p", deserved, limit=limit)])
    asked(tree, p=asks)
    assert tree.projects[ProjectName("p")].allocatable[0] == allocatable * 1000


def test_queues_without_a_known_department_stand_beside_the_departments() -> None:
    tree = QuotaTree(gpus(8), [queue("p1", 0, "gone"), queue("p2", 0), queue("p3", 0, "d")], [queue("d", 0)])
    assert [child.queue.name for child in tree.root.children] == ["d", "p1", "p2"]
    assert [standing.queue.name for standing in tree.projects[ProjectName("p3")].path()] == ["p3", "d"]


def test_a_project_may_be_named_as_its_department() -> None:
    tree = QuotaTree(gpus(8), [queue("default", 2, "default")], [queue("default", 4)])
    project = tree.projects[ProjectName("default")]
    assert project.parent is tree.departments["default"]
    assert (project.deserved[0], tree.departments["default"].deserved[0]) == (2000, 4000)


def test_departments_nest_in_any_order_but_not_in_a_circle() -> None:
    tree = QuotaTree(gpus(8), [queue("p", 0, "low")], [queue("low", 0, "high"), queue("high", 0)])
    assert [standing.depth for standing in tree.projects[ProjectName("p")].path()] == [3, 2, 1]
    with pytest.raises(InvariantError, match="circle: a, b"):
        QuotaTree(gpus(8), [], [queue("a", 0, "b"), queue("b", 0, "a"), queue("c", 0, "b")])


def test_the_older_sibling_has_the_odd_gpu() -> None:
    tree = QuotaTree(gpus(3), [queue("a", 0, created=2.0), queue("b", 0, created=1.0)])
    assert asked(tree, a=3, b=3) == {"a": 1, "b": 2}


def figures(tree: QuotaTree) -> list[tuple[list[int], list[int], list[int]]]:
    standings: list[Standing] = [tree.root, *tree.departments.values(), *tree.projects.values()]
    return [(list(s.allocated), list(s.non_preemptible), list(s.requested)) for s in standings]


def test_what_is_charged_to_a_project_is_charged_above_it_and_can_be_undone() -> None:
    tree = QuotaTree(gpus(8), [queue("p1", 1, "d"), queue("p2", 1)], [queue("d", 1)])
    before = figures(tree)
    p1 = tree.projects[ProjectName("p1")]
    tree.request(p1, Amounts(3, 2, 1))
    tree.allocate(p1, Amounts(3, 2, 1), preemptible=False)
    tree.allocate(p1, Amounts(10), preemptible=True)
    charged = ([13, 2, 1], [3, 2, 1], [3, 2, 1])
    assert figures(tree) == [charged, charged, charged, ([0, 0, 0], [0, 0, 0], [0, 0, 0])]
    tree.release(p1, Amounts(10), preemptible=True)
    tree.release(p1, Amounts(3, 2, 1), preemptible=False)
    tree.withdraw(p1, Amounts(3, 2, 1))
    assert figures(tree) == before


def test_shares_follow_requests_and_the_total() -> None:
    tree = QuotaTree(gpus(8), [queue("a", 1), queue("b", 1)])
    assert asked(tree, a=8) == {"a": 8, "b": 0}
    assert asked(tree, b=8) == {"a": 4, "b": 4}
    tree.total = gpus(4)
    assert asked(tree) == {"a": 2, "b": 2}
    assert tree.total == gpus(4)
    tree.withdraw(tree.projects[ProjectName("a")], gpus(8))
    assert asked(tree) == {"a": 0, "b": 4}


def test_recorded_shares_hold_until_something_changes() -> None:
    tree = QuotaTree(gpus(8), [queue("a", 1)])
    tree.take_shares({"a": gpus(3)})
    assert asked(tree) == {"a": 3}
    assert asked(tree, a=5) == {"a": 5}


def test_cpu_and_memory_are_shared_to_the_unit_and_gpus_whole() -> None:
    tree = QuotaTree(Amounts(3000, 3, 5), [Queue("a", Quota(0, 0, 0)), Queue("b", Quota(0, 0, 0))])
    for project in tree.projects.values():
        tree.request(project, Amounts(9000, 9, 9))
    tree.refresh()
    assert [project.fair for project in tree.projects.values()] == [[2000, 2, 3], [1000, 1, 2]]
