"""The columns and cells of built-in kinds, as `kubectl get` shows them.

Columns are one line a kind, "Name Ready Status IP+": a trailing "+" marks those of `-o wide`, "_" stands for a space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from extender.emulator import resources
from extender.emulator.resources import JSON, Storage
from extender.emulator.times import age_s, duration

Cells = Callable[[JSON], list[Any]]

_UNKNOWN, _NONE = "<unknown>", "<none>"


def _name(obj: JSON) -> str:
    return str(obj["metadata"]["name"])


def _age(obj: JSON) -> str:
    return duration(age_s(obj["metadata"].get("creationTimestamp")))


def _spec(obj: JSON) -> JSON:
    return obj.get("spec") or {}


def _status(obj: JSON) -> JSON:
    return obj.get("status") or {}


def _images(spec: JSON) -> tuple[str, str]:
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or ()
    return ",".join(c.get("name", "") for c in containers), ",".join(c.get("image", "") for c in containers)


def _selector(selector: JSON | None) -> str:
    if not selector:
        return _NONE
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator, values = expression["operator"], ",".join(expression.get("values") or ())
        forms = {"Exists": "{key}", "DoesNotExist": "!{key}", "In": "{key} in ({v})", "NotIn": "{key} notin ({v})"}
        parts.append(forms.get(operator, "{key}").format(key=expression["key"], v=values))
    return ",".join(parts) or _NONE


def _pod(pod: JSON) -> list[Any]:
    spec, status = _spec(pod), _status(pod)
    statuses = status.get("containerStatuses") or ()
    restarts = sum(container.get("restartCount", 0) for container in statuses)
    ready = sum(bool(container.get("ready")) for container in statuses)
    gates = spec.get("readinessGates") or ()
    return [
        _name(pod),
        f"{ready}/{len(spec.get('containers') or ())}",
        _pod_reason(pod),
        str(restarts),
        _age(pod),
        status.get("podIP") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        f"0/{len(gates)}" if gates else _NONE,
    ]


def _pod_reason(pod: JSON) -> str:
    """The STATUS column: the phase, or the reason nearest to what holds the pod up."""
    status = _status(pod)
    reason = status.get("reason") or status.get("phase") or "Unknown"
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    for container in reversed(status.get("containerStatuses") or ()):
        state = container.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated is not None:
            reason = terminated.get("reason") or f"ExitCode:{terminated.get('exitCode', 0)}"
    if "deletionTimestamp" in pod["metadata"]:
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(reason)


def _node(node: JSON) -> list[Any]:
    labels = node["metadata"].get("labels") or {}
    prefix = "node-role.kubernetes.io/"
    roles = sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix) and key != prefix)
    ready = [c for c in _status(node).get("conditions") or () if c["type"] == "Ready"]
    state = ("Ready" if ready[0].get("status") == "True" else "NotReady") if ready else "Unknown"
    if _spec(node).get("unschedulable"):
        state += ",SchedulingDisabled"
    addresses = {address["type"]: address["address"] for address in _status(node).get("addresses") or ()}
    system = _status(node).get("nodeInfo") or {}
    return [
        _name(node),
        state,
        ",".join(roles) or _NONE,
        _age(node),
        system.get("kubeletVersion", ""),
        addresses.get("InternalIP", _NONE),
        addresses.get("ExternalIP", _NONE),
        system.get("osImage") or _UNKNOWN,
        system.get("kernelVersion") or _UNKNOWN,
        system.get("containerRuntimeVersion") or _UNKNOWN,
    ]


def _job(job: JSON) -> list[Any]:
    spec, status = _spec(job), _status(job)
    completions = spec.get("completions")
    parallelism = spec.get("parallelism", 0)
    total = str(completions) if completions is not None else f"1 of {parallelism}" if parallelism > 1 else "1"
    start, end = age_s(status.get("startTime")), age_s(status.get("completionTime"))
    span = "" if start is None else duration(start - (end or 0))
    names, images = _images(spec)
    return [
        _name(job),
        _job_state(job),
        f"{status.get('succeeded', 0)}/{total}",
        span,
        _age(job),
        names,
        images,
        _selector(spec.get("selector")),
    ]


def _job_state(job: JSON) -> str:
    true = {c["type"] for c in _status(job).get("conditions") or () if c.get("status") == "True"}
    for condition, state in (("Complete", "Complete"), ("Failed", "Failed")):
        if condition in true:
            return state
    if "deletionTimestamp" in job["metadata"]:
        return "Terminating"
    for condition, state in (
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if condition in true:
            return state
    return "Running"


def _deployment(deployment: JSON) -> list[Any]:
    spec, status = _spec(deployment), _status(deployment)
    return [
        _name(deployment),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _age(deployment),
        *_images(spec),
        _selector(spec.get("selector")),
    ]


def _stateful_set(stateful_set: JSON) -> list[Any]:
    spec, status = _spec(stateful_set), _status(stateful_set)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [_name(stateful_set), ready, _age(stateful_set), *_images(spec)]


def _replica_set(replica_set: JSON) -> list[Any]:
    spec, status = _spec(replica_set), _status(replica_set)
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [_name(replica_set), *counts, _age(replica_set), *_images(spec), _selector(spec.get("selector"))]


def _daemon_set(daemon_set: JSON) -> list[Any]:
    status = _status(daemon_set)
    fields = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    counts = [status.get(field, 0) for field in fields]
    node_selector = ((_spec(daemon_set).get("template") or {}).get("spec") or {}).get("nodeSelector") or {}
    shown = ",".join(f"{key}={value}" for key, value in node_selector.items()) or _NONE
    return [_name(daemon_set), *counts, shown, _age(daemon_set)]


def _event(event: JSON) -> list[Any]:
    involved = event.get("involvedObject") or {}
    series = event.get("series") or {}
    first = event.get("firstTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
    source = event.get("source") or {}
    return [
        duration(age_s(last)),
        event.get("type", ""),
        event.get("reason", ""),
        f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}",
        involved.get("fieldPath", ""),
        source.get("component") or event.get("reportingComponent", ""),
        str(event.get("message", "")).strip(),
        duration(age_s(first)),
        series.get("count") or event.get("count", 1),
        _name(event),
    ]


def _service(service: JSON) -> list[Any]:
    spec = _spec(service)
    ports = ",".join(
        f"{port.get('port')}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol', 'TCP')}"
        for port in spec.get("ports") or ()
    )
    selector = ",".join(f"{key}={value}" for key, value in (spec.get("selector") or {}).items())
    address = spec.get("clusterIP") or _NONE
    return [_name(service), spec.get("type"), address, _NONE, ports or _NONE, _age(service), selector or _NONE]


def _claim(claim: JSON) -> list[Any]:
    spec, status = _spec(claim), _status(claim)
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    modes = ",".join(short.get(mode, mode) for mode in status.get("accessModes") or ())
    return [
        _name(claim),
        "Terminating" if "deletionTimestamp" in claim["metadata"] else status.get("phase", ""),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", ""),
        modes,
        spec.get("storageClassName", ""),
        "<unset>",
        _age(claim),
        spec.get("volumeMode", ""),
    ]


def _priority_class(class_: JSON) -> list[Any]:
    default = "true" if class_.get("globalDefault") else "false"
    policy = class_.get("preemptionPolicy", "PreemptLowerPriority")
    return [_name(class_), class_.get("value", 0), default, _age(class_), policy]


def _budget(budget: JSON) -> list[Any]:
    spec, status = _spec(budget), _status(budget)
    low, high = spec.get("minAvailable", "N/A"), spec.get("maxUnavailable", "N/A")
    return [_name(budget), str(low), str(high), str(status.get("disruptionsAllowed", 0)), _age(budget)]


def _cron_job(cron_job: JSON) -> list[Any]:
    spec, status = _spec(cron_job), _status(cron_job)
    last = status.get("lastScheduleTime")
    return [
        _name(cron_job),
        spec.get("schedule", ""),
        spec.get("timeZone", _NONE),
        "True" if spec.get("suspend") else "False",
        str(len(status.get("active") or ())),
        duration(age_s(last)) if last else _NONE,
        _age(cron_job),
    ]


def _lease(lease: JSON) -> list[Any]:
    return [_name(lease), _spec(lease).get("holderIdentity", ""), _age(lease)]


def _definition(crd: JSON) -> list[Any]:
    return [_name(crd), crd["metadata"].get("creationTimestamp", "")]


def _webhooks(configuration: JSON) -> list[Any]:
    return [_name(configuration), len(configuration.get("webhooks") or ()), _age(configuration)]


PRINTERS: dict[Storage, tuple[str, Cells]] = {
    resources.PODS: ("Name Ready Status Restarts Age IP+ Node+ Nominated_Node+ Readiness_Gates+", _pod),
    resources.NODES: (
        "Name Status Roles Age Version Internal-IP+ External-IP+ OS-Image+ Kernel-Version+ Container-Runtime+",
        _node,
    ),
    resources.JOBS: ("Name Status Completions Duration Age Containers+ Images+ Selector+", _job),
    resources.CRON_JOBS: ("Name Schedule Timezone Suspend Active Last_Schedule Age", _cron_job),
    resources.DEPLOYMENTS: ("Name Ready Up-to-date Available Age Containers+ Images+ Selector+", _deployment),
    resources.STATEFUL_SETS: ("Name Ready Age Containers+ Images+", _stateful_set),
    resources.REPLICA_SETS: ("Name Desired Current Ready Age Containers+ Images+ Selector+", _replica_set),
    resources.DAEMON_SETS: ("Name Desired Current Ready Up-to-date Available Node_Selector Age", _daemon_set),
    resources.NAMESPACES: ("Name Status Age", lambda o: [_name(o), _status(o).get("phase", ""), _age(o)]),
    resources.EVENTS: (
        "Last_Seen Type Reason Object Subobject+ Source+ Message First_Seen+ Count+ Name+",
        _event,
    ),
    resources.SERVICES: ("Name Type Cluster-IP External-IP Port(s) Age Selector+", _service),
    Storage("", "configmaps"): ("Name Data Age", lambda o: [_name(o), len(o.get("data") or ()), _age(o)]),
    resources.SECRETS: (
        "Name Type Data Age",
        lambda o: [_name(o), o.get("type", ""), len(o.get("data") or ()), _age(o)],
    ),
    resources.SERVICE_ACCOUNTS: ("Name Secrets Age", lambda o: [_name(o), len(o.get("secrets") or ()), _age(o)]),
    resources.PERSISTENT_VOLUME_CLAIMS: (
        "Name Status Volume Capacity Access_Modes StorageClass VolumeAttributesClass Age VolumeMode+",
        _claim,
    ),
    resources.PRIORITY_CLASSES: ("Name Value Global-Default Age PreemptionPolicy", _priority_class),
    resources.DISRUPTION_BUDGETS: ("Name Min_Available Max_Unavailable Allowed_Disruptions Age", _budget),
    Storage("coordination.k8s.io", "leases"): ("Name Holder Age", _lease),
    resources.CRDS: ("Name Created_At", _definition),
    resources.MUTATING_WEBHOOKS: ("Name Webhooks Age", _webhooks),
    resources.VALIDATING_WEBHOOKS: ("Name Webhooks Age", _webhooks),
}

# Every other kind shows its name and age.
DEFAULT: tuple[str, Cells] = ("Name Age", lambda obj: [_name(obj), _age(obj)])
