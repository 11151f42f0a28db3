"""The planner: who gets a seat now, who is promised one, and who has to go for it. Changes the picture, nothing else.

`allocate` is cheap and runs whenever something moved: it looks at gangs that wait, and evicts nobody. `take_back`
looks at everything and runs more rarely. Both leave what the outside world has to be told in `orders`: pods whose
gates are to be lifted, pods to be evicted, and why the others wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.fairshare.tree import QuotaTree
from extender.model import names
from extender.model.gang import Gang, MemberState
from extender.model.names import NodeName, PodUID, ProjectName
from extender.model.verdict import Reason, Verdict, no
from extender.packing.strategy import Strategy
from extender.planning.accounts import Accounts
from extender.planning.explain import hangs_on_the_queue
from extender.planning.lines import Feed, Line, Refusal, in_front
from extender.planning.moves import Moves
from extender.planning.plan import Action, Eviction, Plan, PlannedSeat, plan
from extender.planning.rests import FIRST_COOLING_S, Rests
from extender.planning.roster import Roster
from extender.planning.settings import Settings

_OF_A_LINE = 64  # gangs that ask for the same, looked at in one plan
_AT_ONCE = 256  # members seated by one plan: the verbs have their turn before the next
_NEVER = (-1, -1)
_NOTHING = Plan((), (), ())
_ALLOCATING = (Action.FULFIL, Action.ALLOCATE)
_TAKING_BACK = tuple(Action)


@dataclass(slots=True)
class Orders:
    """What has to be done outside, in the order in which it was decided."""

    seated: dict[PodUID, None] = field(default_factory=dict)  # their seats are held: nominate them, lift their gates
    promised: dict[PodUID, Verdict] = field(default_factory=dict)  # their owners are told what they wait for
    evictions: list[Eviction] = field(default_factory=list)
    refused: dict[str, Verdict] = field(default_factory=dict)  # gang → why it waits, where that is news


class Planner:
    """One per picture. `now` is seconds since the epoch, `clock` the monotonic seconds by which seats expire.

    strategies: how pods with and without GPUs are placed in a node pool, where pools differ.
    """

    def __init__(
        self,
        picture: Picture,
        settings: Settings,
        *,
        strategies: Callable[[str], tuple[Strategy, Strategy]] | None = None,
        seat_ttl_s: float = 120.0,
        promise_ttl_s: float = 600.0,
    ) -> None:
        self._picture = picture
        self._rests = Rests(picture)
        self._strategies = strategies or (lambda _: (settings.gpu_strategy, settings.cpu_strategy))
        self._settings = replace(
            settings,
            cooling=self._rests.cooling,
            may_evict=self._rests.may_evict,
            may_disrupt=self._rests.may_disrupt,
        )
        self._seat_ttl_s = seat_ttl_s
        self._promise_ttl_s = promise_ttl_s
        self.roster = Roster(picture)
        self.accounts = Accounts(picture, self.roster)
        self._moves = Moves(picture, hold_s=seat_ttl_s, promise_ttl_s=promise_ttl_s)
        self.verdicts: dict[str, Verdict] = {}  # of gangs that wait, as of the last plan
        self.orders = Orders()
        self._allocated_at = self._taken_back_at = _NEVER
        self._to_sweep: set[str] = set()  # first gangs of the lines that `take_back` has yet to look at
        self._served: set[str] = set()  # gangs for which others had to go
        self.is_paused = False  # something is wrong with planning: pods that need no plan go on without

    def take_orders(self) -> Orders:
        """What has to be done since this was last asked."""
        orders, self.orders = self.orders, Orders()
        return orders

    # Deciding

    def allocate(self, now: float, clock: float) -> None:
        """Seat gangs that can be seated without an eviction, a bounded number at a time.

        `is_behind` says whether to call again. Nothing moved since the last time: costs nothing.
        """
        self._rests.clock = clock
        if self._rests.has_ended():
            self._allocated_at = self._taken_back_at = _NEVER
        self._moves.hand_over(clock)
        self.roster.refresh(now)
        if self._allocated_at == (self._picture.generation, self.roster.waiting.version):
            return
        # With more behind those that got a seat we are not done: but the verbs must have their turn in between.
        opened = self._opened
        lines = [line for line in self.roster.waiting.lines() if line.refusal is None or line.refusal.opened != opened]
        is_done = self._decide(_ALLOCATING, lines, (), now, clock)
        self._allocated_at = (self._picture.generation, self.roster.waiting.version) if is_done else _NEVER

    def take_back(self, now: float, clock: float, *, most_lines: int | None = None) -> None:
        """Let others make way for gangs that wait, and evict stale gangs.

        most_lines: so many lines are looked at, the others in the calls after it: `may_take_back` says whether any are
        left. All that waited are looked at before the first is again, whatever happens meanwhile. Cost: a look at all
        gangs of the cluster, then what these lines cost.
        """
        self.allocate(now, clock)
        if self.is_behind:
            return  # nobody has to go for whom there is room
        self._forget_gone()
        if not self._to_sweep:
            self._to_sweep = {line.first for line in self.roster.waiting.lines()}
            self._taken_back_at = self._allocated_at
        left = [line for line in self.roster.waiting.lines() if line.first in self._to_sweep]
        chosen = left if most_lines is None else in_front(left, most_lines)
        self._to_sweep = {line.first for line in left} - {line.first for line in chosen}
        if not chosen and not self.roster.has_stale and not any(map(_is_promised, self._picture.provisional())):
            return
        holding = [
            gang
            for gang in self.roster.gangs.values()
            if gang.active or MemberState.RELEASING in gang.by_state or MemberState.STUCK in gang.by_state
        ]
        self._decide(_TAKING_BACK, chosen, holding, now, clock)

    def _decide(
        self, actions: Sequence[Action], lines: Iterable[Line], holding: Iterable[Gang], now: float, clock: float
    ) -> bool:
        """Plan pool by pool; a gang that may go to several is tried in the first, then the next. False: more waits,
        and might be seated now.
        """
        held: dict[str, list[str]] = {}
        for gang in holding:
            held.setdefault(self.roster.pools_of(gang.key)[0], []).append(gang.key)
        seated: set[str] = set()
        verdicts: dict[str, Verdict] = {}
        refused: dict[Line, Verdict] = {}
        is_cut = False
        turn = 0
        while not is_cut:  # who was not reached in its first pool is not sent to the next
            tried: dict[str, list[Line]] = {} if turn else {pool: [] for pool in held}
            for line in lines:
                if turn < len(line.pools) and line.turns:
                    tried.setdefault(line.pools[turn], []).append(line)
            if not tried:
                break
            for pool in sorted(tried):
                # As they are now: what was decided for another pool or turn may have robbed them.
                holders = [found for key in held.get(pool, ()) if (found := self.roster.gang(key)) is not None]
                made, feeds = self._plan(pool, holders, tried[pool], actions, now)
                given = self._apply(made, clock)
                seated |= {seat.gang for seat in made.seats}
                if actions is _ALLOCATING and given:
                    is_cut = is_cut or given >= _AT_ONCE or any(feed.is_cut for feed in feeds)
                for one in made.explanations:
                    verdicts.setdefault(one.gang, one.verdict)
                for feed in feeds:
                    if feed.verdict is not None:
                        refused.setdefault(feed.line, feed.verdict)
                # What was decided holds for the next pool: gangs are looked at as they are now.
                self.roster.refresh(now)
            turn += 1
        self._explain({key: verdict for key, verdict in verdicts.items() if key not in seated}, refused)
        return not is_cut

    @property
    def is_behind(self) -> bool:
        """Whether gangs wait that the last `allocate` did not see as they are now, or with what is free now."""
        return (
            not self.is_paused
            and bool(len(self.roster.waiting))
            and self._allocated_at != (self._picture.generation, self.roster.waiting.version)
        )

    @property
    def is_sweeping(self) -> bool:
        """Whether `take_back` has yet to look at some of those who waited when it began."""
        return bool(self._to_sweep)

    @property
    def may_take_back(self) -> bool:
        """Whether `take_back` could do anything that it could not do the last time."""
        if self.is_sweeping:
            return True
        if self._taken_back_at == (self._picture.generation, self.roster.waiting.version) and not self.roster.has_stale:
            return False
        short = any(verdict.reason is Reason.NOT_ENOUGH_RESOURCES for verdict in self.verdicts.values())
        return short or self.roster.has_stale

    def is_gang(self, record: PodRecord) -> bool:
        """Whether the pod starts together with others, and not alone when it pleases."""
        group = self._picture.membership.group_of(record.pod)
        return group.minimum > 1 if group is not None else record.pod.min_member > 1

    def verdict_on(self, record: PodRecord) -> Verdict:
        """Why a pod without a seat waits."""
        gang = self.roster.gang_of(record.pod.uid)
        verdict = None if gang is None else self.verdicts.get(gang.key)
        return verdict or record.verdict or no(Reason.WAITING_FOR_OTHERS)

    # What the outside world tells

    def eviction_failed(self, eviction: Eviction, clock: float, *, rest_s: float) -> None:
        """A victim stays after all, and rests from being one; whoever it was to make way for is planned anew."""
        self.stays(eviction)
        self._rests.clock = clock
        self._rests.is_protected(eviction.uid, rest_s)
        if eviction.beneficiary and self.is_served(eviction):  # several may be refused for one gang: it rests once
            self._rests.was_in_vain(eviction.beneficiary, rest_s)
            self.drop_promises(eviction.beneficiary)

    def stays(self, eviction: Eviction) -> None:
        """An eviction was not carried out: its pod stays where it is."""
        self.roster.leaving(eviction.uid, is_leaving=False)
        self._moves.end(eviction.uid)

    def is_served(self, eviction: Eviction) -> bool:
        """Whether an eviction still has its purpose: a gang that keeps the place for itself, or a stale gang's end."""
        return not eviction.beneficiary or any(map(_is_promised, self.roster.members(eviction.beneficiary)))

    def asked_for(self, uid: PodUID, clock: float) -> None:
        """kube-scheduler has come for a pod that was thought not to be wanted."""
        self._rests.clock = clock
        if self._rests.has_come(uid):
            self._allocated_at = _NEVER

    def seat_expired(self, uid: PodUID, clock: float) -> None:
        """A pod did not come for its seat in time: something that we do not see keeps it. It rests, ever longer."""
        self._rests.clock = clock
        self._rests.did_not_come(uid)
        self.roster.is_tardy(uid)
        self._blame(uid)

    def not_yet(self, uid: PodUID) -> None:
        """kube-scheduler asked for a seated pod before it had seen the nomination, and may not know yet that the node
        is free: the seat stands, and the pod is to be tried again.
        """
        self.orders.seated[uid] = None
        self._picture.has_news = True

    def turned_down(self, uid: PodUID, node: NodeName, clock: float, *, first_s: float = FIRST_COOLING_S) -> None:
        """kube-scheduler did not offer the node of a planned seat, or it was of no use: the gang gives up its seats.

        The pod avoids the node for a while: `first_s` at first, longer each time.
        """
        self._rests.clock = clock
        self._rests.turned_down(uid, node, first_s)
        self._blame(uid)
        gang = self.roster.gang_of(uid)
        members = [uid] if gang is None else [member.pod.uid for member in gang.members]
        for one in members:
            record = self._picture.pods.get(one)
            if record is not None and record.hold is not None and record.hold.state is HoldState.RESERVED:
                self._picture.release(one)

    def avoided(self, uid: PodUID, clock: float) -> Sequence[NodeName]:
        """Nodes that were of no use to the pod a moment ago: others are better."""
        self._rests.clock = clock
        return self._rests.avoided(uid)

    def _blame(self, uid: PodUID) -> None:
        """A seat was of no use: where others had to go for it, nobody has to for a while, longer each time."""
        gang = self.roster.gang_of(uid)
        if gang is not None and gang.key in self._served:
            self._rests.was_in_vain(gang.key)

    def drop_promises(self, key: str) -> None:
        """A gang gives up what it was promised, and waits like everybody."""
        for record in list(self.roster.members(key)):
            if _is_promised(record):
                self._picture.release(record.pod.uid)

    def _plan(
        self, pool: str, gangs: Sequence[Gang], lines: Sequence[Line], actions: Sequence[Action], now: float
    ) -> tuple[Plan, list[Feed]]:
        opened = self._opened
        promised = [record for record in self._picture.provisional() if self._is_promised_in(record, pool)]
        given = {gang.key for gang in gangs}
        # Promised places stay promised, whether their gangs are looked at in this plan or not.
        beside = {gang.key: gang for one in promised if (gang := self.roster.gang_of(one.pod.uid)) is not None}
        leaving = (gang for gang in self.roster.on_their_way_out() if pool in self.roster.pools_of(gang.key))
        beside |= {gang.key: gang for gang in leaving}
        more = [gang for key, gang in beside.items() if key not in given]
        with self._picture.set_aside(promised):
            tree = self.accounts.tree(pool)
            feeds = self._feeds(pool, lines, tree, all_=actions is not _ALLOCATING)
            if not feeds and not gangs and not more:
                return _NOTHING, []
            made = plan(self._picture, tree, [*gangs, *more], self._settings_in(pool, actions), now, actions, feeds)
            made = self.accounts.await_payment(pool, made)
        for feed in feeds:
            feed.line.refusal = self._refusal(feed, opened, None if made.seats else tree)
        renewed = {seat.uid for seat in made.seats}
        for record in promised:
            if record.pod.uid not in renewed:
                self._picture.release(record.pod.uid)  # cannot be kept: its node has gone, or its devices
        return made, feeds

    def _feeds(self, pool: str, lines: Iterable[Line], tree: QuotaTree, *, all_: bool) -> list[Feed]:
        """Lines that may find a place now; with `all_` the others as well, with what is known of them."""
        gang_of = partial(self.roster.in_pool, pool=pool)
        opened, paths = self._opened, dict[ProjectName, object]()
        feeds = []
        for line in lines:
            known, verdict = line.refusal, None
            if known is not None:
                if known.standing is not None and line.queue not in paths:
                    paths[line.queue] = self.accounts.path(tree, line.queue)
                if known.opened == opened or (known.standing is not None and known.standing == paths[line.queue]):
                    verdict = known.verdict
            if verdict is None or all_:
                feeds.append(Feed(line, gang_of, _OF_A_LINE, verdict))
        return feeds

    def _refusal(self, feed: Feed, opened: object, tree: QuotaTree | None) -> Refusal | None:
        """What is to be remembered of a line; nothing where it depends on the pool.

        tree: what the refusal may hang on; None when seats that were given since are not in it.
        """
        line, verdict = feed.line, feed.verdict
        if verdict is None or len(line.pools) > 1:
            return None
        hangs = hangs_on_the_queue(verdict)
        return Refusal(verdict, opened, self.accounts.path(tree, line.queue) if tree is not None and hangs else None)

    @property
    def _opened(self) -> object:
        """Stands as long as nothing has come free."""
        return (self._picture.generation, self.roster.departures)

    def _settings_in(self, pool: str, actions: Sequence[Action]) -> Settings:
        gpu, cpu = self._strategies(pool)
        most_seats = _AT_ONCE if actions is _ALLOCATING else None
        return replace(self._settings, pool=pool, gpu_strategy=gpu, cpu_strategy=cpu, most_seats=most_seats)

    def _apply(self, made: Plan, clock: float) -> int:
        """Carry the plan out in the picture. Returns how many seats it gave that did not stand before."""
        given = 0
        for eviction in made.evictions:
            if eviction.beneficiary:
                self._served.add(eviction.beneficiary)
            hold = self._picture.pods[eviction.uid].hold
            if hold is not None and hold.state is HoldState.RESERVED:
                self._picture.release(eviction.uid)  # it has not even started: it gives its seat back and waits
                continue
            self.roster.leaving(eviction.uid)
            self.orders.evictions.append(eviction)
        for seat in made.seats:
            record = self._picture.pods[seat.uid]
            hold = record.hold
            if hold is not None and hold.state is not HoldState.PROMISED:
                self._moves.begin(record, seat.placement, clock)
                continue
            if hold is not None and hold.placement == seat.placement and not seat.bindable:
                continue  # the promise stands
            ttl_s = self._seat_ttl_s if seat.bindable else self._promise_ttl_s
            state = HoldState.RESERVED if seat.bindable else HoldState.PROMISED
            self._picture.reserve(seat.uid, seat.placement, now=clock, expires=clock + ttl_s, state=state, planned=True)
            given += 1
            if seat.bindable:
                self._picture.judge(record, None)
                self.orders.seated[seat.uid] = None
            else:
                self._promised(record, seat)
        return given

    def _explain(self, why: Mapping[str, Verdict], refused: Mapping[Line, Verdict]) -> None:
        """Keep what was found out about gangs that wait; what is news goes into the orders."""
        for line in self.roster.waiting.lines():
            verdict = refused.get(line) or (line.refusal.verdict if line.refusal is not None else None)
            if verdict is None or (verdict is line.told and not line.untold):
                continue
            # All of a line hear why they wait; that it is another reason now, only those in front.
            anew = [turn[2] for turn in line.turns[:_OF_A_LINE]] if verdict != line.told else []
            for key in (*line.untold, *anew):
                self._tell(key, verdict)
            line.told = verdict
            line.untold.clear()
        for key, verdict in why.items():
            self._tell(key, verdict)
        self._forget_started()

    def _tell(self, key: str, verdict: Verdict) -> None:
        before = self.verdicts.get(key)
        self.verdicts[key] = verdict
        if before is None or before.reason is not verdict.reason:
            self.orders.refused[key] = verdict  # that the numbers moved is no news
        for record in self.roster.members(key):
            if record.hold is None:
                self._picture.judge(record, verdict)

    def _is_promised_in(self, record: PodRecord, pool: str) -> bool:
        if record.hold is None or not _is_promised(record) or record.pod.scheduler != names.SCHEDULER_NAME:
            return False  # of others only the stand-ins of moved pods are promised anything: those stay
        ledger = self._picture.ledger(record.hold.placement.node)
        return ledger is None or ledger.pool == pool

    def _promised(self, record: PodRecord, seat: PlannedSeat) -> None:
        text = f"Pod {record.pod.key} waits for others to leave its place on {seat.placement.node}"
        verdict = no(Reason.WAITING_FOR_OTHERS, text)
        self._picture.judge(record, verdict)
        self.orders.promised[seat.uid] = verdict
        self.verdicts.pop(seat.gang, None)

    def _forget_started(self) -> None:
        for key in [key for key in self.verdicts if key not in self.roster.waiting]:
            del self.verdicts[key]

    def _forget_gone(self) -> None:
        self._forget_started()
        self._rests.forget(self.roster.knows)
        self._served = {key for key in self._served if self.roster.knows(key)}


def _is_promised(record: PodRecord) -> bool:
    return record.hold is not None and record.hold.state is HoldState.PROMISED
