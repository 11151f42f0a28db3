"""Workload resources as the API server has them, and `runai list workloads`."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import typer

from extender.cli.runai.output import table
from extender.cli.runai.session import (
    DeploymentOption,
    DistributedOption,
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
from extender.controllers.submissions import workload_path
from extender.errors import ConfigError, NotFoundError, UnauthorizedError
from extender.kube.client import KubeClient
from extender.model.names import SYSTEM_NAMESPACE
from extender.model.workload import WorkloadKind
from extender.workloads.submission import TEMPLATE, usage

Json = dict[str, Any]

GLOBAL = "(global)"
_COLUMNS = ("WORKLOAD", "USAGE", "PROJECT/GLOBAL")
_FIRST_GAP = 4
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?", re.ASCII)


def list_workloads(
    interactive: InteractiveOption = False,
    inference: InferenceOption = False,
    distributed: DistributedOption = False,
    deployment: DeploymentOption = False,
    project: ProjectOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """List the workload resources of a project, and the templates of all projects; of training unless a flag says."""

    async def listed() -> str:
        kind = kind_of(interactive=interactive, inference=inference, distributed=distributed, deployment=deployment)
        async with await connect(kubeconfig) as client:
            place = await find_place(client, project, kubeconfig)
            own, _ = await client.list(workload_path(kind, place.namespace))
            return rendered(place, own, await _templates_of_all(client, kind))

    typer.echo(run(listed()), nl=False)


def rendered(place: Place, own: list[Json], templates: list[Json]) -> str:
    """The table: those of the project by name, then the templates of all projects by name."""
    rows = [*_rows(own, place.project), *_rows(templates, GLOBAL)]
    return table([_COLUMNS, *rows], first_gap=_FIRST_GAP)


def is_name(text: str) -> bool:
    """Whether the API server could have an object of this name: nothing else may become part of a path."""
    return _NAME.fullmatch(text) is not None


async def find_workload(client: KubeClient, kind: WorkloadKind, place: Place, name: str) -> tuple[str, Json]:
    """The namespace and the object: of the project, else a template of all projects, as a base workload is found.

    Raises NotFoundError, which names the kind that has it when another one does; ConfigError for what names none.
    """
    if not is_name(name):
        raise ConfigError(f"{name!r} is no name of a workload")
    for namespace in (place.namespace, SYSTEM_NAMESPACE):
        found = await _get(client, kind, namespace, name)
        if found is not None and (namespace == place.namespace or _usage(found) == TEMPLATE):
            return namespace, found
    sentence = f"the {kind.workload} {name} does not exist in project {place.project}"
    for other in WorkloadKind:
        if other is not kind and await _get(client, other, place.namespace, name) is not None:
            flag = "without a flag" if other is WorkloadKind.TRAINING else f"by --{other.lower()}"
            raise NotFoundError(f"{sentence}, but the {other.workload} {name} does: ask for it {flag}", status=404)
    raise NotFoundError(f"{sentence}. If it exists in a different project, use -p <project-name>", status=404)


async def every_workload(client: KubeClient, namespace: str) -> list[Json]:
    """The workloads of all kinds in a namespace, each with its kind."""
    listed = await asyncio.gather(*(_of_kind(client, kind, namespace) for kind in WorkloadKind))
    return [one for workloads in listed for one in workloads]


async def _of_kind(client: KubeClient, kind: WorkloadKind, namespace: str) -> list[Json]:
    try:
        found, _ = await client.list(workload_path(kind, namespace))
    except NotFoundError:
        return []  # the kind is not installed
    return [{**one, "kind": kind.workload} for one in found]


async def _get(client: KubeClient, kind: WorkloadKind, namespace: str, name: str) -> Json | None:
    try:
        return await client.get(workload_path(kind, namespace, name))
    except NotFoundError:
        return None
    except UnauthorizedError:
        if namespace != SYSTEM_NAMESPACE:
            raise
        return None  # who may not read the templates of all projects has none


async def _templates_of_all(client: KubeClient, kind: WorkloadKind) -> list[Json]:
    try:
        found, _ = await client.list(workload_path(kind, SYSTEM_NAMESPACE))
    except UnauthorizedError as error:
        typer.echo(f"runai: the templates of all projects are not listed: {error}", err=True)
        return []
    return [one for one in found if _usage(one) == TEMPLATE]


def _usage(workload: Json) -> str:
    return usage(workload.get("spec") or {})


def _rows(workloads: list[Json], belongs_to: str) -> list[tuple[str, ...]]:
    return sorted((one["metadata"]["name"], _usage(one), belongs_to) for one in workloads)
