"""The fill protocol on clusters small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extender.errors import InvariantError
from extender.model.names import NodeName
from extender.model.pod import Placement
from extender.packing.strategy import Strategy
from extender.pods.placement import Policy
from extender.simulate.fill import Track, fill
from extender.simulate.result import Result
from extender.simulate.workload import Accepts
from tests.simulate.files import host, task, work

STRATEGIES = [Policy(one, one) for one in Strategy]


def without_times(result: Result) -> Result:
    return replace(result, decision_us_p50=0, decision_us_p99=0)


@pytest.mark.parametrize("policy", STRATEGIES, ids=lambda policy: policy.gpu_strategy)
def test_two_gpus_and_three_pods(policy: Policy) -> None:
    some = work([host("n")], [task(f"p{number}") for number in range(4)])
    result = fill(some, policy, seed=42, inflate=1.5, with_curve=True)
    assert result.decisions == 3  # 4 pods are 200 % of 2 GPUs, 150 % may arrive
    assert [(one.at, one.allocated_percent) for one in result.curve] == [(50, 50), (100, 100), (150, 100)]
    assert (result.allocated_percent_at_100, result.allocated_percent_at_130) == (100, 100)
    assert result.refused_though_fitting == 0
    assert result.fragmentation_percent == 0


def test_a_load_that_was_never_drawn_has_no_value() -> None:
    some = work([host("n")], [task("p")])
    result = fill(some, Policy(), seed=42, inflate=1.0)
    assert (result.allocated_percent_at_100, result.allocated_percent_at_130) == (100, None)


def test_fragmentation_is_that_of_the_moment_before_arrivals_pass_100_percent() -> None:
    # 0.6 of each GPU is taken by the first two pods (60 %); the third makes 90 %; the fourth 120 %, and finds no room.
    some = work([host("n")], [task(f"p{number}", 1, 600) for number in range(4)])
    result = fill(some, Policy(), seed=42, inflate=1.3)
    assert result.allocated_percent_at_100 == 60
    assert result.fragmentation_percent == 40


@pytest.mark.parametrize("policy", STRATEGIES, ids=lambda policy: policy.gpu_strategy)
@pytest.mark.parametrize("short", ["cpu", "memory", "pods", "model"])
def test_what_does_not_fit_is_refused_and_that_is_no_fault(policy: Policy, short: str) -> None:
    hosts = {
        "cpu": host("n", cpu=1500),
        "memory": host("n", memory=1500),
        "pods": host("n", pods=1),
        "model": host("n", model="T4"),
    }
    accepts = Accepts(frozenset({"A10"} if short == "model" else ()))
    tasks = [task(f"p{number}", cpu=1000, memory=1000, accepts=accepts) for number in range(2)]
    result = fill(work([hosts[short]], tasks), policy, seed=42, inflate=1.0)
    assert result.allocated_percent_at_100 == (0 if short == "model" else 50)
    assert result.refused_though_fitting == 0


def test_a_pod_goes_to_a_model_that_it_accepts() -> None:
    some = work(
        [host("a", model="A10"), host("t", model="T4")],
        [task(f"p{number}", accepts=Accepts(frozenset({"T4", "P100"}))) for number in range(4)],
    )
    result = fill(some, Policy(), seed=42, inflate=1.0)
    assert result.allocated_percent_at_100 == 50


def test_a_packer_that_turns_pods_away_is_found_out() -> None:
    some = work([host("n")], [task(f"p{number}") for number in range(4)])
    result = fill(some, Policy(), seed=42, inflate=1.5, seater=lambda *_: None)
    assert result.refused_though_fitting == result.decisions == 3
    assert result.allocated_percent_at_100 == 0


def test_a_packer_that_gives_a_gpu_twice_is_stopped() -> None:
    some = work([host("n")], [task(f"p{number}") for number in range(4)])
    with pytest.raises(InvariantError, match=r"on node 0-n: 1000 milli-GPU needed, device 0 has 0"):
        fill(some, Policy(), seed=42, seater=lambda *_: Placement(NodeName("0-n"), ((0, ""),)))


def test_the_same_input_gives_the_same_answer_and_another_seed_another() -> None:
    hosts = [host(f"n{number}", gpus=number % 4, cpu=8000) for number in range(12)]
    tasks = [task(f"p{n}", 1, 1000 - 37 * n % 700, cpu=500 * (n % 5)) for n in range(40)]
    runs = [without_times(fill(work(hosts, tasks), Policy(), seed=seed, with_curve=True)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].curve != runs[2].curve


def test_the_value_at_x_is_the_mean_of_rounded_percentages_over_the_arrivals_that_round_to_x() -> None:
    track = Track(capacity_milli=3000)
    for arrived, allocated in ((2980, 1000), (2985, 1001), (3000, 1002), (3014, 1003), (3015, 3000)):
        track.append(arrived, allocated)
    # 99.33 rounds to 99; 99.5 (a half, up), 100 and 100.47 to 100; 100.5 to 101.
    assert track.percent_at(99, most=130) == 33.33
    assert track.percent_at(100, most=130) == round((33.37 + 33.40 + 33.43) / 3, 2)
    assert track.percent_at(101, most=130) == 100
    assert track.percent_at(130, most=130) == 100  # nothing rounds to it: the last before
    assert track.percent_at(131, most=130) is None
    assert track.percent_at(50, most=130) is None  # nothing arrived before
