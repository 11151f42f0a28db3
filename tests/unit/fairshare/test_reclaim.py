"""Reclaim: behaviour.md 6.7, 6.9. Queues are written name: (above, quota, fair share, allocated), in GPUs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from extender.fairshare.reclaim import RuntimeScope, Trade, preempt_min_runtime_s, reclaim_min_runtime_s, sides
from extender.fairshare.tree import QuotaTree, Standing
from extender.model.amounts import Amounts
from extender.model.queue import Queue, Quota

Written = dict[str, tuple[str, float, float, float]]


def gpus(number: float) -> Amounts:
    return Amounts(gpu_milli=round(number * 1000))


def recorded(written: Written) -> QuotaTree:
    """A tree with these shares and allocations; what a department holds beyond its projects is held by one more."""
    inner = {above for above, *_ in written.values()}
    queues = {
        name: Queue(name, Quota(round(quota * 1000)), department=above)
        for name, (above, quota, _, _) in written.items()
    }
    projects = [queue for name, queue in queues.items() if name not in inner]
    departments = [queue for name, queue in queues.items() if name in inner]
    tree = QuotaTree(gpus(100), projects, departments)
    for project in tree.projects.values():
        tree.allocate(project, gpus(written[project.queue.name][3]), preemptible=True)
    tree.take_shares({name: gpus(fair) for name, (_, _, fair, _) in written.items()})
    for name, standing in (tree.departments | tree.projects).items():
        assert standing.allocated[0] == written[name][3] * 1000, f"{name}: the case does not add up"
    return tree


def trade_allowed(
    tree: QuotaTree, ask: float, reclaimer: str, victims: dict[str, float], *, preemptible: bool = True
) -> bool:
    projects = {str(name): standing for name, standing in tree.projects.items()}
    trade = Trade(tree, projects[reclaimer], gpus(ask), preemptible=preemptible)
    if not trade.is_entitled():
        return False
    for name, amount in victims.items():
        if not trade.may_lose(projects[name]):
            return False
        trade.take(projects[name], gpus(amount))
    return trade.is_fair()


TALL = {
    "lt": ("", 1.0, 1.0, 0.0),
    "lm": ("lt", 1.0, 1.0, 0.0),
    "ll": ("lm", 1.0, 1.0, 0.0),
    "rt": ("", 1.0, 1.0, 2.0),
    "rm": ("rt", 1.0, 1.0, 2.0),
    "rl": ("rm", 1.0, 1.0, 2.0),
}
UNEVEN = {
    "top": ("", 2, 2, 2),
    "m1": ("top", 1, 1, 0.5),
    "m2": ("top", 1, 1, 1.5),
    "a": ("m1", 1, 1, 0),
    "b": ("m1", 0, 0, 0.5),
    "c": ("m2", 1, 1, 1.5),
}


@pytest.mark.parametrize(
    ("written", "reclaimer", "victims", "allowed"),
    [
        pytest.param({"p1": ("", 3, 3, 2), "p2": ("", 2, 2, 3)}, "p1", {"p2": 1}, True, id="victim above its share"),
        pytest.param({"p1": ("", 3, 3, 2), "p2": ("", 2, 2, 2)}, "p1", {"p2": 1}, False, id="victim at its share"),
        pytest.param({"p1": ("", 3, 3, 2), "p2": ("", 2, 2, 1)}, "p1", {"p2": 1}, False, id="victim below its share"),
        pytest.param(
            {"p1": ("", 3, 3, 2), "p2": ("", 2, 3, 3)}, "p1", {"p2": 1}, True, id="quota is guaranteed against surplus"
        ),
        pytest.param(
            {"p1": ("", 2, 3, 2), "p2": ("", 2, 3, 3)}, "p1", {"p2": 1}, False, id="surplus is not, against surplus"
        ),
        pytest.param(
            {"p1": ("", 3, 3, 3), "p2": ("", 2, 2, 3)}, "p1", {"p2": 1}, False, id="reclaimer would pass its share"
        ),
        pytest.param(
            {"root": ("", 1, 1, 5), "p1": ("root", 2, 3, 2), "p2": ("root", 2, 2, 3)},
            "p1",
            {"p2": 1},
            True,
            id="what both belong to does not matter",
        ),
        pytest.param(
            {"d1": ("", 3, 3, 2), "p1": ("d1", 3, 3, 2), "d2": ("", 2, 2, 3), "p2": ("d2", 2, 2, 3)},
            "p1",
            {"p2": 1},
            True,
            id="department above its share",
        ),
        pytest.param(
            {"d1": ("", 3, 3, 2), "p1": ("d1", 3, 3, 2), "d2": ("", 2, 2, 2), "p2": ("d2", 2, 2, 2)},
            "p1",
            {"p2": 1},
            False,
            id="department at its share",
        ),
        pytest.param(
            {"d1": ("", 3, 3, 1), "p1": ("d1", 3, 3, 1), "d2": ("", 2, 4, 3), "p2": ("d2", 2, 4, 3)},
            "p1",
            {"p2": 1},
            True,
            id="department's quota is guaranteed",
        ),
        pytest.param(
            {
                "d1": ("", 2, 2, 2),
                "p1": ("d1", 2, 2, 1),
                "q1": ("d1", 0, 1, 1),
                "d2": ("", 2, 2, 2),
                "p2": ("d2", 0, 0, 2),
            },
            "p1",
            {"p2": 1},
            False,
            id="a project above its share, in a department within its own, is safe from other departments",
        ),
        pytest.param(TALL, "ll", {"rl": 2}, True, id="three levels"),
        pytest.param(
            TALL | {"lt": ("", 1, 1, 1), "lo": ("lt", 0, 0, 1)},
            "ll",
            {"rl": 2},
            False,
            id="the top queue would pass its quota: it must take from its own branch",
        ),
        pytest.param(UNEVEN, "a", {"c": 1.5}, False, id="own branch untouched"),
        pytest.param(UNEVEN, "a", {"c": 1.5, "b": 0.5}, True, id="own branch gives too"),
        pytest.param(UNEVEN, "a", {"b": 0.5, "c": 1.5}, True, id="in either order"),
        pytest.param(
            {
                "d1": ("", 4, 4, 4),
                "x": ("d1", 3, 1, 0),
                "z": ("d1", 1, 3, 4),
                "d2": ("", 3, 3, 7),
                "w": ("d2", 3, 3, 7),
            },
            "x",
            {"w": 1},
            True,
            id="5/4 stays below 6/3",
        ),
        pytest.param(
            {"dept": ("", 1, 1, 0), "child": ("dept", 1, 1, 0), "leaf": ("", 0, 0, 1)},
            "child",
            {"leaf": 1},
            True,
            id="a victim without a department",
        ),
        pytest.param({"p1": ("", 3, 3, 2)}, "p1", {"p1": 1}, False, id="never from itself"),
        pytest.param(
            {"p1": ("", 1, 1, 0), "p2": ("", 0, 0, 2)}, "p1", {"p2": 2}, True, id="a share of 0 is never too little"
        ),
    ],
)
def test_a_request_for_one_gpu(written: Written, reclaimer: str, victims: dict[str, float], allowed: bool) -> None:
    assert trade_allowed(recorded(written), 1, reclaimer, victims) is allowed


def test_what_cannot_be_preempted_stays_within_quota_at_every_level() -> None:
    written: Written = {"root": ("", 3, 5, 5), "p1": ("root", 3, 3, 2), "p2": ("root", 2, 2, 3)}
    tree = recorded(written)
    p1, p2 = tree.projects.values()
    assert trade_allowed(tree, 1, "p1", {"p2": 1}, preemptible=False)
    tree.release(p2, gpus(2), preemptible=True)
    tree.allocate(p2, gpus(2), preemptible=False)
    assert trade_allowed(tree, 1, "p1", {"p2": 1}, preemptible=False)  # 2 + 1 of the department's 3
    tree.release(p1, gpus(1), preemptible=True)
    tree.allocate(p1, gpus(1), preemptible=False)
    assert not trade_allowed(tree, 1, "p1", {"p2": 1}, preemptible=False)
    assert trade_allowed(tree, 1, "p1", {"p2": 1}, preemptible=True)


def test_a_victim_may_end_below_its_share_only_with_its_last_loss() -> None:
    tree = recorded({"p1": ("", 4, 4, 0), "p2": ("", 2, 2, 5)})
    p1, p2 = tree.projects.values()
    trade = Trade(tree, p1, gpus(4), preemptible=True)
    trade.take(p2, gpus(2))
    assert trade.may_lose(p2)
    trade.take(p2, gpus(2))
    assert not trade.may_lose(p2)
    trade.give_back(p2, gpus(2))
    assert trade.may_lose(p2)


@pytest.mark.parametrize(
    ("holds", "allowed"),
    [
        pytest.param(Amounts(80, 220, 220), True, id="above in two"),
        pytest.param(Amounts(120, 120, 220), True, id="one resource above is enough"),
        pytest.param(Amounts(120, 120, 120), False, id="above in none"),
        pytest.param(Amounts(200, 200, 200), False, id="exactly its share"),
    ],
)
def test_one_resource_above_is_enough(holds: Amounts, allowed: bool) -> None:
    nothing = Quota(0, 0, 0)
    tree = QuotaTree(Amounts(1000, 1000, 1000), [Queue("p1", nothing), Queue("p2", nothing)])
    p1, p2 = tree.projects.values()
    tree.allocate(p2, holds, preemptible=True)
    tree.take_shares({"p1": Amounts(1, 1, 1), "p2": Amounts(200, 200, 200)})
    assert Trade(tree, p1, Amounts(1), preemptible=True).may_lose(p2) is allowed


def test_the_limit_caps_the_share_that_is_protected() -> None:
    limited = Queue("p2", Quota(200, 200, 200), Quota(100, 100, 100))
    tree = QuotaTree(Amounts(1000, 1000, 1000), [Queue("p1", Quota(0, 0, 0)), limited])
    p1, p2 = tree.projects.values()
    tree.allocate(p2, Amounts(50, 120, 30), preemptible=True)
    tree.take_shares({"p1": Amounts(1, 1, 1), "p2": Amounts(200, 200, 200)})
    assert Trade(tree, p1, Amounts(1), preemptible=True).may_lose(p2)


def test_resources_that_the_request_does_not_involve_are_ignored() -> None:
    tree = recorded({"d1": ("", 4, 4, 4), "x": ("d1", 2, 5, 4), "d2": ("", 3, 3, 7), "w": ("d2", 3, 3, 7)})
    x, w = tree.projects.values()
    tree.allocate(x, Amounts(cpu_milli=3000), preemptible=True)
    tree.allocate(w, Amounts(cpu_milli=1000), preemptible=True)
    shares = {name: Amounts(standing.fair[0], 1000) for name, standing in (tree.departments | tree.projects).items()}
    tree.take_shares(shares)
    assert trade_allowed(tree, 1, "x", {"w": 1})
    trade = Trade(tree, x, Amounts(1000, 1), preemptible=True)
    assert not trade.is_entitled()
    trade.take(w, Amounts(1000, 500))
    assert not trade.is_fair()


def test_what_comes_along_with_the_loss_is_compared_too() -> None:
    tree = recorded({"x": ("", 4, 4, 3), "w": ("", 3, 3, 5)})
    x, w = tree.projects.values()
    tree.allocate(x, Amounts(cpu_milli=3000), preemptible=True)
    tree.allocate(w, Amounts(cpu_milli=1000), preemptible=True)
    tree.take_shares({name: Amounts(standing.fair[0], 1000) for name, standing in tree.projects.items()})
    trade = Trade(tree, x, gpus(1), preemptible=True)
    trade.take(w, gpus(1))
    assert trade.is_fair()
    trade.take(w, Amounts(cpu_milli=500))  # x has three times its share of CPU, and w would be left with half of its
    assert not trade.is_fair()


@pytest.mark.parametrize(
    ("multiplier", "fair"),
    [
        pytest.param(Fraction(1), True, id="5/4 is below 6/3"),
        pytest.param(Fraction(8, 5), False, id="5/4 x 8/5 is exactly 6/3"),
        pytest.param(Fraction(3, 2), True, id="5/4 x 3/2 is below 6/3"),
    ],
)
def test_the_multiplier_asks_for_distance(multiplier: Fraction, fair: bool) -> None:
    tree = recorded(
        {"d1": ("", 4, 4, 4), "x": ("d1", 3, 1, 0), "z": ("d1", 1, 3, 4), "d2": ("", 3, 3, 7), "w": ("d2", 3, 3, 7)}
    )
    x, _, w = tree.projects.values()
    trade = Trade(tree, x, gpus(1), preemptible=True, multiplier=multiplier)
    trade.take(w, gpus(1))
    assert trade.is_fair() is fair


def test_the_most_saturated_loses_first_then_the_youngest() -> None:
    tree = recorded({"r": ("", 9, 3, 0), "q0": ("", 1, 3, 5), "q1": ("", 1, 2, 3), "q2": ("", 1, 2, 3)})
    r, *others = tree.projects.values()
    trade = Trade(tree, r, gpus(3), preemptible=True)
    taken = []
    for _ in range(4):
        victim = max(others, key=trade.victim_key)
        trade.take(victim, gpus(1))
        taken.append(victim.queue.name)
    assert taken == ["q0", "q2", "q1", "q0"]  # 5/3, then 3/2 twice, then 4/3


def test_a_department_that_would_be_overfull_can_be_made_to_give_first() -> None:
    tree = recorded(UNEVEN)
    a, b, c = tree.projects.values()
    trade = Trade(tree, a, gpus(1), preemptible=True)
    assert trade.victim_key(c) > trade.victim_key(b)
    assert trade.victim_key(b, own_branch_first=True) > trade.victim_key(c, own_branch_first=True)
    trade.take(b, gpus(0.5))
    assert trade.victim_key(c, own_branch_first=True) > trade.victim_key(b, own_branch_first=True)


def aged(name: str, above: str = "", preempt: float | None = None, reclaim: float | None = None) -> Queue:
    return replace(Queue(name, department=above), preempt_min_runtime_s=preempt, reclaim_min_runtime_s=reclaim)


def neighbours() -> dict[str, Standing]:
    tree = QuotaTree(
        gpus(8),
        [
            aged("a", "d1", preempt=5, reclaim=30),
            aged("b", "d1", reclaim=0),
            aged("c", "d2"),
            aged("d", "d3"),
        ],
        [aged("d1", preempt=7, reclaim=60), aged("d2", preempt=11), aged("d3")],
    )
    return {str(name): standing for name, standing in tree.projects.items()}


@pytest.mark.parametrize(("project", "expected"), [("a", 5), ("b", 7), ("c", 11), ("d", 0)])
def test_preempt_min_runtime_is_inherited(project: str, expected: float) -> None:
    assert preempt_min_runtime_s(neighbours()[project]) == expected


@pytest.mark.parametrize(
    ("victim", "reclaimer", "scope", "expected"),
    [
        pytest.param("a", "b", RuntimeScope.LCA, 30, id="same department: the victim's own"),
        pytest.param("a", "c", RuntimeScope.LCA, 60, id="other department: the department's"),
        pytest.param("a", "c", RuntimeScope.QUEUE, 30, id="by queue: the victim's own"),
        pytest.param("b", "c", RuntimeScope.QUEUE, 0, id="0 is a figure, not an absence"),
        pytest.param("c", "a", RuntimeScope.QUEUE, 0, id="nobody said anything"),
    ],
)
def test_reclaim_min_runtime(victim: str, reclaimer: str, scope: RuntimeScope, expected: float) -> None:
    projects = neighbours()
    assert reclaim_min_runtime_s(projects[victim], projects[reclaimer], scope) == expected


def test_sides_are_siblings() -> None:
    projects = neighbours()
    for one in projects.values():
        for other in projects.values():
            if one is not other:
                ours, theirs = sides(one, other)
                assert ours is not theirs
                assert ours.parent is theirs.parent
                assert ours in one.path()
                assert theirs in other.path()
