"""Workloads in short: `{job: train, namespace, replicas, gpus, priority, group, …}` → a Job; and their PodGroups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from extender.model import names
from tests.scenarios import pods

Json = dict[str, Any]

_KINDS = {"job": "Job", "statefulset": "StatefulSet", "deployment": "Deployment"}
_OF_WORKLOAD = frozenset({"namespace", "replicas", "completions", *_KINDS})
_OF_GROUP = frozenset({"name", "namespace", "min", "queue", "priority"})


def workload(short: Mapping[str, Any]) -> Json:
    """One Job (of `replicas` at once, that many in all or `completions`), StatefulSet or Deployment.

    Everything else is of its pods, see `pods.KEYS`. Raises ValueError for a key that is neither.
    """
    (kind,) = short.keys() & _KINDS.keys()
    name, namespace, replicas = short[kind], short.get("namespace", "default"), short.get("replicas", 1)
    of_pod = {key: value for key, value in short.items() if key not in _OF_WORKLOAD}
    pod = pods.pod({**of_pod, "name": name})
    labels = {**pod["metadata"]["labels"], "workload": name}
    template = {"metadata": {"annotations": pod["metadata"]["annotations"], "labels": labels}, "spec": pod["spec"]}
    spec: Json = {"template": template}
    if kind == "job":
        # Who is evicted again and again is tried again and again.
        completions = short.get("completions", replicas)
        spec |= {"parallelism": replicas, "completions": completions, "backoffLimit": 100}
    else:
        template["spec"]["restartPolicy"] = "Always"
        spec |= {"replicas": replicas, "selector": {"matchLabels": {"workload": name}}}
        if kind == "statefulset":
            spec |= {"serviceName": name, "podManagementPolicy": "Parallel"}
    return {
        "apiVersion": "batch/v1" if kind == "job" else "apps/v1",
        "kind": _KINDS[kind],
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def group(short: Mapping[str, Any]) -> Json:
    """One PodGroup. Raises ValueError for an unknown key."""
    unknown = short.keys() - _OF_GROUP
    if unknown:
        raise ValueError(f"group {short.get('name')}: unknown keys {sorted(unknown)}")
    spec = {"minMember": short["min"]}
    spec |= {key: short[of] for key, of in (("queue", "queue"), ("priorityClassName", "priority")) if of in short}
    return {
        "apiVersion": f"{names.POD_GROUP_GROUP}/v1alpha1",
        "kind": "PodGroup",
        "metadata": {"name": short["name"], "namespace": short.get("namespace", "default")},
        "spec": spec,
    }


def path_of(obj: Json) -> str:
    """The collection that an object of `workload` or `group` is created in."""
    plural = obj["kind"].lower() + "s"
    return f"/apis/{obj['apiVersion']}/namespaces/{obj['metadata']['namespace']}/{plural}"
