"""One gang: its minimum all or none, then extra members one by one, inside the domains that its parts demand.

Knows nothing of other gangs. What it placed before it failed is the caller's to roll back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from extender.fairshare.order import Fill
from extender.model.amounts import GPU
from extender.model.gang import Member, Part
from extender.packing.score import Ints
from extender.packing.strategy import Strategy
from extender.planning.seating import Look, find_seat
from extender.planning.topology import EVERYWHERE, NOT_IN_ANY, Area, Level, free_in, packed
from extender.planning.view import Job, View

_RATIO = 1000  # parts of one, for comparing ratios of counts


def next_members(job: Job) -> list[Member]:
    """Who is placed next: all that the minimum still needs, else one extra; none when nobody waits for it.

    Of optional subgroups the first ones with enough members are counted.
    """
    waiting = _by_leaf(job)
    if job.fill is Fill.BELOW_MINIMUM:
        return _needed(job, job.gang.tree, waiting) or []
    part = _next_extra(job, job.gang.tree, waiting)
    if part is None:
        return []
    if part.is_met(job.held):
        return waiting[part.name][:1]
    return _needed(job, part, waiting) or []


def place_next(view: View, job: Job, look: Look) -> list[Member]:
    """Seat the next members, see `next_members`. Returns who got a seat; nobody when they do not all fit.

    When any of those that make up the minimum must wait, all of them do: nobody starts early.
    """
    before = view.mark()
    had = set(job.seats)
    waiting = _by_leaf(job)
    starts = job.fill is Fill.BELOW_MINIMUM
    part = job.gang.tree if starts else _next_extra(job, job.gang.tree, waiting)
    if part is None:
        return []
    placed = (
        _part(view, job, part, EVERYWHERE, waiting, look)
        if not part.is_met(job.held)
        else _extra(view, job, part, waiting[part.name][0], look)
    )
    if not placed:
        view.rollback(before)
        return []
    given = [seat.member for uid, seat in job.seats.items() if uid not in had]
    if any(job.seats[member.pod.uid].promised for member in given):
        for member in given:
            view.promise(job, member.pod.uid)
    return given


def _by_leaf(job: Job) -> dict[str, list[Member]]:
    waiting: dict[str, list[Member]] = {}
    for member in job.pending():
        waiting.setdefault(job.gang.leaf_of(member), []).append(member)
    return waiting


def _needed(job: Job, part: Part, waiting: dict[str, list[Member]]) -> list[Member] | None:
    """Members that `part` still needs, None when there are not enough of them."""
    if not part.children:
        lacking = max(0, part.min_member - job.held.get(part.name, 0))
        members = waiting.get(part.name, [])[:lacking]
        return members if len(members) == lacking else None
    chosen: list[Member] = []
    met = 0
    for child in _met_first(job, part):
        if met >= part.min_parts:
            break
        of_child = _needed(job, child, waiting)
        if of_child is not None:
            chosen += of_child
            met += 1
    return chosen if met >= part.min_parts else None


def _met_first(job: Job, part: Part, waiting: Mapping[str, Sequence[Member]] | None = None) -> list[Part]:
    """Children that have their minimum, then the others; with `waiting`, those with the largest members first."""

    def key(child: Part) -> tuple[bool, int]:
        largest = max((_size(one) for leaf in child.leaves() for one in (waiting or {}).get(leaf.name, ())), default=0)
        return (not child.is_met(job.held), -largest)

    return sorted(part.children, key=key)


def _size(member: Member) -> int:
    gpu = member.pod.gpu
    return gpu.devices * (gpu.share_milli or gpu.memory_mib or GPU)


def _next_extra(job: Job, part: Part, waiting: dict[str, list[Member]]) -> Part | None:
    """Above the minimum of `part`: what inside it gets something next. Optional parts as a whole, a leaf one member.

    At every level those without their minimum come first, then those that have got least beyond it.
    """
    if not part.children:
        return part if waiting.get(part.name) else None
    for child in sorted(part.children, key=lambda child: _got(job, child)):
        if child.is_met(job.held):
            found = _next_extra(job, child, waiting)
            if found is not None:
                return found
        elif _needed(job, child, waiting):
            return child
    return None


def _got(job: Job, part: Part) -> tuple[bool, bool, int]:
    """Sort key: whether the part has its minimum, whether none is asked of it, and how many times over it has it."""
    if not part.is_met(job.held):
        return (False, False, 0)
    least = part.min_parts if part.children else part.min_member
    got = sum(child.is_met(job.held) for child in part.children) if part.children else job.held.get(part.name, 0)
    return (True, least == 0, got * _RATIO // max(least, 1))


def _part(view: View, job: Job, part: Part, area: Area, waiting: dict[str, list[Member]], look: Look) -> bool:
    """Bring `part` to its minimum inside `area`."""
    if part.topology is None:
        return _fill(view, job, part, area, waiting, look)
    before = view.mark()
    for domain in _domains(view, job, part, area, waiting):
        if _fill(view, job, part, domain, waiting, look):
            return True
        view.rollback(before)
    return False


def _fill(view: View, job: Job, part: Part, area: Area, waiting: dict[str, list[Member]], look: Look) -> bool:
    if not part.children:
        lacking = part.min_member - job.held.get(part.name, 0)
        members = [one for one in waiting.get(part.name, []) if one.pod.uid not in job.seats][: max(0, lacking)]
        # All of them must fit: the largest first, as long as there is choice.
        members.sort(key=lambda one: -_size(one))
        return len(members) >= lacking and all(_seat(view, job, one, area, look) for one in members)
    met = 0
    for child in _met_first(job, part, waiting if part.min_parts == len(part.children) else None):
        if met >= part.min_parts:
            break
        before = view.mark()
        if child.is_met(job.held) or _part(view, job, child, area, waiting, look):
            met += 1
        elif part.min_parts == len(part.children):
            return False
        else:
            view.rollback(before)
    return met >= part.min_parts


def _seat(view: View, job: Job, member: Member, area: Area, look: Look) -> bool:
    if not job.standing.admits(view.least_cost(member.pod), preemptible=job.gang.preemptible):
        return False
    found = find_seat(view, job, member, area, look)
    if found is None:
        return False
    placement, now = found
    view.seat(job, member, placement, promised=not now)
    return True


def _extra(view: View, job: Job, leaf: Part, member: Member, look: Look) -> bool:
    """One more member of a leaf that has its minimum: in the same domains as the members it has."""

    def descend(part: Part, area: Area) -> bool:
        areas = [area] if part.topology is None else _domains(view, job, part, area, {leaf.name: [member]})
        for inside in areas:
            if part is leaf:
                if _seat(view, job, member, inside, look):
                    return True
                continue
            below = next(child for child in part.children if leaf in child.leaves())
            if descend(below, inside):
                return True
        return False

    return descend(job.gang.tree, EVERYWHERE)


def _domains(view: View, job: Job, part: Part, area: Area, waiting: dict[str, list[Member]]) -> Iterator[Area]:
    """Where `part` may go as a whole, in the order to try: preferred level first, then ever wider ones.

    Within a level the domain that holds members of the part already, then the fullest with room (emptiest when
    spreading). A domain with less free GPU (or CPU, for CPU work) than the part still asks for is left out. Where
    the preferred level is too narrow, its emptiest domains are filled first: then the fewest are needed.
    """
    topology = part.topology
    assert topology is not None
    members = [one for leaf in part.leaves() for one in waiting.get(leaf.name, ())]
    needed = _needed(job, part, waiting) or members[:1]
    levels = [view.domains.level(topology.levels, key) for key in topology.levels]
    widest = topology.levels.index(topology.required) if topology.required in topology.levels else -1
    narrowest = topology.levels.index(topology.preferred) if topology.preferred in topology.levels else widest
    used = _rows_of(view, job, part)
    cpu_only = all(one.pod.gpu.is_cpu_only for one in needed)
    asked = sum(one.pod.cpu_milli if cpu_only else view.least_cost(one.pod).gpu_milli for one in needed)
    spread = bool(needed) and view.settings.strategy_for(needed[0].pod) is Strategy.SPREAD
    view.whatif.flush()
    nodes = view.picture.table.arrays()
    room = np.maximum(nodes.cpu_free, 0) if cpu_only else nodes.total_free + _mig_milli(nodes.mig_free)
    rows = np.ones_like(nodes.has_gpus) if area.rows is None else area.rows
    if widest >= 0 and used:
        rows = rows & np.isin(levels[widest].number, levels[widest].number[used])
    rank = area.rank
    for depth in range(narrowest, max(widest, 0) - 1, -1) if narrowest >= 0 else ():
        level = levels[depth]
        homes = {int(level.number[row]) for row in used}
        order = packed(levels[: depth + 1], room, rows)
        if depth == narrowest and topology.preferred:
            rank = _ranked(level, sorted(order, key=lambda one: one in homes))
        free = free_in(level, room, rows)
        order = sorted(order[::-1] if spread else order, key=lambda one: one not in homes)
        yield from (Area(rows & (level.number == one), rank) for one in order if free[one] >= asked)
    if widest < 0:
        yield Area(area.rows, rank)


def _ranked(level: Level, order: list[int]) -> Ints:
    """The place of each row's domain in `order`, NOT_IN_ANY for rows in none of them."""
    place = np.full(len(level.names) + 1, NOT_IN_ANY)  # one more: what a row without a domain reads
    place[order] = range(len(order))
    ranks: Ints = place[level.number]
    return ranks


def _mig_milli(mig_free: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]) -> int:
    """An upper bound is enough here: slices are told apart when the seats are taken."""
    return GPU * sum(int(column.sum()) for column in mig_free.values())


def _rows_of(view: View, job: Job, part: Part) -> list[int]:
    leaves = {leaf.name for leaf in part.leaves()}
    row_of = view.picture.table.row_of
    placements = [(one, one.placement) for one in job.active()] + [
        (seat.member, seat.placement) for seat in job.seats.values()
    ]
    return [
        row_of[placement.node]
        for one, placement in placements
        if placement is not None and placement.node in row_of and job.gang.leaf_of(one) in leaves
    ]
