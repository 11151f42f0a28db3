"""Pods that leave: what is lost, and what is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extender.cluster import audit
from extender.pods.placement import Policy
from extender.simulate import arrivals
from extender.simulate.bench import Bench
from extender.simulate.churn import churn, default_steps
from tests.simulate.files import host, task, work


def test_one_gpu_and_one_pod_at_a_time() -> None:
    """The same queue written out: a pod is served when the one before has left."""
    some = work([host("n", gpus=1)], [task("p")])
    stream = arrivals.churn_stream(some, 7, 3.0, 400)
    free_from, served = 0.0, []
    for step, lifetime in enumerate(stream.lifetimes):
        served.append(free_from <= step)
        if served[-1]:
            free_from = step + lifetime
    result = churn(some, Policy(), seed=7, rho=3.0, steps=400)
    assert result.lost_percent == 100 * served[200:].count(False) / 200
    assert result.warm_up_steps == 200
    assert result.refused_though_fitting == 0
    assert result.allocated_percent_at_100 is None


def test_a_small_load_loses_nothing_and_is_present_as_offered() -> None:
    some = work([host(f"n{n}", gpus=8) for n in range(20)], [task(f"p{n}", 1, 500) for n in range(3)])
    result = churn(some, Policy(), seed=42, rho=0.4, steps=6000)
    assert result.lost_percent == 0
    assert result.mean_allocated_percent == pytest.approx(40, abs=4)


def test_who_refuses_everything_loses_everything() -> None:
    some = work([host("n")], [task("p"), task("cpu", 0)])
    result = churn(some, Policy(), seed=42, rho=1.0, steps=100, seater=lambda *_: None)
    assert (result.lost_percent, result.mean_allocated_percent) == (100, 0)
    assert result.refused_though_fitting == 100


def test_the_same_input_gives_the_same_answer() -> None:
    some = work([host(f"n{n}", gpus=4) for n in range(5)], [task(f"p{n}", 1, 300 + 50 * n) for n in range(9)])
    runs = [churn(some, Policy(), seed=1, rho=1.1, steps=500, with_curve=True) for _ in range(2)]
    first, second = (replace(run, decision_us_p50=0, decision_us_p99=0) for run in runs)
    assert first == second
    assert len(first.curve) == 250


def test_six_mean_lifetimes_unless_told() -> None:
    some = work([host("n", gpus=8)], [task("p")])
    assert default_steps(some, 1.0) == 48


def test_books_and_picture_agree_when_all_have_left() -> None:
    some = work([host("a"), host("b", gpus=3)], [task("p", 2, cpu=100), task("q", 1, 400, memory=5), task("c", 0)])
    bench = Bench(some, [1, 0], Policy())
    seats = [bench.arrive(index) for index in (0, 1, 1, 2, 0, 1)]
    assert [host.node.name for host in bench.hosts] == ["0-b", "1-a"]
    assert audit.check(bench.picture) == []
    for seat in seats:
        if seat is not None:
            bench.leave(seat)
    assert bench.allocated_percent() == 0
    assert audit.check(bench.picture) == []
    assert bench.books.free.tolist() == [[1000, 1000, 1000], [1000, 1000, -1]]
    assert bench.books.cpu.tolist() == [64_000, 64_000]
