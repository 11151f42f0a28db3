"""`runai list projects`: what each project has."""

from __future__ import annotations

from typing import Any

import typer

from extender.cli.runai.output import table
from extender.cli.runai.session import KubeconfigOption, connect, context_namespace, run
from extender.model.amounts import format_milli
from extender.model.names import RUN_AI_GROUP, project_namespace
from extender.wire.resources import Project, parse_project

_COLUMNS = ("PROJECT", "DEPARTMENT", "DESERVED GPUs", "INT LIMIT", "INT AFFINITY", "TRAIN AFFINITY")


def list_projects(kubeconfig: KubeconfigOption = None) -> None:
    """List projects with their quotas."""
    typer.echo(run(_listed(kubeconfig)), nl=False)


async def _listed(kubeconfig: str | None) -> str:
    async with await connect(kubeconfig) as client:
        objects: list[dict[str, Any]] = (await client.list(f"/apis/{RUN_AI_GROUP}/v1/projects"))[0]
    rows = [_row(parse_project(obj), obj["metadata"]["name"]) for obj in objects]
    default = context_namespace(kubeconfig)
    marked = [(f"{row[0]} (default)", *row[1:]) if project_namespace(row[0]) == default else row for row in rows]
    return table([_COLUMNS, *sorted(marked)])


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
