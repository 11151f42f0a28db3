"""The picture: what is where, who pays, what is promised. The same inputs in any order give the same picture.

A pod holds capacity from the moment its seat is reserved until its object has finished or is gone:

    PROMISED  others are making way for it; expires. Counted at once, so that nobody else gets what they leave
    RESERVED  filter or the planner chose a seat; expires
    BINDING   a Binding is on its way; its outcome decides
    UNKNOWN   the Binding's answer was lost; held until the API server tells
    BOUND     the API object says so: what it says is the truth, whatever rule it breaks

Every map is keyed by uid, so a pod made again under the same name is another pod.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from extender.cluster.allowed import AllowedNodes
from extender.cluster.grouping import group_name_of
from extender.cluster.ledger import NodeLedger
from extender.cluster.membership import Membership
from extender.cluster.quota import Charge, QuotaBook
from extender.cluster.ranking import Ranking
from extender.cluster.sharing import SharedDevices
from extender.cluster.table import NodeTable
from extender.model import names
from extender.model.amounts import GPU, Amounts
from extender.model.gpu import NO_GPU, sharing_disabled
from extender.model.names import DEFAULT_POOL, NodeName, PodUID, ProjectName
from extender.model.node import Node
from extender.model.pod import Placement, Pod
from extender.model.queue import Department, PodGroup, Project
from extender.model.verdict import Verdict
from extender.packing.demand import Ask, Demand

ANY_POOL = ""
_TOMBSTONES = 20_000


class HoldState(StrEnum):
    PROMISED = "promised"
    RESERVED = "reserved"
    BINDING = "binding"
    UNKNOWN = "unknown"
    BOUND = "bound"


@dataclass(slots=True)
class Hold:
    """A pod's capacity on a node. `since` and `expires` are the caller's monotonic seconds.

    planned: chosen by the planner for the pod's gang as a whole: another seat for this pod alone may be no seat.
    """

    state: HoldState
    placement: Placement
    charge: Charge | None
    since: float = 0.0
    expires: float | None = None
    planned: bool = False


@dataclass(slots=True)
class PodRecord:
    """One pod. `watched` is False while only a scheduler's request has shown it to us."""

    pod: Pod
    hold: Hold | None = None
    verdict: Verdict | None = None
    watched: bool = True


