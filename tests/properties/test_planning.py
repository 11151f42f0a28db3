"""Whatever the cluster looks like, a plan keeps the promises of the scheduler, and plans come to rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.cluster import audit
from extender.cluster.picture import Picture
from extender.fairshare.tree import QuotaTree, Standing
from extender.model.amounts import GPU
from extender.model.gang import Gang, MemberState, cost
from extender.model.names import ProjectName
from extender.planning.plan import Action, Eviction, Plan, plan
from extender.planning.settings import Settings
from extender.simulate.scenario_world import NOW, World

Json = dict[str, Any]

PRIORITIES = (50, 50, 75, 100, 125)
SETTINGS = Settings(most_moves=None)
REST = 40  # rounds within which every cluster of this size has come to rest, with a wide margin


@st.composite
def clusters(draw: st.DrawFn, *, waiting: int = 4, elastic: bool = True) -> Json:
    """A schedule case: some gangs run, where there was room for them, and some wait."""
    nodes = {f"n{at}": {"gpus": draw(st.integers(1, 4))} for at in range(draw(st.integers(1, 3)))}
    names = [f"q{at}" for at in range(draw(st.integers(1, 3)))]
    departments = draw(st.booleans())
    queues: list[Json] = [_queue(draw, f"d{at}") for at in range(2)] if departments else []
    for name in names:
        queues.append(_queue(draw, name))
        if departments:
            queues[-1]["parent"] = draw(st.sampled_from(["d0", "d1"]))
    free = {name: node["gpus"] for name, node in nodes.items()}
    groups: list[Json] = []
    running: list[Json] = []
    pending: list[str] = []
    for at in range(draw(st.integers(2, 8)) + waiting):
        name = f"g{at}"
        ask = draw(st.sampled_from([{"gpu": 1}, {"gpu": 1}, {"gpu": 2}, {"gpu": 3}, {"gpu_fraction": 0.5}]))
        least = draw(st.integers(1, 3))
        count = least + (draw(st.integers(0, 2)) if elastic else 0)
        groups.append(
            {
                "name": name,
                "queue": draw(st.sampled_from(names)),
                "priority": draw(st.sampled_from(PRIORITIES)),
                "min": least,
                "ask": ask,
            }
        )
        seats = _seats(free, ask.get("gpu", 1), count) if at >= waiting else []
        if len(seats) < least:
            seats = []
        for used in seats:
            free[used] -= ask.get("gpu", 1)
        running += [{"pod": f"{name}-{number}", "node": node} for number, node in enumerate(seats)]
        pending += [f"{name}-{number}" for number in range(len(seats), count)]
    return {"nodes": nodes, "queues": queues, "groups": groups, "running": running, "pending": pending}


def _queue(draw: st.DrawFn, name: str) -> Json:
    queue: Json = {
        "name": name,
        "quota": draw(st.sampled_from([0, 1, 2, 3, 4, -1])),
        "weight": draw(st.integers(0, 2)),
        "priority": draw(st.sampled_from([100, 100, 101])),
    }
    if draw(st.integers(0, 3)) == 0:
        queue["limit"] = draw(st.integers(0, 4))
    return queue


def _seats(free: dict[str, int], devices: int, count: int) -> list[str]:
    left, seats = dict(free), []
    for _ in range(count):
        node = next((name for name in left if left[name] >= devices), None)
        if node is None:
            break
        left[node] -= devices
        seats.append(node)
    return seats


class Service:
    """A world whose plans are carried out as the service does: promises are kept from one plan to the next."""

    def __init__(self, body: Json) -> None:
        self.world = World(body)
        self.picture: Picture = self.world.picture()
        self.gangs: list[Gang] = self.world.gangs()
        self.tree: QuotaTree = self.world.tree(self.gangs)

    def plan(self, actions: Iterable[Action] = tuple(Action)) -> Plan:
        self.picture, self.gangs = self.world.picture(), self.world.gangs()
        self.tree = self.world.tree(self.gangs)
        return plan(self.picture, self.tree, self.gangs, SETTINGS, NOW, tuple(actions))

    def apply(self, decided: Plan) -> None:
        for eviction in decided.evictions:
            self.world.set(eviction.uid, "releasing", self.world.pods[eviction.uid].placement)
        moved = {eviction.uid for eviction in decided.evictions}
        for name, pod in list(self.world.pods.items()):
            if pod.state == "pipelined" and name not in {seat.uid for seat in decided.seats}:
                self.world.set(name, "pending", None)
        for seat in decided.seats:
            if seat.uid not in moved:  # a moved pod comes back as a new one, which is planned anew
                self.world.set(seat.uid, "running" if seat.bindable else "pipelined", seat.placement)

    def end_round(self) -> None:
        for name, pod in list(self.world.pods.items()):
            if pod.state == "releasing":
                self.world.set(name, "pending", None)


def devices_held(world: World, states: set[str]) -> dict[tuple[str, int], int]:
    held: dict[tuple[str, int], int] = defaultdict(int)
    for pod in world.pods.values():
        if pod.state in states and pod.placement is not None:
            share = world.model_pod(pod).gpu.share_on(100) or GPU
            for index in pod.placement.indices:
                held[pod.placement.node, index] += share
    return held


def standings(tree: QuotaTree) -> dict[str, Standing]:
    return {**tree.departments, **{str(name): one for name, one in tree.projects.items()}}


def holdings(service: Service) -> dict[str, tuple[list[int], list[int]]]:
    gangs = service.world.gangs()
    return {
        name: (list(one.allocated), list(one.non_preemptible))
        for name, one in standings(with_promises(service.world, gangs)).items()
    }


def with_promises(world: World, gangs: list[Gang]) -> QuotaTree:
    tree = world.tree(gangs)
    for gang in gangs:
        for member in gang.in_state(MemberState.NOMINATED):
            standing = tree.projects[ProjectName(gang.queue)]
            tree.allocate(standing, cost(member.pod, 100), preemptible=gang.preemptible)
    return tree


@given(clusters())
@settings(max_examples=150, deadline=None)
def test_a_plan_keeps_to_capacity_limits_and_quotas_and_gangs(body: Json) -> None:
    service = Service(body)
    before = holdings(service)
    for _ in range(4):
        decided = service.plan()
        met_before = {gang.key: gang.tree.is_met(_held(gang)) for gang in service.gangs}
        service.apply(decided)
        # Capacity: now with those who leave, later with those who wait for them.
        assert max(devices_held(service.world, {"running", "releasing"}).values(), default=0) <= GPU
        assert max(devices_held(service.world, {"running", "pipelined"}).values(), default=0) <= GPU
        # Quotas: nothing grows beyond them.
        after = holdings(service)
        for name, standing in standings(service.tree).items():
            allocated, non_preemptible = after[name]
            assert allocated[0] <= max(standing.limit[0], before[name][0][0])
            assert non_preemptible[0] <= max(standing.quota[0], before[name][1][0])
        before = after
        # Gangs: all of the minimum or nothing, for those that had it and for those that got something.
        given_to = {seat.gang for seat in decided.seats}
        for gang in service.world.gangs():
            if gang.key in given_to or met_before[gang.key]:
                held = _held(gang)
                moved = any(
                    one.gang == gang.key and one.uid in {s.uid for s in decided.seats} for one in decided.evictions
                )
                assert moved or gang.tree.is_met(held) or not sum(held.values())
        service.end_round()
        before = holdings(service)


def _held(gang: Gang) -> dict[str, int]:
    held: dict[str, int] = defaultdict(int)
    for member in gang.in_state(MemberState.ACTIVE, MemberState.NOMINATED):
        held[gang.leaf_of(member)] += 1
    return held


@given(clusters())
@settings(max_examples=150, deadline=None)
def test_nobody_leaves_in_vain(body: Json) -> None:
    service = Service(body)
    decided = service.plan()
    gangs = {gang.key: gang for gang in service.gangs}
    promised = {seat.gang for seat in decided.seats if not seat.bindable}
    for eviction in decided.evictions:
        victim = gangs[eviction.gang]
        if eviction.action is Action.STALE_GANG_EVICTION:
            continue
        assert victim.preemptible
        assert eviction.beneficiary in promised
        helped = gangs[eviction.beneficiary]
        if eviction.action is Action.PREEMPT:
            assert victim.queue == helped.queue
            assert victim.priority < helped.priority
        if eviction.action is Action.RECLAIM:
            assert victim.queue != helped.queue


@given(clusters())
@settings(max_examples=150, deadline=None)
def test_a_plan_leaves_no_trace_and_is_the_same_again(body: Json) -> None:
    service = Service(body)
    first = service.plan()
    books = {name: (list(one.allocated), list(one.requested)) for name, one in standings(service.tree).items()}
    assert audit.check(service.picture) == []
    assert plan(service.picture, service.tree, service.gangs, SETTINGS, NOW) == first
    assert books == {name: (one.allocated, one.requested) for name, one in standings(service.tree).items()}
    fresh = service.world.picture()
    assert (service.picture.table.arrays().free == fresh.table.arrays().free).all()


@given(clusters(waiting=1, elastic=False), st.sampled_from([Action.RECLAIM, Action.PREEMPT]))
@settings(max_examples=200, deadline=None)
def test_every_victim_is_needed(body: Json, action: Action) -> None:
    service = Service(body)
    decided = service.plan([action])
    if len({eviction.beneficiary for eviction in decided.evictions}) != 1:
        return  # of two decisions, the second may make needless what the first had to take
    moved = {seat.uid for seat in decided.seats}
    lost = {eviction.gang for eviction in decided.evictions if eviction.uid not in moved}
    beneficiary = decided.evictions[0].beneficiary
    for spared in lost:
        # As if only the others had gone: there must be no room for the gang, whatever way it is seated.
        trial = Service(body)
        for eviction in decided.evictions:
            if eviction.gang != spared and eviction.uid not in moved:
                trial.world.set(eviction.uid, "failed", None)
        again = trial.plan([Action.ALLOCATE])
        assert beneficiary not in {seat.gang for seat in again.seats}


@given(clusters())
@settings(max_examples=100, deadline=None)
def test_plans_come_to_rest(body: Json) -> None:
    """Elastic gangs among them: none is started and evicted for ever (regression RUN-12587)."""
    service = Service(body)
    for _ in range(REST):
        decided = service.plan()
        if not decided.evictions and all(seat.bindable for seat in decided.seats) and not decided.seats:
            return
        service.apply(decided)
        service.end_round()
    raise AssertionError("still evicting or seating")


@given(clusters())
@settings(max_examples=300, deadline=None)
def test_each_reclaim_takes_from_beyond_the_shares_and_gives_within_them(body: Json) -> None:
    """What all queues hold beyond their shares, then what they hold beyond their quotas, gets less: so reclaims end."""
    service = Service(body)
    decided = service.plan([Action.RECLAIM])
    if not lost_by(decided):
        return
    service.tree.refresh()
    before = beyond(service.tree, holdings(service))
    carry_over(service, decided)
    assert beyond(service.tree, holdings(service)) < before


@given(clusters())
@settings(max_examples=300, deadline=None)
def test_each_preemption_gives_to_higher_priorities_what_lower_ones_held(body: Json) -> None:
    service = Service(body)
    decided = service.plan([Action.PREEMPT])
    before = by_priority(service)
    carry_over(service, decided)
    after = by_priority(service)
    queue_of = {gang.key: str(gang.queue) for gang in service.gangs}
    robbed = {queue_of[eviction.gang] for eviction in lost_by(decided)}
    for name in robbed:
        assert after[name] > before[name]


@given(clusters())
@settings(max_examples=300, deadline=None)
def test_consolidation_takes_nothing_from_anybody(body: Json) -> None:
    assert not lost_by(Service(body).plan([Action.CONSOLIDATION]))


def lost_by(decided: Plan) -> list[Eviction]:
    """Evictions of members that are not just moved."""
    moved = {seat.uid for seat in decided.seats}
    return [eviction for eviction in decided.evictions if eviction.uid not in moved]


def carry_over(service: Service, decided: Plan) -> None:
    """As it will be: who was evicted has left, who was moved or promised something has it."""
    for eviction in lost_by(decided):
        service.world.set(eviction.uid, "pending", None)
    for seat in decided.seats:
        service.world.set(seat.uid, "running", seat.placement)


def beyond(tree: QuotaTree, held: dict[str, tuple[list[int], list[int]]]) -> tuple[int, int]:
    """Milli-GPU that queues hold beyond what they may have, and beyond what they deserve."""
    excess = [
        (max(0, held[name][0][0] - one.allocatable[0]), max(0, held[name][0][0] - one.deserved[0]))
        for name, one in standings(tree).items()
    ]
    return sum(share for share, _ in excess), sum(quota for _, quota in excess)


def by_priority(service: Service) -> dict[str, list[int]]:
    """Milli-GPU that each queue's gangs hold, those of the highest priority first."""
    sums: dict[str, dict[int, int]] = {}
    for gang in service.world.gangs():
        held = sum(cost(one.pod, 100).gpu_milli for one in gang.in_state(MemberState.ACTIVE, MemberState.NOMINATED))
        of_queue = sums.setdefault(str(gang.queue), dict.fromkeys(sorted(set(PRIORITIES), reverse=True), 0))
        of_queue[gang.priority] += held
    return {name: list(of_queue.values()) for name, of_queue in sums.items()}
