"""What a scenario needs of a cluster, whichever it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from extender.emulator.kubelet import FakeKubelets
from extender.errors import ApiError, NotFoundError
from extender.kube.client import KubeClient
from extender.model import names

Json = dict[str, Any]

_OWNERS = (
    "apis/run.ai/v1/runaijobs",
    "apis/batch/v1/jobs",
    "apis/apps/v1/statefulsets",
    "apis/apps/v1/deployments",
    "apis/apps/v1/replicasets",
)
_GROUPS = f"apis/{names.POD_GROUP_GROUP}/v1alpha1/podgroups"
_KUBECTL_S = 60.0
_EMPTY_S = 60.0


def kubectl_path() -> Path | None:
    """kubectl beside the control plane's executables, else the one on PATH."""
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS") or "/usr/local/kubebuilder/bin")
    if os.access(assets / "kubectl", os.X_OK):
        return assets / "kubectl"
    found = shutil.which("kubectl")
    return Path(found) if found else None


async def pods_of_users(client: KubeClient) -> list[Json]:
    """All pods but those of the system."""
    listed, _ = await client.list("/api/v1/pods")
    return [pod for pod in listed if pod["metadata"]["namespace"] not in names.OWN_NAMESPACES]


class Cluster(ABC):
    """An API server with our CRDs and priority classes, workload controllers and kubelets; no nodes at first.

    abilities: what scenarios may ask for beyond that (`needs:`): `pause_api`, `faults`, `kube_scheduler`.
    """

    kubeconfig: Path
    client: KubeClient
    kubelets: FakeKubelets
    directory: Path  # for logs and files of this run
    abilities: frozenset[str] = frozenset()

    @abstractmethod
    async def start_scheduler(self, extender_url: str) -> None:
        """Start kube-scheduler with the configuration that `deploy/` ships, its extender at `extender_url`."""

    @abstractmethod
    async def stop_scheduler(self) -> None:
        """Stop kube-scheduler, if it runs."""

    async def pause_api(self, seconds: float) -> None:
        """The API server does nothing for that long, its connections stay open."""
        raise NotImplementedError

    def fault(self, method: str, arguments: Json) -> None:
        """Script a fault of the API server: a method of `extender.emulator.faults.Faults`."""
        raise NotImplementedError

    async def apply(self, text: str, *, namespace: str = "default") -> None:
        """`kubectl apply -f -` with its default, strict validation. Raises AssertionError with kubectl's words."""
        kubectl = kubectl_path()
        assert kubectl is not None, "kubectl is missing"
        file = self.directory / f"apply-{time.monotonic_ns()}.yaml"
        file.write_text(text)
        child = await asyncio.create_subprocess_exec(
            str(kubectl),
            f"--kubeconfig={self.kubeconfig}",
            f"--cache-dir={self.directory / 'kubectl-cache'}",
            f"--namespace={namespace}",
            "apply",
            "-f",
            str(file),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(child.communicate(), _KUBECTL_S)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        assert child.returncode == 0, f"kubectl apply failed:\n{output.decode()}\n{text}"

    async def clear(self) -> None:
        """Take away what a scenario left: workloads, groups, pods, projects, departments, nodes."""
        for collection in (*_OWNERS, _GROUPS):
            await self._delete_all(collection)
        deadline = time.monotonic() + _EMPTY_S
        while pods := (await self.client.list("/api/v1/pods"))[0]:
            assert time.monotonic() < deadline, f"{len(pods)} pods do not go away"
            await self._delete_all("api/v1/pods")
            for metadata in [pod["metadata"] for pod in pods if pod["metadata"].get("finalizers")]:
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
                with contextlib.suppress(NotFoundError):
                    await self.client.patch(path, {"metadata": {"finalizers": None}})
            await asyncio.sleep(0.1)
        for kind in ("projects", "departments"):
            await self._delete_all(f"apis/{names.RUN_AI_GROUP}/v1/{kind}")
        await self._delete_all("api/v1/nodes")

    async def _delete_all(self, collection: str) -> None:
        prefix, _, kind = collection.rpartition("/")
        try:
            items, _ = await self.client.list(f"/{collection}")
        except NotFoundError:
            return  # an API that this cluster does not have
        limit = asyncio.Semaphore(16)

        async def delete(item: Json) -> None:
            name, namespace = item["metadata"]["name"], item["metadata"].get("namespace")
            place = f"namespaces/{namespace}/" if namespace else ""
            grace = {"gracePeriodSeconds": 0} if kind == "pods" else {}
            async with limit:
                try:
                    await self.client.delete(
                        f"/{prefix}/{place}{kind}/{name}", options={"propagationPolicy": "Background", **grace}
                    )
                except NotFoundError:
                    pass
                except ApiError as error:
                    if error.status != 409:
                        raise

        async with asyncio.TaskGroup() as tasks:
            for item in items:
                tasks.create_task(delete(item))
