"""A cluster's own nodes and pods, as `kubectl get nodes -o json` and `kubectl get pods -A -o yaml` write them.

Lists, bare arrays and multi-document YAML are read alike; objects of other kinds are passed over, so one file with
everything may be given twice. Pods are read as work that arrives at the empty cluster, wherever they run now; only
what belongs to its node (DaemonSets, static pods) stays there, and is taken off the node's CPU and memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import orjson
import yaml

from extender.errors import ConfigError, MalformedError
from extender.model import names
from extender.model.node import Node
from extender.model.pod import Pod
from extender.simulate.workload import Accepts, Host, Task
from extender.wire import nodes as wire_nodes
from extender.wire import pods as wire_pods

Json = Mapping[str, Any]
Parsed = TypeVar("Parsed")

_OF_THE_NODE = frozenset({"DaemonSet", "Node"})
_PODS_OF_A_NODE = 110  # the kubelet's default, for nodes written by hand
_CHUNKS = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where PyYAML was built with libyaml


def read_nodes(path: Path, note: Callable[[str], None]) -> list[Host]:
    """The nodes that take pods now; `note` hears of those left out. Raises ConfigError naming file and node."""
    hosts: list[Host] = []
    for where, obj in _objects(path, "Node"):
        node = _parsed(where, wire_nodes.parse, obj)
        status = obj.get("status") or {}
        if not node.schedulable and not status.get("conditions"):
            # Written by hand: nobody has said that it is not ready.
            node = replace(node, schedulable=not (obj.get("spec") or {}).get("unschedulable"))
        if not node.schedulable:
            note(f"{where}: left out, it is cordoned or not ready")
            continue
        allocatable = status.get("allocatable") or {}
        for resource, amount in (("cpu", node.cpu_milli), ("memory", node.memory_mib)):
            if not amount:
                raise ConfigError(
                    f"{where}: status.allocatable.{resource} is {allocatable.get(resource)!r}; "
                    f"a quantity such as {'96 or 95500m' if resource == 'cpu' else '512Gi'} is needed"
                )
        # An unhealthy device has no index of its own here: the node simply has fewer.
        pods = node.pods if "pods" in allocatable else _PODS_OF_A_NODE
        labels = (obj.get("metadata") or {}).get("labels") or {}
        hosts.append(Host(replace(node, gpu_slots=node.gpus, pods=pods), dict(labels)))
    twice = [name for name, count in Counter(host.node.name for host in hosts).items() if count > 1]
    if twice:
        raise ConfigError(f"{path}: node {twice[0]!r} is there twice; names must differ")
    return hosts


def read_pods(path: Path, note: Callable[[str], None]) -> tuple[list[Task], list[Pod]]:
    """The pods as tasks, and those that stay on their nodes. Finished pods are left out.

    Pods that the service would refuse whatever the cluster are left out too, and `note` hears of them.
    Raises ConfigError naming file and pod.
    """
    tasks: list[Task] = []
    staying: list[Pod] = []
    for where, obj in _objects(path, "Pod"):
        pod = _parsed(where, wire_pods.parse, _with_uid(obj))
        if pod.is_finished:
            continue
        if pod.gpu_error:
            note(f"{where}: left out, {pod.gpu_error}")
        elif pod.owner_kind in _OF_THE_NODE:
            staying.append(pod)
        else:
            tasks.append(Task(pod.key, pod.gpu, pod.cpu_milli, pod.memory_mib, _accepts(pod, obj)))
    return tasks, staying


def take_off(hosts: Sequence[Host], staying: Sequence[Pod]) -> list[Host]:
    """The hosts without the CPU, memory and pod slots of the pods that stay on them."""
    nodes: dict[str, Node] = {host.node.name: host.node for host in hosts}
    for pod in staying:
        node = nodes.get(pod.placement.node) if pod.placement is not None else None
        if node is not None:
            nodes[node.name] = replace(
                node,
                cpu_milli=max(0, node.cpu_milli - pod.cpu_milli),
                memory_mib=max(0, node.memory_mib - pod.memory_mib),
                pods=max(0, node.pods - 1),
            )
    return [Host(nodes[host.node.name], host.labels) for host in hosts]


def _accepts(pod: Pod, obj: Json) -> Accepts:
    """The GPU models as the service reads them, and the rest of the nodeSelector. Other affinity is not read."""
    selector: Json = (obj.get("spec") or {}).get("nodeSelector") or {}
    labels = [
        (str(key), str(value))
        for key, value in selector.items()
        if not (key == names.NODE_GPU_PRODUCT and pod.gpu_products)
    ]
    return Accepts(frozenset(pod.gpu_products), tuple(sorted(labels)))


def _with_uid(obj: Json) -> Json:
    """A manifest written by hand has no uid yet; its name serves."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("uid"):
        return obj
    return {**obj, "metadata": {**metadata, "uid": f"{metadata.get('namespace')}/{metadata.get('name')}"}}


def _parsed(where: str, parse: Callable[[Json], Parsed], obj: Json) -> Parsed:
    try:
        return parse(obj)
    except MalformedError as error:
        raise ConfigError(f"{where}: {error}") from error


def _objects(path: Path, kind: str) -> Iterator[tuple[str, Json]]:
    """Every object of `kind` in the file, with words for where it is. Raises ConfigError when there is none."""
    kinds: Counter[str] = Counter()
    for number, obj in enumerate(_flat(path, _documents(path), ""), start=1):
        kinds[str(obj.get("kind"))] += 1
        if obj.get("kind") == kind:
            metadata = obj.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else None
            yield f"{path}, object {number}, {kind} {name}", obj
    if not kinds[kind]:
        found = ", ".join(f"{count} {other}" for other, count in sorted(kinds.items())) or "nothing"
        raise ConfigError(f"{path}: no object of kind {kind}, but {found}; `kubectl get {kind.lower()}s -A -o json`?")


def _flat(path: Path, values: Sequence[object], kind: str) -> Iterator[Json]:
    for value in values:
        if value is None:
            continue  # an empty document between two ---
        if isinstance(value, list):
            yield from _flat(path, value, kind)
        elif not isinstance(value, dict):
            raise ConfigError(f"{path}: {str(value)[:40]!r} where an object with kind and metadata is expected")
        elif isinstance(value.get("items"), list):
            # The API server's own lists leave the kind out of their items.
            of = str(value.get("kind") or "").removesuffix("List")
            yield from _flat(path, value["items"], of)
        else:
            yield value if value.get("kind") or not kind else {**value, "kind": kind}


def _documents(path: Path) -> list[object]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        if path.suffix == ".json":
            return [orjson.loads(content)]
        return list(yaml.load_all(content, Loader=_CHUNKS))
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{path}{place}: not YAML: {getattr(error, 'problem', None) or error}") from error
