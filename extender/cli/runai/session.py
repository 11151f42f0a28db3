"""What every command starts with: a connection, the project it works in, and one way to end with an error.

The default project is the one whose namespace the kubeconfig's current context names. A namespace belongs to the
project of its label `runai/queue`.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from extender.errors import ConfigError, NotFoundError, RunaiError, UnauthorizedError
from extender.kube.client import KubeClient
from extender.model.names import NAMESPACE_PREFIX, QUEUE_LABEL, project_namespace
from extender.model.workload import WorkloadKind

KubeconfigOption = Annotated[
    str | None, typer.Option("--kubeconfig", help="Else $KUBECONFIG, else ~/.kube/config, else the in-cluster account.")
]
ProjectOption = Annotated[
    str | None, typer.Option("--project", "-p", help="The project; else the one of the kubeconfig's context.")
]
InteractiveOption = Annotated[bool, typer.Option("--interactive", help="An InteractiveWorkload.")]
InferenceOption = Annotated[bool, typer.Option("--inference", help="An InferenceWorkload.")]
DistributedOption = Annotated[bool, typer.Option("--distributed", help="A DistributedWorkload.")]
DeploymentOption = Annotated[bool, typer.Option("--deployment", help="A DeploymentWorkload.")]

NO_PROJECT = "Define a project by --project flag, alternatively set a project as default"

_PROJECT = re.compile(r"[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?", re.ASCII)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """A project and its namespace."""

    project: str
    namespace: str


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Do the work of a command; when it cannot be done, say why and exit with 1."""
    try:
        return asyncio.run(work)
    except (RunaiError, OSError) as error:
        fail(str(error), error)


def fail(sentence: str, cause: BaseException | None = None) -> NoReturn:
    typer.echo(f"runai: {sentence}", err=True)
    raise typer.Exit(1) from cause


def kind_of(*, interactive: bool, inference: bool, distributed: bool = False, deployment: bool = False) -> WorkloadKind:
    """The kind that is asked for; training when none is. Raises ConfigError when it is more than one."""
    asked = {
        WorkloadKind.INTERACTIVE: interactive,
        WorkloadKind.INFERENCE: inference,
        WorkloadKind.DISTRIBUTED: distributed,
        WorkloadKind.DEPLOYMENT: deployment,
    }
    kinds = [kind for kind, is_asked in asked.items() if is_asked]
    if len(kinds) > 1:
        first, second = sorted(f"--{kind.lower()}" for kind in kinds)[:2]
        raise ConfigError(f"The flags {first} and {second} cannot be used together")
    return kinds[0] if kinds else WorkloadKind.TRAINING


async def connect(kubeconfig: str | None) -> KubeClient:
    return await KubeClient.connect(kubeconfig_path(kubeconfig))


def kubeconfig_path(given: str | None) -> str | None:
    """The file or, from the environment, the files to read; None when there are none. As kubectl finds them."""
    if given or os.environ.get("KUBECONFIG"):
        return given or os.environ["KUBECONFIG"]
    usual = Path.home() / ".kube" / "config"
    return str(usual) if usual.is_file() else None


async def find_place(client: KubeClient, project: str | None, kubeconfig: str | None) -> Place:
    """Where a command works. Raises ConfigError when no project is given or set, NotFoundError when it is unknown."""
    if project is not None:
        return await _of_project(client, project)
    namespace = context_namespace(kubeconfig)
    if namespace is None:
        raise ConfigError(NO_PROJECT)
    return Place(await _of_namespace(client, namespace), namespace)


def context_namespace(kubeconfig: str | None) -> str | None:
    """The namespace of the current context, None when it has none."""
    from kubernetes_asyncio import config

    path = kubeconfig_path(kubeconfig)
    if path is None:
        return None
    try:
        _, active = config.list_kube_config_contexts(config_file=path)
    except (config.ConfigException, OSError) as error:
        raise ConfigError(f"no usable context in kubeconfig {path!r}: {error}") from error
    return ((active or {}).get("context") or {}).get("namespace") or None


async def _of_project(client: KubeClient, project: str) -> Place:
    unknown = NotFoundError(f"project {project} not found", status=404)
    if not _PROJECT.fullmatch(project):
        raise unknown
    usual = project_namespace(project)
    try:
        found, _ = await client.list("/api/v1/namespaces", params={"labelSelector": f"{QUEUE_LABEL}={project}"})
    except UnauthorizedError:
        # Researchers need not be allowed to look at namespaces.
        return Place(project, usual)
    names = sorted(one["metadata"]["name"] for one in found)
    if not names:
        raise unknown
    return Place(project, usual if usual in names else names[0])


async def _of_namespace(client: KubeClient, namespace: str) -> str:
    try:
        found = await client.get(f"/api/v1/namespaces/{namespace}")
    except (UnauthorizedError, NotFoundError):
        found = {"metadata": {}}
    labelled = (found["metadata"].get("labels") or {}).get(QUEUE_LABEL)
    if labelled:
        return str(labelled)
    if namespace.startswith(NAMESPACE_PREFIX):
        return namespace.removeprefix(NAMESPACE_PREFIX)
    raise ConfigError(NO_PROJECT)
