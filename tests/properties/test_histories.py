"""Whatever happens to a cluster, the planner keeps its promises, and the cluster comes to rest."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.cluster import audit
from extender.cluster.picture import HoldState
from extender.model.amounts import GPU
from extender.model.names import ProjectName
from extender.planning.plan import Action
from extender.planning.planner import Planner
from tests.properties.history import ASKS, CLASSES, DESERVED, QUEUES, SETTINGS, History, devices_held

ARRIVALS = st.tuples(
    st.just("arrive"),
    st.sampled_from(QUEUES),
    st.sampled_from(range(len(ASKS))),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(CLASSES),
    st.booleans(),
)
EVENTS = st.one_of(
    ARRIVALS,
    ARRIVALS,
    st.tuples(st.sampled_from(("end", "leave", "delete")), st.integers(0, 20)),
    st.tuples(st.sampled_from(("node", "cordon")), st.integers(0, 2)),
    st.tuples(st.just("limit"), st.sampled_from(QUEUES), st.sampled_from((0, 1000, 3000, None))),
    st.tuples(st.sampled_from(("gap", "restart"))),
    st.tuples(st.just("wait"), st.sampled_from((1.0, 30.0, 130.0, 700.0))),
    st.tuples(st.just("faults"), *[st.integers(0, 2)] * 5),
)
HISTORIES = st.lists(st.tuples(st.lists(EVENTS, max_size=3), st.booleans(), st.booleans()), min_size=1, max_size=10)

Holdings = dict[str, tuple[int, int]]

REST = 60  # rounds within which a cluster of this size has come to rest, with a wide margin


@given(HISTORIES, st.sampled_from((None, 1, 3)))
@settings(max_examples=300, deadline=None)
def test_no_history_breaks_a_promise(rounds: list[Any], most_lines: int | None) -> None:
    history = History()
    history.most_lines = most_lines
    for events, takes_back, ends in rounds:
        for event in events:
            history.happen(*event)
        step(history, takes_back=takes_back)
        if ends:
            history.end_going()
    come_to_rest(history)
    nobody_waits_for_nothing(history)
    leave_no_trace(history)


def step(history: History, *, takes_back: bool = True) -> bool:
    """One round, with all that must be so when the planner has decided and when that has been done."""
    held, due = allocated(history, later=False), allocated(history, later=True)
    already = len(history.evicted)
    history.decide(takes_back=takes_back)
    keeps_within(history, allocated(history, later=True), {name: max(held[name], due[name]) for name in QUEUES})
    moved = history.carry_out()
    keeps_within(history, allocated(history, later=False), held)
    assert audit.check(history.picture) == []
    for later in (False, True):
        assert max(devices_held(history, later=later).values(), default=0) <= GPU
    for eviction in history.evicted[already:]:
        assert eviction.beneficiary or eviction.action is Action.STALE_GANG_EVICTION
    return moved


def keeps_within(history: History, now: Holdings, before: Holdings) -> None:
    """No project has gone beyond its limit, nor beyond its quota with what cannot be preempted."""
    for name, (all_, non_preemptible) in now.items():
        limit = history.limits[name]
        assert limit is None or all_ <= max(limit, before[name][0]), f"{name} holds {all_}, had {before[name]}"
        assert non_preemptible <= max(DESERVED[name], before[name][1]), f"{name} holds {non_preemptible} for good"


def allocated(history: History, *, later: bool) -> Holdings:
    """Milli-GPU that each project holds, and what of it cannot be preempted: now, or when those who are on their way
    out have gone and the promised have come.
    """
    sums = {name: [0, 0] for name in QUEUES}
    for uid, record in history.picture.pods.items():
        hold = record.hold
        if hold is None or hold.charge is None:
            continue
        if uid in history.planner.roster.releasing if later else hold.state is HoldState.PROMISED:
            continue
        sums[hold.charge.project][0] += hold.charge.amounts.gpu_milli
        sums[hold.charge.project][1] += 0 if hold.charge.preemptible else hold.charge.amounts.gpu_milli
    return {name: (one, other) for name, (one, other) in sums.items()}


def come_to_rest(history: History) -> None:
    """When nothing happens any more and nothing goes wrong, at last nobody is seated, moved or evicted."""
    history.happen("faults", 0, 0, 0, 0, 0)
    if not history.is_watching:
        history.happen("gap")
    calm, looks = 0, 1 + len(history.objects) // (history.most_lines or 100)  # until all have been looked at
    for _ in range(REST * looks):
        history.happen("wait", 4000.0 if calm else 10.0)  # longer than anybody rests
        moved = step(history)
        gone = history.end_going()
        calm = 0 if moved or gone else calm + 1
        if calm == 2 + looks:
            return
    raise AssertionError("still evicting or seating")


def nobody_waits_for_nothing(history: History) -> None:
    """Who waits could not start, and is told why; who was given something has it; gangs run with their minimum."""
    planner, picture = history.planner, history.picture
    assert not list(picture.provisional()), "something is held that nobody comes for"
    for uid, one in history.objects.items():
        record = picture.pods[uid]
        if one.placement is None:
            gang = planner.roster.gang_of(uid)
            assert gang is not None
            assert planner.verdicts.get(gang.key) is not None, f"{uid} waits for no reason"
        else:
            assert record.hold is not None
            assert record.hold.state is HoldState.BOUND
    running = Counter((one.namespace, one.group) for one in history.objects.values() if one.placement)
    waiting = Counter((one.namespace, one.group) for one in history.objects.values() if not one.placement)
    for key, held in running.items():
        if waiting[key] + held >= history.groups[key].min_member:
            assert held >= history.groups[key].min_member, f"{key} has started by halves"
    newcomer = Planner(picture, SETTINGS)
    newcomer.allocate(history.clock, history.clock)
    newcomer.take_back(history.clock, history.clock)
    orders = newcomer.take_orders()
    assert not orders.seated, "somebody waits who could start"
    # In slices, who else of a queue is looked at beside a gang differs; whether a trade would be undone hangs on that.
    assert history.most_lines or not orders.evictions, "who sees the cluster for the first time would evict somebody"


def leave_no_trace(history: History) -> None:
    """When all pods have gone, nothing of them is left."""
    for uid in list(history.objects):
        history.happen("leave" if history.objects[uid].placement is None else "end", 0)
    history.happen("wait", 4000.0)
    step(history)
    step(history)
    roster = history.planner.roster
    assert len(roster.waiting) == 0
    assert not roster.waiting.lines()
    assert not roster.gangs
    assert not roster.releasing
    assert not roster._leaving
    assert not roster.has_stale
    assert not any(amounts.gpu_milli or amounts.cpu_milli for amounts in roster.waiting.requested.values())
    assert not history.planner.verdicts
    assert all(not history.picture.quotas.usage(ProjectName(name)).allocated.gpu_milli for name in QUEUES)
