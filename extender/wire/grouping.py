"""A workload object → the PodGroup that is made for its pods (behaviour.md 6.11): name, minimum, class and the rest.

What the workload says of scheduling stands in labels and annotations of its own metadata or of its pod template; the
outermost owner wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from extender.cluster.grouping import group_name
from extender.model import durations, names
from extender.model.pod import Owner, Pod
from extender.wire.pods import node_pools

Json = dict[str, Any]

_ROLES = "ReplicaSpecs"  # how every kind of the training operators calls its map of roles: pytorchReplicaSpecs, …

# The workloads that we read and stop: group → resource → kind. `manifests.access` grants just these.
WORKLOADS = {
    "apps": {"deployments": "Deployment", "replicasets": "ReplicaSet", "statefulsets": "StatefulSet"},
    "batch": {"jobs": "Job"},
    "jobset.x-k8s.io": {"jobsets": "JobSet"},
    "kubeflow.org": {
        "jaxjobs": "JAXJob",
        "mpijobs": "MPIJob",
        "paddlejobs": "PaddleJob",
        "pytorchjobs": "PyTorchJob",
        "tfjobs": "TFJob",
        "xgboostjobs": "XGBoostJob",
    },
    "ray.io": {"rayclusters": "RayCluster"},
    names.RUN_AI_GROUP: {"runaijobs": "RunaiJob"},
}


def owner_of(obj: Json) -> Owner:
    """The object as an owner. Raises KeyError when it has no name or uid."""
    metadata = obj["metadata"]
    return Owner(str(obj.get("kind")), metadata["name"], metadata["uid"], str(obj.get("apiVersion")))


def controller_of(obj: Json) -> Owner | None:
    """The object's own controller."""
    for one in (obj.get("metadata") or {}).get("ownerReferences") or ():
        if one.get("controller"):
            return Owner(one["kind"], one["name"], one["uid"], one["apiVersion"])
    return None


def path_of(namespace: str, owner: Owner) -> str | None:
    """Where the API server serves the object; None for a kind that we do not read."""
    group = owner.api_version.rpartition("/")[0]
    for resource, kind in WORKLOADS.get(group, {}).items():
        if kind == owner.kind:
            return f"/apis/{owner.api_version}/namespaces/{namespace}/{resource}/{owner.name}"
    return None


def pod_group(owner: Json, chain: Iterable[Json], pod: Pod) -> Json:
    """The PodGroup of `owner`'s pods, of which `pod` is one.

    chain: the objects whose labels and annotations count, the outermost last. Values that cannot be read count as
    not given: a typing error in an annotation must not keep a workload from having its group.
    """
    labels, annotations = _marks(chain)
    made_for = owner_of(owner)
    spec: Json = {"minMember": minimum(owner, annotations)}
    queue = next((labels[key] for key in names.QUEUE_LABELS if labels.get(key)), pod.queue_label)
    kind = names.PRIORITY_CLASS_OF_OWNER.get(pod.owner_kind, names.DEFAULT_PRIORITY_CLASS)
    spec["priorityClassName"] = labels.get(names.PRIORITY_CLASS_LABEL) or pod.priority_class or kind
    if queue:
        spec["queue"] = queue
    if labels.get(names.PREEMPTIBILITY_LABEL) in ("preemptible", "non-preemptible"):
        spec["preemptibility"] = labels[names.PREEMPTIBILITY_LABEL]
    pools = node_pools(labels, annotations)
    if pools:
        spec["nodePools"] = list(pools)
    delay = annotations.get(names.PREEMPTION_DELAY_ANNOTATION)
    if delay and not delay.startswith("-") and _is_duration(delay):
        spec["preemptionDelay"] = delay
    grace = annotations.get(names.STALENESS_GRACE_ANNOTATION)
    if grace and _is_duration(grace):
        spec["stalenessGracePeriod"] = grace
    if annotations.get(names.TOPOLOGY_ANNOTATION):
        levels = {
            "topology": annotations[names.TOPOLOGY_ANNOTATION],
            "requiredTopologyLevel": annotations.get(names.TOPOLOGY_REQUIRED_ANNOTATION),
            "preferredTopologyLevel": annotations.get(names.TOPOLOGY_PREFERRED_ANNOTATION),
        }
        spec["topologyConstraint"] = {key: value for key, value in levels.items() if value}
    metadata: Json = {
        "name": group_name(made_for),
        "namespace": pod.namespace,
        "labels": {"app.kubernetes.io/managed-by": names.SCHEDULER_NAME},
        # Not its controller: the group goes when its owner goes, and nobody waits for it.
        "ownerReferences": [
            {"apiVersion": made_for.api_version, "kind": made_for.kind, "name": made_for.name, "uid": made_for.uid}
        ],
    }
    if labels.get("user"):
        metadata["labels"]["user"] = labels["user"]
    return {
        "apiVersion": f"{names.POD_GROUP_GROUP}/v1alpha1",
        "kind": "PodGroup",
        "metadata": metadata,
        "spec": spec,
    }


