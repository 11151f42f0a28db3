"""A cluster that lives around the planner, in virtual time: API objects, kube-scheduler, kubelets and owners.

The planner follows it through a watch that may be cut. What the outside world does, and what goes wrong in it, are the
events of a history; `decide` and `carry_out` are what happens by itself: the planner decides, its orders are carried
out, kube-scheduler asks. `end_going` lets evicted pods go, and their owners make them again.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from extender.cluster.picture import HoldState, Picture
from extender.model import names
from extender.model.amounts import GPU
from extender.model.names import NodeName, PodUID
from extender.model.pod import Owner, Phase, Pod
from extender.model.queue import PodGroup, Project
from extender.planning.plan import Eviction
from extender.planning.planner import Planner
from extender.planning.settings import Settings
from extender.pods import bind
from extender.pods.bind import BindRequest, Outcome
from extender.pods.filter import filter_pod
from extender.pods.release import expire, unknown
from tests.builders import POLICY, node, pod, queue, world

QUEUES = ("a", "b", "c")
DESERVED = {"a": 0, "b": 1000, "c": 3000}
ASKS: tuple[dict[str, Any], ...] = ({"gpus": 1}, {"gpus": 2}, {"fraction": "0.5"}, {"fraction": "0.3"})
CLASSES = ("train", "train", "interactive-preemptible", "build")
SETTINGS = Settings(may_move=lambda one: one.owner is not None)


class History:
    """objects: the pods on the API server, by uid. Events set what goes wrong next, once."""

    def __init__(self) -> None:
        self.nodes = {f"n{at}": node(f"n{at}", gpus=2) for at in range(3)}
        self.limits: dict[str, int | None] = dict.fromkeys(QUEUES)
        self.groups: dict[tuple[str, str], PodGroup] = {}
        self.objects: dict[PodUID, Pod] = {}
        self.clock = 0.0
        self.evicted: list[Eviction] = []
        self.is_watching = True
        self.most_lines: int | None = None
        self._numbers, self._versions = count(), count(1)
        self._refused_evictions = self._unoffered = self._failed_binds = self._lost_starts = 0
        self._lost_answers = 0
        self._unread: set[PodUID] = set()
        self.restart()

    # What happens to it

    def happen(self, kind: str, *about: Any) -> None:
        getattr(self, f"_{kind}")(*about)

    def restart(self) -> None:
        """Another process, that knows nothing but the objects."""
        self.picture: Picture = world(
            *self.nodes.values(),
            projects=[queue(one, deserved=DESERVED[one], limit=self.limits[one]) for one in QUEUES],
        )
        for name in QUEUES:
            self.picture.upsert_namespace(name, name)
        self.picture.replace_groups(self.groups.values())
        self.picture.replace_pods(self.objects.values(), next(self._versions))
        self.planner = Planner(self.picture, SETTINGS)
        self.is_watching = True

    _restart = restart

    def _arrive(self, name: str, ask: int, members: int, least: int, class_: str, is_gated: bool) -> None:
        number = next(self._numbers)
        owner = Owner("Job", f"j{number}", f"j{number}-uid", "batch/v1")
        group = PodGroup(name, f"g{number}", min_member=min(least, members), priority_class=class_)
        self.groups[(name, group.name)] = group
        if self.is_watching:
            self.picture.upsert_group(group)
        for _ in range(members):
            made = pod(f"p{next(self._numbers)}", **ASKS[ask])
            gates = (names.SCHEDULING_GATE,) if is_gated else ()
            self._store(replace(made, namespace=name, group=group.name, owner=owner, gates=gates))

    def _end(self, at: int) -> None:
        running = [one for one in self.objects.values() if one.placement is not None]
        if running:
            self._remove(running[at % len(running)].uid)

    def _leave(self, at: int) -> None:
        waiting = [one for one in self.objects.values() if one.placement is None]
        if waiting:
            self._remove(waiting[at % len(waiting)].uid)

    def _delete(self, at: int) -> None:
        if self.objects:
            one = list(self.objects.values())[at % len(self.objects)]
            self._store(replace(one, deleting=True, owner=None))

    def _node(self, at: int) -> None:
        name = f"n{at}"
        if name in self.nodes:
            del self.nodes[name]
        else:
            self.nodes[name] = node(name, gpus=2)
        if self.is_watching:
            self.picture.replace_nodes(self.nodes.values())
        for one in [one for one in self.objects.values() if one.placement and one.placement.node not in self.nodes]:
            self._remove(one.uid)  # as the pod garbage collector does

    def _cordon(self, at: int) -> None:
        name = f"n{at}"
        if name in self.nodes:
            self.nodes[name] = replace(self.nodes[name], schedulable=not self.nodes[name].schedulable)
            if self.is_watching:
                self.picture.upsert_node(self.nodes[name])

    def _limit(self, name: str, milli: int | None) -> None:
        self.limits[name] = milli
        self.picture.upsert_project(Project(queue(name, deserved=DESERVED[name], limit=milli)))

    def _gap(self) -> None:
        self.is_watching = not self.is_watching
        if self.is_watching:
            self.picture.replace_nodes(self.nodes.values())
            self.picture.replace_groups(self.groups.values())
            self.picture.replace_pods(self.objects.values(), next(self._versions))

    def _wait(self, seconds: float) -> None:
        self.clock += seconds

    def _faults(self, evictions: int, offers: int, binds: int, starts: int, answers: int) -> None:
        self._refused_evictions, self._unoffered, self._failed_binds = evictions, offers, binds
        self._lost_starts, self._lost_answers = starts, answers

    # What it does by itself

    def decide(self, *, takes_back: bool) -> None:
        """A quarter of a second passes, and the planner decides."""
        self.clock += 0.25
        for uid, hold in expire(self.picture, now=self.clock).items():
            if hold.planned and hold.state is HoldState.RESERVED:
                self.planner.seat_expired(uid, self.clock)
        for uid in unknown(self.picture):
            self._read_back(uid)
        self.planner.allocate(self.clock, self.clock)
        if takes_back:
            self.planner.take_back(self.clock, self.clock, most_lines=self.most_lines)

    def carry_out(self) -> bool:
        """What was decided is done, and kube-scheduler tries all that wait. Whether anything came of it."""
        orders = self.planner.take_orders()
        for uid in orders.seated:
            self._start(uid)
        for eviction in orders.evictions:
            self._evict(eviction)
        asked = self._schedule()
        return bool(orders.seated or orders.evictions or asked)

    def end_going(self) -> bool:
        """Who is on the way out has gone; owners make again what was evicted. Whether anybody went."""
        going = [one for one in self.objects.values() if one.deleting]
        for one in going:
            self._remove(one.uid)
            if one.owner is not None:
                gates = (names.SCHEDULING_GATE,) if one.is_gated or next(self._numbers) % 2 else ()
                again = replace(one, uid=PodUID(f"p{next(self._numbers)}"), gates=gates, placement=None, nominated="")
                again = replace(again, name=again.uid, deleting=False, unschedulable=False, phase=Phase.PENDING)
                self._store(again)
        return bool(going)

    def _start(self, uid: PodUID) -> None:
        record, known = self.picture.pods.get(uid), self.objects.get(uid)
        if record is None or record.hold is None or record.hold.state is not HoldState.RESERVED or known is None:
            return
        if self._lost_starts:
            self._lost_starts -= 1
            return
        node_ = record.hold.placement.node
        for other in [one for one in self.objects.values() if one.nominated == node_ and not self._has_seat(one.uid)]:
            self._store(replace(other, nominated=""))  # as `controllers.nominations` does
        self._store(replace(self.objects[uid], gates=(), nominated=node_))

    def _has_seat(self, uid: PodUID) -> bool:
        record = self.picture.pods.get(uid)
        return record is not None and record.hold is not None and record.hold.state is not HoldState.PROMISED

    def _evict(self, eviction: Eviction) -> None:
        known = self.objects.get(eviction.uid)
        if not self.planner.is_served(eviction):
            self.planner.stays(eviction)
        elif self._refused_evictions:
            self._refused_evictions -= 1
            self.planner.eviction_failed(eviction, self.clock, rest_s=10.0)
        elif known is not None:
            self.evicted.append(eviction)
            self._store(replace(known, deleting=True))

    def _schedule(self) -> bool:
        """kube-scheduler tries everybody who has no gate, the eldest first."""
        bound = False
        for uid, one in list(self.objects.items()):
            if one.placement is not None or one.is_gated or one.deleting:
                continue
            offered = [name for name in sorted(self.nodes) if self.nodes[name].schedulable and self._fits(one, name)]
            record = self.picture.pods.get(uid)
            hold = None if record is None else record.hold
            if self._unoffered and hold is not None and hold.placement.node in offered:
                self._unoffered -= 1
                offered.remove(hold.placement.node)
            answer = (
                filter_pod(self.picture, one, offered, POLICY, now=self.clock, planner=self.planner, today=self.clock)
                if offered
                else None
            )
            if answer is not None and answer.nodes:
                bound = self._bind(one, NodeName(answer.nodes[0])) or bound
            elif not one.unschedulable and uid in self.objects:
                self._store(replace(self.objects[uid], unschedulable=True))
        return bound

    def _bind(self, one: Pod, at: NodeName) -> bool:
        request = BindRequest(one.namespace, one.name, one.uid, at)
        step = bind.begin(self.picture, request, POLICY, now=self.clock)
        if not isinstance(step, bind.Write):
            return False
        if self._failed_binds:
            self._failed_binds -= 1
            bind.settle(self.picture, one.uid, Outcome.REFUSED, step.placement)
            return False
        self._put(replace(self.objects[one.uid], placement=step.placement, phase=Phase.RUNNING, nominated=""))
        if self._lost_answers:
            self._lost_answers -= 1
            bind.settle(self.picture, one.uid, Outcome.UNKNOWN, step.placement)
        else:
            bind.settle(self.picture, one.uid, Outcome.STORED, step.placement)
        self._show(one.uid)
        return True

    def _read_back(self, uid: PodUID) -> None:
        stored = self.objects.get(uid)
        record = self.picture.pods[uid]
        assert record.hold is not None
        if stored is None:
            bind.settle(self.picture, uid, Outcome.GONE, record.hold.placement)
        elif stored.placement is not None:
            bind.settle(self.picture, uid, Outcome.STORED, stored.placement)

    def _fits(self, one: Pod, name: str) -> bool:
        """kube-scheduler's own count of whole GPUs; it knows nothing of shares, nor of seats that are not nominated."""
        if one.gpu.is_shared:
            return True
        taken = sum(
            other.gpu.devices
            for other in self.objects.values()
            if not other.gpu.is_shared
            and other.uid != one.uid
            and (
                (other.placement and other.placement.node == name) or (not other.placement and other.nominated == name)
            )
        )
        return taken + one.gpu.devices <= 2

    # The API server

    def _put(self, one: Pod) -> None:
        self.objects[one.uid] = replace(one, version=next(self._versions))

    def _store(self, one: Pod) -> None:
        self._put(one)
        self._show(one.uid)

    def _show(self, uid: PodUID) -> None:
        if self.is_watching:
            self.picture.upsert_pod(self.objects[uid])

    def _remove(self, uid: PodUID) -> None:
        del self.objects[uid]
        if self.is_watching:
            self.picture.delete_pod(uid)


def devices_held(history: History, *, later: bool) -> dict[tuple[str, int], int]:
    """Milli-GPU of each device, as it is now, or when those who go have gone and the promised have come."""
    picture, going = history.picture, history.planner.roster.releasing
    held: dict[tuple[str, int], int] = {}
    for uid, record in picture.pods.items():
        hold = record.hold
        if hold is None or picture.ledger(hold.placement.node) is None:
            continue
        if uid in going if later else hold.state is HoldState.PROMISED:
            continue
        share = record.pod.gpu.share_on(40_960) or GPU
        for index in hold.placement.indices:
            key = (hold.placement.node, index)
            held[key] = held.get(key, 0) + share
    return held
