"""Samples and the time in, who has been idle for too long out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from extender.model.names import PodUID
from extender.pods.idleness import Holder, Streak, Use, follow, over
from tests.builders import NAMESPACE, pod, uid

BRIDGE_S = 90.0
EVERY_S = 30.0
MISSING = None


def holder(name: str, workload: str = "w", limit_s: int | None = 60) -> Holder:
    return Holder(pod(name, gpus=1), workload, limit_s)


def idle_after(*samples: float | None, every_s: float = EVERY_S) -> float | None:
    """For how many seconds the pod `p` has been idle after these samples of it; None: it has no streak."""
    streaks: dict[PodUID, Streak] = {}
    for number, value in enumerate(samples):
        use = Use({} if value is MISSING else {f"{NAMESPACE}/p": value}, {})
        streaks = follow(streaks, [holder("p")], use, 1000 + number * every_s, bridge_s=BRIDGE_S)
    return streaks[uid("p")].idle_s if streaks else None


@pytest.mark.parametrize(
    ("samples", "idle_s"),
    [
        pytest.param([0.0], 0, id="the first sample begins a streak and says nothing of before"),
        pytest.param([0.0, 0.0, 0.0], 60, id="idle"),
        pytest.param([0.0, 0.0, 100.0], None, id="busy"),
        pytest.param([0.0, 0.0, 0.5, 0.0, 0.0], 30, id="any use begins it anew"),
        pytest.param([MISSING], None, id="never measured"),
        pytest.param([0.0, 0.0, MISSING], 30, id="what is not measured does not count"),
        pytest.param([0.0, 0.0, MISSING, MISSING, 0.0], 120, id="the next sample looks back over what was missing"),
        pytest.param([0.0, 0.0, MISSING, MISSING, MISSING, 0.0], 0, id="a gap that nobody looks back over ends it"),
        pytest.param([0.0, 0.0, MISSING, MISSING, MISSING, MISSING], None, id="and is forgotten"),
        pytest.param([0.0, MISSING, 7.0, 0.0], 0, id="what was used meanwhile is seen afterwards"),
    ],
)
def test_a_streak(samples: list[float | None], idle_s: float | None) -> None:
    assert idle_after(*samples) == idle_s


def test_a_sampler_that_is_late_does_not_count_what_it_could_not_see() -> None:
    assert idle_after(0.0, 0.0, every_s=BRIDGE_S) == BRIDGE_S
    assert idle_after(0.0, 0.0, every_s=BRIDGE_S + 0.5) == 0


def test_pods_that_have_gone_are_forgotten_and_another_of_the_same_name_begins_anew() -> None:
    before = {uid("gone"): Streak(0, 90), uid("p"): Streak(0, 90)}
    idle = Use({f"{NAMESPACE}/{name}": 0.0 for name in ("gone", "p", "q")}, {})
    after = follow(before, [holder("p"), holder("q")], idle, 100, bridge_s=BRIDGE_S)
    assert after == {uid("p"): Streak(0, 100), uid("q"): Streak(100, 100)}


@pytest.mark.parametrize(
    ("pods", "devices", "value"),
    [
        ({}, {}, None),
        ({}, {"GPU-a": 0.0}, None),
        ({}, {"GPU-a": 0.0, "GPU-b": 0.0, "GPU-c": 9.0}, 0.0),
        ({}, {"GPU-a": 0.0, "GPU-b": 3.0}, 3.0),
        ({f"{NAMESPACE}/p": 0.0}, {"GPU-a": 0.0, "GPU-b": 3.0}, 0.0),
    ],
    ids=["unknown", "one unknown", "both idle", "one is used", "measured for itself"],
)
def test_shared_devices_count_for_all_who_share_them(
    pods: dict[str, float], devices: dict[str, float], value: float | None
) -> None:
    sharer = replace(pod("p", fraction="0.5"), gpu_uuids=("GPU-a", "GPU-b"))
    assert Use(pods, devices).of(sharer) == value


@dataclass
class Case:
    name: str
    holders: list[Holder]
    idle_s: dict[str, float]  # pod → its streak; none for the others
    over: dict[str, float]


CASES = [
    Case("nobody", [], {}, {}),
    Case("not measured", [holder("a")], {}, {}),
    Case("below", [holder("a")], {"a": 59}, {}),
    Case("exactly", [holder("a")], {"a": 60}, {"w": 60}),
    Case("no limit", [holder("a", limit_s=None)], {"a": 1e6}, {}),
    Case("a limit of 0 is none", [holder("a", limit_s=0)], {"a": 1e6}, {}),
    Case("all its pods are: as long as the last", [holder("a"), holder("b")], {"a": 90, "b": 61}, {"w": 61}),
    Case("one of its pods works", [holder("a"), holder("b")], {"a": 90}, {}),
    Case("one of its pods has just stopped", [holder("b"), holder("a")], {"a": 90, "b": 0}, {}),
    Case("one of its pods may", [holder("a"), holder("b", limit_s=None)], {"a": 90, "b": 90}, {}),
    Case("each by its own limit", [holder("a"), holder("b", limit_s=100)], {"a": 90, "b": 90}, {}),
    Case("others go on", [holder("a", "v"), holder("b", "w")], {"a": 90}, {"v": 90}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_is_over(case: Case) -> None:
    streaks = {uid(name): Streak(1000, 1000 + idle_s) for name, idle_s in case.idle_s.items()}
    assert over(case.holders, streaks) == case.over
    assert over(list(reversed(case.holders)), streaks) == case.over