class Picture:
    """One event loop owns it and changes it; everything it returns is a value or must not be kept."""

    def __init__(self) -> None:
        self.table = NodeTable()
        self.demand = Demand()
        self.ranking = Ranking(self.table, self.demand)
        self.allowed = AllowedNodes(self.table, self._node)
        self.quotas = QuotaBook()
        self.membership = Membership()
        self.sharing = SharedDevices()
        self.pods: dict[PodUID, PodRecord] = {}
        self.has_news = False  # a pod that only the planner can start has come, or changed
        self.stirred: set[PodUID] = set()  # pods that changed since the roster last looked
        self._pool_sizes: Counter[str] = Counter()
        self._gpu_memory: tuple[int, dict[str, tuple[int, int]]] = (-1, {})
        self.node_version = 0  # moves when a node comes, goes or changes
        self.generation = 0  # moves with every change that could turn a "no" into a "yes"
        self.revision = 0  # moves with every change at all
        self._ledgers: dict[NodeName, NodeLedger] = {}
        self._unwritten: set[NodeName] | None = None  # rows to write later, while many pods are taken in at once
        self._uid_of: dict[tuple[str, str], PodUID] = {}
        self._uids_in: defaultdict[str, set[PodUID]] = defaultdict(set)  # namespace → uids
        self._uids_of_group: defaultdict[tuple[str, str], set[PodUID]] = defaultdict(set)  # (namespace, name) → uids
        self._provisional: set[PodUID] = set()  # held, and not yet bound by the API object's word
        self._tombstones: OrderedDict[PodUID, None] = OrderedDict()

    # Nodes

    def nodes(self) -> Iterator[Node]:
        return (ledger.node for ledger in self._ledgers.values() if ledger.node is not None)

    def ledger(self, name: NodeName) -> NodeLedger | None:
        """The ledger of a node that exists; read it, do not keep or change it."""
        ledger = self._ledgers.get(name)
        return ledger if ledger is not None and ledger.node is not None else None

    def _node(self, name: NodeName) -> Node | None:
        ledger = self._ledgers.get(name)
        return None if ledger is None else ledger.node

    def pools(self) -> set[str]:
        """The node pools that have nodes."""
        return set(self._pool_sizes)

    def gpu_memory_mib(self, pool: str = ANY_POOL) -> tuple[int, int]:
        """Memory of the smallest and of the largest GPU of a node pool, (0, 0) when none of its nodes says.

        By the smallest a request for memory is counted before its node is known. Cost: kept until a node changes.
        """
        version, known = self._gpu_memory
        if version != self.node_version:
            known = {}
            for node in self.nodes():
                if node.gpu_memory_mib:
                    for name in (node.pool, ANY_POOL):
                        least, most = known.get(name, (node.gpu_memory_mib, 0))
                        known[name] = (min(least, node.gpu_memory_mib), max(most, node.gpu_memory_mib))
            self._gpu_memory = (self.node_version, known)
        return known.get(pool, (0, 0))

    def is_divided(self, project: ProjectName) -> bool:
        """Whether it matters to the project's pods in which pool or of which type a node is."""
        given = self.quotas.projects.get(project)
        confined = given is not None and bool(given.train_node_types or given.interactive_node_types)
        divided = len(self._pool_sizes) > 1 or DEFAULT_POOL not in self._pool_sizes
        return confined or (given is not None and bool(given.default_pools)) or divided

    def schedulable(self) -> list[NodeName]:
        """Names of the nodes that are ready and not cordoned, in no order."""
        return [node.name for node in self.nodes() if node.schedulable]

    def upsert_node(self, node: Node) -> None:
        ledger = self._ledgers.setdefault(node.name, NodeLedger())
        if ledger.node == node:
            return
        # Shares by memory depend on the node's GPUs, charges on its pool: when these move, count its pods anew.
        same = (ledger.gpu_memory_mib, ledger.pool) == (node.gpu_memory_mib, node.pool)
        moved = [] if same else list(ledger.pods.values())
        for pod, _ in moved:
            ledger.remove(pod.uid)
            self.stirred.add(pod.uid)
        self._change_pool(ledger.node, node)
        ledger.node = node
        for pod, placement in moved:
            ledger.add(pod, placement)
            self._recharge(self.pods[pod.uid])
        self.table.write(node.name, ledger)
        self.node_version += 1
        self.allowed.changed(node.name)
        self._opened_up()

    def delete_node(self, name: NodeName) -> None:
        """The node is gone; pods that name it stay on record until their objects go."""
        ledger = self._ledgers.get(name)
        if ledger is None or ledger.node is None:
            return
        self._change_pool(ledger.node, None)
        self.table.drop(name)
        self.node_version += 1
        # Its GPUs may have been the smallest, by which requests for memory are priced.
        self._opened_up()
        counted = list(ledger.pods.values())
        del self._ledgers[name]
        if not counted:
            return
        orphans = self._ledgers[name] = NodeLedger()
        for pod, placement in counted:
            self.stirred.add(pod.uid)
            orphans.add(pod, placement)
            self._recharge(self.pods[pod.uid])

    def replace_nodes(self, nodes: Iterable[Node]) -> None:
        """The nodes are exactly these: what is missing is gone."""
        listed = {node.name: node for node in nodes}
        for name in [node.name for node in self.nodes() if node.name not in listed]:
            self.delete_node(name)
        for node in listed.values():
            self.upsert_node(node)

    # Pods

    def upsert_pod(self, pod: Pod, *, watched: bool = True) -> PodRecord | None:
        """Take in one version of a pod; None when it is known to be gone. Older versions change nothing."""
        if pod.uid in self._tombstones:
            return None
        key = (pod.namespace, pod.name)
        named = self._uid_of.get(key)
        if named is not None and named != pod.uid and 0 < pod.version < self.pods[named].pod.version:
            # A late event of an earlier pod: its successor, which a scheduler may have shown us first, lives.
            self.delete_pod(pod.uid)
            return None
        if watched and named is not None and named != pod.uid:
            # Names are unique among the living: the one before has gone, its event is late or lost.
            self.delete_pod(named)
        record = self.pods.get(pod.uid)
        if record is None:
            record = self.pods[pod.uid] = PodRecord(pod, watched=watched)
            self._uids_in[pod.namespace].add(pod.uid)
            self._uids_of_group[(pod.namespace, group_name_of(pod))].add(pod.uid)
            if pod.scheduler == names.SCHEDULER_NAME:
                self._learn(pod)
        record.watched = record.watched or watched
        if pod.version and pod.version < record.pod.version:
            return record
        if watched or named is None:
            self._uid_of[key] = pod.uid
        pod = _as_recorded(record.pod, self._as_decided(pod))
        before, record.pod = record.pod, pod
        self.sharing.see(before, pod)
        if (before.group, before.owner) != (pod.group, pod.owner):
            self._leave_group(before)
            self._uids_of_group[(pod.namespace, group_name_of(pod))].add(pod.uid)
        self.revision += 1
        self.stirred.add(pod.uid)
        if pod.gates or pod.group or pod.unschedulable:
            self.has_news = True
        if pod.is_finished:
            self.release(pod.uid)
            record.verdict = None
        elif pod.placement is not None:
            self._bind_to(record, pod.placement)
            record.verdict = None
        elif record.hold is not None and record.hold.state is HoldState.RESERVED and _asks(before) != _asks(pod):
            # The seat was chosen for another request: bind or the next filter chooses anew.
            self.release(pod.uid)
        elif record.hold is not None and before != pod:
            self._rehold(record, record.hold)
        return record

    def _as_decided(self, pod: Pod) -> Pod:
        """The pod with what has been decided here and the API server does not say."""
        if pod.gpu.is_shared and pod.placement is None and not self.sharing.allowed:
            return replace(pod, gpu=NO_GPU, gpu_error=sharing_disabled(pod.namespace, pod.name))
        if pod.uid not in self.sharing.closing:
            return pod
        if pod.deleting:
            del self.sharing.closing[pod.uid]  # by now the API server says it itself
        return replace(pod, deleting=True)

    def delete_pod(self, uid: PodUID) -> None:
        """The pod's object is gone: free what it holds; late events for it are ignored from now on."""
        self._tombstones[uid] = None
        self._tombstones.move_to_end(uid)
        if len(self._tombstones) > _TOMBSTONES:
            self._tombstones.popitem(last=False)
        self.forget(uid)

    def forget(self, uid: PodUID) -> None:
        """Free and drop a pod that may show up again, as when only a scheduler's request ever named it."""
        if uid not in self.pods:
            return
        self.release(uid)
        self.revision += 1
        self.stirred.add(uid)
        pod = self.pods.pop(uid).pod
        self.sharing.see(pod, None)
        if self._uid_of.get((pod.namespace, pod.name)) == uid:
            del self._uid_of[(pod.namespace, pod.name)]
        self._leave_group(pod)
        self._uids_in[pod.namespace].discard(uid)
        if not self._uids_in[pod.namespace]:
            del self._uids_in[pod.namespace]

    def replace_pods(self, pods: Iterable[Pod], version: int) -> None:
        """The pods, as of list `version`, are exactly these. A pod that was shown to us later than that stays."""
        listed = {pod.uid: pod for pod in pods}
        for uid, record in list(self.pods.items()):
            if uid not in listed and record.pod.version <= version:
                self.delete_pod(uid)
        # One write of each row at the end instead of one for each pod on it.
        self._unwritten = set()
        try:
            for pod in listed.values():
                self.upsert_pod(pod)
        finally:
            unwritten, self._unwritten = self._unwritten, None
            for name in unwritten:
                self._write(name)

    def known(self, uid: PodUID, version: int) -> Pod | None:
        """The pod as the watch showed it at just this version, which stands for all that its object says."""
        record = self.pods.get(uid)
        seen = record is not None and record.watched and 0 < version == record.pod.version
        return record.pod if seen and record is not None and record.pod.placement is None else None

    def is_gone(self, uid: PodUID) -> bool:
        return uid in self._tombstones

    # Holds

    def reserve(
        self,
        uid: PodUID,
        placement: Placement,
        *,
        now: float,
        expires: float | None,
        state: HoldState,
        planned: bool = False,
    ) -> None:
        """Hold `placement` for a known pod, in place of whatever it held before."""
        record = self.pods[uid]
        self._let_go(record)
        record.hold = Hold(state, placement, None, since=now, expires=expires, planned=planned)
        self._provisional.add(uid)
        self._take(record)

    @contextmanager
    def set_aside(self, records: Iterable[PodRecord]) -> Iterator[None]:
        """Without what these pods hold, for as long as a plan is made: they are then as before."""
        aside = [(record, record.hold) for record in records if record.hold is not None]
        for record, hold in aside:
            self._count_out(record, hold)
        try:
            yield
        finally:
            for record, hold in aside:
                self._count_in(record, hold)

    def set_state(self, uid: PodUID, state: HoldState, *, now: float | None = None) -> None:
        """Move a provisional hold along, from `now` on; a pod without one, or bound already, changes nothing.

        Only reservations expire: a Binding that went out is settled by its outcome.
        """
        record = self.pods.get(uid)
        if record is not None and record.hold is not None and record.hold.state is not HoldState.BOUND:
            self.stirred.add(uid)
            record.hold.state = state
            record.hold.expires = None
            record.hold.since = record.hold.since if now is None else now

    def confirm(self, uid: PodUID, placement: Placement) -> None:
        """The API server has stored our Binding: the pod is there as if the watch had said so."""
        record = self.pods.get(uid)
        if record is None or record.pod.is_finished or record.pod.placement is not None:
            return  # gone, ended, or the watch was faster and knows better
        self._bind_to(record, placement)
        record.verdict = None
        self.revision += 1
        self.stirred.add(uid)

    def release(self, uid: PodUID) -> None:
        """Give back what the pod holds; nothing held is no error."""
        record = self.pods.get(uid)
        if record is not None and record.hold is not None:
            if record.hold.state is HoldState.BOUND and record.pod.scheduler == names.SCHEDULER_NAME:
                self.demand.observe_end()
            self._let_go(record)
            self._opened_up()

    def close_reservation(self, uid: PodUID, why: str) -> None:
        """A reservation is about to be deleted: from this moment on nobody joins its device."""
        record = self.pods.get(uid)
        if record is not None and record.pod.reserves is not None and not record.pod.deleting:
            self.sharing.closing[uid] = why
            self.upsert_pod(record.pod)

    def reopen_reservation(self, uid: PodUID) -> None:
        """A reservation is not deleted after all: others may join its device again."""
        record = self.pods.get(uid)
        if self.sharing.closing.pop(uid, None) is not None and record is not None:
            self.upsert_pod(replace(record.pod, deleting=False))

    def pods_in(self, namespace: str) -> Iterator[PodRecord]:
        """The pods of one namespace, in no order."""
        return (self.pods[uid] for uid in self._uids_in.get(namespace, ()))

    def pods_of_group(self, namespace: str, name: str) -> Iterator[PodRecord]:
        """The pods of one group, whether its PodGroup exists or not (`grouping.group_name_of`), in no order."""
        return (self.pods[uid] for uid in self._uids_of_group.get((namespace, name), ()))

    def group_keys(self) -> list[tuple[str, str]]:
        """Every group that has pods, as (namespace, name)."""
        return list(self._uids_of_group)

    def provisional(self) -> Iterator[PodRecord]:
        """Pods that hold capacity which no API object records yet."""
        return (self.pods[uid] for uid in self._provisional)

    # Who pays

    def upsert_group(self, group: PodGroup) -> None:
        key = (group.namespace, group.name)
        if self.membership.groups.get(key) != group:  # most of its events are about its status
            self.membership.groups[key] = group
            self._recharge_group(key)

    def delete_group(self, namespace: str, name: str) -> None:
        if self.membership.groups.pop((namespace, name), None) is not None:
            self._recharge_group((namespace, name))

    def replace_groups(self, groups: Iterable[PodGroup]) -> None:
        before = self.membership.groups
        self.membership.groups = {(group.namespace, group.name): group for group in groups}
        for key in before.keys() | self.membership.groups.keys():
            if before.get(key) != self.membership.groups.get(key):
                self._recharge_group(key)

    def upsert_namespace(self, name: str, queue_label: str) -> None:
        if self.membership.namespaces.get(name) != queue_label:
            self.membership.namespaces[name] = queue_label
            self._recharge_namespace(name)

    def delete_namespace(self, name: str) -> None:
        self.membership.namespaces.pop(name, None)
        self._recharge_namespace(name)

    def replace_namespaces(self, labels: dict[str, str]) -> None:
        for name in [name for name in self.membership.namespaces if name not in labels]:
            self.delete_namespace(name)
        for name, label in labels.items():
            self.upsert_namespace(name, label)

    def set_priority_classes(self, values: dict[str, int]) -> None:
        self.membership.priority_classes = values
        for namespace in list(self._uids_in):
            self._recharge_namespace(namespace)

    def set_topologies(self, levels: dict[str, tuple[str, ...]]) -> None:
        self.membership.topologies = levels
        self._stir_waiting()
        self._opened_up()

    def upsert_project(self, project: Project) -> None:
        if self.quotas.projects.get(ProjectName(project.name)) == project:
            return  # most of its events are about its status
        self.quotas.upsert_project(project)
        self._stir_waiting(project.name)
        self._opened_up()

    def delete_project(self, name: str) -> None:
        """The project is gone; its pods stay charged to its name until they end, and those that wait are told."""
        if ProjectName(name) in self.quotas.projects:
            self.quotas.delete_project(ProjectName(name))
            self._stir_waiting(name)
            self._opened_up()

    def replace_projects(self, projects: Iterable[Project]) -> None:
        self.quotas.replace_projects(projects)
        self._stir_waiting()
        self._opened_up()

    def upsert_department(self, department: Department) -> None:
        if self.quotas.departments.get(department.name) == department:
            return
        self.quotas.upsert_department(department)
        self._opened_up()

    def delete_department(self, name: str) -> None:
        self.quotas.delete_department(name)
        self._opened_up()

    def replace_departments(self, departments: Iterable[Department]) -> None:
        self.quotas.replace_departments(departments)
        self._opened_up()

    def cost(self, pod: Pod, gpu_memory_mib: int) -> Amounts:
        """What the pod costs its project on GPUs of `gpu_memory_mib`."""
        return Amounts(pod.gpu.gpu_milli_on(gpu_memory_mib), pod.cpu_milli, pod.memory_mib)

    def judge(self, record: PodRecord, verdict: Verdict | None) -> None:
        """Remember the latest "no" about a pod, None for a "yes"."""
        if record.verdict != verdict:
            if (record.verdict is None or verdict is None) and not record.pod.is_gated:
                self.stirred.add(record.pod.uid)  # the first "no" says that kube-scheduler has asked for it
            record.verdict = verdict
            self.revision += 1

    def _learn(self, pod: Pod) -> None:
        memory_mib = self.gpu_memory_mib()[0] if pod.gpu.memory_mib else 0
        share = pod.gpu.share_on(memory_mib)
        self.demand.observe(Ask(pod.gpu.devices, GPU if share is None else share, pod.cpu_milli), pod.gpu_products)
        if self.demand.is_due:
            self.demand.learn(self.table.capacity_by_product())

    def _opened_up(self) -> None:
        self.generation += 1
        self.revision += 1

    # How a hold is counted: in one ledger, one table row and one project, or in none.

    def _bind_to(self, record: PodRecord, placement: Placement) -> None:
        hold = record.hold
        if hold is None or hold.placement != placement:
            if hold is not None:
                self._let_go(record)
                self._opened_up()
            record.hold = Hold(HoldState.BOUND, placement, None)
            self._take(record)
        else:
            hold.state, hold.expires = HoldState.BOUND, None
            self._provisional.discard(record.pod.uid)
            self._rehold(record, hold)

    def _rehold(self, record: PodRecord, hold: Hold) -> None:
        """The pod changed under its hold (request, group, label): count it as it is now."""
        ledger = self._ledgers[hold.placement.node]
        counted, _ = ledger.pods[record.pod.uid]
        if _asks(counted) != _asks(record.pod):
            ledger.remove(record.pod.uid)
            ledger.add(record.pod, hold.placement)
            self._write(hold.placement.node)
        else:
            ledger.pods[record.pod.uid] = (record.pod, hold.placement)
        self._recharge(record)

    def _take(self, record: PodRecord) -> None:
        hold = record.hold
        assert hold is not None
        self.stirred.add(record.pod.uid)
        self._count_in(record, hold)
        self.revision += 1

    def _count_in(self, record: PodRecord, hold: Hold) -> None:
        name = hold.placement.node
        ledger = self._ledgers.setdefault(name, NodeLedger())
        ledger.add(record.pod, hold.placement)
        self.sharing.hold(record.pod, hold.placement)
        self._write(name)
        self._recharge(record)

    def _let_go(self, record: PodRecord) -> None:
        hold, record.hold = record.hold, None
        if hold is None:
            return
        uid = record.pod.uid
        self.stirred.add(uid)
        self._provisional.discard(uid)
        self._count_out(record, hold)

    def _count_out(self, record: PodRecord, hold: Hold) -> None:
        uid = record.pod.uid
        if hold.charge is not None:
            self.quotas.refund(hold.charge)
            hold.charge = None
        name = hold.placement.node
        ledger = self._ledgers[name]
        ledger.remove(uid)
        self.sharing.let_go(record.pod, hold.placement)
        if ledger.node is None and not ledger.pods:
            del self._ledgers[name]
        else:
            self._write(name)

    def _write(self, name: NodeName) -> None:
        if self._unwritten is not None:
            self._unwritten.add(name)
        elif name in self._ledgers:
            self.table.write(name, self._ledgers[name])

    def _recharge(self, record: PodRecord) -> None:
        hold = record.hold
        if hold is None:
            return
        charge = self._charge(record.pod, self._ledgers[hold.placement.node])
        if charge == hold.charge:
            return
        if hold.charge is not None:
            self.quotas.refund(hold.charge)
        if charge is not None:
            self.quotas.charge(charge)
        hold.charge = charge

    def _charge(self, pod: Pod, ledger: NodeLedger) -> Charge | None:
        project = self.membership.project_of(pod)
        if project is None:
            return None
        amounts = self.cost(pod, ledger.gpu_memory_mib)
        return Charge(project, amounts, self.membership.is_preemptible(pod), ledger.pool)

    def _recharge_group(self, key: tuple[str, str]) -> None:
        for uid in self._uids_of_group.get(key, ()):
            self._recharge(self.pods[uid])
            self.stirred.add(uid)
        self.has_news = True
        self._opened_up()

    def _change_pool(self, before: Node | None, after: Node | None) -> None:
        known = len(self._pool_sizes)
        if after is not None:
            self._pool_sizes[after.pool] += 1
        if before is not None:
            self._pool_sizes[before.pool] -= 1
            if not self._pool_sizes[before.pool]:
                del self._pool_sizes[before.pool]
        if len(self._pool_sizes) != known:
            self._stir_waiting()

    def _stir_waiting(self, project: str | None = None) -> None:
        """What pods of a project (None: of all) that hold nothing may have, has changed."""
        for uid, record in self.pods.items():
            if record.hold is None and (project is None or self.membership.project_of(record.pod) == project):
                self.stirred.add(uid)

    def _leave_group(self, pod: Pod) -> None:
        key = (pod.namespace, group_name_of(pod))
        self._uids_of_group[key].discard(pod.uid)
        if not self._uids_of_group[key]:
            del self._uids_of_group[key]

    def _recharge_namespace(self, namespace: str) -> None:
        for uid in self._uids_in.get(namespace, ()):
            self._recharge(self.pods[uid])
            self.stirred.add(uid)
        self._opened_up()


def _as_recorded(before: Pod, pod: Pod) -> Pod:
    """The devices that a bound pod was first seen with stay its devices, whoever edits the record on the object."""
    first, now = before.placement, pod.placement
    if first is None or now is None or not first.devices or now.node != first.node:
        return pod
    if pod.reserves is not None or (now, pod.gpu, pod.gpu_uuids) == (first, before.gpu, before.gpu_uuids):
        return pod
    return replace(pod, placement=first, gpu=before.gpu, gpu_uuids=before.gpu_uuids)


def _asks(pod: Pod) -> tuple[object, ...]:
    return (pod.gpu, pod.cpu_milli, pod.memory_mib, pod.is_leaving_device)
