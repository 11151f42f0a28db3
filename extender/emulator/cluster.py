"""The embedded cluster: API server, nodes, kubelets, workload controllers and, when asked, the mini kube-scheduler.

Everything runs on the caller's event loop; the product joins it through the kubeconfig like any other client.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from extender import logs
from extender.emulator.apiserver import ApiServer
from extender.emulator.applying import Applier, Document
from extender.emulator.kubelet import Behaviour, FakeKubelets
from extender.emulator.nodes import NodeShape, add_nodes
from extender.emulator.scheduler import MiniScheduler, SchedulerConfig
from extender.emulator.workload_controllers import WorkloadControllers
from extender.kube.client import KubeClient, wait_until_ready
from extender.wire import manifests

Json = dict[str, Any]

log = logs.get("emulator.cluster")

_READY_TIMEOUT_S = 10.0
# The rest of an installation (Deployments, RBAC, flow control) is what this process itself stands for.
_INSTALLED_KINDS = ("CustomResourceDefinition", "Namespace", "PriorityClass")


class EmbeddedCluster:
    """An async context manager; after entering, `kubeconfig` and `client` reach a cluster with its nodes ready.

    nodes, shape: how many nodes, and what each has. behaviour: of the kubelets. retry_backoff_s: of Jobs.
    port: of the API server on 127.0.0.1, 0 for any free one.
    scheduler_config: of the mini kube-scheduler; None for what `deploy/` ships.
    """

    kubeconfig: Path
    client: KubeClient
    server: ApiServer
    kubelets: FakeKubelets
    controllers: WorkloadControllers
    scheduler: MiniScheduler | None = None

    def __init__(
        self,
        *,
        nodes: int = 3,
        gpus_per_node: int = 4,
        shape: NodeShape | None = None,
        behaviour: Behaviour | None = None,
        scheduler_config: SchedulerConfig | None = None,
        retry_backoff_s: float = 10.0,
        port: int = 0,
    ) -> None:
        self._nodes = nodes
        self._shape = shape or NodeShape(gpus=gpus_per_node)
        self._behaviour = behaviour
        self._scheduler_config = scheduler_config
        self._retry_backoff_s = retry_backoff_s
        self._port = port
        self._stack = AsyncExitStack()
        self._owner: asyncio.Task[None] | None = None
        self._actors: asyncio.TaskGroup | None = None

    async def __aenter__(self) -> EmbeddedCluster:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    def start_scheduler(self, extender_url: str) -> MiniScheduler:
        """Start the mini kube-scheduler, with `extender_url` (scheme, host, port) as its extender."""
        config = self._scheduler_config or SchedulerConfig.from_text(manifests.configuration())
        self.scheduler = MiniScheduler(self.client, config.with_extender_url(extender_url))
        self._spawn(self.scheduler.run(), "scheduler")
        return self.scheduler

    async def install_webhooks(self, url: Callable[[], str]) -> None:
        """Have the API server ask our admission webhook, as `deploy/` does; `url` says where its Service is by then.

        Install before the webhook starts: it then finds the configurations that must trust it at once.
        """
        self.server.webhooks.service_resolver = lambda _namespace, _name, _port: url()
        await self.apply(obj for obj in manifests.render() if obj["kind"].endswith("WebhookConfiguration"))

    async def apply(self, documents: Iterable[Json | Document], *, timeout_s: float = 10.0) -> None:
        """Create or update objects; see `Applier.apply`."""
        wrapped = [
            document if isinstance(document, Document) else Document(document, f"document {number}")
            for number, document in enumerate(documents, start=1)
        ]
        await Applier(self.client).apply(wrapped, timeout_s=timeout_s)

    def is_settled(self, within_s: float) -> bool:
        """Whether no actor is doing anything, or will by itself in the next `within_s` seconds.

        Looks at the actors only: give their watches a moment of quiet before believing it.
        """
        return (
            (self.scheduler is None or self.scheduler.is_idle)
            and self.controllers.is_idle
            and self.kubelets.is_settled(within_s)
        )

    async def _start(self) -> None:
        directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="runai-cluster-"))
        self.kubeconfig = Path(directory) / "kubeconfig"
        self.server = ApiServer()
        self._stack.push_async_callback(self.server.stop)
        await self.server.start(port=self._port)
        self.server.write_kubeconfig(self.kubeconfig)
        self.client = await self._stack.enter_async_context(await KubeClient.connect(str(self.kubeconfig)))
        await wait_until_ready(self.client, timeout_s=_READY_TIMEOUT_S)
        await self.apply(obj for obj in manifests.render() if obj["kind"] in _INSTALLED_KINDS)
        self.kubelets = FakeKubelets(self.client, self._behaviour)
        self.controllers = WorkloadControllers(self.client, retry_backoff_s=self._retry_backoff_s)
        started = asyncio.Event()
        # A task of its own owns the actors: fixtures may enter and leave this class in different tasks.
        self._owner = asyncio.create_task(self._own(started), name="embedded-cluster")
        self._owner.add_done_callback(_report_death)
        await started.wait()
        self._spawn(self.kubelets.run(), "kubelets")
        self._spawn(self.controllers.run(), "workload-controllers")
        await add_nodes(self.client, self._nodes, self._shape)

    def _spawn(self, actor: Coroutine[Any, Any, None], name: str) -> None:
        assert self._actors is not None
        self._actors.create_task(actor, name=name)

    async def _own(self, started: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._actors:
            started.set()
            await asyncio.Event().wait()

    async def _stop(self) -> None:
        """Actors first, then the server they talk to. Raises what killed an actor, if one died."""
        results: list[BaseException | None] = []
        if self._owner is not None:
            self._owner.cancel()
            results = list(await asyncio.gather(self._owner, return_exceptions=True))
            self._owner = None
        await self._stack.aclose()
        for result in results:
            if isinstance(result, BaseExceptionGroup):
                raise result


def _report_death(owner: asyncio.Task[None]) -> None:
    """Say at once that the cluster has stopped moving; `_stop` raises it, but perhaps much later."""
    if not owner.cancelled() and (error := owner.exception()) is not None:
        log.error("actor_died", cause=repr(error))
