"""What `runai describe workload` prints: the values as they were written, then what became of the submission."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from extender.cli.runai.output import age, printable, ruled, table
from extender.model import timestamps
from extender.wire.workloads.status import CreatedJob, WorkloadStatus

Json = dict[str, Any]

# What a workload is, not what it gives: the list shows the one, the origins the other.
_NOT_VALUES = ("usage", "baseWorkload")
_PORT = ("container", "external")


def describe(belongs_to: str, workload: Json, status: WorkloadStatus, now: float, *, origins: bool = False) -> str:
    """The whole text.

    belongs_to: the project, or "(global)"; workload: in the version whose spelling is wanted; now: seconds since the
    epoch. origins: add the resolved values, and whose each is.
    """
    blocks = [f"──────◆  {printable(workload['metadata']['name'])}  ◆──────\n", _written(belongs_to, workload)]
    spec = workload.get("spec") or {}
    if spec.get("usage") != "Template":
        if origins:
            blocks += _resolved(status)
        blocks += _became(status, now)
    return "\n".join(blocks)


def describe_job(workload: Json, status: WorkloadStatus, now: float) -> str:
    """The job of a workload, its pods, and what happened; now: seconds since the epoch."""
    job = status.job or CreatedJob()
    by_command = (workload["metadata"].get("labels") or {}).get("PreviousJob") == "true"
    lines = (
        ("NAME", job.name),
        ("NAMESPACE", job.namespace),
        ("TYPE", job.type),
        ("STATUS", job.status),
        ("RUNNING PODS", str(job.running_pods)),
        ("PENDING PODS", str(job.pending_pods)),
        ("CREATED BY CLI", str(by_command).lower()),
        ("WORKLOAD", f"{workload['kind']} {workload['metadata']['name']}"),
    )
    blocks = [
        "".join(f"{name}: {printable(value)}\n" for name, value in lines),
        *_pods(job, now),
        *_events(status, now),
    ]
    return "\n".join(blocks)


def written_values(spec: Json) -> Iterator[tuple[str, str]]:
    """Each value of a spec and how it is shown: ("gpu", "1"), ("ports.admin-port-a", "30100:8100")."""
    for name, wrapped in spec.items():
        if name in _NOT_VALUES or wrapped is None:
            continue
        if not isinstance(wrapped, Mapping):
            yield name, shown(wrapped)  # jobType
        elif isinstance(wrapped.get("items"), Mapping):
            for label, entry in wrapped["items"].items():
                item = entry if isinstance(entry, Mapping) else {}
                yield f"{name}.{label}", "(deleted)" if item.get("deleted") else shown(item.get("value", ""))
        elif wrapped.get("value") is not None:
            yield name, shown(wrapped["value"])


def shown(value: Any) -> str:
    """A value in one line: true, "a, b", a port as container:external, other members by name."""
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return ", ".join(map(shown, value))
        case Mapping():
            members = dict(value)
            port = [":".join(shown(members.pop(one)) for one in _PORT if one in members)] if _PORT[0] in members else []
            return ", ".join([*port, *(f"{name}={shown(one)}" for name, one in sorted(members.items()))])
    return printable(str(value))


def _written(belongs_to: str, workload: Json) -> str:
    values = sorted(written_values(workload.get("spec") or {}))
    return table([("Project:", belongs_to), *((f"{name}:", value) for name, value in values)])


def _resolved(status: WorkloadStatus) -> Iterator[str]:
    yield table(
        [("Base workload:", status.base_workload or "none"), ("Policy:", status.policy or "none")],
    )
    if not status.values:
        yield "Values: \n\nnot resolved\n"
        return
    rows = [(one.parameter, shown(_decoded(one.value)), one.origin) for one in status.values]
    yield f"Values: \n\n{ruled([('PARAMETER', 'VALUE', 'ORIGIN'), *rows])}"


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _became(status: WorkloadStatus, now: float) -> Iterator[str]:
    yield f"Status:  {status.phase or 'Pending'}\n"
    yield from _events(status, now)
    if status.created_resources:
        resources = sorted((one.kind, one.version, one.namespace, one.name) for one in status.created_resources)
        yield f"Created Resources: \n\n{ruled([('KIND', 'VERSION', 'NAMESPACE', 'NAME'), *resources])}"
    if status.job is not None:
        yield f"Created job: \n\n{_job(status.job, now)}"


def _job(job: CreatedJob, now: float) -> str:
    lines = (
        ("Name", job.name),
        ("Namespace", job.namespace),
        ("Type", job.type),
        ("Status", job.status),
        ("Running Pods", str(job.running_pods)),
        ("Pending Pods", str(job.pending_pods)),
    )
    text = "".join(f"{name}: {printable(value)}\n" for name, value in lines)
    return text + "".join(_pods(job, now))


def _pods(job: CreatedJob, now: float) -> Iterator[str]:
    if job.pods:
        pods = [
            (one.name, one.status.upper(), job.type.upper(), _since(one.created, now), one.node or "N/A")
            for one in sorted(job.pods, key=lambda pod: pod.name)
        ]
        yield f"Pods:\n{table([('POD', 'STATUS', 'TYPE', 'AGE', 'NODE'), *pods])}"


def _events(status: WorkloadStatus, now: float) -> Iterator[str]:
    if status.events:
        events = [(_since(one.time, now), one.type, one.message) for one in status.events]
        yield f"Events: \n\n{ruled([('AGE', 'TYPE', 'MESSAGE'), *events])}"


def _since(time: str, now: float) -> str:
    then = timestamps.seconds(time)
    return age(now - then) if then else "N/A"
