"""The picture after any history equals a picture made from scratch of what the API server holds at the end.

It plays the API server, the watches (late, twice, dropped and made good by a list), kube-scheduler (filter
and bind, crashing now and then) and people. After every step the books add up and no device is over one GPU.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.cluster import audit
from extender.cluster.picture import HoldState, Picture
from extender.model.amounts import GPU
from extender.model.names import NodeName, PodUID, ProjectName
from extender.model.queue import Department, PodGroup, Project
from extender.packing.strategy import Strategy
from extender.pods import bind, release
from extender.pods.bind import BindRequest, Outcome
from extender.pods.filter import filter_pod
from extender.pods.placement import Policy, best_seat
from extender.wire import nodes, pods
from tests.builders import POLICY, node_object, pod, pod_group, pod_object, queue, seat_of

Json = dict[str, Any]
Method = TypeVar("Method", bound=Callable[..., None])

NODES = {"n1": 40_960, "n2": 16_384, "n3": None}  # memory stays with the name: shares by memory hang on it
NAMES = ["a", "b", "c", "d", "e", "f"]
NAMESPACES = ["runai-team-a", "runai-team-a", "runai-team-b", "plain"]
GROUPS = ["", "g", "h"]
PROJECTS = ["team-a", "team-b"]

requests = st.sampled_from(
    [
        {"gpus": 1},
        {"gpus": 2},
        {"fraction": "0.1"},
        {"fraction": "0.5"},
        {"fraction": "0.3334"},
        {"fraction": "0.5", "devices": 2},
        {"gpu_memory": 4096},
        {"gpu_memory": 16_384, "devices": 2},
        {"mig": {"1g.5gb": 1}},
        {"cpu": "500m", "memory": "1Gi"},
        {"fraction": "1.0"},
    ]
)
PROBES: list[Json] = [{"gpus": 1}, {"fraction": "0.5"}, {"gpu_memory": 4096}, {"mig": {"1g.5gb": 1}}, {"cpu": "1"}]
projects = st.builds(
    lambda name, deserved, limit, department: Project(
        queue(name, deserved=deserved, limit=limit, department=department)
    ),
    st.sampled_from(PROJECTS),
    st.sampled_from([None, None, 0, 1500]),
    st.sampled_from([None, None, 1000, 4000]),
    st.sampled_from(["", "d"]),
)
groups = st.builds(
    lambda name, namespace, project, priority: pod_group(
        name, namespace=namespace, queue=project, priority_class=priority
    ),
    st.sampled_from(GROUPS[1:]),
    st.sampled_from(NAMESPACES),
    st.sampled_from(["", *PROJECTS]),
    st.sampled_from(["", "build", "train"]),
)
FATES = st.sampled_from(["answered", "answered", "lost", "refused", "never sent"])
seen = st.booleans()  # whether the watch delivers it; what it drops, a later list makes good


ACTIONS: list[Callable[[Any, st.DataObject], None]] = []


def action(
    *, weight: int = 1, when: Callable[[Any], object] = lambda _: True, **drawn: st.SearchStrategy[Any]
) -> Callable[[Method], Method]:
    """Something that may happen `when` it can: arguments are drawn as named, `data` is handed on if asked for."""

    def register(method: Method) -> Method:
        wants_data = "data" in inspect.signature(method).parameters

        def happen(cluster: Any, data: st.DataObject) -> None:
            if when(cluster):
                given_ = {name: data.draw(strategy, label=name) for name, strategy in drawn.items()}
                method(cluster, **given_, **({"data": data} if wants_data else {}))

        happen.__name__ = method.__name__
        ACTIONS.extend([happen] * weight)
        return method

    return register


class Cluster:
    """`api` is the truth, `history` every pod event in order, `shown` the versions the watch has delivered."""

    def __init__(self) -> None:
        self.picture = Picture()
        self.now = 0.0
        self.version = 10
        self.made = 0
        self.since = 0  # the version of our first list
        self.pods: dict[str, Json] = {}
        self.nodes: dict[str, Json] = {}
        self.groups: dict[tuple[str, str], PodGroup] = {}
        self.projects: dict[str, Project] = {}
        self.departments: dict[str, Department] = {}
        self.labels: dict[str, str] = {}
        self.classes: dict[str, int] = {}
        self.history: list[tuple[int, str, Json]] = []
        self.shown: list[Json] = []
        self.listing: tuple[int, list[Json]] | None = None

    def start(self) -> None:
        for name in ("n1", "n2"):
            self.node_comes(name, 1, 2, 1, "", True)
        for project in PROJECTS:
            self.project_changes(Project(queue(project)), True)

    # The watch

    def _write(self, kind: str, obj: Json, deliver: bool) -> None:
        """Store one version of a pod (or its end), and show it or not."""
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        uid = obj["metadata"]["uid"]
        if kind == "DELETED":
            del self.pods[uid]
        else:
            self.pods[uid] = obj
        event = (self.version, kind, copy.deepcopy(obj))
        self.history.append(event)
        if deliver:
            self._show(kind, event[2])

    def _show(self, kind: str, obj: Json) -> None:
        if kind == "DELETED":
            self.picture.delete_pod(PodUID(obj["metadata"]["uid"]))
        else:
            self.picture.upsert_pod(pods.parse(obj))
            self.shown.append(obj)

    def _changed(self, uid: str) -> Json:
        return copy.deepcopy(self.pods[uid])

    @action(weight=2, when=lambda self: self.shown)
    def an_event_comes_again(self, data: st.DataObject) -> None:
        """Twice, or long after newer ones: nothing changes."""
        before = public(self.picture)
        self.picture.upsert_pod(pods.parse(data.draw(st.sampled_from(self.shown))))
        assert public(self.picture) == before

    @action()
    def the_watch_catches_up(self) -> None:
        """What it had not shown yet comes now, in order, while others have told us newer things already."""
        for at, kind, obj in self.history:
            if at > self.since:
                self._show(kind, obj)

    @action()
    def a_list_is_read(self) -> None:
        """It takes a while: what it shows is how things were at its beginning."""
        if self.listing is None:
            self.listing = (self.version, copy.deepcopy(list(self.pods.values())))

    @action(when=lambda self: self.listing is not None)
    def the_list_is_in(self) -> None:
        """The watch then starts from the list's version."""
        assert self.listing is not None
        version, listed = self.listing
        self.listing = None
        self.picture.replace_pods([pods.parse(obj) for obj in listed], version)
        for at, kind, obj in self.history:
            if at > version:
                self._show(kind, obj)
        self._replace_the_rest(self.picture)

    def _replace_the_rest(self, picture: Picture) -> None:
        picture.replace_nodes([nodes.parse(obj) for obj in self.nodes.values()])
        picture.replace_groups(list(self.groups.values()))
        picture.replace_projects(list(self.projects.values()))
        picture.replace_departments(list(self.departments.values()))
        picture.replace_namespaces(dict(self.labels))
        picture.set_priority_classes(dict(self.classes))

    # Nodes

    @action(
        name=st.sampled_from(sorted(NODES)),
        gpus=st.sampled_from([2, 1, 0, 3]),
        slots=st.sampled_from([2, 3, 1]),
        mig=st.integers(0, 2),
        pool=st.sampled_from(["", "", "a100"]),
        deliver=seen,
    )
    def node_comes(self, name: str, gpus: int, slots: int, mig: int, pool: str, deliver: bool) -> None:
        self.nodes[name] = node_object(
            name, gpus=gpus, slots=slots, gpu_memory=NODES[name], mig={"1g.5gb": mig}, pool=pool
        )
        if deliver:
            self.picture.upsert_node(nodes.parse(self.nodes[name]))

    @action(when=lambda self: self.nodes, deliver=seen)
    def node_goes(self, data: st.DataObject, deliver: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.nodes)))
        del self.nodes[name]
        if deliver:
            self.picture.delete_node(NodeName(name))

    # People

    @action(
        name=st.sampled_from(NAMES),
        namespace=st.sampled_from(NAMESPACES),
        request=requests,
        group=st.sampled_from(GROUPS),
        priority=st.sampled_from(["", "build", "own"]),
        project=st.sampled_from(["", "", *PROJECTS]),
        deliver=seen,
    )
    def pod_comes(
        self, name: str, namespace: str, request: Json, group: str, priority: str, project: str, deliver: bool
    ) -> None:
        key = (namespace, name)
        if any((one["metadata"]["namespace"], one["metadata"]["name"]) == key for one in self.pods.values()):
            return
        self.made += 1
        obj = pod_object(
            name,
            namespace=namespace,
            uid=f"{name}-{self.made}",
            group=group,
            priority_class=priority,
            queue=project,
            **request,
        )
        self._write("ADDED", obj, deliver)

    @action(when=lambda self: self.nodes, name=st.sampled_from(NAMES), gpus=st.integers(0, 2), deliver=seen)
    def somebody_elses_pod_runs(self, name: str, gpus: int, data: st.DataObject, deliver: bool) -> None:
        self.made += 1
        on = data.draw(st.sampled_from(sorted(self.nodes)))
        obj = pod_object(f"x{self.made}", namespace="plain", uid=f"x-{self.made}", gpus=gpus, on=on, phase="Running")
        self._write("ADDED", obj, deliver)

    def _some_pod(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.pods)))

    @action(when=lambda self: self.pods, project=st.sampled_from(["", *PROJECTS]), deliver=seen)
    def a_label_is_changed(self, data: st.DataObject, project: str, deliver: bool) -> None:
        obj = self._changed(self._some_pod(data))
        obj["metadata"]["labels"]["runai/queue"] = project
        self._write("MODIFIED", obj, deliver)

    @action(
        weight=2, when=lambda self: self.pods, phase=st.sampled_from(["Running", "Succeeded", "Failed"]), deliver=seen
    )
    def a_phase_changes(self, data: st.DataObject, phase: str, deliver: bool) -> None:
        obj = self._changed(self._some_pod(data))
        if obj["status"]["phase"] in ("Succeeded", "Failed") or (
            phase == "Running" and not obj["spec"].get("nodeName")
        ):
            return
        obj["status"]["phase"] = phase
        self._write("MODIFIED", obj, deliver)

    @action(when=lambda self: self.pods, deliver=seen)
    def a_pod_terminates(self, data: st.DataObject, deliver: bool) -> None:
        obj = self._changed(self._some_pod(data))
        obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self._write("MODIFIED", obj, deliver)

    @action(weight=2, when=lambda self: self.pods, deliver=seen)
    def a_pod_goes(self, data: st.DataObject, deliver: bool) -> None:
        self._write("DELETED", self._changed(self._some_pod(data)), deliver)

    @action(deliver=seen)
    def an_administrator_acts(self, data: st.DataObject, deliver: bool) -> None:
        act, given = data.draw(
            st.one_of(
                st.tuples(st.just(self.group_changes), groups),
                st.tuples(st.just(self.group_goes), st.sampled_from([None, *sorted(self.groups)])),
                st.tuples(st.just(self.project_changes), projects),
                st.tuples(st.just(self.project_changes), projects),
                st.tuples(st.just(self.project_goes), st.sampled_from([None, *sorted(self.projects)])),
                st.tuples(st.just(self.department_changes), st.sampled_from(["gone", None, 2000])),
                st.tuples(
                    st.just(self.namespace_changes),
                    st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(["", None, *PROJECTS])),
                ),
                st.tuples(st.just(self.a_class_changes), st.sampled_from([None, 50, 100])),
            )
        )
        act(given, deliver)

    def group_changes(self, group: PodGroup, deliver: bool) -> None:
        self.groups[(group.namespace, group.name)] = group
        if deliver:
            self.picture.upsert_group(group)

    def group_goes(self, key: tuple[str, str] | None, deliver: bool) -> None:
        if key is not None:
            del self.groups[key]
            if deliver:
                self.picture.delete_group(*key)

    def project_changes(self, project: Project, deliver: bool) -> None:
        self.projects[project.name] = project
        if deliver:
            self.picture.upsert_project(project)

    def project_goes(self, name: str | None, deliver: bool) -> None:
        if name is not None:
            del self.projects[name]
            if deliver:
                self.picture.delete_project(name)

    def department_changes(self, limit: int | str | None, deliver: bool) -> None:
        if isinstance(limit, str):
            self.departments.pop("d", None)
            if deliver:
                self.picture.delete_department("d")
        else:
            self.departments["d"] = Department(queue("d", limit=limit))
            if deliver:
                self.picture.upsert_department(self.departments["d"])

    def namespace_changes(self, change: tuple[str, str | None], deliver: bool) -> None:
        name, label = change
        if label is None:
            self.labels.pop(name, None)
        else:
            self.labels[name] = label
        if deliver and label is None:
            self.picture.delete_namespace(name)
        elif deliver and label is not None:
            self.picture.upsert_namespace(name, label)

    def a_class_changes(self, value: int | None, deliver: bool) -> None:
        self.classes = {} if value is None else {"own": value}
        if deliver:
            self.picture.set_priority_classes(dict(self.classes))

    # kube-scheduler: it has its own watch, so it may know more than we do, or less

    @action(
        weight=4,
        wanted=st.lists(st.tuples(st.sampled_from(NAMES), requests, FATES, seen), min_size=2, max_size=6),
        shown=seen,
    )
    def pods_come_and_are_scheduled(self, wanted: list[tuple[str, Json, str, bool]], shown: bool) -> None:
        """Each by filter among all nodes, and a bind that takes its answer."""
        for name, request, fate, deliver in wanted:
            self.pod_comes(name, NAMESPACES[0], request, "", "", "", shown)
            for uid in [uid for uid, obj in self.pods.items() if obj["metadata"]["name"] == name and not _bound(obj)]:
                answer = filter_pod(self.picture, pods.parse(self.pods[uid]), sorted(NODES), POLICY, now=self.now)
                if answer.nodes:
                    self._bind(PodUID(uid), NodeName(answer.nodes[0]), fate, deliver)

    @action(weight=3, when=lambda self: self.history, lately=st.integers(1, 8), answer_all=st.booleans())
    def filter(self, data: st.DataObject, lately: int, answer_all: bool) -> None:
        """Of a version of late, that is: perhaps of a pod that is bound or gone by now."""
        candidates = [obj for _, kind, obj in self.history[-lately:] if kind != "DELETED" and not _bound(obj)]
        if not candidates:
            return
        subject = pods.parse(data.draw(st.sampled_from(candidates)))
        offered = data.draw(st.lists(st.sampled_from(sorted(NODES)), unique=True, min_size=1))
        answer = filter_pod(self.picture, subject, offered, POLICY, now=self.now, answer_all=answer_all)
        assert set(answer.nodes) <= set(offered)
        assert bool(answer.nodes) == (answer.verdict is None)
        if answer.nodes and not answer_all:
            hold = self.picture.pods[subject.uid].hold
            assert hold is not None
            assert answer.nodes == (hold.placement.node,)

    @action(weight=3, when=lambda self: self.pods, fate=FATES, deliver=seen)
    def bind(self, data: st.DataObject, fate: str, deliver: bool) -> None:
        uid = PodUID(self._some_pod(data))
        held = self.picture.pods[uid].hold if uid in self.picture.pods else None
        anywhere = data.draw(st.booleans()) or held is None
        on = data.draw(st.sampled_from(sorted(NODES))) if anywhere or held is None else held.placement.node
        self._bind(uid, NodeName(on), fate, deliver)

    def _bind(self, uid: PodUID, on: NodeName, fate: str, deliver: bool) -> None:
        """One Binding, as `controllers.binder` makes it; its write may fail, or succeed and the answer be lost."""
        obj = self.pods[uid]
        request = BindRequest(obj["metadata"]["namespace"], obj["metadata"]["name"], uid, on)
        step = bind.begin(self.picture, request, POLICY, now=self.now)
        if isinstance(step, bind.Unseen):
            self.picture.upsert_pod(pods.parse(obj), watched=False)
            step = bind.begin(self.picture, request, POLICY, now=self.now)
        if isinstance(step, bind.Done):
            assert obj["spec"].get("nodeName") == on
        if not isinstance(step, bind.Write):
            return
        assert step.placement.node == on
        self.audit()
        if fate in ("answered", "lost") and not _bound(obj) and not obj["metadata"].get("deletionTimestamp"):
            stored = self._changed(uid)
            stored["spec"]["nodeName"] = on
            stored["metadata"]["annotations"] |= step.annotations
            stored["metadata"]["labels"] |= step.labels
            self._write("MODIFIED", stored, deliver)
            bind.settle(
                self.picture, uid, Outcome.UNKNOWN if fate == "lost" else Outcome.STORED, seat_of(self.picture, uid)
            )
        elif fate in ("lost", "never sent"):
            bind.settle(self.picture, uid, Outcome.UNKNOWN, seat_of(self.picture, uid))
        else:
            self._read(uid)

    def _read(self, uid: PodUID) -> None:
        """A pod is read: it is gone, bound by somebody, or unbound, and then the Binding was refused for good."""
        obj = self.pods.get(uid)
        if obj is None:
            bind.settle(self.picture, uid, Outcome.GONE, seat_of(self.picture, uid))
        elif _bound(obj):
            self.picture.upsert_pod(pods.parse(copy.deepcopy(obj)))
            bind.settle(self.picture, uid, Outcome.STORED, seat_of(self.picture, uid))
        else:
            bind.settle(self.picture, uid, Outcome.REFUSED, seat_of(self.picture, uid))

    # Our own loops, and our end

    @action(seconds=st.sampled_from([1.0, 119.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        release.expire(self.picture, now=self.now)

    @action()
    def unknown_binds_are_read_back(self) -> None:
        for uid in release.unknown(self.picture):
            self._read(uid)

    @action()
    def we_are_killed_and_start_again(self) -> None:
        self.picture = self._from_scratch()
        self.since = self.version
        self.shown.clear()
        self.listing = None

    def _from_scratch(self, *, upside_down: bool = False) -> Picture:
        picture = Picture()
        order = -1 if upside_down else 1
        listed = [pods.parse(copy.deepcopy(obj)) for obj in list(self.pods.values())[::order]]
        if upside_down:
            picture.replace_pods(listed, self.version)
            self._replace_the_rest(picture)
        else:
            self._replace_the_rest(picture)
            picture.replace_pods(listed, self.version)
        return picture

    @action()
    def everything_is_listed_and_settled(self) -> None:
        self.listing = None
        self._settle()

    def _settle(self) -> None:
        self.a_list_is_read()
        self.the_list_is_in()
        for record in list(self.picture.provisional()):
            assert record.hold is not None
            if record.hold.state is HoldState.RESERVED:
                self.picture.release(record.pod.uid)
            else:
                self._read(record.pod.uid)
        assert list(self.picture.provisional()) == []
        expected = public(self._from_scratch())
        assert public(self.picture) == expected
        assert public(self._from_scratch(upside_down=True)) == expected
        fresh = self._from_scratch()
        for strategy in (Strategy.BINPACK, Strategy.SPREAD):
            policy = Policy(gpu_strategy=strategy, cpu_strategy=strategy)
            for request in PROBES:
                seat = best_seat(self.picture, pod("probe", **request), sorted(NODES), policy)
                assert seat == best_seat(fresh, pod("probe", **request), sorted(NODES), policy)

    def audit(self) -> None:
        assert audit.check(self.picture) == []
        for one in self.picture.nodes():
            ledger = self.picture.ledger(one.name)
            assert ledger is not None
            for sharers in ledger.devices.values():
                # Every placement came from our own filter: nothing is ever handed out twice.
                assert sum(milli for milli, _ in sharers.values()) <= GPU
                # A device is one pod's whole, or one group's.
                assert len({group for _, group in sharers.values()}) == 1
        living = [record.pod.key for record in self.picture.pods.values() if record.watched]
        assert len(living) == len(set(living))
        provisional = {record.pod.uid for record in self.picture.provisional()}
        assert provisional == {
            uid
            for uid, record in self.picture.pods.items()
            if record.hold is not None and record.hold.state is not HoldState.BOUND
        }


def _bound(obj: Json) -> bool:
    return bool(obj["spec"].get("nodeName"))


def public(picture: Picture) -> Json:
    """All that decisions and operators see of it, in no order of arrival."""
    arrays, rows = picture.table.arrays(), picture.table.row_of
    ledgers = {one.name: picture.ledger(one.name) for one in picture.nodes()}
    return {
        "pods": {
            uid: (record.pod, record.hold and (record.hold.state, record.hold.placement, record.hold.charge))
            for uid, record in picture.pods.items()
        },
        "ledgers": {
            name: (one.node, one.devices, one.unindexed, one.mig, one.pods, one.cpu_milli, one.memory_mib)
            for name, one in ledgers.items()
            if one is not None
        },
        "rows": {
            name: (
                sorted(left for left in arrays.free[row].tolist() if left),
                *(int(column[row]) for column in (arrays.whole, arrays.total_free, arrays.gpu_memory, arrays.has_gpus)),
                *(int(column[row]) for column in (arrays.cpu_free, arrays.capacity, arrays.cpu_capacity)),
                {kind: int(column[row]) for kind, column in arrays.mig_free.items() if column[row]},
            )
            for name, row in rows.items()
        },
        "order": list(rows),
        "usage": (dict(picture.quotas.holders()), dict(picture.quotas.by_pool())),
        "departments": {name: picture.quotas.department_usage(name) for name in picture.quotas.departments},
        "paths": {
            (name, pool): picture.quotas.path(ProjectName(name), pool)
            for name in picture.quotas.projects
            for pool in ("default", "a100")
        },
        "groups": {key: sorted(one.pod.uid for one in picture.pods_of_group(*key)) for key in picture.group_keys()},
        "in": {name: sorted(one.pod.uid for one in picture.pods_in(name)) for name in set(NAMESPACES)},
    }


@settings(max_examples=150)
@given(st.data())
def test_any_history(data: st.DataObject) -> None:
    cluster = Cluster()
    cluster.start()
    for act in data.draw(st.lists(st.sampled_from(ACTIONS), min_size=25, max_size=40), label="history"):
        act(cluster, data)
        cluster.audit()
    cluster.everything_is_listed_and_settled()
