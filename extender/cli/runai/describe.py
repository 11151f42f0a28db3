"""`runai describe workload NAME`, and the short form `runai describe NAME`."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from extender.cli.runai.description import describe
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
from extender.cli.runai.workloads import GLOBAL, find_workload
from extender.controllers.submissions import workload_path
from extender.errors import MalformedError
from extender.kube.client import KubeClient
from extender.model.workload import WorkloadKind
from extender.wire.workloads import STORED, VERSIONS
from extender.wire.workloads.status import WorkloadStatus

Json = dict[str, Any]

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Version(StrEnum):
    V1ALPHA1 = "v1alpha1"
    V2ALPHA1 = "v2alpha1"


class Output(StrEnum):
    JSON = "json"
    YAML = "yaml"


def describe_workload(
    name: Annotated[str, typer.Argument(help="The name of the workload resource.")],
    interactive: InteractiveOption = False,
    inference: InferenceOption = False,
    distributed: DistributedOption = False,
    deployment: DeploymentOption = False,
    project: ProjectOption = None,
    origins: Annotated[
        bool, typer.Option("--origins", help="Show every resolved value, too, and whose it is: workload, base, policy.")
    ] = False,
    output: Annotated[Output | None, typer.Option("--output", "-o", help="Print the resource itself.")] = None,
    api_version: Annotated[
        Version | None, typer.Option(help="Whose spelling to show; else that of the version it was written in.")
    ] = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show the values of a workload resource as they were written, and what became of the submission."""

    async def described() -> str:
        kind = kind_of(interactive=interactive, inference=inference, distributed=distributed, deployment=deployment)
        async with await connect(kubeconfig) as client:
            place = await find_place(client, project, kubeconfig)
            namespace, workload = await _read(client, kind, place, name, api_version)
        if output is not None:
            return _whole(workload, output)
        belongs_to = place.project if namespace == place.namespace else GLOBAL
        return describe(belongs_to, workload, parse_status(workload), time.time(), origins=origins)

    typer.echo(run(described()), nl=False)


def written_version(workload: Json) -> str:
    """The API version of the last who wrote the spec, of those that are served; the stored one when nobody knows.

    The API server keeps an object in one version only. What its author wrote is on record beside it: in
    `managedFields`, or in what `kubectl apply` noted.
    """
    metadata = workload["metadata"]
    writers = [one for one in metadata.get("managedFields") or () if "f:spec" in (one.get("fieldsV1") or {})]
    if writers:
        group_version = max(writers, key=lambda one: str(one.get("time", ""))).get("apiVersion")
    else:
        noted = (metadata.get("annotations") or {}).get(_LAST_APPLIED, "{}")
        try:
            group_version = json.loads(noted).get("apiVersion")
        except (ValueError, AttributeError):
            group_version = None
    version = str(group_version).rpartition("/")[2]
    return version if version in VERSIONS else STORED


def parse_status(workload: Json) -> WorkloadStatus:
    """Raises MalformedError."""
    try:
        return WorkloadStatus.model_validate(workload.get("status") or {})
    except ValidationError as error:
        name = workload["metadata"]["name"]
        raise MalformedError(f"the status of {name} cannot be read: {error.errors()[0]['msg']}") from error


async def _read(
    client: KubeClient, kind: WorkloadKind, place: Place, name: str, version: str | None
) -> tuple[str, Json]:
    namespace, workload = await find_workload(client, kind, place, name)
    wanted = version or written_version(workload)
    if wanted != STORED:
        workload = await client.get(workload_path(kind, namespace, name, version=wanted))
    return namespace, workload


def _whole(workload: Json, output: Output) -> str:
    """As kubectl prints it: the books of the API server left out."""
    metadata = {key: value for key, value in workload["metadata"].items() if key != "managedFields"}
    shown = {**workload, "metadata": metadata}
    if output is Output.YAML:
        return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
    return json.dumps(shown, indent=4, ensure_ascii=False) + "\n"
