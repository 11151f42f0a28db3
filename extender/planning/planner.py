"""The planner: who gets a seat now, who is promised one, and who has to go for it. Changes the picture, nothing else.

`allocate` is cheap and runs whenever something moved: it looks at gangs that wait, and evicts nobody. `take_back`
looks at everything and runs more rarely. Both leave what the outside world has to be told in `orders`: pods whose
gates are to be lifted, pods to be evicted, and why the others wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.fairshare.tree import QuotaTree
from extender.model.amounts import NOTHING, Amounts
from extender.model.gang import Gang, MemberState
from extender.model.names import NodeName, PodUID, ProjectName
from extender.model.pod import Pod
from extender.model.verdict import Reason, Verdict, no
from extender.planning.plan import Action, Eviction, Plan, plan
from extender.planning.roster import Roster
from extender.planning.settings import Settings

_OF_A_CLASS = 64  # gangs that ask for the same, given to one plan
_NEVER = (-1, -1)
_NOTHING = Plan((), (), ())
_COOLING_S = 30.0  # a node that did not accept a pod will hardly do so sooner
_ALLOCATING = (Action.FULFIL, Action.ALLOCATE)
_TAKING_BACK = tuple(Action)


@dataclass(slots=True)
class Orders:
    """What has to be done outside, in the order in which it was decided."""

    seated: dict[PodUID, None] = field(default_factory=dict)  # their seats are held: nominate them, lift their gates
    evictions: list[Eviction] = field(default_factory=list)
    refused: dict[str, Verdict] = field(default_factory=dict)  # gang → why it waits, where that is news


class Planner:
    """One per picture. `now` is seconds since the epoch, `clock` the monotonic seconds by which seats expire."""

    def __init__(
        self, picture: Picture, settings: Settings, *, seat_ttl_s: float = 120.0, promise_ttl_s: float = 600.0
    ) -> None:
        self._picture = picture
        self._settings = replace(settings, cooling=self._cooling_nodes, may_evict=self._may_evict)
        self._seat_ttl_s = seat_ttl_s
        self._promise_ttl_s = promise_ttl_s
        self.roster = Roster(picture)
        self.verdicts: dict[str, Verdict] = {}  # of gangs that wait, as of the last plan
        self.orders = Orders()
        self._allocated_at = self._taken_back_at = _NEVER
        self._last_tree: QuotaTree | None = None
        self._total: tuple[int, Amounts] = (-1, NOTHING)
        self._cooling: dict[PodUID, dict[NodeName, float]] = {}
        self._protected: dict[PodUID, float] = {}
        self._clock = 0.0

    def take_orders(self) -> Orders:
        """What has to be done since this was last asked."""
        orders, self.orders = self.orders, Orders()
        return orders

    # Deciding

    def allocate(self, now: float, clock: float) -> None:
        """Seat gangs that can be seated without an eviction, a bounded number at a time.

        `is_behind` says whether to call again. Nothing moved since the last time: costs nothing.
        """
        self._clock = clock
        self.roster.refresh(now)
        at = (self._picture.generation, self.roster.version)
        if at == self._allocated_at:
            return
        gangs = self.roster.waiting(_OF_A_CLASS)
        has_more = self.roster.has_more(_OF_A_CLASS)
        made = self._plan(gangs, _ALLOCATING, now) if gangs else _NOTHING
        self._apply(made, gangs, clock)
        self.roster.refresh(now)
        # With more behind those that got a seat we are not done: but the verbs must have their turn in between.
        self._allocated_at = _NEVER if has_more and made.seats else (self._picture.generation, self.roster.version)

    def take_back(self, now: float, clock: float) -> None:
        """Let others make way for gangs that wait, and evict stale gangs. Cost: all gangs of the cluster."""
        self.allocate(now, clock)
        self._taken_back_at = self._allocated_at
        waiting = {gang.key: gang for gang in self.roster.waiting(_OF_A_CLASS)}
        holding = (
            gang
            for gang in self.roster.gangs.values()
            if gang.key not in waiting and (gang.active or gang.in_state(MemberState.RELEASING))
        )
        gangs = [*waiting.values(), *holding]
        self._apply(self._plan(gangs, _TAKING_BACK, now), list(waiting.values()), clock)
        self.roster.refresh(now)

    @property
    def is_behind(self) -> bool:
        """Whether gangs wait that the last `allocate` did not see as they are now, or with what is free now."""
        return bool(len(self.roster)) and self._allocated_at != (self._picture.generation, self.roster.version)

    @property
    def may_take_back(self) -> bool:
        """Whether `take_back` could do anything that it could not do the last time."""
        if self._taken_back_at == (self._picture.generation, self.roster.version) and not self.roster.has_stale:
            return False
        short = any(verdict.reason is Reason.NOT_ENOUGH_RESOURCES for verdict in self.verdicts.values())
        return short or self.roster.has_stale

    def is_gang(self, record: PodRecord) -> bool:
        """Whether the pod starts together with others, and not alone when it pleases."""
        group = self._picture.membership.group_of(record.pod)
        return group is not None and group.min_member > 1

    def shares(self, queue: ProjectName) -> tuple[int | None, int, int | None] | None:
        """Milli-GPU that a queue deserves, its fair share and its limit in the last plan; None: no such queue yet."""
        standing = None if self._last_tree is None else self._last_tree.projects.get(queue)
        if standing is None:
            return None
        return standing.queue.deserved.gpu_milli, standing.fair[0], standing.queue.limit.gpu_milli

    def verdict_on(self, record: PodRecord) -> Verdict:
        """Why a pod without a seat waits."""
        gang = self.roster.gang_of(record.pod.uid)
        verdict = None if gang is None else self.verdicts.get(gang.key)
        return verdict or record.verdict or no(Reason.WAITING_FOR_OTHERS)

    # What the outside world tells

    def eviction_failed(self, eviction: Eviction, clock: float, *, rest_s: float) -> None:
        """The API server did not let the pod go: it stays, and whoever it was to make way for is planned anew."""
        self.roster.leaving(eviction.uid, is_leaving=False)
        self._protected[eviction.uid] = clock + rest_s
        self.drop_promises(eviction.beneficiary)

    def turned_down(self, uid: PodUID, node: NodeName, clock: float) -> None:
        """kube-scheduler did not offer the node of a planned seat: the gang gives up its seats and avoids the node."""
        self._cooling.setdefault(uid, {})[node] = clock + _COOLING_S
        gang = self.roster.gang_of(uid)
        members = [uid] if gang is None else [member.pod.uid for member in gang.members]
        for one in members:
            record = self._picture.pods.get(one)
            if record is not None and record.hold is not None and record.hold.state is HoldState.RESERVED:
                self._picture.release(one)

    def drop_promises(self, key: str) -> None:
        """A gang gives up what it was promised, and waits like everybody."""
        for record in list(self.roster.members(key)):
            if record.hold is not None and record.hold.state is HoldState.PROMISED:
                self._picture.release(record.pod.uid)

    def _plan(self, gangs: Sequence[Gang], actions: Sequence[Action], now: float) -> Plan:
        promised = [record for record in self._picture.provisional() if _is_promised(record)]
        given = {gang.key for gang in gangs}
        # Promised places stay promised, whether their gangs are looked at in this plan or not.
        beside = {gang.key: gang for one in promised if (gang := self.roster.gang_of(one.pod.uid)) is not None}
        beside |= {gang.key: gang for gang in self.roster.on_their_way_out()}
        more = [gang for key, gang in beside.items() if key not in given]
        with self._picture.set_aside(promised):
            made = plan(self._picture, self._tree(), [*gangs, *more], self._settings, now, actions)
        renewed = {seat.uid for seat in made.seats}
        for record in promised:
            if record.pod.uid not in renewed:
                self._picture.release(record.pod.uid)  # cannot be kept: its node has gone, or its devices
        return made

    def _tree(self) -> QuotaTree:
        quotas, releasing = self._picture.quotas, self.roster.releasing
        tree = self._last_tree = QuotaTree(self._capacity(), quotas.projects.values(), quotas.departments.values())
        leaving: dict[tuple[str, bool], Amounts] = {}
        for charge in releasing.values():
            key = (charge.project, charge.preemptible)
            leaving[key] = leaving.get(key, NOTHING) + charge.amounts
        for name, standing in tree.projects.items():
            usage = quotas.usage(name)
            fixed = usage.non_preemptible - leaving.get((name, False), NOTHING)
            loose = usage.allocated - usage.non_preemptible - leaving.get((name, True), NOTHING)
            tree.allocate(standing, fixed, preemptible=False)
            tree.allocate(standing, loose, preemptible=True)
            tree.request(standing, fixed + loose + self.roster.requested[name])
        return tree

    def _capacity(self) -> Amounts:
        version, total = self._total
        if version != self._picture.node_version:
            total = NOTHING
            for node in self._picture.nodes():
                if node.schedulable:
                    total += Amounts(node.gpus * 1000, node.cpu_milli, node.memory_mib)
            self._total = (self._picture.node_version, total)
        return total

    def _apply(self, made: Plan, gangs: Iterable[Gang], clock: float) -> None:
        for eviction in made.evictions:
            self.roster.leaving(eviction.uid)
            self.orders.evictions.append(eviction)
        for seat in made.seats:
            record = self._picture.pods[seat.uid]
            hold = record.hold
            if hold is not None and hold.state is not HoldState.PROMISED:
                continue  # a member that moves: whoever comes in its place is planned then
            if hold is not None and hold.placement == seat.placement and not seat.bindable:
                continue  # the promise stands
            ttl_s = self._seat_ttl_s if seat.bindable else self._promise_ttl_s
            state = HoldState.RESERVED if seat.bindable else HoldState.PROMISED
            self._picture.reserve(seat.uid, seat.placement, now=clock, expires=clock + ttl_s, state=state, planned=True)
            if seat.bindable:
                self._seated(record)
        why = {one.gang: one.verdict for one in made.explanations}
        for gang in gangs:
            verdict = why.get(gang.key)
            if verdict is None:
                self.verdicts.pop(gang.key, None)
            elif self.verdicts.get(gang.key) != verdict:
                self.verdicts[gang.key] = self.orders.refused[gang.key] = verdict
            for member in gang.waiting:
                record = self._picture.pods[member.pod.uid]
                if record.hold is None:
                    self._picture.judge(record, verdict)
        self._forget_verdicts(self.verdicts)

    def _forget_verdicts(self, keys: Iterable[str]) -> None:
        kept = {key for key in keys if self.roster.is_waiting(key)}
        for key in self.verdicts.keys() - kept:
            del self.verdicts[key]

    def _seated(self, record: PodRecord) -> None:
        self._picture.judge(record, None)
        self.orders.seated[record.pod.uid] = None

    def _cooling_nodes(self, pod: Pod) -> tuple[NodeName, ...]:
        resting = self._cooling.get(pod.uid)
        return tuple(node for node, until in resting.items() if until > self._clock) if resting else ()

    def _may_evict(self, pod: Pod) -> bool:
        return self._protected.get(pod.uid, 0.0) <= self._clock


def _is_promised(record: PodRecord) -> bool:
    return record.hold is not None and record.hold.state is HoldState.PROMISED
