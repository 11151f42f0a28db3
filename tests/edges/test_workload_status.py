"""What a workload's status says of its submission."""

from __future__ import annotations

from extender.controllers.workloads import _events
from extender.wire.workloads.status import MOST_EVENTS


def test_what_was_said_before_is_not_said_again_and_the_newest_is_never_left_out() -> None:
    told = [("Error", f"line {number}") for number in range(MOST_EVENTS + 1)]
    for number in range(3):
        told.append(("Error", f"more {number}"))
    first = _events({}, told)
    assert len(first) == MOST_EVENTS + 1
    assert first[0]["message"] == "line 0"
    assert first[-1]["message"] == "and 4 more"
    again = _events({"events": first}, [("Error", "line 0"), ("Info", "all the resources were created successfully")])
    assert len(again) == MOST_EVENTS + 1
    assert again[-1]["message"] == "all the resources were created successfully"
    assert [one["message"] for one in again].count("line 0") <= 1
