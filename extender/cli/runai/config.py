"""`runai config project`: the project that is meant when none is named; the namespace of the kubeconfig's context."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from extender.cli.runai.session import KubeconfigOption, connect, find_place, kubeconfig_path, run
from extender.errors import ConfigError

Json = dict[str, Any]


def config_project(
    project: Annotated[str, typer.Argument(help="The name of the project.")], kubeconfig: KubeconfigOption = None
) -> None:
    """Set the default project."""

    async def kept() -> None:
        async with await connect(kubeconfig) as client:
            place = await find_place(client, project, kubeconfig)
        set_namespace(kubeconfig_path(kubeconfig), place.namespace)

    run(kept())
    typer.echo(f"Project {project} has been set as default project")


def set_namespace(paths: str | None, namespace: str) -> None:
    """Write the namespace into the current context, in the file that has it.

    paths: a file, or several as in $KUBECONFIG, of which the first to say something counts. The file is replaced as a
    whole, so that nobody reads half of it. Raises ConfigError when there is no such context.
    """
    files = [Path(one) for one in (paths or "").split(os.pathsep) if one and Path(one).is_file()]
    configs = [(file.resolve(), yaml.safe_load(file.read_text(encoding="utf-8")) or {}) for file in files]
    current = next((one["current-context"] for _, one in configs if one.get("current-context")), None)
    for file, config in configs:
        for entry in config.get("contexts") or ():
            if entry.get("name") == current:
                entry["context"] = {**(entry.get("context") or {}), "namespace": namespace}
                _replace(file, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
                return
    raise ConfigError(f"kubeconfig {paths!r} has no current context to keep the default project in")


def _replace(file: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as new:
        new.write(text)
    Path(name).chmod(file.stat().st_mode)
    Path(name).replace(file)
