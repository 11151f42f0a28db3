"""The state that a schedule case describes, and the picture, quota tree and gangs that the deciding code reads of it.

Memory counts in bytes here, not MiB: cases write figures far below a MiB, and the deciding code compares integers
without knowing their unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from extender.cluster.picture import Picture
from extender.fairshare.tree import QuotaTree
from extender.model import names
from extender.model.affinity import AffinityTerm, PodAffinity
from extender.model.amounts import GPU, Amounts
from extender.model.constraint import ANYWHERE, Constraint, Requirement, Term
from extender.model.gang import Gang, Member, MemberState, SubGroup, Topology, cost
from extender.model.gpu import GpuRequest
from extender.model.names import NodeName, PodUID, ProjectName
from extender.model.node import Node, is_sliced, usable_gpus
from extender.model.pod import Phase, Placement, Pod
from extender.model.queue import Queue, Quota, Weights

_NAMESPACE = "scenario"
_TYPE_LABEL = "kai.scheduler/type"
_MANY_PODS = 100
NOW = 1_000_000.0  # virtual seconds


class UnsupportedError(Exception):
    """The case asks for something that the runner does not know; `str(error)` says what."""


@dataclass(slots=True)
class PodState:
    """One pod of a case as it is now. `state` is the case's word; `placement` what it holds or is promised."""

    name: str
    group: str
    ask: Mapping[str, Any]
    state: str = "pending"
    placement: Placement | None = None
    subgroup: str = ""
    order: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    affinity_key: str = ""
    anti_affinity_key: str = ""
    node_affinity: tuple[str, ...] = ()


