"""The embedded cluster as a scenario's cluster."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import yaml

from extender.emulator.cluster import EmbeddedCluster
from extender.emulator.scheduler import MiniScheduler, SchedulerConfig
from extender.wire import manifests
from tests.scenarios.cluster import Cluster, kubectl_path

Json = dict[str, Any]


class Embedded(Cluster):
    """An async context manager; a new cluster for each scenario costs a fraction of a second."""

    abilities = frozenset({"faults"})

    async def __aenter__(self) -> Embedded:
        self._directory = tempfile.TemporaryDirectory(prefix="service-")
        self.directory = Path(self._directory.name)
        self._scheduler: asyncio.Task[None] | None = None
        self._cluster = EmbeddedCluster(nodes=0, retry_backoff_s=1.0)
        try:
            await self._cluster.__aenter__()
        except BaseException:
            self._directory.cleanup()
            raise
        self.kubeconfig, self.client = self._cluster.kubeconfig, self._cluster.client
        self.kubelets = self._cluster.kubelets
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.stop_scheduler()
            await self._cluster.__aexit__(None, None, None)
        finally:
            self._directory.cleanup()

    async def start_scheduler(self, extender_url: str) -> None:
        if self._scheduler is None:
            config = SchedulerConfig.from_text(manifests.configuration()).with_extender_url(extender_url)
            self._scheduler = asyncio.create_task(MiniScheduler(self.client, config).run(), name="scheduler")

    async def stop_scheduler(self) -> None:
        task, self._scheduler = self._scheduler, None
        if task is not None:
            task.cancel()
            results = await asyncio.gather(task, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result

    def fault(self, method: str, arguments: Json) -> None:
        getattr(self._cluster.server.faults, method)(**arguments)

    async def apply(self, text: str, *, namespace: str = "default") -> None:
        """By kubectl where there is one: the embedded API is to serve it; else by the demo's own means."""
        if kubectl_path() is not None:
            await super().apply(text, namespace=namespace)
            return
        documents: list[Json] = [one for one in yaml.safe_load_all(text) if one]
        for document in documents:
            document["metadata"].setdefault("namespace", namespace)
        await self._cluster.apply(documents)
