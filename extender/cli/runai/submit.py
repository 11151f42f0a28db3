"""`runai submit` and `runai submit-dist`: a workload resource from flags, and what became of it."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer
import yaml
from typer.core import TyperCommand

from extender.cli.runai import specs
from extender.cli.runai.describe import parse_status
from extender.cli.runai.description import shown
from extender.cli.runai.flags import Flag, command, flags
from extender.cli.runai.jobs import job_names
from extender.cli.runai.output import ruled, table
from extender.cli.runai.session import (
    InferenceOption,
    InteractiveOption,
    KubeconfigOption,
    Place,
    ProjectOption,
    connect,
    find_place,
    kind_of,
    run,
)
from extender.cli.runai.workloads import workloads_path
from extender.controllers.submissions import read_sources
from extender.errors import ConfigError, ConflictError, RefusedError, UnauthorizedError
from extender.kube.client import KubeClient
from extender.model.names import RUN_AI_GROUP
from extender.model.workload import ValuesSet, WorkloadKind
from extender.wire.workloads import STORED, parameters
from extender.wire.workloads.status import WorkloadStatus
from extender.workloads import naming
from extender.workloads.submission import Sources, judge

Json = dict[str, Any]

JOB_TYPES = {"mpi": "MPI", "pytorch": "PyTorch", "tf": "TF", "xgboost": "XGBoost"}

_LONE_KINDS = (WorkloadKind.TRAINING, WorkloadKind.INTERACTIVE, WorkloadKind.INFERENCE)
_OF_JOB_TYPE = {"MPI": "mpiJob", "PyTorch": "pyTorchJob"}
_PREVIOUS_JOB = {"PreviousJob": "true"}  # made by a command: a later submission may be based on it
_WAIT_S = 10.0
_LOOK_EVERY_S = 0.25
_NAMES_OF_A_SECOND = 20
_WORDS = "words after --"


class WithWords(TyperCommand):
    """A command that takes the words after `--` as they are; they are kept in the context."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_WORDS] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


_SHORTCUTS = "Shortcuts"
_OWN: Mapping[str, tuple[Any, Any]] = {
    "ctx": (typer.Context, None),
    "positional": (
        Annotated[str | None, typer.Argument(metavar="NAME", help="The name of the job; the same as --name.")],
        None,
    ),
    "project": (ProjectOption, None),
    "template": (
        Annotated[
            str | None,
            typer.Option(
                "--template",
                "--workload",
                "--base-workload",
                help="A template, or an earlier workload, whose values are the defaults.",
            ),
        ],
        None,
    ),
    "as_command": (
        Annotated[
            bool,
            typer.Option("--command", help="The words after -- replace the image's entrypoint; else its arguments."),
        ],
        False,
    ),
    "dry_run": (
        Annotated[
            bool,
            typer.Option(
                "--dry-run",
                help="Submit nothing: print the resource, each resolved value and whose it is, and what is wrong.",
            ),
        ],
        False,
    ),
    "kubeconfig": (KubeconfigOption, None),
    "pvc_new": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--pvc-new",
                "--new-pvc",
                metavar="claimname=,storageclass=,size=,path=,accessmode-rwo|rom|rwm,ro,ephemeral",
                help="A claim that is made with the job.",
                rich_help_panel=_SHORTCUTS,
            ),
        ],
        None,
    ),
    "pvc_exists": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--pvc-exists",
                metavar="claimname=,path=[,ro]",
                help="A claim that exists.",
                rich_help_panel=_SHORTCUTS,
            ),
        ],
        None,
    ),
    "nfs_server": (
        Annotated[
            str | None,
            typer.Option("--nfs-server", help="The server of the volumes that name none.", rich_help_panel=_SHORTCUTS),
        ],
        None,
    ),
    "required_topology": (
        Annotated[
            str | None,
            typer.Option(
                "--required-pod-topology-key",
                help="Pods run only on nodes with one value of this label.",
                rich_help_panel=_SHORTCUTS,
            ),
        ],
        None,
    ),
    "preferred_topology": (
        Annotated[
            str | None,
            typer.Option(
                "--preferred-pod-topology-key",
                help="Pods run on nodes with one value of this label if possible.",
                rich_help_panel=_SHORTCUTS,
            ),
        ],
        None,
    ),
}