_STATES = {
    "pending": MemberState.PENDING,
    "running": MemberState.ACTIVE,
    "releasing": MemberState.RELEASING,
    "stuck_in_releasing": MemberState.STUCK,
    "pipelined": MemberState.NOMINATED,
    "failed": MemberState.FAILED,
    "succeeded": MemberState.DONE,
}
_HOLDING = frozenset({"running", "releasing", "stuck_in_releasing"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GROUP_KEYS = _words(
    "name queue priority preemptible min ask subgroups min_subgroups topology age_minutes preemption_delay stale_for "
    "staleness_grace deleted_by_user started_ago"
)
_POD_KEYS = _words(
    "pod node devices order gpu gpu_fraction gpu_memory gpu_devices state subgroup labels pod_affinity_key "
    "pod_anti_affinity_key node_affinity mig cpu memory"
)
_QUEUE_KEYS = _words(
    "name parent quota weight limit priority cpu_quota cpu_limit mem_quota_mb mem_limit_mb preempt_min_runtime "
    "reclaim_min_runtime"
)
_NODE_KEYS = _words("gpus cpu memory gpu_memory mig labels mig_strategy gpu_name")
_ASKS = ("gpu", "gpu_fraction", "gpu_memory", "gpu_devices", "cpu", "memory", "mig")


class World:
    """A schedule case in virtual time. `pods` change from round to round; the rest does not."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        """Raises UnsupportedError for a key it does not know, ValueError for a figure that is not one."""
        self.body = body
        self.queues = [_queue(one, at) for at, one in enumerate(body.get("queues") or ())]
        self.groups = {str(one["name"]): _known(one, _GROUP_KEYS, "group") for one in body.get("groups") or ()}
        self.topologies = {str(one["name"]): tuple(one["levels"]) for one in body.get("topologies") or ()}
        self.pods: dict[str, PodState] = {}
        given = list(body.get("running") or ()), list(body.get("pending") or ())
        count = len(given[0]) + len(given[1])
        self.nodes = [_node(str(name), one or {}, count) for name, one in (body.get("nodes") or {}).items()]
        for entries, state in ((given[0], "running"), (given[1], "pending")):
            for entry in entries:
                pod = self._pod(entry, state)
                self.pods[pod.name] = pod
        self._seat_given(given[0])

    def _pod(self, entry: object, state: str) -> PodState:
        one: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"pod": entry}
        _known(one, _POD_KEYS, "pod")
        name = str(one["pod"])
        group = name.rpartition("-")[0]
        if group not in self.groups:
            raise UnsupportedError(f"pod {name} of group {group}, which the case does not have")
        ask = dict(self.groups[group].get("ask") or {})
        own = {key: one[key] for key in _ASKS if key in one}
        if own.keys() & {"gpu", "gpu_fraction", "gpu_memory", "mig"}:
            for key in ("gpu", "gpu_fraction", "gpu_memory", "gpu_devices"):
                ask.pop(key, None)
        return PodState(
            name,
            group,
            {**ask, **own},
            state=str(one.get("state", state)),
            placement=Placement(NodeName(one["node"])) if "node" in one else None,
            subgroup=str(one.get("subgroup", "")),
            order=one.get("order"),
            labels=dict(one.get("labels") or {}),
            affinity_key=str(one.get("pod_affinity_key", "")),
            anti_affinity_key=str(one.get("pod_anti_affinity_key", "")),
            node_affinity=tuple(map(str, one.get("node_affinity") or ())),
        )

    def _seat_given(self, entries: Iterable[object]) -> None:
        """Device indices: one a label and node, in label order; then, for who has none, the lowest that is unused."""
        labelled: dict[NodeName, dict[str, int]] = {}
        given = [one for one in entries if isinstance(one, Mapping)]
        for one in given:
            labels = labelled.setdefault(NodeName(str(one.get("node"))), {})
            labels.update(dict.fromkeys(map(str, one.get("devices") or ()), 0))
        for labels in labelled.values():
            labels.update({label: index for index, label in enumerate(sorted(labels))})
        unused = {
            node.name: [i for i in range(node.gpu_slots) if i >= len(labelled.get(node.name, {}))]
            for node in self.nodes
        }
        for one in given:
            pod = self.pods[str(one["pod"])]
            if pod.placement is None:
                continue
            node = pod.placement.node
            request = self._request(pod)
            if one.get("devices") and request.is_shared:
                indices = [labelled[node][str(label)] for label in one["devices"]]
            else:
                free = unused.get(node, [])
                indices, unused[node] = free[: request.devices], free[request.devices :]
            group = {i: f"{node}-{i}" if request.is_shared else "" for i in indices}
            pod.placement = Placement(node, tuple((i, group[i]) for i in sorted(indices)))

    def _request(self, pod: PodState) -> GpuRequest:
        ask = pod.ask
        mig = tuple(sorted((str(name), int(count)) for name, count in (ask.get("mig") or {}).items()))
        devices = int(ask.get("gpu_devices", 1))
        if ask.get("gpu_fraction"):
            return GpuRequest(devices, share_milli=_milli(ask["gpu_fraction"]))
        if ask.get("gpu_memory"):
            return GpuRequest(devices, memory_mib=int(ask["gpu_memory"]))
        whole = _milli(ask.get("gpu", 0))
        if whole % GPU:
            raise UnsupportedError(f"gpu: {ask['gpu']}")
        return GpuRequest(whole // GPU, mig=mig)

    def model_pod(self, state: PodState) -> Pod:
        """The pod as the deciding code sees it. Its index says its age."""
        index = state.name.rpartition("-")[2]
        labels = tuple(sorted((str(key), str(value)) for key, value in state.labels.items()))
        near = (AffinityTerm(labels, state.affinity_key),) if state.affinity_key else ()
        apart = (AffinityTerm(labels, state.anti_affinity_key),) if state.anti_affinity_key else ()
        only = Term(labels=(Requirement(_TYPE_LABEL, "In", state.node_affinity),))
        return Pod(
            uid=PodUID(state.name),
            namespace=_NAMESPACE,
            name=state.name,
            phase=Phase.RUNNING if state.state in _HOLDING else Phase.PENDING,
            gpu=self._request(state),
            cpu_milli=_milli(state.ask.get("cpu", 1)),
            memory_mib=int(state.ask.get("memory", 1_000_000_000)),
            group=state.name.rpartition("-")[0],
            scheduler=names.SCHEDULER_NAME,
            placement=state.placement if state.state in _HOLDING else None,
            deleting=state.state in ("releasing", "stuck_in_releasing"),
            created=index.zfill(9),
            labels=labels,
            constraint=Constraint(terms=(only,)) if state.node_affinity else ANYWHERE,
            affinity=PodAffinity(near, apart) if near or apart else None,
        )

    def picture(self) -> Picture:
        picture = Picture()
        for node in self.nodes:
            picture.upsert_node(node)
        for state in self.pods.values():
            if state.state in _HOLDING:
                picture.upsert_pod(self.model_pod(state))
        return picture

    def gangs(self) -> list[Gang]:
        members: dict[str, list[Member]] = {name: [] for name in self.groups}
        for state in self.pods.values():
            if state.state not in _STATES:
                raise UnsupportedError(f"state {state.state}")
            members[state.group].append(
                Member(self.model_pod(state), _STATES[state.state], state.placement, state.subgroup, state.order)
            )
        # Groups of higher priority are older; inside a priority, earlier in the list is older.
        by_age = sorted(enumerate(self.groups), key=lambda one: (-int(self.groups[one[1]].get("priority", 50)), one[0]))
        born = {name: NOW - (len(by_age) - at) for at, (_, name) in enumerate(by_age)}
        return [self._gang(name, group, born[name], members[name]) for name, group in self.groups.items()]

    def _gang(self, name: str, group: Mapping[str, Any], born: float, members: list[Member]) -> Gang:
        priority = int(group.get("priority", 50))
        created = NOW - 60 * float(group["age_minutes"]) if "age_minutes" in group else born
        delay = _seconds(group.get("preemption_delay", 0))
        grace = group.get("staleness_grace")
        return Gang(
            key=f"{_NAMESPACE}/{name}",
            queue=ProjectName(str(group["queue"])),
            priority=priority,
            preemptible=bool(group.get("preemptible", priority < names.NON_PREEMPTIBLE_FROM)),
            created=created,
            min_member=int(group.get("min", 1)),
            min_parts=group.get("min_subgroups"),
            subgroups=tuple(
                SubGroup(
                    str(one["name"]),
                    str(one.get("parent") or ""),
                    one.get("min"),
                    one.get("min_subgroups"),
                    self._topology(one.get("topology")),
                )
                for one in group.get("subgroups") or ()
            ),
            topology=self._topology(group.get("topology")),
            members=tuple(members),
            started_at=NOW - _seconds(group["started_ago"]) if "started_ago" in group else None,
            stale_since=NOW - _seconds(group["stale_for"]) if "stale_for" in group else None,
            stale_after_s=None if grace is None else _seconds(grace),
            waits_until=created + delay if delay else None,
        )

    def _topology(self, given: Mapping[str, Any] | None) -> Topology | None:
        if given is None:
            return None
        name = str(given["topology"])
        return Topology(
            name, self.topologies.get(name, ()), str(given.get("required") or ""), str(given.get("preferred") or "")
        )

    def tree(self, gangs: Iterable[Gang]) -> QuotaTree:
        """The quota tree, with what runs as allocated and all that runs or waits as requested."""
        inner = {one.department for one in self.queues if one.department}
        memory = {node.name: node.gpu_memory_mib for node in self.nodes}
        least = min((mib for mib in memory.values() if mib), default=0)
        total = Amounts(
            sum(GpuRequest(node.gpus, mig=node.mig).gpu_milli_on(0) for node in self.nodes),
            sum(node.cpu_milli for node in self.nodes),
            sum(node.memory_mib for node in self.nodes),
        )
        tree = QuotaTree(
            total,
            [one for one in self.queues if one.name not in inner],
            [one for one in self.queues if one.name in inner],
        )
        for gang in gangs:
            standing = tree.projects.get(gang.queue)
            if standing is None:
                continue
            for member in gang.in_state(MemberState.ACTIVE):
                assert member.placement is not None
                held = cost(member.pod, memory.get(member.placement.node, 0))
                tree.request(standing, held)
                tree.allocate(standing, held, preemptible=gang.preemptible)
            for member in gang.in_state(MemberState.PENDING, MemberState.NOMINATED):
                tree.request(standing, cost(member.pod, least))
        return tree

    def gpus_held(self) -> dict[str, float]:
        """GPUs by queue that running and nominated pods hold."""
        memory = {node.name: node.gpu_memory_mib for node in self.nodes}
        milli = {queue.name: 0 for queue in self.queues}
        for state in self.pods.values():
            if state.state in ("running", "pipelined") and state.placement is not None:
                queue = str(self.groups[state.group]["queue"])
                taken = self._request(state).gpu_milli_on(memory.get(state.placement.node, 0))
                milli[queue] = milli.get(queue, 0) + taken
        return {name: amount / GPU for name, amount in milli.items()}

    def set(self, name: str, state: str, placement: Placement | None) -> None:
        self.pods[name] = replace(self.pods[name], state=state, placement=placement)


def _known(one: Mapping[str, Any], keys: frozenset[str], what: str) -> Mapping[str, Any]:
    strange = sorted(map(str, one.keys() - keys))
    if strange:
        raise UnsupportedError(f"{what} key {strange[0]}")
    return one


def _queue(given: Mapping[str, Any], at: int) -> Queue:
    _known(given, _QUEUE_KEYS, "queue")

    def bound(key: str, scale: int) -> int | None:
        value = given.get(key)
        return None if value is None or value == -1 else int(Decimal(str(value)) * scale)

    return Queue(
        str(given["name"]),
        deserved=Quota(
            bound("quota", GPU) if "quota" in given else 0, bound("cpu_quota", 1000), bound("mem_quota_mb", 10**6)
        ),
        limit=Quota(bound("limit", GPU), bound("cpu_limit", 1000), bound("mem_limit_mb", 10**6)),
        department=str(given.get("parent") or ""),
        weights=Weights(gpu=given.get("weight", 0)),
        priority=int(given.get("priority", 100)),
        created=float(at),
        preempt_min_runtime_s=_seconds(given["preempt_min_runtime"]) if "preempt_min_runtime" in given else None,
        reclaim_min_runtime_s=_seconds(given["reclaim_min_runtime"]) if "reclaim_min_runtime" in given else None,
    )


def _node(name: str, given: Mapping[str, Any], pods: int) -> Node:
    _known(given, _NODE_KEYS, "node")
    labels = {_TYPE_LABEL: name, **{str(key): str(value) for key, value in (given.get("labels") or {}).items()}}
    strategy = str(given.get("mig_strategy", ""))
    gpus = usable_gpus(int(given.get("gpus", 0)), strategy)
    return Node(
        name=NodeName(name),
        uid=name,
        gpus=gpus,
        gpu_slots=gpus,
        gpu_memory_mib=int(given.get("gpu_memory", 100)),
        gpu_product=str(given.get("gpu_name", "")),
        cpu_milli=_milli(given.get("cpu", 20_000)),
        memory_mib=int(given.get("memory", 20_000_000_000)),
        pods=500 if pods > _MANY_PODS else 110,
        mig=tuple(sorted((str(key), int(count)) for key, count in (given.get("mig") or {}).items())),
        is_sliced=is_sliced(strategy),
        labels=tuple(sorted(labels.items())),
    )


def _milli(value: object) -> int:
    try:
        return int((Decimal(str(value)) * 1000).to_integral_value(rounding="ROUND_CEILING"))
    except InvalidOperation as error:
        raise ValueError(f"not a number: {value!r}") from error


def _seconds(value: object) -> float:
    """90, "90s", "10m", "1h", "-1s"."""
    text = str(value).strip()
    units = {"s": 1, "m": 60, "h": 3600}
    scale = units.get(text[-1:], 0)
    return float(text[:-1]) * scale if scale else float(text)