def minimum(owner: Json, annotations: Mapping[str, str]) -> int:
    """How many of the owner's pods must start together: what an annotation says, else what its kind needs.

    All the pods of distributed training, the fewest that an elastic one takes; 1 of anything else.
    """
    given = annotations.get(names.MIN_MEMBER_ANNOTATION, "")
    if given.isascii() and given.isdigit() and len(given) < 7:
        return int(given)
    spec = owner.get("spec") or {}
    roles = next((value for key, value in spec.items() if key.endswith(_ROLES) and isinstance(value, dict)), None)
    if roles is not None:
        return max(1, _of_roles(spec, roles))
    if owner.get("kind") == "RayCluster":
        workers = spec.get("workerGroupSpecs") or ()
        return 1 + sum(_count(one, "minReplicas", 0) * _count(one, "numOfHosts", 1) for one in workers)
    if owner.get("kind") == "JobSet":
        jobs = spec.get("replicatedJobs") or ()
        return max(1, sum(_count(one, "replicas", 1) * _parallelism(one) for one in jobs))
    return 1


def _of_roles(spec: Json, roles: Json) -> int:
    policy = ((spec.get("runPolicy") or {}).get("schedulingPolicy") or {}).get("minAvailable")
    if isinstance(policy, int):
        return policy
    counts = {role: _count(one, "replicas", 1) for role, one in roles.items()}
    elastic = (spec.get("elasticPolicy") or {}).get("minReplicas")
    if isinstance(elastic, int) and "Worker" in counts:
        counts["Worker"] = elastic
    if spec.get("launcherCreationPolicy") == "WaitForWorkersReady":
        counts.pop("Launcher", None)  # it is made when the workers run: they cannot wait for it
    return sum(counts.values())


def _parallelism(replicated: Json) -> int:
    return _count((replicated.get("template") or {}).get("spec"), "parallelism", 1)


def _count(obj: object, key: str, default: int) -> int:
    value = obj.get(key) if isinstance(obj, dict) else None
    return value if isinstance(value, int) and value >= 0 else default


def _marks(chain: Iterable[Json]) -> tuple[dict[str, str], dict[str, str]]:
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    for obj in chain:
        template = ((obj.get("spec") or {}).get("template") or {}).get("metadata") or {}
        for metadata in (template, obj.get("metadata") or {}):
            labels |= metadata.get("labels") or {}
            annotations |= metadata.get("annotations") or {}
    return labels, annotations


def skips(chain: Iterable[Json]) -> bool:
    """Whether somebody among these asks to be left alone."""
    return _marks(chain)[1].get(names.SKIP_GROUPING_ANNOTATION) == "true"


def _is_duration(text: str) -> bool:
    try:
        durations.seconds(text)
    except ValueError:
        return False
    return True
