"""What the server does to pods and only to pods: defaults, admission, status at birth, and which changes it allows."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from extender.emulator import podspec, quantity
from extender.emulator.resources import JSON, PRIORITY_CLASSES
from extender.emulator.status import Cause, forbidden_field, invalid_value
from extender.emulator.store import Store

_OUTAGE_TOLERATION_S = 300
_OUTAGES = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_GATED_MESSAGE = "Scheduling is blocked due to non-empty scheduling gates"
_MUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


class AdmissionError(Exception):
    """A built-in admission step says no; the text is what follows "is forbidden: "."""


def set_defaults(pod: JSON) -> None:
    """Defaults of a pod, on top of those of any PodSpec; a request that is not given equals its limit."""
    spec = pod.setdefault("spec", {})
    podspec.set_defaults(spec)
    spec.setdefault("enableServiceLinks", True)
    for _, container in podspec.containers(spec):
        resources = container["resources"]
        limits = resources.get("limits")
        if limits:
            resources["requests"] = {**limits, **(resources.get("requests") or {})}


def admit(pod: JSON, store: Store) -> None:
    """The built-in admission steps on create: priority, service account, tolerations of outages.

    Raises AdmissionError for an unknown priority class or a priority that contradicts its class.
    """
    spec = pod["spec"]
    _resolve_priority(spec, store)
    spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = spec["serviceAccountName"]
    _tolerate_outages(spec)


def inherit(new: JSON, old: JSON) -> None:
    """Keep the priority that was resolved at creation, and the tolerations that every pod has."""
    spec = new["spec"]
    for field in ("priority", "preemptionPolicy"):
        if field in old["spec"]:
            spec.setdefault(field, old["spec"][field])
    _tolerate_outages(spec)


def _tolerate_outages(spec: JSON) -> None:
    tolerations = spec.setdefault("tolerations", [])
    for key in _OUTAGES:
        if not any(_tolerates(toleration, key) for toleration in tolerations):
            outage = {
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": _OUTAGE_TOLERATION_S,
            }
            tolerations.append(outage)


def _tolerates(toleration: JSON, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


def _resolve_priority(spec: JSON, store: Store) -> None:
    name = spec.get("priorityClassName")
    if name:
        record = store.get(PRIORITY_CLASSES, "", name)
        if record is None:
            raise AdmissionError(f"no PriorityClass with name {name} was found")
        class_ = record.obj
    else:
        candidates = [r.obj for r in store.records(PRIORITY_CLASSES) if r.obj.get("globalDefault")]
        class_ = min(candidates, key=lambda c: int(c.get("value", 0)), default={})
        if class_:
            spec["priorityClassName"] = class_["metadata"]["name"]
    priority = class_.get("value", 0)
    if spec.get("priority", priority) != priority:
        raise AdmissionError(
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
            f"priority admission controller computed {priority} from the given PriorityClass name"
        )
    spec["priority"] = priority
    policy = class_.get("preemptionPolicy", "PreemptLowerPriority")
    if spec.get("preemptionPolicy", policy) != policy:
        raise AdmissionError(
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name"
        )
    spec["preemptionPolicy"] = policy


def prepare(pod: JSON) -> None:
    """The status that a new pod gets; whatever the client sent as status is dropped."""
    spec = pod["spec"]
    status: JSON = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": _GATED_MESSAGE,
        }
        status["conditions"] = [condition]
    pod["status"] = status


def qos_class(spec: JSON) -> str:
    """Guaranteed: every container limits cpu and memory at its request; BestEffort: none names them."""
    any_amount = False
    guaranteed = True
    for _, container in podspec.containers(spec):
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            request, limit = _positive(requests.get(name)), _positive(limits.get(name))
            any_amount = any_amount or bool(request or limit)
            if not limit or (request and quantity.value_of(request) != quantity.value_of(limit)):
                guaranteed = False
    if not any_amount:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _positive(amount: str | None) -> str | None:
    return amount if amount is not None and quantity.value_of(amount) > 0 else None


def validate(pod: JSON) -> Iterator[Cause]:
    """The broken rules of a pod."""
    return podspec.validate(pod.get("spec") or {}, "spec")


def validate_update(new: JSON, old: JSON) -> Iterator[Cause]:
    """The changes of a pod's spec that are not allowed."""
    before, after = old["spec"], new.get("spec") or {}
    if after == before:
        return
    yield from _validate_gate_changes(after, before)
    yield from _validate_toleration_changes(after, before)
    deadline, old_deadline = after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if old_deadline is not None and (deadline is None or deadline > old_deadline):
        detail = f"must be less than or equal to previous value `{old_deadline}`"
        yield invalid_value("spec.activeDeadlineSeconds", deadline, detail)
    allowed = copy.deepcopy(after)
    _adopt(allowed, before, "activeDeadlineSeconds", "tolerations", "schedulingGates")
    for field in ("containers", "initContainers"):
        mine, theirs = allowed.get(field) or [], before.get(field) or []
        if len(mine) != len(theirs):
            yield forbidden_field(f"spec.{field}", "pod updates may not add or remove containers")
            return
        for container, container_before in zip(mine, theirs, strict=True):
            _adopt(container, container_before, "image")
    if before.get("schedulingGates"):
        yield from _validate_gated_changes(after, before)
        _adopt(allowed, before, "nodeSelector", "affinity")
    if before.get("terminationGracePeriodSeconds", 0) < 0 and after.get("terminationGracePeriodSeconds") == 1:
        _adopt(allowed, before, "terminationGracePeriodSeconds")
    if allowed != before:
        changed = sorted(key for key in allowed.keys() | before.keys() if allowed.get(key) != before.get(key))
        yield forbidden_field("spec", f"{_MUTABLE}\nchanged: {', '.join(changed)}")


