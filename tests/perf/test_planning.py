from __future__ import annotations

import pytest

from perf import planning


def test_every_case_decides_as_it_should_on_a_small_cluster() -> None:
    said: list[str] = []
    result = planning.planning(12, 8, 60, 3, 1, said.append)  # raises when the planner decides otherwise
    assert {name: (result[name]) for name in ("nodes", "members", "waiting", "projects")} == {
        "nodes": 12, "members": 8, "waiting": 60, "projects": 3,
    }  # fmt: skip
    events = {
        f"{event}, {why}" for event in ("first", "pass", "slice", "end", "arrival") for why in ("no room", "over limit")
    }
    assert set(result["ms"]) == {"gang", "hopeless, 80 × 1", "hopeless, 10 × 8", "reclaim"} | events
    assert len(said) == 6


def test_a_pod_that_ends_goes_to_one_of_those_who_wait_and_to_nobody_over_the_limit() -> None:
    for may_hold, seated in ((True, 1), (False, 0)):
        cluster = planning.Cluster(1, 8, ["p"], may_hold=may_hold)
        running = cluster.fill(8)
        waiting = [cluster.pod("p", planning.objects.Shape(gpus=1)) for _ in range(3)]
        cluster.allocate()
        assert cluster.seated(waiting) == 0
        cluster.gone(running[:1])
        cluster.allocate()
        assert cluster.seated(waiting) == seated


def test_another_decision_is_no_result() -> None:
    with pytest.raises(RuntimeError, match="3 instead of 4"):
        planning._expect(3, 4)