def submit_command() -> Callable[..., None]:
    """`runai submit`, for typer."""
    of = flags(_LONE_KINDS)

    def submitted(given: Mapping[str, Any], *, interactive: bool, inference: bool, **own: Any) -> None:
        jupyter = bool(given.get("jupyter"))
        run(
            _submit(
                lambda: kind_of(interactive=interactive or jupyter, inference=inference),
                of,
                given,
                "",
                **own,
            )
        )

    own = {**_OWN, "interactive": (InteractiveOption, False), "inference": (InferenceOption, False)}
    return command(submitted, of, own, "Submit a job: training, unless --interactive, --jupyter or --inference says.")


def submit_distributed_command(job_type: str) -> Callable[..., None]:
    """`runai submit-dist mpi` and the like, for typer; the type as the resource has it."""
    others = [part for one, part in _OF_JOB_TYPE.items() if one != job_type]
    of = flags((WorkloadKind.DISTRIBUTED,), without=others)

    def submitted(given: Mapping[str, Any], **own: Any) -> None:
        run(_submit(lambda: WorkloadKind.DISTRIBUTED, of, given, job_type, **own))

    return command(submitted, of, _OWN, f"Submit a distributed training job of type {job_type}.")


async def _submit(
    find_kind: Callable[[], WorkloadKind],
    of: Mapping[str, Flag],
    given: Mapping[str, Any],
    job_type: str,
    *,
    ctx: typer.Context,
    project: str | None,
    kubeconfig: str | None,
    dry_run: bool,
    template: str | None,
    as_command: bool,
    **shortcuts: Any,
) -> None:
    kind = find_kind()
    written = specs.write(kind, of, given, **shortcuts)
    spec = specs.with_plain(written.spec, base_workload=template, job_type=job_type)
    specs.run(spec, ctx.meta.get(_WORDS, ()), as_command=as_command)
    for warning in written.warnings:
        typer.echo(warning, err=True)
    async with await connect(kubeconfig) as client:
        place = await find_place(client, project, kubeconfig)
        sources = await _sources(client, kind, place, spec)
        judged = judge(kind, parameters(kind), place.namespace, spec, sources)
        job = await _job_name(client, place, judged.values)
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


async def _sources(client: KubeClient, kind: WorkloadKind, place: Place, spec: Json) -> Sources:
    """What the values are completed from, as far as we may read it; the API server's answer counts in any case."""
    try:
        return await read_sources(client, kind, place.namespace, spec)
    except UnauthorizedError as error:
        return Sources(project=place.project, warnings=(f"not everything could be checked: {error}",))


async def _job_name(client: KubeClient, place: Place, values: ValuesSet) -> str:
    """What the job will be called, unless somebody submits one of that prefix at the same time."""
    plain = values.plain()
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
                workloads_path(kind, metadata["namespace"]), {**workload, "metadata": {**metadata, "name": name}}
            )
        except ConflictError:
            continue
    raise RefusedError(f"{_NAMES_OF_A_SECOND} workloads are called {metadata['name']}; try again")


async def _outcome(client: KubeClient, kind: WorkloadKind, made: Json) -> WorkloadStatus:
    """The status once there is an outcome, or after a while without one."""
    metadata = made["metadata"]
    path = workloads_path(kind, metadata["namespace"], metadata["name"])
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WAIT_S
    status = parse_status(made)
    while not status.phase and loop.time() < deadline:
        await asyncio.sleep(_LOOK_EVERY_S)
        status = parse_status(await client.get(path))
    return status


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
