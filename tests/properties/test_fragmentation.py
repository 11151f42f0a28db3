"""The default policy: fast arrays against plain loops, and kept scores against fresh ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.cluster.picture import Picture
from extender.cluster.ranking import Ranking
from extender.model.amounts import GPU
from extender.model.names import NodeName
from extender.model.pod import Pod
from extender.packing import remainder
from extender.packing.demand import Tables
from extender.packing.devices import choose
from extender.packing.strategy import Strategy
from extender.pods import placement
from extender.pods.placement import Policy
from tests.builders import node, offer, pod, uid, world

MODELS = ["a100", "h100"]
cpus = st.sampled_from(["500m", "2", "9"])
shapes = st.one_of(
    st.fixed_dictionaries({"gpus": st.integers(1, 3), "cpu": cpus}),
    st.fixed_dictionaries(
        {
            "fraction": st.sampled_from(["0.1", "0.25", "0.5", "0.81"]),
            "devices": st.sampled_from([1, 1, 1, 2]),
            "cpu": cpus,
        }
    ),
    st.fixed_dictionaries({"cpu": cpus}),
)


def waste(free: list[int], cpu: int, tables: Tables) -> float:
    """W + F of one node, as the module's docstring defines them, device by device and shape by shape."""
    total = sum(free)
    for_cpu = cpu / tables.kappa
    stranded = max(sum(float(tables.wasted[left]) for left in free), total - for_cpu)
    stranded += 0.1 * max(for_cpu - total, 0.0)
    level = sum(1 for one in tables.cpu_levels.tolist() if one <= cpu)
    usable = sum(float(tables.usable_device[level, left]) for left in free)
    usable += float(tables.usable_whole[level, sum(1 for left in free if left == GPU)])
    return stranded + tables.next_pod * (total - usable)


def level(picture: Picture, name: str, subject: Pod) -> int | None:
    """The score of one node, None when the pod does not fit there."""
    ledger = picture.ledger(NodeName(name))
    assert ledger is not None
    assert ledger.node is not None
    free = ledger.free()
    chosen = choose(subject.gpu, free, ledger.gpu_memory_mib, Strategy.FRAGMENTATION)
    if chosen is None or (subject.gpu_products and ledger.node.gpu_product not in subject.gpu_products):
        return None
    tables = picture.demand.tables
    cpu = max(ledger.node.cpu_milli - ledger.cpu_milli, 0)
    take = GPU if subject.gpu.is_whole else subject.gpu.share_milli
    after = [left - take if index in chosen else left for index, left in enumerate(free)]
    growth = waste(after, max(cpu - subject.cpu_milli, 0), tables) - waste(free, cpu, tables)
    growth += 0.3 * tables.price.get(ledger.node.gpu_product, 0.0) * take * len(chosen)
    return math.floor(50 / (1 + math.exp(max(-30.0, min(30.0, growth / 1000)))) + 1e-9)


@st.composite
def clusters(draw: st.DrawFn) -> Picture:
    """A few nodes with pods on them, after enough arrivals to have learned something (or not)."""
    nodes = [
        replace(
            node(f"n{number}", gpus=draw(st.integers(0, 4)), cpu=str(draw(st.integers(1, 16)))),
            gpu_product=draw(st.sampled_from(MODELS)),
        )
        for number in range(draw(st.integers(1, 6)))
    ]
    picture = world(*nodes)
    for number, given_ in enumerate(draw(st.lists(shapes, max_size=8))):
        offer(picture, pod(f"placed{number}", **given_), draw(st.sampled_from(nodes)).name)
    for number, given_ in enumerate(draw(st.lists(asks, min_size=1, max_size=5)) * draw(st.sampled_from([0, 60]))):
        picture.upsert_pod(ask(f"seen{number}", given_))
    return picture


asks = st.tuples(shapes, st.sampled_from([(), ("a100",), ("a100", "h100"), ("other",)]))


def ask(name: str, given_: tuple[dict[str, Any], tuple[str, ...]]) -> Pod:
    return replace(pod(name, **given_[0]), gpu_products=given_[1])


@settings(max_examples=120)
@given(clusters(), asks)
def test_the_fast_score_is_the_slow_one(picture: Picture, given_: Any) -> None:
    subject = ask("subject", given_)
    values = picture.ranking.values(placement.shape_of(subject), Strategy.FRAGMENTATION)
    for name, row in picture.table.row_of.items():
        expected = level(picture, name, subject)
        assert values[row] == (-1 if expected is None else expected), name


