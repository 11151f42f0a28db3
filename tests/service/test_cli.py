"""`runai` with the service behind it, on the embedded cluster: the seed's session, "Submitting Workloads"."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from extender.app import Service
from extender.cli.researcher import cli
from extender.emulator.cluster import EmbeddedCluster
from extender.settings import Settings

Json = dict[str, Any]

PROJECT = """
apiVersion: run.ai/v1
kind: Project
metadata: {name: team-a}
spec: {deservedGpus: 4}
"""
TEMPLATE = """
apiVersion: run.ai/v1alpha1
kind: InteractiveWorkload
metadata: {name: team-a-jupyter-defaults, namespace: runai-team-a}
spec:
  usage: Template
  jupyter: {value: true}
  image: {value: jupyter/scipy-notebook}
"""


@asynccontextmanager
async def served() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(nodes=1, gpus_per_node=4) as cluster:
        service = Service(
            Settings(
                kubeconfig=str(cluster.kubeconfig),
                extender_address="127.0.0.1:0",
                admission_address="127.0.0.1:0",
                metrics_address="127.0.0.1:0",
                lease="",
                workloads_lease="",
            )
        )
        await cluster.install_webhooks(lambda: service.admission_url)
        await service.start()
        try:
            await service.wait_ready(20)
            cluster.start_scheduler(service.extender_url)
            yield cluster
        finally:
            await service.stop()


async def typed(*words: str, exit_code: int = 0) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, cli, list(words))
    assert result.exit_code == exit_code, result.output
    return result.stdout


async def until(words: list[str], claim: str, within_s: float = 20.0) -> str:
    """What the command prints once it says so."""
    text = ""
    try:
        async with asyncio.timeout(within_s):
            while claim not in (text := await typed(*words)):
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"after {within_s} s it still says:\n{text}")
    return text


async def test_a_job_from_its_submission_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        await cluster.apply([yaml.safe_load(PROJECT)])
        await cluster.apply([yaml.safe_load(TEMPLATE)])  # waits for the project's namespace
        await typed("config", "project", "team-a")
        submitted = await typed("submit", "jupyter-0", "-i", "ubuntu", "--command", "--", "sleep", "60")
        assert submitted.startswith("The job 'jupyter-0' has been submitted successfully\n")
        # As "Submitting Workloads" has it: the name is numbered on, and the template's values fill in what is missing.
        based = ["--interactive", "--workload", "team-a-jupyter-defaults", "--job-name-prefix", "jupyter", "-g", "1"]
        assert await typed("submit", *based) == (
            "The job 'jupyter-1' has been submitted successfully\n"
            "You can run `runai describe job jupyter-1 -p team-a` to check the job status\n"
        )
        text = await until(["describe", "job", "jupyter-1"], "STATUS: Running\n")
        assert "TYPE: Interactive\n" in text
        assert "CREATED BY CLI: true\n" in text
        assert re.search(r"\njupyter-1-0-0  RUNNING  INTERACTIVE  \d+s +node-\d/[0-9.]+\n", text), text
        listed = await typed("list", "workloads", "--interactive")
        name = next(line.split()[0] for line in listed.splitlines() if line.startswith("jupyter-1-"))
        text = await typed("describe", name, "--interactive", "--origins")
        assert re.search(r"\nimage +jupyter/scipy-notebook +base\n", text), text
        assert "Base workload:  runai-team-a/team-a-jupyter-defaults\n" in text
        assert re.search(r"\nRunaiJob +run.ai/v1 +runai-team-a +jupyter-1\n", text), text

        await typed("submit", "jupyter-0", "-i", "ubuntu", exit_code=1)
        assert await typed("delete", "jupyter-0", "jupyter-1") == (
            "Job jupyter-0 deleted successfully.\nJob jupyter-1 deleted successfully.\n"
        )
        async with asyncio.timeout(15):
            while (await cluster.client.list("/apis/run.ai/v1/namespaces/runai-team-a/runaijobs"))[0]:
                await asyncio.sleep(0.05)
