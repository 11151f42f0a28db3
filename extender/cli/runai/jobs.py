"""Jobs by the name that they have in their project: `runai describe job`, `runai delete job`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from extender.cli.runai.describe import parse_status
from extender.cli.runai.description import describe_job
from extender.cli.runai.session import KubeconfigOption, Place, ProjectOption, connect, fail, find_place, run
from extender.cli.runai.workloads import every_workload, is_name
from extender.controllers.submissions import workload_path
from extender.errors import ApiError, NotFoundError
from extender.kube.client import KubeClient
from extender.model.names import RUN_AI_GROUP, SCHEDULER_NAME
from extender.model.workload import WorkloadKind

Json = dict[str, Any]

# Where jobs are that no workload made, or none that has said so yet.
_OBJECTS = (
    (f"{RUN_AI_GROUP}/v1", "runaijobs"),
    ("batch/v1", "jobs"),
    ("apps/v1", "statefulsets"),
    ("apps/v1", "deployments"),
)
_KINDS = {kind.workload: kind for kind in WorkloadKind}


def describe_named_job(
    name: Annotated[str, typer.Argument(help="The name of the job.")],
    project: ProjectOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show a job that a workload made, and its pods."""

    async def described() -> str:
        async with await connect(kubeconfig) as client:
            place = await find_place(client, project, kubeconfig)
            for workload in await every_workload(client, place.namespace):
                if _job_of(workload) == name:
                    return describe_job(workload, parse_status(workload), time.time())
        raise NotFoundError(_missing(name, place), status=404)

    typer.echo(run(described()), nl=False)


def delete_jobs(
    names: Annotated[list[str] | None, typer.Argument(help="The names of the jobs.")] = None,
    every: Annotated[bool, typer.Option("--all", "-A", help="Every job of the project that a workload made.")] = False,
    project: ProjectOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Delete jobs, together with the workloads that made them and all else that these made."""
    if every == bool(names):
        fail("give the names of the jobs, or --all")

    async def deleted() -> bool:
        async with await connect(kubeconfig) as client:
            place = await find_place(client, project, kubeconfig)
            made_by = {_job_of(one): _path(one) for one in await every_workload(client, place.namespace)}
            made_by.pop("", None)
            wanted = sorted(made_by) if every else list(dict.fromkeys(names or ()))
            return all([await _delete(client, place, one, made_by.get(one)) for one in wanted])

    if not run(deleted()):
        raise typer.Exit(1)


async def job_names(client: KubeClient, place: Place) -> set[str]:
    """The names of all jobs of the project that workloads made."""
    return {_job_of(one) for one in await every_workload(client, place.namespace)}


async def _delete(client: KubeClient, place: Place, name: str, path: str | None) -> bool:
    """Delete what is at `path`, or what else the job is; say what became of it."""
    try:
        path = path or await _find(client, place.namespace, name)
        if path is None:
            typer.echo(_missing(name, place), err=True)
            return False
        await client.delete(path, options={"propagationPolicy": "Background"})
    except ApiError as error:
        typer.echo(f"Failed to delete job {name}: {error.message}", err=True)
        return False
    typer.echo(f"Job {name} deleted successfully.")
    return True


async def _find(client: KubeClient, namespace: str, name: str) -> str | None:
    """The path of the workload that owns the object called so, or of the object if nobody owns it and it is ours."""
    for group_version, plural in _OBJECTS if is_name(name) else ():
        path = f"/apis/{group_version}/namespaces/{namespace}/{plural}/{name}"
        try:
            found = await client.get(path)
        except NotFoundError:
            continue
        owners = found["metadata"].get("ownerReferences") or ()
        for owner in owners:
            if owner["kind"] in _KINDS:
                return workload_path(_KINDS[owner["kind"]], namespace, owner["name"])
        template = ((found.get("spec") or {}).get("template") or {}).get("spec") or {}
        if not owners and template.get("schedulerName") == SCHEDULER_NAME:
            return path
    return None


def _job_of(workload: Json) -> str:
    return str(((workload.get("status") or {}).get("job") or {}).get("name") or "")


def _path(workload: Json) -> str:
    metadata = workload["metadata"]
    return workload_path(_KINDS[workload["kind"]], metadata["namespace"], metadata["name"])


def _missing(name: str, place: Place) -> str:
    return (
        f"Job {name} does not exist in project {place.project}. If the job exists in a different project, use -p "
        "<project-name>."
    )