@settings(max_examples=80)
@given(clusters(), st.lists(asks, min_size=2, max_size=4), st.data())
def test_kept_scores_are_fresh_scores_after_any_events(
    picture: Picture, given_: list[Any], data: st.DataObject
) -> None:
    subjects = [ask(f"subject{number}", one) for number, one in enumerate(given_)]
    strategies = [Strategy.FRAGMENTATION, data.draw(st.sampled_from(Strategy))]
    for step in range(data.draw(st.integers(1, 8))):
        match data.draw(st.sampled_from(["place", "end", "node", "drop", "ask"])):
            case "place":
                offer(picture, pod(f"later{step}", **data.draw(shapes)))
            case "end":
                for name in ("placed0", "placed1", f"later{step - 1}"):
                    picture.delete_pod(uid(name))
            case "node":
                picture.upsert_node(node(f"n{data.draw(st.integers(0, 9))}", gpus=data.draw(st.integers(0, 9))))
            case "drop":
                picture.delete_node(NodeName(f"n{data.draw(st.integers(0, 9))}"))
        for subject in subjects:
            for strategy in strategies:
                shape = placement.shape_of(subject)
                fresh = Ranking(picture.table, picture.demand).values(shape, strategy)
                assert np.array_equal(picture.ranking.values(shape, strategy), fresh)


@pytest.mark.parametrize("strategy", Strategy)
def test_a_few_changed_rows_of_many_are_scored_as_all_of_them_would_be(strategy: Strategy) -> None:
    # Enough rows that a change is brought up to date alone: one by one up to six rows, together beyond.
    sizes = [(number % 5, str(8 + 8 * (number % 3))) for number in range(60)]
    picture = world(*(node(f"n{number:02}", gpus=gpus, cpu=cpu) for number, (gpus, cpu) in enumerate(sizes)))
    kinds: list[dict[str, Any]] = [{"gpus": 2, "cpu": "3"}, {"fraction": "0.3", "devices": 2, "cpu": "1"}, {"cpu": "2"}]
    kinds += [{"fraction": "0.6", "cpu": "5"}, {"gpus": 1, "cpu": "1"}]
    subjects = [pod(f"subject{number}", **kind) for number, kind in enumerate(kinds)]
    for step in range(120):
        for burst in range(1 + step % 9):
            offer(picture, pod(f"p{step}-{burst}", **kinds[(step + burst) % 5]), f"n{(7 * step + 11 * burst) % 60:02}")
        picture.delete_pod(uid(f"p{step - 9}-0"))
        subject = subjects[step % 5]
        shape = placement.shape_of(subject)
        fresh = Ranking(picture.table, picture.demand).values(shape, strategy)
        assert np.array_equal(picture.ranking.values(shape, strategy), fresh)


@settings(max_examples=100)
@given(clusters(), asks)
def test_the_seat_is_the_best_level_and_the_first_name(picture: Picture, given_: Any) -> None:
    subject = ask("subject", given_)
    levels = {name: level(picture, name, subject) for name in picture.table.row_of}
    fitting = [name for name, one in levels.items() if one is not None]
    best = min(fitting, key=lambda name: (-(levels[name] or 0), name), default=None)
    if len(levels) > 1:  # one node offered alone is kube-scheduler's choice, whatever model the pod accepts
        seat = placement.best_seat(picture, subject, sorted(levels), Policy())
        assert (seat.node if seat else None) == best


def test_what_one_device_wastes_in_the_end() -> None:
    # Only halves and wholes arrive, equally often: a rest of 700 holds one half and wastes 200; 400 is all waste.
    picture = world(node("n"))
    nothing_known = picture.demand.tables.wasted
    assert (nothing_known[1000], nothing_known[999]) == (0, 999)
    for number in range(60):
        picture.upsert_pod(pod(f"p{number}", **({"fraction": "0.5"} if number % 2 else {"gpus": 1})))
    wasted = picture.demand.tables.wasted
    assert np.allclose(wasted[[1000, 700, 500, 400]], [0, 200, 0, 400], atol=0.01)


@settings(max_examples=40)
@given(st.dictionaries(st.integers(100, 1000), st.integers(1, 50), min_size=1, max_size=5))
def test_prices_leave_no_pattern_worth_more_than_a_device(demand: dict[int, int]) -> None:
    # Worth never falls with more free, two rests together are worth no less, and a whole device is worth one.
    wasted = remainder.wasted({size: float(weight) for size, weight in demand.items()})
    worth = (np.arange(GPU + 1) - wasted) / GPU
    assert worth[GPU] == 1
    assert (np.diff(worth) >= -1e-5).all()
    for first in demand:
        for second in demand:
            if first + second <= GPU:
                assert worth[first + second] >= worth[first] + worth[second] - 1e-6


def test_the_expected_use_of_a_rest_by_hand() -> None:
    # Demand 0.81 and 0.16 as 9 to 1: the small ones are far too few to fill every rest of 0.19.
    wasted = remainder.wasted({810: 9.0, 160: 1.0})
    assert np.isclose(wasted[190], 190, atol=0.01)
    # As 1 to 9 they are plenty, and six fill a device: a rest of 0.19 is worth a sixth of one.
    assert np.isclose(remainder.wasted({810: 1.0, 160: 9.0})[190], 190 - 1000 / 6, atol=0.01)
