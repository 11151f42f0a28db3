"""Every pod of ours as part of its gang, kept up to date pod by pod, and who of them waits.

A gang is made anew when one of its pods changed, so a plan starts from values and nothing is walked that did not
move. Those that wait stand in lines (`planning.waiting`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from extender.cluster.grouping import group_key_of
from extender.cluster.membership import Confinement
from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.cluster.quota import Charge
from extender.model import names
from extender.model.gang import Gang, Member, MemberState, SubGroup, Topology
from extender.model.names import PodUID, ProjectName
from extender.model.pod import Phase, Pod
from extender.model.queue import PodGroup, SubGroupSpec, TopologyConstraint
from extender.model.timestamps import seconds
from extender.planning.waiting import Waiting

_AWAIT_GROUP_S = 5.0
_HELD = {HoldState.PROMISED: MemberState.NOMINATED}  # every other hold: its node


class Roster:
    """Gangs by key. `refresh` before reading; what it returns is borrowed until the next `refresh`.

    departures: moves when somebody is on the way out: what is held may be promised.
    """

    def __init__(self, picture: Picture, *, ahead_after_s: float = 1.0, ahead_from_nodes: int = 500) -> None:
        self._picture = picture
        picture.stirred.update(picture.pods)  # whoever looked before, we have not
        self._ahead_after_s = ahead_after_s
        self._ahead_from_nodes = ahead_from_nodes
        self._unasked: dict[PodUID, float] = {}  # no gate, no answer yet → since when, the longest first
        self._groupless: dict[PodUID, float] = {}  # whose PodGroup has yet to come → since when, the longest first
        self._waived: set[PodUID] = set()  # those who waited for one long enough
        self._tardy: set[str] = set()  # gangs that did not come for a seat
        self._overdue: dict[PodUID, bool] = {}  # whether it is to be seated ahead: once, not again
        self.waiting = Waiting(picture)
        self.departures = 0
        self._gangs: dict[str, Gang] = {}
        self._unmade: set[str] = set()  # gangs that wait for nothing: made when somebody looks at them
        self._now = 0.0
        self._elsewhere: dict[tuple[str, str], Gang] = {}  # (key, pool) → a waiting gang confined to another pool
        self._pools: dict[str, tuple[str, ...]] = {}  # of each gang, the first to be tried first
        self._members: defaultdict[str, set[PodUID]] = defaultdict(set)
        self._key_of: dict[PodUID, str] = {}
        self._stale_since: dict[str, float] = {}
        self._leaving: set[PodUID] = set()
        self.releasing: dict[PodUID, Charge] = {}  # what pods on their way out still hold
        self._releasing_of: dict[str, list[PodUID]] = {}

    @property
    def has_stale(self) -> bool:
        """Whether a gang holds fewer members than its minimum."""
        return bool(self._stale_since)

    def leaving(self, uid: PodUID, *, is_leaving: bool = True) -> None:
        """An eviction is on its way: the pod holds its place until it has gone, and nobody counts on it."""
        if is_leaving:
            self._leaving.add(uid)
        else:
            self._leaving.discard(uid)
        self._picture.stirred.add(uid)

    def refresh(self, now: float, *, most: int | None = None) -> None:
        """Take in every pod that changed, or so many of them. Cost: the pods of their gangs."""
        stirred = self._picture.stirred
        if most is None or len(stirred) <= most:
            self._picture.stirred = set()
        else:
            stirred = {stirred.pop() for _ in range(most)}
        stirred |= self._become_overdue(now)
        stirred |= self._tire_of_waiting(now)
        changed: dict[str, None] = {}
        for uid in stirred:
            before = self._key_of.get(uid)
            record = self._picture.pods.get(uid)
            after = None if record is None or record.pod.scheduler != names.SCHEDULER_NAME else group_key_of(record.pod)
            if before is not None and before != after:
                self._members[before].discard(uid)
                changed[before] = None
                del self._key_of[uid]
            if record is None or record.hold is not None or record.verdict is not None:
                self._unasked.pop(uid, None)
                if uid in self._overdue:
                    self._overdue[uid] = False
            if after is None:
                self._leaving.discard(uid)
                self._overdue.pop(uid, None)
                self._groupless.pop(uid, None)
                self._waived.discard(uid)
                continue
            if before != after:
                self._key_of[uid] = after
                self._members[after].add(uid)
            changed[after] = None
        self._now = now
        for key in changed:
            if self._is_settled(key):
                self._unmade.add(key)
            else:
                self._make(key)

    @property
    def gangs(self) -> dict[str, Gang]:
        """Every gang by key. Cost: what has changed since this was last asked for."""
        for key in list(self._unmade):
            self._make(key)
        return self._gangs

    def gang(self, key: str) -> Gang | None:
        if key in self._unmade:
            self._make(key)
        return self._gangs.get(key)

    def key_named(self, namespace: str, name: str) -> str | None:
        """The key of the gang of this name, or of the one that the pod or the workload of this name belongs to."""
        key = f"{namespace}/{name}"
        if key in self._members:
            return key
        pods = [one.pod for one in self._picture.pods_in(namespace)]
        found = [pod for pod in pods if pod.name == name] or sorted(
            (pod for pod in pods if pod.workload == name), key=lambda pod: (pod.placement is not None, pod.name)
        )
        return next((self._key_of[pod.uid] for pod in found if pod.uid in self._key_of), None)

    def gang_of(self, uid: PodUID) -> Gang | None:
        key = self._key_of.get(uid)
        return None if key is None else self.gang(key)

    def on_their_way_out(self) -> Iterator[Gang]:
        """Gangs with members that are leaving: what those hold is free before long."""
        return (self._gangs[key] for key in self._releasing_of)

    def pools_of(self, key: str) -> tuple[str, ...]:
        """The node pools that a gang may go to; the one that it is in when it holds something."""
        return self._pools[key]

    def in_pool(self, key: str, pool: str) -> Gang:
        """The gang as it looks for places in one of its pools."""
        gang = self._gangs[key]
        if self._pools[key][0] == pool:
            return gang
        found = self._elsewhere.get((key, pool))
        if found is None:
            found = self._elsewhere[(key, pool)] = replace(gang, confined_to=self._confinement(gang, pool))
        return found

    def is_tardy(self, uid: PodUID) -> None:
        """A pod did not come for its seat: its gang waits in a line of its own, in nobody's way."""
        key = self._key_of.get(uid)
        if key is not None:
            self._tardy.add(key)
            self._picture.stirred.add(uid)

    def knows(self, key: str) -> bool:
        """Whether there is a gang of this key."""
        return key in self._members

    def members(self, key: str) -> Iterator[PodRecord]:
        pods = self._picture.pods
        return (pods[uid] for uid in self._members.get(key, ()) if uid in pods)

    def _is_settled(self, key: str) -> bool:
        """Whether it is a pod on its own that has its place, or that kube-scheduler has yet to ask about: nearly all
        are, and each decision of filter changes one, so they are not made over and over.
        """
        uids = self._members.get(key)
        if not uids or len(uids) > 1 or key in self.waiting or key in self._releasing_of or key in self._stale_since:
            return False
        (uid,) = uids
        record = self._picture.pods[uid]
        pod, hold = record.pod, record.hold
        if pod.deleting or uid in self._leaving or self._is_group(record):
            return False
        if hold is not None:
            return hold.state is not HoldState.PROMISED
        if pod.is_gated or pod.unschedulable or record.verdict is not None or self._overdue.get(uid):
            return False
        if not pod.is_finished and uid not in self._overdue:
            self._unasked.setdefault(uid, self._now)
        return True

    def _make(self, key: str) -> None:
        self._unmade.discard(key)
        self.waiting.leave(key)
        for uid in self._releasing_of.pop(key, ()):
            self.releasing.pop(uid, None)
        for pool in self._pools.pop(key, ())[1:]:
            self._elsewhere.pop((key, pool), None)
        records = list(self.members(key))
        if not records:
            if not self._members.get(key):
                self._members.pop(key, None)
            self._gangs.pop(key, None)
            self._stale_since.pop(key, None)
            self._tardy.discard(key)
            return
        gang = self._gangs[key] = self._gang(key, records, self._now)
        for member in gang.in_state(MemberState.RELEASING):
            hold = self._picture.pods[member.pod.uid].hold
            if hold is not None and hold.charge is not None:
                self.departures += 1
                self.releasing[member.pod.uid] = hold.charge
                self._releasing_of.setdefault(key, []).append(member.pod.uid)
        if gang.waiting:
            self.waiting.join(gang, self._pools[key], is_tardy=key in self._tardy)

    def _gang(self, key: str, records: list[PodRecord], now: float) -> Gang:
        membership = self._picture.membership
        eldest = min(records, key=lambda one: (one.pod.created, one.pod.uid)).pod
        group = membership.group_of(eldest) or PodGroup(eldest.namespace, key, min_member=max(1, eldest.min_member))
        queue = membership.project_of(eldest) or ProjectName("")
        members = tuple(member for record in records if (member := self._member(record, now)) is not None)
        holding = sum(1 for one in members if one.state is MemberState.ACTIVE)
        created = group.created or seconds(eldest.created)
        self._pools[key] = self._where(members) or membership.pools_of(eldest, self._picture.quotas.projects.get(queue))
        started = [seconds(one.pod.started) for one in records if one.pod.started]
        gang = Gang(
            key,
            queue,
            priority=membership.priority_of(eldest),
            preemptible=membership.is_preemptible(eldest),
            created=created,
            min_member=group.min_member,
            min_parts=group.min_parts,
            subgroups=tuple(self._part(one) for one in group.subgroups),
            topology=self._topology(group.topology),
            members=members,
            started_at=max(started, default=None) if holding else None,
            stale_after_s=group.stale_after_s,
            waits_until=created + group.preemption_delay_s if group.preemption_delay_s else None,
        )
        done = MemberState.DONE in gang.by_state or (group.stale_after_s is not None and group.stale_after_s < 0)
        if holding and not gang.is_met and not done:
            self._stale_since.setdefault(key, now)
        else:
            self._stale_since.pop(key, None)
        confined = self._confinement(gang, self._pools[key][0])
        since = self._stale_since.get(key)
        return replace(gang, confined_to=confined, stale_since=since) if confined or since is not None else gang

    def _where(self, members: tuple[Member, ...]) -> tuple[str, ...]:
        """The pool of a gang that holds something, or is promised it: all of its members go there."""
        for one in members:
            if one.placement is not None and one.state in (MemberState.ACTIVE, MemberState.NOMINATED):
                ledger = self._picture.ledger(one.placement.node)
                if ledger is not None:
                    return (ledger.pool,)
        return ()

    def _confinement(self, gang: Gang, pool: str) -> Confinement:
        if not gang.members or not self._picture.is_divided(gang.queue):
            return ()
        project = self._picture.quotas.projects.get(gang.queue)
        return self._picture.membership.confinement(gang.members[0].pod, project, pool)

    def _part(self, part: SubGroupSpec) -> SubGroup:
        return SubGroup(part.name, part.parent, part.min_member, part.min_parts, self._topology(part.topology))

    def _topology(self, asked: TopologyConstraint | None) -> Topology | None:
        """None as well where the Topology object is missing: closeness nobody has defined holds nobody back."""
        levels = None if asked is None else self._picture.membership.topologies.get(asked.topology)
        return (
            None
            if asked is None or levels is None
            else Topology(asked.topology, levels, asked.required, asked.preferred)
        )

    def _become_overdue(self, now: float) -> set[PodUID]:
        """Pods without a gate that kube-scheduler has not come to: it is behind, and in a large cluster it is quicker
        with a pod whose node is chosen already. Each only once: who is not asked about then is held back elsewhere.
        """
        due: set[PodUID] = set()
        if len(self._picture.table) >= self._ahead_from_nodes:
            for uid, since in self._unasked.items():
                if 0 <= now - since < self._ahead_after_s:
                    break
                due.add(uid)
        for uid in due:
            del self._unasked[uid]
        self._overdue |= dict.fromkeys(due, True)
        return due

    def _tire_of_waiting(self, now: float) -> set[PodUID]:
        due: set[PodUID] = set()
        for uid, since in self._groupless.items():
            if 0 <= now - since < _AWAIT_GROUP_S:  # a clock that was set back makes nobody wait for hours
                break
            due.add(uid)
        for uid in due:
            del self._groupless[uid]
        self._waived |= due
        return due

    def _awaits_group(self, pod: Pod, now: float) -> bool:
        """Whether the PodGroup that says how many start together may still be on its way: pods and PodGroups come by
        watches of their own, and ours are made after the pods.
        """
        if not pod.group and pod.owner_kind not in names.GANG_KINDS:
            return False
        if self._picture.membership.group_of(pod) is not None:
            self._groupless.pop(pod.uid, None)
            return False
        if pod.uid in self._waived:
            return False
        self._groupless.setdefault(pod.uid, now)
        return True

    def _member(self, record: PodRecord, now: float) -> Member | None:
        """None for a pod that counts in no way: on its way out without a place, or waiting for gates of others."""
        pod, hold = record.pod, record.hold
        if pod.is_finished:
            state = MemberState.DONE if pod.phase is Phase.SUCCEEDED else MemberState.FAILED
        elif hold is None:
            if pod.deleting or pod.gpu_error or pod.is_gated_by_others or self._awaits_group(pod, now):
                return None
            ahead = self._overdue.get(pod.uid)
            known = pod.is_gated or pod.unschedulable or record.verdict is not None or self._is_group(record)
            if not (known or ahead):
                # kube-scheduler has not come to it yet, and then it may have a place at once.
                if ahead is None:
                    self._unasked.setdefault(pod.uid, now)
                return None
            state = MemberState.PENDING
        elif pod.deleting and hold.state is HoldState.PROMISED:
            return None  # it goes without ever having held anything
        elif pod.deleting or pod.uid in self._leaving:
            state = MemberState.RELEASING
        else:
            state = _HELD.get(hold.state, MemberState.ACTIVE)
        return Member(pod, state, None if hold is None else hold.placement, pod.subgroup, pod.order)

    def _is_group(self, record: PodRecord) -> bool:
        """Whether the pod may have to start together with others."""
        group = self._picture.membership.group_of(record.pod)
        return group.minimum > 1 if group is not None else bool(record.pod.group) or record.pod.min_member > 1
