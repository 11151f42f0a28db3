"""`runai` against the embedded cluster: the API server answers, nobody acts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from extender.cli.researcher import cli
from extender.emulator.cluster import EmbeddedCluster
from extender.model.workload import WorkloadKind
from extender.wire.resources import crd
from extender.wire.workloads import STORED, workload

Json = dict[str, Any]


def namespace(name: str, project: str | None = None) -> Json:
    labels = {"runai/queue": project} if project else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def made(kind: WorkloadKind, name: str, where: str = "runai-team-a", **spec: Any) -> Json:
    return {
        "apiVersion": f"run.ai/{STORED}",
        "kind": kind.workload,
        "metadata": {"name": name, "namespace": where},
        "spec": spec,
    }


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(nodes=0) as one:
        await one.apply(crd(workload(kind, STORED)) for kind in WorkloadKind)
        await one.apply([namespace("runai-team-a", "team-a"), namespace("odd", "team-odd"), namespace("other")])
        yield one


class Terminal:
    """Types commands; `out` and `err` are what the last one printed."""

    def __init__(self, cluster: EmbeddedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self._kubeconfig = cluster.kubeconfig
        monkeypatch.setenv("KUBECONFIG", str(self._kubeconfig))

    def set_namespace(self, name: str | None) -> None:
        found = yaml.safe_load(self._kubeconfig.read_text())
        context = found["contexts"][0]["context"]
        context.pop("namespace", None)
        if name is not None:
            context["namespace"] = name
        self._kubeconfig.write_text(yaml.safe_dump(found))

    async def type(self, *words: str) -> int:
        result = await asyncio.to_thread(CliRunner().invoke, cli, list(words))
        self.out, self.err = result.stdout, result.stderr
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code


@pytest.fixture
def terminal(cluster: EmbeddedCluster, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(cluster, monkeypatch)


async def test_workloads_are_listed_and_described(cluster: EmbeddedCluster, terminal: Terminal) -> None:
    interactive = WorkloadKind.INTERACTIVE
    await cluster.apply(
        [
            made(interactive, "notebook", gpu={"value": "1"}, namePrefix={"value": "jupyter"}),
            made(interactive, "all-jobs", "runai", usage="Template", image={"value": "ubuntu"}),
            made(interactive, "no-template", "runai", image={"value": "ubuntu"}),
            made(WorkloadKind.TRAINING, "train", image={"value": "ubuntu"}),
        ]
    )
    table = (
        "WORKLOAD    USAGE     PROJECT/GLOBAL\n"
        "notebook    Submit    team-a\n"
        "all-jobs    Template  (global)\n"
    )  # fmt: skip
    assert await terminal.type("list", "workloads", "--interactive", "--project", "team-a") == 0
    assert terminal.out == table
    terminal.set_namespace("runai-team-a")
    assert await terminal.type("list", "workload", "--interactive") == 0
    assert terminal.out == table
    assert await terminal.type("list", "workloads") == 0
    assert terminal.out == "WORKLOAD    USAGE   PROJECT/GLOBAL\ntrain       Submit  team-a\n"

    text = (
        "──────◆  notebook  ◆──────\n\nProject:     team-a\ngpu:         1\nnamePrefix:  jupyter\n\nStatus:  Pending\n"
    )
    for words in (
        ["describe", "--interactive", "notebook"],
        ["describe", "notebook", "--interactive"],
        ["describe", "workload", "notebook", "--interactive"],
        ["describe", "workload", "--interactive", "notebook", "-p", "team-a"],
    ):
        assert await terminal.type(*words) == 0
        assert terminal.out == text
    assert await terminal.type("describe", "--interactive", "all-jobs") == 0
    assert terminal.out == "──────◆  all-jobs  ◆──────\n\nProject:  (global)\nimage:    ubuntu\n"
    assert await terminal.type("describe", "train", "-o", "json") == 0
    assert json.loads(terminal.out)["spec"] == {"image": {"value": "ubuntu"}}
    assert await terminal.type("describe", "train", "-o", "yaml") == 0
    assert yaml.safe_load(terminal.out)["spec"] == {"image": {"value": "ubuntu"}}


async def test_a_workload_that_is_not_there(cluster: EmbeddedCluster, terminal: Terminal) -> None:
    await cluster.apply([made(WorkloadKind.INTERACTIVE, "notebook"), made(WorkloadKind.INTERACTIVE, "mine", "runai")])
    assert await terminal.type("describe", "notebook", "-p", "team-a") == 1
    assert terminal.err == (
        "runai: the TrainingWorkload notebook does not exist in project team-a, but the InteractiveWorkload notebook "
        "does: ask for it by --interactive\n"
    )
    # A submission in the namespace of the templates is nobody's base.
    assert await terminal.type("describe", "mine", "--interactive", "-p", "team-a") == 1
    assert terminal.err == (
        "runai: the InteractiveWorkload mine does not exist in project team-a. If it exists in a different project, "
        "use -p <project-name>\n"
    )
    assert await terminal.type("describe", "x", "--interactive", "--inference", "-p", "team-a") == 1
    assert terminal.err == "runai: The flags --inference and --interactive cannot be used together\n"


async def test_the_project_is_given_or_that_of_the_context(terminal: Terminal) -> None:
    terminal.set_namespace(None)
    assert await terminal.type("list", "workloads") == 1
    assert terminal.err == "runai: Define a project by --project flag, alternatively set a project as default\n"
    assert await terminal.type("list", "workloads", "-p", "nobody") == 1
    assert terminal.err == "runai: project nobody not found\n"
    assert await terminal.type("list", "workloads", "-p", "a,b") == 1
    assert terminal.err == "runai: project a,b not found\n"
    # A namespace is a project's by its label, whatever it is called.
    assert await terminal.type("list", "workloads", "-p", "team-odd") == 0
    terminal.set_namespace("odd")
    assert await terminal.type("list", "workloads") == 0
    terminal.set_namespace("other")
    assert await terminal.type("list", "workloads") == 1
    assert terminal.err == "runai: Define a project by --project flag, alternatively set a project as default\n"