def _adopt(target: JSON, source: JSON, *fields: str) -> None:
    for field in fields:
        if field in source:
            target[field] = source[field]
        else:
            target.pop(field, None)


def _validate_gate_changes(after: JSON, before: JSON) -> Iterator[Cause]:
    known = {gate["name"] for gate in before.get("schedulingGates") or ()}
    for gate in after.get("schedulingGates") or ():
        if gate.get("name") not in known:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            yield forbidden_field("spec.schedulingGates", detail)


def _validate_toleration_changes(after: JSON, before: JSON) -> Iterator[Cause]:
    def identity(toleration: JSON) -> JSON:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    kept = [identity(toleration) for toleration in after.get("tolerations") or ()]
    if any(identity(toleration) not in kept for toleration in before.get("tolerations") or ()):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        yield forbidden_field("spec.tolerations", detail)


def _validate_gated_changes(after: JSON, before: JSON) -> Iterator[Cause]:
    """While a pod is gated its node selector and affinity may only become narrower."""
    old, new = before.get("nodeSelector") or {}, after.get("nodeSelector") or {}
    if any(new.get(key) != value for key, value in old.items()):
        detail = "only additions are allowed (no mutations or deletions)"
        yield invalid_value("spec.nodeSelector", new, detail)
    terms, old_terms = _required_terms(after), _required_terms(before)
    path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    if old_terms and len(terms) != len(old_terms):
        yield invalid_value(path, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
        return
    for position, (term, old_term) in enumerate(zip(terms, old_terms, strict=False)):
        for part in ("matchExpressions", "matchFields"):
            if (term.get(part) or [])[: len(old_term.get(part) or [])] != (old_term.get(part) or []):
                detail = "only additions are allowed (no mutations or deletions)"
                yield invalid_value(f"{path}[{position}]", term, detail)


def _required_terms(spec: JSON) -> list[JSON]:
    node_affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    selector = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return list(selector.get("nodeSelectorTerms") or ())
