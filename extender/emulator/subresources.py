"""Binding, eviction, scale: the pod and workload subresources with rules of their own."""

from __future__ import annotations

from typing import Any

from extender.emulator import disruption, status, writes
from extender.emulator.deletes import DeleteOptions, Deleter
from extender.emulator.resources import (
    DISRUPTION_BUDGETS,
    JSON,
    PODS,
    Registry,
    Resource,
)
from extender.emulator.store import Record, Store
from extender.emulator.times import now_text
from extender.emulator.writes import Writer

_PDB_BUSY = "Cannot evict pod as it would violate the pod's disruption budget."
_PDB_MANY = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."


def bind(store: Store, resource: Resource, namespace: str, name: str, binding: JSON, dry_run: bool = False) -> None:
    """Store a Binding: node, annotations, labels and condition in one write.

    Preconditions are the binding's own uid and resourceVersion. The node need not exist, as with the real server.
    Raises StatusError: 404; 409 for a pod that is bound, deleted, gated, or not the one meant; 422 without a target.
    """
    metadata, target = binding.get("metadata") or {}, binding.get("target") or {}
    _check_target(name, metadata, target)
    record = store.get(PODS, namespace, name)
    if record is None:
        raise status.not_found(resource, name)
    _check_preconditions(resource, record, metadata)
    refusal = _binding_refusal(record)
    if refusal:
        details = {"name": name, "kind": "pods/binding"}
        message = f'Operation cannot be fulfilled on pods/binding "{name}": {refusal}'
        raise status.StatusError(409, "Conflict", message, details)
    if not dry_run:
        store.replace(record, _bound(record.obj, metadata, target["name"]))


def _check_target(name: str, metadata: JSON, target: JSON) -> None:
    causes = []
    if target.get("kind", "") not in ("", "Node"):
        causes.append(status.not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        causes.append(status.required("target.name"))
    if causes:
        raise status.invalid("Binding", "", name, causes)
    if metadata.get("name") not in (None, "", name):
        raise status.bad_request("name in URL does not match name in Binding object")


def _check_preconditions(resource: Resource, record: Record, metadata: JSON) -> None:
    failed = ""
    uid, version = metadata.get("uid"), metadata.get("resourceVersion")
    if uid and uid != record.uid:
        failed = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {record.uid}"
    elif version and version != str(record.version):
        failed = (
            f"Precondition failed: ResourceVersion in precondition: {version}, "
            f"ResourceVersion in object meta: {record.version}"
        )
    if failed:
        key = f"/registry/pods/{record.namespace}/{record.name}"
        why = f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {failed}"
        raise status.conflict(resource, record.name, why)


def _binding_refusal(record: Record) -> str:
    spec = record.obj["spec"]
    if "deletionTimestamp" in record.obj["metadata"]:
        return f"pod {record.name} is being deleted, cannot be assigned to a host"
    if spec.get("nodeName"):
        return f'pod {record.name} is already assigned to node "{spec["nodeName"]}"'
    if spec.get("schedulingGates"):
        return f"pod {record.name} has non-empty .spec.schedulingGates"
    return ""


def _bound(pod: JSON, binding: JSON, node: str) -> JSON:
    """The pod after binding; built from shared parts, since this is the hottest write there is."""
    metadata = {**pod["metadata"]}
    for field in ("annotations", "labels"):
        if binding.get(field):
            metadata[field] = {**(metadata.get(field) or {}), **binding[field]}
    old_status: JSON = pod.get("status") or {}
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now_text()}
    conditions = [c for c in old_status.get("conditions") or () if c["type"] != "PodScheduled"]
    new_status = {**old_status, "conditions": [*conditions, scheduled]}
    new_status.pop("nominatedNodeName", None)
    return {**pod, "metadata": metadata, "spec": {**pod["spec"], "nodeName": node}, "status": new_status}


