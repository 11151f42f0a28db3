"""What may not be written in a PodGroup or a queue."""

from __future__ import annotations

import pytest

from extender.model.gang import SubGroup
from extender.model.validate import group_problems, judge_queue, may_delete_queue

LEAF = SubGroup("leaf", min_member=1)


@pytest.mark.parametrize(
    ("subgroups", "given", "text", "create", "update"),
    [
        ([], {"min_member": -1}, "below 0", True, True),
        ([LEAF, LEAF], {}, "2 times", True, True),
        ([LEAF], {"min_member": 1, "min_parts": 1}, "only one", True, True),
        ([LEAF], {"min_parts": 2}, "it has 1 subgroups", False, False),
        ([SubGroup("leaf")], {}, "has no minMember", True, True),
        ([SubGroup("in", min_member=1), SubGroup("leaf", "in", 1)], {}, "without subgroups has it", True, False),
        ([SubGroup("leaf", "none", 1)], {}, "does not exist", True, True),
        ([SubGroup("a", "b"), SubGroup("b", "a")], {}, "below itself", True, True),
    ],
)
def test_refusals(subgroups: list[SubGroup], given: dict[str, int], text: str, create: bool, update: bool) -> None:
    problems = group_problems(subgroups, **given)
    assert any(text in one.text for one in problems)
    assert any(one.refused_on_create for one in problems) is create
    assert any(one.refused_on_update for one in problems) is update


def test_a_sound_tree_has_no_problems() -> None:
    subgroups = [SubGroup("in"), SubGroup("a", "in", 2), SubGroup("b", "in", 0)]
    assert group_problems(subgroups, min_parts=1) == []
    assert group_problems([], min_member=0) == []


def test_queues() -> None:
    assert judge_queue(has_resources=False).is_refused
    assert judge_queue(has_resources=True, parent="up").is_orphan
    assert not judge_queue(has_resources=True, parent="up", known=["up"]).is_orphan
    tight = judge_queue(
        has_resources=True,
        parent="up",
        known=["up"],
        gpu_quota_milli=2000,
        parent_gpu_quota_milli=3000,
        siblings_gpu_quota_milli=2000,
    )
    assert not tight.is_refused
    assert "4000 milli-GPU" in tight.problems[0].text
    assert may_delete_queue([]) is None
    assert may_delete_queue(["a"]) is not None
