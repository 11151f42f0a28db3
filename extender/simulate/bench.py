"""One cluster under test: pods arrive and leave, every answer is checked and timed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter_ns

import numpy as np

from extender.cluster.picture import HoldState, Picture
from extender.errors import InvariantError
from extender.model import names
from extender.model.names import NodeName, PodUID
from extender.model.node import Node
from extender.model.pod import Placement, Pod
from extender.pods import placement
from extender.pods.placement import Policy
from extender.simulate.books import Books
from extender.simulate.workload import Accepts, Bools, Host, Task, Workload, allowed

Seater = Callable[[Picture, Pod, Sequence[str] | None, Policy], Placement | None]

_NAMESPACE = "simulate"  # of no project: quotas are not what is measured


@dataclass(frozen=True, slots=True)
class Seat:
    """What a placed pod holds: enough to let it leave again."""

    uid: PodUID
    task: Task
    row: int
    devices: tuple[int, ...]


class Bench:
    """A picture of the workload's hosts, empty at first, and books beside it.

    ranks:  each host's place in the order that breaks ties. Node names carry it as a prefix, because the service
            breaks ties by name.
    seater: who decides; only tests give another one than the service's.
    """

    def __init__(
        self, workload: Workload, ranks: Sequence[int], policy: Policy, *, seater: Seater = placement.best_seat
    ) -> None:
        self._workload = workload
        self._policy = policy
        self._seater = seater
        by_rank = sorted(zip(ranks, workload.hosts, strict=True), key=lambda pair: pair[0])
        width = len(str(len(by_rank)))
        self.hosts: list[Host] = [
            replace(host, node=_renamed(host.node, f"{rank:0{width}d}-{host.node.name}")) for rank, host in by_rank
        ]
        self.picture = Picture()
        for host in self.hosts:
            self.picture.upsert_node(host.node)
        self.books = Books([host.node for host in self.hosts])
        self.refused_though_fitting = 0
        self.decision_ns = array("q")
        self._row_of = {host.node.name: row for row, host in enumerate(self.hosts)}
        self._accepted: dict[Accepts, Bools | None] = {}

    @property
    def decisions(self) -> int:
        return len(self.decision_ns)

    def arrive(self, index: int) -> Seat | None:
        """Task `index` of the workload arrives; its seat, or None when it was turned away and forgotten.

        Raises InvariantError when the seat is not one: a packer cannot gain by over-committing a node.
        """
        task = self._workload.tasks[index]
        accepted = self._accepting(task.accepts)
        uid = PodUID(str(self.decisions))
        pod = _pod(task, uid)
        self.picture.upsert_pod(pod)
        offered = self._offered(task, accepted)
        started = perf_counter_ns()
        chosen = self._seater(self.picture, pod, offered, self._policy)
        if chosen is not None:
            self.picture.reserve(uid, chosen, now=0.0, expires=None, state=HoldState.RESERVED)
        self.decision_ns.append(perf_counter_ns() - started)
        if chosen is None:
            self.picture.delete_pod(uid)
            if self.books.fits(task, accepted).any():
                self.refused_though_fitting += 1
            return None
        seat = Seat(uid, task, self._row_of[chosen.node], chosen.indices)
        objection = self.books.objection(task, seat.row, seat.devices, accepted)
        if objection:
            raise InvariantError(f"pod {pod.name} was placed on node {chosen.node}: {objection}")
        self.books.take(task, seat.row, seat.devices)
        return seat

    def leave(self, seat: Seat) -> None:
        """The pod has ended; its object is gone."""
        self.picture.delete_pod(seat.uid)
        self.books.give_back(seat.task, seat.row, seat.devices)

    def allocated_percent(self) -> float:
        """Milli-GPU in use, percent of capacity."""
        return 100 * self.books.allocated_milli / self._workload.capacity_milli

    def decision_us(self) -> tuple[float, float]:
        """Median and 99th percentile of choosing and reserving a seat, refusals included, in microseconds."""
        p50, p99 = np.percentile(np.asarray(self.decision_ns), [50, 99]) / 1000
        return round(float(p50), 1), round(float(p99), 1)

    def _accepting(self, accepts: Accepts) -> Bools | None:
        """Which hosts take pods like this, None for all of them; worked out once."""
        if accepts not in self._accepted:
            mask = allowed(accepts, self.hosts)
            self._accepted[accepts] = None if mask.all() else mask
        return self._accepted[accepts]

    def _offered(self, task: Task, accepted: Bools | None) -> list[str] | None:
        """What the packer may choose from: every node, unless the pod selects nodes by label.

        Labels are kube-scheduler's business, so here its part is played for it: the nodes that pass, by name.
        """
        if accepted is None or not task.accepts.labels:
            return None
        return [self.hosts[row].node.name for row in np.flatnonzero(self.books.has_room(task) & accepted)]


def _pod(task: Task, uid: PodUID) -> Pod:
    """The task as a pod of ours. Names differ although tasks come again: living pods of one name are one pod."""
    return Pod(
        uid,
        _NAMESPACE,
        f"{task.name}-{uid}",
        gpu=task.gpu,
        cpu_milli=task.cpu_milli,
        memory_mib=task.memory_mib,
        scheduler=names.SCHEDULER_NAME,  # what others schedule teaches the packer nothing
        gpu_products=tuple(sorted(task.accepts.models)),
    )


def _renamed(node: Node, name: str) -> Node:
    return replace(node, name=NodeName(name), uid=name)
