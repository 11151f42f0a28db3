"""`runai`: what researchers type."""

from __future__ import annotations

import typer
from typer.core import TyperGroup

from extender import __version__
from extender.cli.runai.describe import WorkloadByDefault, describe_workload
from extender.cli.runai.projects import list_projects
from extender.cli.runai.workloads import list_workloads


def _group(about: str, cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    return typer.Typer(help=about, cls=cls, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


cli = _group("Work with a runai-scheduler cluster.")
lists = _group("List resources.")
describes = _group("Show one resource in full; a workload unless another kind is named.", cls=WorkloadByDefault)
cli.add_typer(lists, name="list")
cli.add_typer(describes, name="describe")

lists.command("projects")(list_projects)
lists.command("project", hidden=True)(list_projects)
lists.command("workloads")(list_workloads)
lists.command("workload", hidden=True)(list_workloads)
describes.command("workload")(describe_workload)


def main() -> None:
    cli()


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"Version: {__version__}")
