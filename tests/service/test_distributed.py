"""A DistributedWorkload on a cluster without training operators: one gang, which ends with its master."""

from __future__ import annotations

from typing import Any

import pytest

from extender.emulator.cluster import EmbeddedCluster
from tests.service.test_workloads import PODS, project, serving, until

Json = dict[str, Any]

WORKLOADS = "/apis/run.ai/v2alpha1/namespaces/runai-team-a/distributedworkloads"
JOBS = {"RunaiJob": "/apis/run.ai/v1/namespaces/runai-team-a/runaijobs"}


def workload(job_type: str, **values: Any) -> Json:
    return {
        "apiVersion": "run.ai/v2alpha1",
        "kind": "DistributedWorkload",
        "metadata": {"name": "my-training", "namespace": "runai-team-a"},
        "spec": {"jobType": job_type, **{name: {"value": value} for name, value in values.items()}},
    }


@pytest.mark.parametrize("backend", list(JOBS))
async def test_master_and_workers_start_together_and_end_together(backend: str) -> None:
    async with (
        EmbeddedCluster(nodes=2, gpus_per_node=2) as cluster,
        serving(cluster, roles=("extender", "workloads"), workloads={"backend": backend}, workloads_lease=""),
    ):

        async def pods() -> dict[str, Json]:
            found, _ = await cluster.client.list(PODS)
            return {one["spec"]["hostname"]: one for one in found if not one["metadata"].get("deletionTimestamp")}

        async def running(names: set[str]) -> dict[str, Json] | None:
            found = await pods()
            states = {name: (one.get("status") or {}).get("phase") for name, one in found.items()}
            return found if states == dict.fromkeys(names, "Running") else None

        await cluster.apply([project(deservedGpus=4), workload("PyTorch", name="t", image="i", gpu="1", workers=3)])
        everybody = {"t-master", "t-worker-0", "t-worker-1", "t-worker-2"}
        found = await until(lambda: running(everybody))
        assert {one["metadata"]["annotations"]["pod-group-name"] for one in found.values()} == {"t"}

        master = found["t-master"]["metadata"]["name"]
        await cluster.client.patch(f"{PODS}/{master}/status", {"status": {"phase": "Succeeded"}})

        async def suspended() -> bool:
            jobs, _ = await cluster.client.list(JOBS[backend])
            workers = [one for one in jobs if one["metadata"]["name"] != "t"]
            return len(workers) == 3 and all(one["spec"].get("suspend") for one in workers)

        await until(suspended)
        await until(lambda: _only_the_master(pods))
        await until(lambda: _succeeded(cluster))


async def _only_the_master(pods: Any) -> bool:
    return set(await pods()) == {"t-master"}


async def _succeeded(cluster: EmbeddedCluster) -> bool:
    found = await cluster.client.get(f"{WORKLOADS}/my-training")
    job: Json = (found.get("status") or {}).get("job") or {}
    return job.get("status") == "Succeeded" and job.get("runningPods") == 0
