"""`runai`: what researchers type. Lists projects so far; submitting comes with the workload resources."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

import typer

from extender import __version__
from extender.errors import RunaiError
from extender.kube.client import KubeClient
from extender.model import names
from extender.model.amounts import format_milli
from extender.wire.resources import Project, parse_project

cli = typer.Typer(
    name="runai", help="Work with a runai-scheduler cluster.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip
lists = typer.Typer(help="List resources.", no_args_is_help=True)
cli.add_typer(lists, name="list")

_COLUMNS = ("PROJECT", "DEPARTMENT", "DESERVED GPUs", "INT LIMIT", "INT AFFINITY", "TRAIN AFFINITY")


def main() -> None:
    cli()


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"Version: {__version__}")


@lists.command("projects")
@lists.command("project", hidden=True)
def list_projects(
    kubeconfig: Annotated[str | None, typer.Option(help="Else $KUBECONFIG, else the in-cluster account.")] = None,
) -> None:
    """List projects with their quotas."""
    try:
        objects = asyncio.run(_read(kubeconfig or os.environ.get("KUBECONFIG")))
        rows = [_row(parse_project(obj), obj["metadata"]["name"]) for obj in objects]
    except RunaiError as error:
        typer.echo(f"runai: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(table([_COLUMNS, *sorted(rows)]), nl=False)


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell and two spaces more; no trailing blanks."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


async def _read(kubeconfig: str | None) -> list[dict[str, Any]]:
    async with await KubeClient.connect(kubeconfig) as client:
        objects, _ = await client.list(f"/apis/{names.RUN_AI_GROUP}/v1/projects")
        return objects


def _row(project: Project, name: str) -> tuple[str, ...]:
    spec = project.spec
    deserved = spec.deserved_gpu_milli
    return (
        name,
        spec.department or "-",
        format_milli(deserved) if deserved else "-",
        _duration(spec.interactive_job_time_limit_secs or 0),
        ";".join(spec.node_affinity_interactive or ()),
        ";".join(spec.node_affinity_train or ()),
    )


def _duration(seconds: int) -> str:
    """Seconds in Go's form: 3600 is "1h0m0s"; no limit is "-"."""
    if not seconds:
        return "-"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"
