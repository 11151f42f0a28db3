"""The planner alone, in this process: a gang's seats, a hopeless job, a reclaim, and a long queue of blocked jobs.

On the real `Planner` with a real `Picture`, from the moment when the pods have become known until the planner has
decided: the roster, the quota tree and the changes of the picture included, HTTP and the API server not.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from extender.cluster.picture import Picture
from extender.model import names
from extender.model.amounts import GPU
from extender.model.names import PodUID
from extender.model.node import Node
from extender.model.pod import Phase, Placement, Pod
from extender.model.queue import PodGroup, Project, Queue, Quota
from extender.planning.planner import Planner
from extender.planning.settings import Settings
from extender.wire import nodes as node_wire
from extender.wire import pods as pod_wire
from perf import objects, stats

Json = dict[str, Any]
Say = Callable[[str], None]

HOLDER, ASKER = "holder", "asker"  # who has the cluster, and who asks
SHORT, OVER = "no room", "over limit"  # why a long queue waits
_ONE, _NODE = objects.Shape(gpus=1), objects.Shape(gpus=8, cpu_milli=16_000, memory_mib=131_072)
_GATES = (names.SCHEDULING_GATE,)
_TTL_S = 120.0
_LINES = 256  # about as many as the service looks at in a tenth of a second


class Cluster:
    """A picture and its planner, and pods to put there. `holder` deserves `deserved` GPUs, every other project 8."""

    def __init__(self, nodes: int, deserved: int, projects: Iterable[str] = (ASKER,), *, may_hold: bool = True):
        self.picture = Picture()
        self.planner = Planner(self.picture, Settings(), seat_ttl_s=_TTL_S)
        quotas = {HOLDER: deserved} | dict.fromkeys(projects, 8)
        for name, gpus in quotas.items():
            most = Quota() if may_hold or name == HOLDER else Quota(0)
            self.picture.upsert_project(Project(Queue(name, deserved=Quota(gpus * GPU), limit=most)))
            self.picture.upsert_namespace(name, name)
        self.nodes: list[Node] = [node_wire.parse(objects.node(index)) for index in range(nodes)]
        self.picture.replace_nodes(self.nodes)
        self._pods: dict[objects.Shape, Pod] = {}
        self._made = 0
        self._clock = 0.0

    def pod(self, project: str, shape: objects.Shape, group: str = "", *, at: Placement | None = None) -> Pod:
        """A gated pod that waits, or one that runs `at` its devices."""
        parsed = self._pods.get(shape)
        if parsed is None:
            parsed = self._pods[shape] = pod_wire.parse(objects.pending_pod("template", shape, version=1))
        self._made += 1
        name = f"{project}-{self._made:05d}"
        given: Json = {"gates": _GATES} if at is None else {"placement": at, "phase": Phase.RUNNING}
        made = replace(parsed, uid=PodUID(name), name=name, namespace=project, owner=None, group=group, **given)
        self.picture.upsert_pod(made)
        return made

    def fill(self, count: int, project: str = HOLDER) -> list[Pod]:
        """`count` one-GPU pods run, node by node."""
        seats = (Placement(node.name, ((device, ""),)) for node in self.nodes for device in range(objects.GPUS))
        return [self.pod(project, _ONE, at=seat) for seat, _ in zip(seats, range(count), strict=False)]

    def gang(self, project: str, shape: objects.Shape, members: int) -> list[Pod]:
        """`members` pods that start together."""
        self._made += 1
        name = f"gang-{self._made}"
        self.picture.upsert_group(PodGroup(project, name, min_member=members))
        return [self.pod(project, shape, name) for _ in range(members)]

    def gone(self, pods: Iterable[Pod]) -> None:
        for pod in pods:
            self.picture.delete_pod(pod.uid)

    def seated(self, pods: Iterable[Pod]) -> int:
        return sum(self.picture.pods[pod.uid].hold is not None for pod in pods)

    def allocate(self) -> float:
        """Milliseconds of one `allocate`."""
        return self._timed(self.planner.allocate)

    def take_back(self) -> float:
        """Milliseconds of one `take_back` that looks at everything."""
        return self._timed(self.planner.take_back)

    def sweep(self) -> list[float]:
        """Milliseconds of each slice, until everything has been looked at."""
        slices = [self._timed(partial(self.planner.take_back, most_lines=_LINES))]
        while self.planner.is_sweeping:
            slices.append(self._timed(partial(self.planner.take_back, most_lines=_LINES)))
        return slices

    def decide(self) -> float:
        """Milliseconds until all has been tried for who waits: `allocate`, then `take_back`."""
        return self.allocate() + self.take_back()

    def _timed(self, decide: Callable[[float, float], None]) -> float:
        self._clock += 1.0
        began = time.perf_counter()
        decide(self._clock, self._clock)
        return 1e3 * (time.perf_counter() - began)


def planning(nodes: int, members: int, waiting: int, projects: int, rounds: int, say: Say) -> Json:
    """Milliseconds of each decision, once a round: medians and extremes; see the functions below."""
    cases: dict[str, Callable[[], list[float]]] = {
        "gang": lambda: _gang(nodes, members, rounds),
        "hopeless, 80 × 1": lambda: _hopeless(nodes, _ONE, 80, rounds),
        "hopeless, 10 × 8": lambda: _hopeless(nodes, _NODE, 10, rounds),
        "reclaim": lambda: _reclaim(nodes, rounds),
    }
    result: Json = {"nodes": nodes, "members": members, "waiting": waiting, "projects": projects, "ms": {}}
    for name, measure in cases.items():
        say(f"planning: {name}, {nodes} nodes")
        result["ms"][name] = stats.spread(_quietly(measure)).as_json()
    for kind in (SHORT, OVER):
        say(f"planning: {waiting} jobs wait in {projects} projects, {kind}")
        for name, took in _backlog(nodes, waiting, projects, rounds, may_hold=kind == SHORT).items():
            result["ms"][f"{name}, {kind}"] = stats.spread(took).as_json()
    return result


def _gang(nodes: int, members: int, rounds: int) -> list[float]:
    """A gang of one-GPU pods is seated on a cluster of which a third is in use."""
    cluster, took = Cluster(nodes, nodes * objects.GPUS), []
    cluster.fill(nodes * objects.GPUS // 3)
    for _ in range(rounds + 1):
        gang = cluster.gang(ASKER, _ONE, members)
        took.append(cluster.allocate())
        _expect(cluster.seated(gang), members)
        cluster.gone(gang)
        cluster.allocate()
    return took[1:]


def _hopeless(nodes: int, shape: objects.Shape, members: int, rounds: int) -> list[float]:
    """A job of 80 GPUs for which there is no room, and nobody who may be evicted for it. Each round another one."""
    cluster, took = Cluster(nodes, nodes * objects.GPUS), []
    cluster.fill(nodes * objects.GPUS)
    for _ in range(rounds + 1):
        gang = cluster.gang(ASKER, shape, members)
        took.append(cluster.decide())
        _expect(cluster.seated(gang), 0)
        _expect(len(cluster.planner.take_orders().refused), 1)
        cluster.gone(gang)
        cluster.allocate()
    return took[1:]


def _reclaim(nodes: int, rounds: int) -> list[float]:
    """A pod asks for one GPU of a cluster that another project, which deserves nothing, has filled."""
    cluster, took = Cluster(nodes, 0), []
    cluster.fill(nodes * objects.GPUS)
    for _ in range(rounds + 1):
        cluster.pod(ASKER, _ONE)
        took.append(cluster.decide())
        evictions = cluster.planner.take_orders().evictions
        _expect(len(evictions), 1)
        # The victim goes, the pod starts: the next one meets a full cluster again.
        cluster.picture.delete_pod(evictions[0].uid)
        cluster.allocate()
        _expect(len(cluster.planner.take_orders().seated), 1)
        for record in list(cluster.picture.provisional()):
            assert record.hold is not None
            cluster.picture.confirm(record.pod.uid, record.hold.placement)
        cluster.allocate()
    return took[1:]


def _backlog(nodes: int, waiting: int, projects: int, rounds: int, *, may_hold: bool) -> dict[str, list[float]]:
    """Jobs of all shapes wait in a full cluster.

    first: as after a restart. pass: everything is tried for all of them; slice: the longest part, done
    in slices, as the service does it. end: a pod of yet another project ends. arrival: one more job comes.
    may_hold: whether their projects may have anything at all: else what ends is for none of them.
    """
    queues = [f"project-{number:03d}" for number in range(projects)]
    cluster = Cluster(nodes, nodes * objects.GPUS, queues, may_hold=may_hold)
    running = cluster.fill(nodes * objects.GPUS)
    for number in range(waiting):
        cluster.pod(queues[number % projects], objects.SHAPES[number // projects % len(objects.SHAPES)])
    first = cluster.allocate(), cluster.take_back()
    took: dict[str, list[float]] = {"first": [sum(first)], "pass": [], "slice": [], "end": [], "arrival": []}
    for number in range(rounds + 1):
        cluster.gone([running.pop()])
        ended = cluster.allocate()
        cluster.pod(queues[number % projects], _ONE)
        arrived = cluster.allocate()
        whole = cluster.take_back()
        longest = max(cluster.sweep())
        if number:
            took["end"].append(ended)
            took["arrival"].append(arrived)
            took["pass"].append(whole)
            took["slice"].append(longest)
    return took


def _quietly(measure: Callable[[], list[float]]) -> list[float]:
    """Without what earlier sections left for the garbage collector."""
    gc.collect()
    gc.freeze()
    try:
        return measure()
    finally:
        gc.unfreeze()


def _expect(got: int, wanted: int) -> None:
    """A fast wrong decision is no result."""
    if got != wanted:
        raise RuntimeError(f"the planner decided otherwise: {got} instead of {wanted}")
