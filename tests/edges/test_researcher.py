"""`runai` against the embedded cluster: the API server answers, nobody acts."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from extender.cli.researcher import cli
from extender.cli.runai import submission
from extender.controllers.submissions import workload_path
from extender.emulator.cluster import EmbeddedCluster
from extender.errors import UnauthorizedError
from extender.model.workload import WorkloadKind
from extender.wire.workloads import STORED

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
        await one.apply([namespace("runai-team-a", "team-a"), namespace("odd", "team-odd"), namespace("other")])
        await one.apply([{"apiVersion": "run.ai/v1", "kind": "Project", "metadata": {"name": "team-a"}, "spec": {}}])
        yield one


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "_LOOK_EVERY_S", 0.02)


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


def submitted(job: str) -> Json:
    created = {"name": f"{job}-0-0", "status": "Running", "node": "n1/10.0.0.1"}
    return {
        "phase": "Submitted",
        "events": [
            {"time": "2026-01-01T00:00:00Z", "type": "Info", "message": "all the resources were created successfully"}
        ],
        "job": {
            "name": job,
            "namespace": "runai-team-a",
            "type": "Train",
            "status": "Running",
            "runningPods": 1,
            "pods": [created],
        },
    }


async def submitted_as(cluster: EmbeddedCluster, kind: WorkloadKind, name: str, job: str) -> None:
    await cluster.apply([made(kind, name, image={"value": "i"})])
    path = workload_path(kind, "runai-team-a", name)
    await cluster.client.patch(f"{path}/status", {"status": submitted(job)})


async def names_left(cluster: EmbeddedCluster, kind: WorkloadKind) -> list[str]:
    left, _ = await cluster.client.list(workload_path(kind, "runai-team-a"))
    return sorted(one["metadata"]["name"] for one in left)


async def test_a_job_is_found_by_its_name_and_goes_with_its_workload(
    cluster: EmbeddedCluster, terminal: Terminal
) -> None:
    terminal.set_namespace("runai-team-a")
    for kind, name, job in (
        (WorkloadKind.TRAINING, "first", "job-0"),
        (WorkloadKind.INTERACTIVE, "second", "job-1"),
        (WorkloadKind.TRAINING, "third", "job-2"),
        (WorkloadKind.TRAINING, "fourth", "job-3"),
    ):
        await submitted_as(cluster, kind, name, job)
    await cluster.apply([made(WorkloadKind.TRAINING, "template", usage="Template")])
    assert await terminal.type("describe", "job", "job-1") == 0
    assert re.sub(r"^\d+[smhdy] +", "AGE  ", terminal.out, flags=re.MULTILINE) == (
        "NAME: job-1\nNAMESPACE: runai-team-a\nTYPE: Train\nSTATUS: Running\nRUNNING PODS: 1\nPENDING PODS: 0\n"
        "CREATED BY CLI: false\nWORKLOAD: InteractiveWorkload second\n\n"
        "Pods:\nPOD        STATUS   TYPE   AGE  NODE\njob-1-0-0  RUNNING  TRAIN  N/A  n1/10.0.0.1\n\n"
        "Events: \n\nAGE   TYPE  MESSAGE\n---   ----  -------\nAGE  Info  all the resources were created successfully\n"
    )
    missing = (
        "Job zz does not exist in project team-a. If the job exists in a different project, use -p <project-name>.\n"
    )
    assert await terminal.type("describe", "job", "zz") == 1
    assert terminal.err == f"runai: {missing}"

    assert await terminal.type("delete", "job-0", "zz", "job-1") == 1
    assert terminal.out == "Job job-0 deleted successfully.\nJob job-1 deleted successfully.\n"
    assert terminal.err == missing
    assert await names_left(cluster, WorkloadKind.TRAINING) == ["fourth", "template", "third"]
    assert await names_left(cluster, WorkloadKind.INTERACTIVE) == []
    assert await terminal.type("delete", "job", "--all") == 0
    assert terminal.out == "Job job-2 deleted successfully.\nJob job-3 deleted successfully.\n"
    assert await names_left(cluster, WorkloadKind.TRAINING) == ["template"]
    assert await terminal.type("delete", "job") == 1
    assert terminal.err == "runai: give the names of the jobs, or --all\n"


def plain_job(name: str, scheduler: str, **metadata: Any) -> Json:
    template = {"restartPolicy": "Never", "schedulerName": scheduler, "containers": [{"name": "main", "image": "i"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "runai-team-a", **metadata},
        "spec": {"template": {"spec": template}},
    }


async def test_a_job_that_no_workload_speaks_of_is_deleted_if_it_is_ours(
    cluster: EmbeddedCluster, terminal: Terminal
) -> None:
    training = WorkloadKind.TRAINING
    await cluster.apply([made(training, "owner", image={"value": "i"})])
    owner = await cluster.client.get(workload_path(training, "runai-team-a", "owner"))
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }
    await cluster.apply(
        [
            plain_job("mine", "runai-scheduler"),
            plain_job("of-others", "default-scheduler"),
            plain_job("owned", "runai-scheduler", ownerReferences=[reference]),
        ]
    )
    assert await terminal.type("delete", "mine", "owned", "of-others", "-p", "team-a") == 1
    assert terminal.out == "Job mine deleted successfully.\nJob owned deleted successfully.\n"
    assert terminal.err.startswith("Job of-others does not exist in project team-a.")
    assert await names_left(cluster, training) == []


async def test_the_default_project_is_kept_in_the_kubeconfig(cluster: EmbeddedCluster, terminal: Terminal) -> None:
    cluster.kubeconfig.chmod(0o600)
    assert await terminal.type("config", "project", "team-odd") == 0
    assert terminal.out == "Project team-odd has been set as default project\n"
    assert yaml.safe_load(cluster.kubeconfig.read_text())["contexts"][0]["context"]["namespace"] == "odd"
    assert cluster.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert await terminal.type("list", "workloads") == 0
    assert await terminal.type("config", "project", "nobody") == 1
    assert terminal.err == "runai: project nobody not found\n"
    assert await terminal.type("config", "project", "team-a") == 0
    assert await terminal.type("list", "projects") == 0
    assert [line.split("  ")[0] for line in terminal.out.splitlines()] == ["PROJECT", "team-a (default)"]


TRAINING = WorkloadKind.TRAINING
STAMP = r"\d{4}-\d\d-\d\dt\d\d-\d\d-\d\d"


@asynccontextmanager
async def controlled(cluster: EmbeddedCluster, kind: WorkloadKind, status: Json) -> AsyncIterator[None]:
    """Somebody who writes this status to every workload that is submitted."""

    async def control() -> None:
        while True:
            for one in await names_left(cluster, kind):
                path = workload_path(kind, "runai-team-a", one)
                await cluster.client.patch(f"{path}/status", {"status": status})
            await asyncio.sleep(0.02)

    task = asyncio.create_task(control())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_job_is_submitted(cluster: EmbeddedCluster, terminal: Terminal) -> None:
    terminal.set_namespace("runai-team-a")
    async with controlled(cluster, TRAINING, submitted("job-0")):
        words = ["submit", "-i", "ubuntu", "-g", "1", "-e", "URL=http://h/?a=b", "--", "-x", "a b"]
        assert await terminal.type(*words) == 0
    assert terminal.out == (
        "The job 'job-0' has been submitted successfully\n"
        "You can run `runai describe job job-0 -p team-a` to check the job status\n"
    )
    [name] = await names_left(cluster, TRAINING)
    assert re.fullmatch(f"job-0-{STAMP}", name)
    made = await cluster.client.get(workload_path(TRAINING, "runai-team-a", name))
    assert made["metadata"]["labels"] == {"PreviousJob": "true"}
    assert made["spec"] == {
        "image": {"value": "ubuntu"},
        "gpu": {"value": "1"},
        "environment": {"items": {"URL": {"value": "http://h/?a=b"}}},
        "arguments": {"value": "-x 'a b'"},
    }


async def test_a_request_that_nobody_has_answered_is_said_to_be_one(
    cluster: EmbeddedCluster, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "_WAIT_S", 0.05)
    await submitted_as(cluster, WorkloadKind.INTERACTIVE, "first", "hpo-0")
    assert await terminal.type("submit", "-i", "ubuntu", "--job-name-prefix", "hpo", "-p", "team-a") == 0
    assert re.fullmatch(
        "A request to submit job hpo-1 has been created\\.\n"
        "You can check the status of the request by running: "
        f"runai describe workload hpo-1-{STAMP} -p team-a\n",
        terminal.out,
    )


async def test_a_failed_submission_says_why(cluster: EmbeddedCluster, terminal: Terminal) -> None:
    message = "the job train-1 already exists, please delete it first (use 'runai delete train-1')"
    events = [
        {"time": "2026-01-01T00:00:00Z", "type": "Warning", "message": "never mind"},
        {"time": "2026-01-01T00:00:00Z", "type": "Error", "message": message},
    ]
    async with controlled(cluster, WorkloadKind.INTERACTIVE, {"phase": "Failed", "events": events}):
        assert await terminal.type("submit", "train-1", "--jupyter", "-p", "team-a") == 1
    assert (terminal.out, terminal.err) == ("", f"runai: {message}\n")


async def test_two_in_one_second_have_names_of_their_own(
    cluster: EmbeddedCluster, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "_WAIT_S", 0.0)
    monkeypatch.setattr(submission, "_now", lambda: "2022-05-02T08:50:57Z")
    for _ in range(3):
        assert await terminal.type("submit", "job-0", "-i", "ubuntu", "-p", "team-a") == 0
    assert await names_left(cluster, TRAINING) == [
        "job-0-2022-05-02t08-50-57",
        "job-0-2022-05-02t08-50-57-2",
        "job-0-2022-05-02t08-50-57-3",
    ]


POLICY = {
    "apiVersion": f"run.ai/{STORED}",
    "kind": "InteractivePolicy",
    "metadata": {"name": "p", "namespace": "runai-team-a"},
    "spec": {"gpu": {"rules": {"max": "4"}}, "nodeType": {"value": "v100"}},
}


async def test_what_a_submission_would_be(
    cluster: EmbeddedCluster, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "_now", lambda: "2022-05-02T08:50:57Z")
    interactive = WorkloadKind.INTERACTIVE
    await cluster.apply([POLICY, made(interactive, "defaults", usage="Template", image={"value": "ubuntu"})])
    line = "submit build1 -g 1 --interactive --workload defaults --port 30022:22 --command --dry-run -p team-a --"
    assert await terminal.type(*line.split(), "sleep", "infinity") == 0
    assert yaml.safe_load(terminal.out) == {
        "apiVersion": "run.ai/v2alpha1",
        "kind": "InteractiveWorkload",
        "metadata": {
            "name": "build1-2022-05-02t08-50-57",
            "namespace": "runai-team-a",
            "labels": {"PreviousJob": "true"},
        },
        "spec": {
            "baseWorkload": "defaults",
            "name": {"value": "build1"},
            "gpu": {"value": "1"},
            "ports": {"items": {"port22": {"value": {"container": 22, "external": 30022}}}},
            "command": {"value": "sleep infinity"},
        },
    }
    assert terminal.out.endswith(
        "# Base workload:  runai-team-a/defaults\n"
        "# Policy:         runai-team-a/p\n"
        "#\n"
        "# PARAMETER     VALUE           ORIGIN\n"
        "# ---------     -----           ------\n"
        "# command       sleep infinity  workload\n"
        "# gpu           1               workload\n"
        "# image         ubuntu          base\n"
        "# name          build1          workload\n"
        "# nodeType      v100            policy\n"
        "# ports.port22  22:30022        workload\n"
    )
    assert await names_left(cluster, interactive) == ["defaults"]


async def test_what_the_policy_refuses_is_not_created(cluster: EmbeddedCluster, terminal: Terminal) -> None:
    await cluster.apply([POLICY])
    for more in ((), ("--dry-run",)):
        assert await terminal.type("submit", "-i", "ubuntu", "--gpu", "5", "--interactive", "-p", "team-a", *more) == 1
        assert terminal.err == "gpu: must be no greater than 4\n"
    assert await terminal.type("submit", "-p", "team-a", "--gpu", "1") == 1
    assert terminal.err == "image: cannot be blank\n"
    assert await terminal.type("submit", "-p", "team-a", "-i", "i", "A_b") == 1
    assert "Job names must consist of lower case alphanumeric characters" in terminal.err
    assert await terminal.type("submit", "-p", "team-a", "-i", "i", "-e", "A") == 1
    assert terminal.err == 'runai: environment: must be NAME=VALUE, not "A"\n'
    assert await terminal.type("submit", "-i", "i") == 1
    assert terminal.err == "runai: Define a project by --project flag, alternatively set a project as default\n"
    assert await names_left(cluster, TRAINING) == await names_left(cluster, WorkloadKind.INTERACTIVE) == []


async def test_what_we_may_not_read_is_left_to_the_api_server(
    cluster: EmbeddedCluster, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forbidden(*_: object) -> None:
        raise UnauthorizedError("GET /…/trainingpolicies: 403 forbidden", status=403)

    monkeypatch.setattr(submission, "read_sources", forbidden)
    monkeypatch.setattr(submission, "_WAIT_S", 0.0)
    # No image: the base, which we cannot see, may have one.
    assert await terminal.type("submit", "train-1", "--template", "unseen", "-p", "team-a") == 0
    assert terminal.err.startswith("Warning: only the API server checks the values: ")
    [name] = await names_left(cluster, TRAINING)
    assert re.fullmatch(f"train-1-{STAMP}", name)


async def test_what_can_be_no_name_becomes_no_path(cluster: EmbeddedCluster, terminal: Terminal) -> None:
    for name in ("..", "a/b", "", "A"):
        assert await terminal.type("describe", "workload", name, "-p", "team-a") == 1
        assert terminal.err == f"runai: {name!r} is no name of a workload\n"
        assert await terminal.type("delete", "job", name, "-p", "team-a") == 1
        assert terminal.err.startswith(f"Job {name} does not exist in project team-a.")


@pytest.mark.parametrize(
    ("words", "job_type"),
    [
        (["submit-dist", "pytorch", "--max-replicas", "3"], "PyTorch"),
        (["submit-dist", "mpi", "--slots-per-worker", "2"], "MPI"),
        (["submit-mpi", "--processes", "3"], "MPI"),
        (["submit-dist", "tf"], "TF"),
        (["submit-dist", "xgboost"], "XGBoost"),
    ],
)
async def test_a_distributed_job_has_the_type_of_its_command(
    cluster: EmbeddedCluster, terminal: Terminal, words: list[str], job_type: str
) -> None:
    assert await terminal.type(*words, "-i", "ubuntu", "-p", "team-a", "--dry-run", "--", "x") == 0
    found = yaml.safe_load(terminal.out)
    assert (found["kind"], found["spec"]["jobType"]) == ("DistributedWorkload", job_type)
    assert await terminal.type("submit-dist", "mpi", "--max-replicas", "3") == 2
    assert "No such option" in terminal.err