async def evict(
    store: Store, registry: Registry, deleter: Deleter, resource: Resource, namespace: str, name: str, eviction: JSON
) -> None:
    """Delete a pod if its disruption budget allows it now.

    Raises StatusError: 404; 409 for a precondition; 429 when the budget says not now; 500 for two budgets.
    """
    given = (eviction.get("metadata") or {}).get("name")
    if given not in (None, "", name):
        raise status.bad_request("name in URL does not match name in Eviction object")
    record = store.get(PODS, namespace, name)
    if record is None:
        raise status.not_found(resource, name)
    options = delete_options(eviction.get("deleteOptions") or {})
    phase = (record.obj.get("status") or {}).get("phase")
    exempt = phase in ("Succeeded", "Failed", "Pending") or "deletionTimestamp" in record.obj["metadata"]
    if not exempt:
        _spend_budget(store, registry, record, options.dry_run)
    if not options.dry_run and options.uid in (None, record.uid) and options.version in (None, str(record.version)):
        marked = store.replace(record, _disrupted(record.obj))
        if options.version is not None:
            options.version = str(marked.version)
    await deleter.delete(resource, namespace, name, options)


def _disrupted(pod: JSON) -> JSON:
    """The pod with the condition that tells an eviction from other deletions."""
    old_status: JSON = pod.get("status") or {}
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": now_text(),
    }
    conditions = [one for one in old_status.get("conditions") or () if one["type"] != condition["type"]]
    return {**pod, "status": {**old_status, "conditions": [*conditions, condition]}}


def _spend_budget(store: Store, registry: Registry, pod: Record, dry_run: bool) -> None:
    budgets = disruption.budgets_of(store, pod)
    if len(budgets) > 1:
        raise status.internal_error(_PDB_MANY)
    if not budgets:
        return
    budget = budgets[0]
    count = disruption.allowance(store, registry, budget)
    if not disruption.is_healthy(pod.obj):
        policy = (budget.obj.get("spec") or {}).get("unhealthyPodEvictionPolicy", "IfHealthyBudget")
        if policy == "AlwaysAllow" or count.healthy >= count.desired > 0:
            return
    _note_allowance(store, budget, count, dry_run)
    if count.allowed < 1:
        message = (
            f"The disruption budget {budget.name} needs {count.desired} healthy pods and has {count.healthy} currently"
        )
        raise status.too_many_requests(_PDB_BUSY, 0, [{"reason": "DisruptionBudget", "message": message}])


def _note_allowance(store: Store, budget: Record, count: disruption.Allowance, dry_run: bool) -> None:
    """Show in the budget's status what the decision was made on."""
    new = {
        "observedGeneration": budget.obj["metadata"].get("generation", 1),
        "disruptionsAllowed": count.allowed,
        "currentHealthy": count.healthy,
        "desiredHealthy": count.desired,
        "expectedPods": count.expected,
    }
    if not dry_run and budget.storage == DISRUPTION_BUDGETS and budget.obj.get("status") != new:
        store.replace(budget, {**budget.obj, "status": new})


def delete_options(body: JSON) -> DeleteOptions:
    """The options that a DeleteOptions object says. Raises StatusError 422 for a value that is none."""
    propagation = body.get("propagationPolicy")
    if propagation not in (None, "Orphan", "Background", "Foreground"):
        supported = ("Background", "Foreground", "Orphan")
        cause = status.not_supported("propagationPolicy", propagation, supported)
        raise status.invalid("DeleteOptions", "meta.k8s.io", "", [cause])
    if propagation is None and body.get("orphanDependents") is not None:
        propagation = "Orphan" if body["orphanDependents"] else "Background"
    grace_s = body.get("gracePeriodSeconds")
    if grace_s is not None and (not isinstance(grace_s, int) or isinstance(grace_s, bool)):
        raise status.bad_request("gracePeriodSeconds must be an integer")
    preconditions = body.get("preconditions") or {}
    return DeleteOptions(
        grace_s=grace_s,
        propagation=propagation,
        uid=preconditions.get("uid"),
        version=preconditions.get("resourceVersion"),
        dry_run=bool(body.get("dryRun")),
    )


def scale_of(record: Record) -> JSON:
    """The Scale view of a workload."""
    metadata = record.obj["metadata"]
    spec, current = record.obj.get("spec") or {}, record.obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = spec.get("selector") or {}
    pairs = ",".join(f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items())
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {"replicas": current.get("replicas", 0), "selector": pairs},
    }


async def set_scale(
    writer: Writer, resource: Resource, namespace: str, name: str, scale: JSON, options: writes.WriteOptions
) -> Record:
    """Change a workload's replicas by its Scale. Raises StatusError 404, 409, 422."""
    replicas: Any = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        cause = status.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise status.invalid("Scale", "autoscaling", name, [cause])
    version = (scale.get("metadata") or {}).get("resourceVersion")
    return await writer.set_replicas(resource, namespace, name, replicas, version, options)
