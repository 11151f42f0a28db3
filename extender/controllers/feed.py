"""Watch events into the picture: one sink a kind, each object parsed once, a bad one left out and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from extender import logs, metrics
from extender.cluster.picture import Picture
from extender.errors import MalformedError
from extender.kube.client import KubeClient
from extender.kube.reflector import Reflector
from extender.model import names
from extender.model.names import NodeName, PodUID
from extender.model.pod import Pod
from extender.wire import nodes, pods
from extender.wire.resources import parse_department, parse_podgroup, parse_project, parse_topology

Json = dict[str, Any]

T = TypeVar("T")

log = logs.get("feed")


class _Sink(Generic[T]):
    """Parses objects of one kind and hands values on."""

    def __init__(
        self,
        kind: str,
        parse: Callable[[Json], T],
        replace: Callable[[list[T], int], None],
        upsert: Callable[[T], object],
        delete: Callable[[Json], None],
    ) -> None:
        self._kind = kind
        self._parse = parse
        self._replace = replace
        self._upsert = upsert
        self._delete = delete

    def replace(self, values: list[T], version: int) -> None:
        self._replace(values, version)

    def apply(self, event: str, obj: Json) -> None:
        if event == "DELETED":
            self._delete(obj)
        else:
            value = self.read(obj)
            if value is not None:
                self._upsert(value)

    def read(self, obj: Json) -> T | None:
        try:
            return self._parse(obj)
        except (MalformedError, KeyError, TypeError, ValueError, AttributeError) as error:
            metrics.MALFORMED.labels(self._kind).inc()
            name = (obj.get("metadata") or {}).get("name")
            log.warning("malformed", kind=self._kind, name=name, cause=f"{type(error).__name__}: {error}"[:500])
            return None


class Feed:
    """All kinds that deciding needs. Start every `reflectors` task; `unready` and `stale` say whether to decide."""

    def __init__(
        self,
        client: KubeClient,
        picture: Picture,
        *,
        pool_label: str = names.NODE_POOL_LABEL,
        watchers: Sequence[Callable[[Pod], None]] = (),
    ) -> None:
        """pool_label: the node label whose value is the node's pool.

        watchers: called with every version of a pod that is listed or watched, once the picture has it; not for ends.
        """
        scheduling = f"/apis/{names.POD_GROUP_GROUP}/v1alpha1/podgroups"
        run_ai = f"/apis/{names.RUN_AI_GROUP}/v1"
        sinks: dict[str, tuple[str, _Sink[Any]]] = {
            "namespaces": ("/api/v1/namespaces", _namespaces(picture)),
            "priorityclasses": ("/apis/scheduling.k8s.io/v1/priorityclasses", _priority_classes(picture)),
            "departments": (f"{run_ai}/departments", _departments(picture)),
            "projects": (f"{run_ai}/projects", _projects(picture)),
            "topologies": (f"{run_ai}/topologies", _topologies(picture)),
            "podgroups": (scheduling, _groups(picture)),
            "nodes": ("/api/v1/nodes", _nodes(picture, pool_label)),
            "pods": ("/api/v1/pods", _pods(picture, watchers)),
        }
        self.reflectors = [Reflector(client, path, sink, name=kind) for kind, (path, sink) in sinks.items()]

    def unready(self) -> list[str]:
        """Kinds whose first list is not in yet."""
        return [reflector.name for reflector in self.reflectors if not reflector.synced.is_set()]

    def stale(self, after_s: float) -> str:
        """The kind whose watch has been down for longer than `after_s`, as a sentence; "" when none."""
        for reflector in self.reflectors:
            if reflector.silent_s() > after_s:
                return f"the watch of {reflector.name} has been down for {after_s:g} s and more"
        return ""

    def measure(self) -> None:
        """Put into the metrics how long each watch has been down."""
        for reflector in self.reflectors:
            metrics.WATCH_SILENT.labels(reflector.name).set(reflector.silent_s())

    async def synced(self) -> None:
        """Return when every first list is in."""
        for reflector in self.reflectors:
            await reflector.synced.wait()


def _nodes(picture: Picture, pool_label: str) -> _Sink[Any]:
    return _Sink(
        "nodes",
        lambda obj: nodes.parse(obj, pool_label=pool_label),
        lambda values, _: picture.replace_nodes(values),
        picture.upsert_node,
        lambda obj: picture.delete_node(NodeName(_name(obj))),
    )


def _pods(picture: Picture, watchers: Sequence[Callable[[Pod], None]]) -> _Sink[Any]:
    def upsert(pod: Pod) -> None:
        picture.upsert_pod(pod)
        for see in watchers:
            see(pod)

    def replace(listed: list[Pod], version: int) -> None:
        picture.replace_pods(listed, version)
        for see in watchers:
            for pod in listed:
                see(pod)

    return _Sink(
        "pods",
        pods.parse,
        replace,
        upsert,
        lambda obj: picture.delete_pod(PodUID(obj["metadata"]["uid"])),
    )


def _namespaces(picture: Picture) -> _Sink[Any]:
    def parse(obj: Json) -> tuple[str, str]:
        return _name(obj), (obj["metadata"].get("labels") or {}).get(names.QUEUE_LABEL) or ""

    return _Sink(
        "namespaces",
        parse,
        lambda values, _: picture.replace_namespaces(dict(values)),
        lambda value: picture.upsert_namespace(*value),
        lambda obj: picture.delete_namespace(_name(obj)),
    )


def _priority_classes(picture: Picture) -> _Sink[Any]:
    return _table("priorityclasses", lambda obj: (_name(obj), int(obj.get("value") or 0)), picture.set_priority_classes)


def _topologies(picture: Picture) -> _Sink[Any]:
    return _table("topologies", lambda obj: (_name(obj), parse_topology(obj).levels), picture.set_topologies)


def _table(kind: str, parse: Callable[[Json], tuple[str, T]], keep: Callable[[dict[str, T]], None]) -> _Sink[Any]:
    """A kind with few objects: each change hands on the whole table, by name."""
    values: dict[str, T] = {}

    def change(changed: dict[str, T]) -> None:
        values.clear()
        values.update(changed)
        keep(dict(values))

    return _Sink(
        kind,
        parse,
        lambda listed, _: change(dict(listed)),
        lambda value: change({**values, value[0]: value[1]}),
        lambda obj: change({name: value for name, value in values.items() if name != _name(obj)}),
    )


def _groups(picture: Picture) -> _Sink[Any]:
    return _Sink(
        "podgroups",
        lambda obj: parse_podgroup(obj).to_model(),
        lambda values, _: picture.replace_groups(values),
        picture.upsert_group,
        lambda obj: picture.delete_group(obj["metadata"]["namespace"], _name(obj)),
    )


def _projects(picture: Picture) -> _Sink[Any]:
    return _Sink(
        "projects",
        lambda obj: parse_project(obj).to_model(),
        lambda values, _: picture.replace_projects(values),
        picture.upsert_project,
        lambda obj: picture.delete_project(_name(obj)),
    )


def _departments(picture: Picture) -> _Sink[Any]:
    return _Sink(
        "departments",
        lambda obj: parse_department(obj).to_model(),
        lambda values, _: picture.replace_departments(values),
        picture.upsert_department,
        lambda obj: picture.delete_department(_name(obj)),
    )


def _name(obj: Json) -> str:
    return str(obj["metadata"]["name"])
