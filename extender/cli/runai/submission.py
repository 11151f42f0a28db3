"""A submission from its spec on: judged, created as a workload resource, waited for, and told about."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator
from typing import Any

import typer
import yaml

from extender.cli.runai.describe import parse_status
from extender.cli.runai.description import shown
from extender.cli.runai.jobs import job_names
from extender.cli.runai.output import ruled, table
from extender.cli.runai.session import Place
from extender.controllers.submissions import read_sources, workload_path
from extender.errors import ConfigError, ConflictError, RefusedError, UnauthorizedError
from extender.kube.client import KubeClient
from extender.model.names import RUN_AI_GROUP
from extender.model.workload import ValuesSet, WorkloadKind
from extender.wire.workloads import STORED, parameters
from extender.wire.workloads.status import WorkloadStatus
from extender.workloads import naming
from extender.workloads.submission import Judged, Sources, judge
from extender.workloads.values import compose

Json = dict[str, Any]

_PREVIOUS_JOB = {"PreviousJob": "true"}  # made by a command: a later submission may be based on it
_WAIT_S = 10.0
_LOOK_EVERY_S = 0.25
_NAMES_OF_A_SECOND = 20


async def submit(client: KubeClient, kind: WorkloadKind, place: Place, spec: Json, *, dry_run: bool) -> None:
    """Create the workload of a spec and print what became of it, or with `dry_run` what it would be.

    Exits with 1, and creates nothing, when the policy or the kind forbids it: each reason is printed. Raises
    RefusedError with the reasons when it was created and failed, and ApiError.
    """
    try:
        sources = await read_sources(client, kind, place.namespace, spec)
    except UnauthorizedError as error:
        # Not ours to judge: a base or a policy that we may not read can give what we would miss.
        typer.echo(f"Warning: only the API server checks the values: {error}", err=True)
        sources = Sources()
        judged = Judged(compose(parameters(kind), spec, None, None).values, ())
    else:
        judged = judge(kind, parameters(kind), place.namespace, spec, sources)
    job = await _job_name(client, place, judged.values.plain())
    workload = resource(kind, place, job, _now(), spec)
    if dry_run:
        typer.echo(dry(workload, judged.values, sources), nl=False)
    for line in (*(f"Warning: {one}" for one in sources.warnings), *judged.violations):
        typer.echo(line, err=True)
    if judged.violations:
        raise typer.Exit(1)
    if not dry_run:
        made = await _create(client, kind, workload)
        report(place, made["metadata"]["name"], job, await _outcome(client, kind, made))


def resource(kind: WorkloadKind, place: Place, job: str, now: str, spec: Json) -> Json:
    """The workload resource that submits `job`; now: RFC 3339, in UTC."""
    return {
        "apiVersion": f"{RUN_AI_GROUP}/{STORED}",
        "kind": kind.workload,
        "metadata": {
            "name": naming.timestamped(job, now),
            "namespace": place.namespace,
            "labels": dict(_PREVIOUS_JOB),
        },
        "spec": spec,
    }


def dry(workload: Json, values: ValuesSet, sources: Sources) -> str:
    """The resource as YAML; below it, as comments, each value that it resolves to and whose it is."""
    rows = [("PARAMETER", "VALUE", "ORIGIN"), *sorted(_resolved(values))]
    used = table([("Base workload:", sources.base_name or "none"), ("Policy:", sources.policy_name or "none")])
    comments = "".join(f"# {line}".rstrip() + "\n" for line in f"{used}\n{ruled(rows)}".splitlines())
    return yaml.safe_dump(workload, sort_keys=False, allow_unicode=True) + comments


def report(place: Place, name: str, job: str, status: WorkloadStatus) -> None:
    """Say what became of the submission. Raises RefusedError with the reasons when it failed."""
    if status.phase == "Failed":
        errors = [one.message for one in status.events if one.type == "Error"] or ["the submission failed"]
        raise RefusedError("\n".join(errors))
    if status.phase == "Submitted" and status.job is not None:
        typer.echo(f"The job '{status.job.name}' has been submitted successfully")
        typer.echo(f"You can run `runai describe job {status.job.name} -p {place.project}` to check the job status")
        return
    typer.echo(f"A request to submit job {job} has been created.")
    typer.echo(f"You can check the status of the request by running: runai describe workload {name} -p {place.project}")


def _resolved(values: ValuesSet) -> Iterator[tuple[str, str, str]]:
    for name, one in values.scalars.items():
        yield name, shown(one.value), one.origin
    for name, labels in values.items.items():
        for label, one in labels.items():
            yield f"{name}.{label}", shown(one.value), one.origin


async def _job_name(client: KubeClient, place: Place, plain: Json) -> str:
    """What the job will be called, unless somebody submits one of that prefix at the same time."""
    if plain.get("name"):
        name = str(plain["name"])
        if problem := naming.name_problem(name):
            raise ConfigError(problem)
        return name
    base = str(plain.get("namePrefix") or naming.DEFAULT_BASE)
    return naming.next_name(base, await job_names(client, place))


async def _create(client: KubeClient, kind: WorkloadKind, workload: Json) -> Json:
    """Create it, under a name with a number when others of this second have it (behaviour.md 12.9)."""
    metadata = workload["metadata"]
    for number in range(1, _NAMES_OF_A_SECOND + 1):
        name = metadata["name"] if number == 1 else f"{metadata['name']}-{number}"
        try:
            return await client.create(
                workload_path(kind, metadata["namespace"]), {**workload, "metadata": {**metadata, "name": name}}
            )
        except ConflictError:
            continue
    raise RefusedError(f"{_NAMES_OF_A_SECOND} workloads are called {metadata['name']}; try again")


async def _outcome(client: KubeClient, kind: WorkloadKind, made: Json) -> WorkloadStatus:
    """The status once there is an outcome, or after a while without one."""
    metadata = made["metadata"]
    path = workload_path(kind, metadata["namespace"], metadata["name"])
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WAIT_S
    status = parse_status(made)
    while not status.phase and loop.time() < deadline:
        await asyncio.sleep(_LOOK_EVERY_S)
        status = parse_status(await client.get(path))
    return status


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
