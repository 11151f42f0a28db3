"""`runai submit` and `runai submit-dist`: their flags, those of the models and those that stand for several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from extender.cli.runai import specs
from extender.cli.runai.flags import Flag, command, flags
from extender.cli.runai.session import (
    InferenceOption,
    InteractiveOption,
    KubeconfigOption,
    ProjectOption,
    connect,
    find_place,
    kind_of,
    run,
)
from extender.cli.runai.submission import submit
from extender.model.workload import WorkloadKind

JOB_TYPES = {"mpi": "MPI", "pytorch": "PyTorch", "tf": "TF", "xgboost": "XGBoost"}

_LONE_KINDS = (WorkloadKind.TRAINING, WorkloadKind.INTERACTIVE, WorkloadKind.INFERENCE)
_OF_JOB_TYPE = {"MPI": "mpiJob", "PyTorch": "pyTorchJob"}
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
        interactive = interactive or bool(given.get("jupyter"))
        run(_submit(lambda: kind_of(interactive=interactive, inference=inference), of, given, "", **own))

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
        await submit(client, kind, place, spec, dry_run=dry_run)
