"""The real control plane as a scenario's cluster: its API server and kube-scheduler, our CRDs, fake kubelets."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any

import yaml

from extender.emulator.kubelet import FakeKubelets
from extender.errors import ApiError
from extender.kube.client import KubeClient
from tests.e2e.controlplane import ControlPlane
from tests.scenarios.cluster import Cluster
from tests.scenarios.process import free_port

BASE = Path(__file__).parents[2] / "deploy" / "base"

_ESTABLISHED_S = 30.0


class RealCluster(Cluster):
    """An async context manager; about five seconds to enter."""

    abilities = frozenset({"pause_api", "kube_scheduler"})

    def __init__(self) -> None:
        self.plane = ControlPlane()
        # kube-scheduler outlives a scenario; each scenario's extender listens where the one before did.
        self.extender_port = free_port()
        self._stack = contextlib.AsyncExitStack()
        self._kubelets: asyncio.Task[None] | None = None
        self._scheduler_for = ""

    async def __aenter__(self) -> RealCluster:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._kubelets is not None:
            self._kubelets.cancel()
            await asyncio.gather(self._kubelets, return_exceptions=True)
            self._kubelets = None
        await self._stack.aclose()

    async def start_scheduler(self, extender_url: str) -> None:
        if self._scheduler_for == extender_url:
            return
        await self.stop_scheduler()
        gates = shipped_feature_gates()
        await self.plane.start_scheduler(BASE / "kube-scheduler.yaml", extender_url=extender_url, feature_gates=gates)
        self._scheduler_for = extender_url

    async def stop_scheduler(self) -> None:
        self._scheduler_for = ""
        await self.plane.stop_scheduler()

    async def pause_api(self, seconds: float) -> None:
        with self.plane.paused("kube-apiserver"):
            await asyncio.sleep(seconds)

    async def clear(self) -> None:
        if self._kubelets is not None and self._kubelets.done():
            self._kubelets.result()  # raises what killed them
        await super().clear()

    async def _start(self) -> None:
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="e2e-")))
        await self._stack.enter_async_context(self.plane)
        self.kubeconfig = self.plane.kubeconfig
        self.client = await self._stack.enter_async_context(await KubeClient.connect(str(self.kubeconfig)))
        crds = sorted((BASE / "crds").glob("*.yaml"))
        files = [BASE / "namespace.yaml", *crds, BASE / "priority-classes.yaml"]
        await self._install("\n---\n".join(file.read_text() for file in files))
        await self._established()
        self.kubelets = FakeKubelets(self.client)
        self._kubelets = asyncio.create_task(self.kubelets.run(), name="kubelets")

    async def _install(self, text: str) -> None:
        """Apply, and again while the API server cannot serve yet what kubectl validates by: ready comes before that."""
        deadline = asyncio.get_running_loop().time() + _ESTABLISHED_S
        while True:
            try:
                await self.apply(text)
                return
            except AssertionError as error:
                early = "the server is currently unable to handle the request" in str(error)
                if not early or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(0.5)

    async def _established(self) -> None:
        deadline = asyncio.get_running_loop().time() + _ESTABLISHED_S
        for crd in sorted((BASE / "crds").glob("*.yaml")):
            spec: dict[str, Any] = yaml.safe_load(crd.read_text())["spec"]
            path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
            while True:
                try:
                    await self.client.list(path)
                    break
                except ApiError:
                    assert asyncio.get_running_loop().time() < deadline, f"{path} is not served"
                    await asyncio.sleep(0.1)


def shipped_feature_gates() -> dict[str, bool]:
    """The --feature-gates that `deploy/` starts kube-scheduler with."""
    for document in yaml.safe_load_all((BASE / "workload.yaml").read_text()):
        template = (document.get("spec") or {}).get("template") or {}
        for container in (template.get("spec") or {}).get("containers", ()):
            for argument in (*container.get("command", ()), *container.get("args", ())):
                name, _, value = argument.partition("=")
                if name == "--feature-gates":
                    pairs = (pair.split("=") for pair in value.split(","))
                    return {gate: text == "true" for gate, text in pairs}
    raise AssertionError(f"{BASE / 'workload.yaml'} starts kube-scheduler without --feature-gates")


async def kubeconfig_of(cluster: RealCluster, account: str) -> Path:
    """A kubeconfig of a ServiceAccount in namespace runai."""
    path = f"/api/v1/namespaces/runai/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = (await cluster.client.create(path, request))["status"]["token"]
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    target = cluster.directory / f"{account}.kubeconfig"
    target.write_text(yaml.safe_dump(config))
    return target
