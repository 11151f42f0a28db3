"""`runai`: what researchers type."""

from __future__ import annotations

import typer

from extender import __version__
from extender.cli.runai.config import config_project
from extender.cli.runai.describe import describe_workload
from extender.cli.runai.groups import group
from extender.cli.runai.jobs import delete_jobs, describe_named_job
from extender.cli.runai.projects import list_projects
from extender.cli.runai.submit import JOB_TYPES, WithWords, submit_command, submit_distributed_command
from extender.cli.runai.workloads import list_workloads

cli = group("Work with a runai-scheduler cluster.")
lists = group("List resources.")
describes = group("Show one resource in full; a workload unless a job is named as such.", default="workload")
deletes = group("Delete jobs.", default="job")
submits = group("Submit a distributed training job of a type.")
configs = group("Keep what is meant when nothing is said.")
for name, commands in (
    ("list", lists),
    ("describe", describes),
    ("delete", deletes),
    ("config", configs),
    ("submit-dist", submits),
):
    cli.add_typer(commands, name=name)

lists.command("projects")(list_projects)
lists.command("project", hidden=True)(list_projects)
lists.command("workloads")(list_workloads)
lists.command("workload", hidden=True)(list_workloads)
describes.command("workload")(describe_workload)
describes.command("job")(describe_named_job)
deletes.command("job")(delete_jobs)
deletes.command("jobs", hidden=True)(delete_jobs)
configs.command("project")(config_project)
cli.command("submit", cls=WithWords)(submit_command())
for word, job_type in JOB_TYPES.items():
    submits.command(word, cls=WithWords)(submit_distributed_command(job_type))
    # Earlier command lines had one word for it.
    cli.command(f"submit-{word}", cls=WithWords, hidden=True)(submit_distributed_command(job_type))


def main() -> None:
    cli()


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"Version: {__version__}")
