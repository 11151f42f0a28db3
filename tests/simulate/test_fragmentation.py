"""F_n by hand, and against the formula written out shape by shape and GPU by GPU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.simulate.books import Books
from extender.simulate.fragmentation import Fragmentation, typical
from extender.simulate.workload import Accepts, Host, Task, Workload
from tests.simulate.files import host, task, work


def measured(workload: Workload, *taken: tuple[Task, int, tuple[int, ...]]) -> float:
    books = Books([one.node for one in workload.hosts])
    for one in taken:
        books.take(*one)
    return Fragmentation(workload, workload.hosts).percent(books)


def test_what_is_too_small_for_half_of_the_pods_counts_half() -> None:
    # 500 and 1000 free of 2000. For 0.6 GPU and for 1 GPU the 500 are of no use; for 0.5 GPU all is: 2/3 of 500.
    some = work([host("n")], [task("a", 1, 600), task("b"), task("c", 1, 500)])
    assert measured(some, (task("x", 1, 500), 0, (0,))) == pytest.approx(100 * 500 * 2 / 3 / 2000)


def test_free_gpu_without_cpu_is_lost_to_all_who_need_it() -> None:
    some = work([host("n", cpu=1000)], [task("a", cpu=2000), task("b", cpu=500)])
    assert measured(some) == pytest.approx(50)


def test_to_a_pod_without_gpu_all_free_gpu_is_fragmented() -> None:
    some = work([host("n")], [task("cpu", 0), task("b")])
    assert measured(some) == pytest.approx(50)


def test_a_model_that_is_not_accepted_is_lost_too() -> None:
    a10 = Accepts(frozenset({"A10"}))
    some = work([host("a", model="A10"), host("t", model="T4")], [task("p", accepts=a10)])
    assert measured(some) == pytest.approx(50)


def test_the_commonest_shapes_are_typical_until_they_cover_95_percent() -> None:
    tasks = [task(f"a{n}") for n in range(90)] + [task(f"b{n}", 1, 500) for n in range(6)]
    tasks += [task(f"c{n}", 1, 100 + n) for n in range(4)]
    assert [(shape.gpu.share_milli, shape.weight) for shape in typical(tasks)] == [(0, 90 / 96), (500, 6 / 96)]


@st.composite
def filled(draw: st.DrawFn) -> tuple[Workload, Books]:
    models = ("A10", "T4")
    hosts = [
        host(f"n{n}", gpus=draw(st.integers(0, 4)), model=draw(st.sampled_from(models)), cpu=draw(st.integers(0, 3)))
        for n in range(draw(st.integers(1, 4)))
    ]
    hosts.append(host("z", gpus=1, cpu=2))
    shares = st.sampled_from([300, 500, 810, 1000])
    tasks = [
        task(
            f"p{n}",
            devices := draw(st.integers(0, 3)),
            draw(shares) if devices == 1 else 1000,
            cpu=draw(st.integers(0, 3)),
            accepts=Accepts(frozenset(draw(st.sets(st.sampled_from(models))))),
        )
        for n in range(draw(st.integers(1, 6)))
    ]
    workload = work(hosts, [*tasks, task("pz")])
    books = Books([one.node for one in workload.hosts])
    for _ in range(draw(st.integers(0, 5))):
        row = draw(st.integers(0, len(hosts) - 1))
        share = draw(st.integers(1, 1000))
        index = draw(st.integers(0, 3))
        one = task("x", 1, share)
        if index < books.free.shape[1] and not books.objection(one, row, (index,), None):
            books.take(one, row, (index,))
    return workload, books


@given(filled())
def test_the_fast_measure_is_the_formula(case: tuple[Workload, Books]) -> None:
    workload, books = case
    total = sum(
        shape.weight * _unusable(one, books, row, shape.cpu_milli, shape.gpu.devices, shape.gpu.share_milli or 1000)
        if shape.accepts.allows(one)
        else shape.weight * _free(one, books, row)
        for row, one in enumerate(workload.hosts)
        for shape in typical(workload.tasks)
    )
    percent = Fragmentation(workload, workload.hosts).percent(books)
    assert percent == pytest.approx(100 * total / workload.capacity_milli)


def _unusable(one: Host, books: Books, row: int, cpu: int, devices: int, milli: int) -> float:
    free = [int(books.free[row, index]) for index in range(one.node.gpus)]
    fitting = [left for left in free if left >= milli]
    if not devices or cpu > books.cpu[row] or len(fitting) < devices:
        return sum(free)
    return sum(free) - sum(fitting)


def _free(one: Host, books: Books, row: int) -> int:
    return sum(int(books.free[row, index]) for index in range(one.node.gpus))
