"""What may not be written in a PodGroup or a queue, and what is better not written: for admission, and for tests.

A problem either refuses the object or is a warning to its author. Some are refused in a new object only, so that
objects from before the rule can still be changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from extender.model.gang import SubGroup


@dataclass(frozen=True, slots=True)
class Problem:
    """text: for the author. refused_on_create, refused_on_update: else it is a warning there."""

    text: str
    refused_on_create: bool = True
    refused_on_update: bool = True


def group_problems(
    subgroups: Sequence[SubGroup], *, min_member: int | None = None, min_parts: int | None = None
) -> list[Problem]:
    """What is wrong with a gang's minimum and subgroups; None for a minimum that is not written."""
    names = Counter(one.name for one in subgroups)
    found = [Problem(f"subgroup {name} is there {count} times") for name, count in names.items() if count > 1]
    children = Counter(one.parent for one in subgroups)
    levels = [("the group", "", min_member, min_parts)]
    levels += [(f"subgroup {one.name}", one.name, one.min_member, one.min_parts) for one in subgroups]
    for label, name, members, parts in levels:
        if members is not None and members < 0:
            found.append(Problem(f"minMember of {label} is below 0: {members}"))
        if members is not None and parts is not None:
            found.append(Problem(f"{label} has both minMember and minSubGroup: only one may be set"))
        if parts is not None and parts > children[name]:
            found.append(Problem(f"minSubGroup of {label} is {parts}, it has {children[name]} subgroups", False, False))
        if name and children[name] and members is not None:
            found.append(Problem(f"minMember of {label}: only a subgroup without subgroups has it", True, False))
        if name and not children[name] and members is None:
            found.append(Problem(f"{label} has no minMember"))
    return found + _parent_problems(subgroups)


def _parent_problems(subgroups: Sequence[SubGroup]) -> list[Problem]:
    parents = {one.name: one.parent for one in subgroups}
    found = []
    for one in subgroups:
        if one.parent and one.parent not in parents:
            found.append(Problem(f"subgroup {one.name}: its parent {one.parent} does not exist"))
            continue
        seen, at = {one.name}, one.parent
        while at and at in parents:
            if at in seen:
                found.append(Problem(f"subgroup {one.name} is below itself"))
                break
            seen.add(at)
            at = parents[at]
    return found


@dataclass(frozen=True, slots=True)
class QueueVerdict:
    """What admission says of a queue: problems, and whether it is an orphan: accepted, but no job of it runs."""

    problems: tuple[Problem, ...] = ()
    is_orphan: bool = False

    @property
    def is_refused(self) -> bool:
        return any(one.refused_on_create for one in self.problems)


def judge_queue(
    *,
    has_resources: bool,
    parent: str = "",
    known: Iterable[str] = (),
    gpu_quota_milli: int | None = None,
    parent_gpu_quota_milli: int | None = None,
    siblings_gpu_quota_milli: int = 0,
) -> QueueVerdict:
    """A queue that is written: it needs resources; a missing parent makes it an orphan; quotas above the parent's warn.

    Quotas in milli-GPU, None for unlimited; siblings_…: the sum over the other children of its parent.
    """
    problems = [] if has_resources else [Problem("a queue needs its resources stated")]
    quota, above = gpu_quota_milli, parent_gpu_quota_milli
    if quota is not None and above is not None and quota + siblings_gpu_quota_milli > above:
        text = (
            f"the quotas of {parent}'s queues, {quota + siblings_gpu_quota_milli} milli-GPU, are above its own {above}"
        )
        problems.append(Problem(text, False, False))
    return QueueVerdict(tuple(problems), is_orphan=bool(parent) and parent not in set(known))


def may_delete_queue(children: Sequence[str]) -> Problem | None:
    """Why a queue may not be deleted: others hang below it."""
    return Problem(f"queues hang below it: {', '.join(sorted(children))}") if children else None
