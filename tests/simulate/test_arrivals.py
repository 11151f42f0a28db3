"""The order of arrival, as packing.md section 2 has it."""

from __future__ import annotations

import pytest

from extender.simulate import arrivals
from tests.simulate.files import host, task, work


def test_below_the_limit_every_pod_arrives_once_and_then_random_ones_until_the_next_would_pass_it() -> None:
    one = work([host("n", gpus=4)], [task("p")])
    # 1 GPU, then again and again: 5 is the last whole number below 1.3 × 4 = 5.2.
    assert arrivals.fill_order(one, 42, 1.3).tasks == [0] * 5


def test_the_limit_itself_may_be_reached() -> None:
    one = work([host("n", gpus=10)], [task("p")])
    # In floats 1.1 × 10,000 is more than 11,000, and 12 pods would arrive.
    assert len(arrivals.fill_order(one, 42, 1.1).tasks) == 11


def test_above_the_limit_random_pods_stay_out() -> None:
    many = work([host("n", gpus=4)], [task(f"p{number}") for number in range(10)])
    order = arrivals.fill_order(many, 42, 1.3).tasks
    assert len(order) == len(set(order)) == 5
    assert order != arrivals.fill_order(many, 43, 1.3).tasks


def test_the_stop_rule_counts_one_gpu_of_a_pod_and_what_is_then_too_much_goes() -> None:
    # 5 of 6.5 GPUs: another pod of 4 passes the rule, as 5 + 1 is not above; of the three, random ones go then.
    some = work([host("n", gpus=5)], [task("four", 4), task("one")])
    orders = [arrivals.fill_order(some, seed, 1.3).tasks for seed in range(40)]
    assert all(sum(some.demand_milli[index] for index in order) <= 6500 for order in orders)
    assert any(1 not in order for order in orders)  # counting all of its GPUs, nothing would ever have to go


def test_all_pods_are_there_in_another_order_for_another_seed() -> None:
    some = work([host(f"n{number}", gpus=8) for number in range(9)], [task(f"p{number}") for number in range(50)])
    first, second = (arrivals.fill_order(some, seed, 1.0) for seed in (1, 2))
    assert set(first.tasks) == set(range(50))
    assert first.tasks[:50] != second.tasks[:50]
    assert first.ranks != second.ranks
    assert sorted(first.ranks) == list(range(9))
    assert first == arrivals.fill_order(some, 1, 1.0)


def test_what_the_files_order_is_does_not_matter() -> None:
    hosts = [host("a"), host("b", gpus=3)]
    tasks = [task("p1"), task("p2", 1, 300), task("p3", 0)]
    assert work(hosts, tasks) == work(hosts[::-1], tasks[::-1])


def test_lifetimes_offer_rho_times_the_capacity() -> None:
    # One pod a step, of half a GPU on average; 8 GPUs at rho 0.5 are 4 GPUs present: 8 pods, so 8 steps each.
    some = work([host("n", gpus=8)], [task("p"), task("cpu", 0)])
    assert arrivals.mean_lifetime(some, 0.5) == 8
    stream = arrivals.churn_stream(some, 1, 0.5, 20_000)
    assert sum(stream.lifetimes) / 20_000 == pytest.approx(8, rel=0.05)
    assert sum(stream.tasks) / 20_000 == pytest.approx(0.5, rel=0.05)
