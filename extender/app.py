"""The service: every part joined into one process on one event loop. It owns the tasks and their shutdown."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from prometheus_client import CollectorRegistry

from extender import logs, metrics
from extender.admission.defaults import Factors
from extender.admission.pods import Context
from extender.cluster.picture import Picture
from extender.controllers.binder import Binder
from extender.controllers.certificates import Certificate, FileCertificate, OwnCertificate
from extender.controllers.enforcement import EnforcedNamespaces
from extender.controllers.feed import Feed
from extender.controllers.gpu_maps import GpuMaps, SharedGpus
from extender.controllers.grouper import Grouper
from extender.controllers.idle import IdleLimits
from extender.controllers.lease import LeaseFollower
from extender.controllers.limits import TimeLimits
from extender.controllers.owners import Owners
from extender.controllers.planning import PlanningLoop
from extender.controllers.policies import Policies
from extender.controllers.projects import ProjectNamespaces
from extender.controllers.reservations import ReservationPolicy, Reservations
from extender.controllers.status import StatusWriter
from extender.controllers.stopping import Stopper
from extender.controllers.upkeep import Upkeep
from extender.controllers.workload_admission import WorkloadAdmission
from extender.controllers.workload_role import WorkloadRole
from extender.errors import ConfigError, UnavailableError
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder, Subject
from extender.model.names import NodeName
from extender.model.pod import Pod
from extender.planning.planner import Planner
from extender.planning.settings import Settings as PlanningSettings
from extender.pods.placement import Policy
from extender.servers import snapshot
from extender.servers.admission import Webhook
from extender.servers.listener import Listener
from extender.servers.operations import Operations
from extender.servers.verbs import Verbs
from extender.settings import Settings
from extender.wire.manifests import names as installed
from extender.wire.manifests.definitions import converted

_DRAIN_S = 20.0
_NO_GC_S = 60.0
_NO_DEVICE_S = 30.0  # a node that could not hold a device for a pod: longer than kube-scheduler's longest back-off
# Requests leave no cycles behind: what is collected young is a pod's records, which live on. So look rarely.
_GC_THRESHOLD = (20_000, 20, 50)

log = logs.get("service")


class Service:
    """`start`, `wait_ready`, `stop`. One per event loop; a second needs another pair of addresses."""

    extender_url = ""
    admission_url = ""
    metrics_url = ""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.picture = Picture()
        self.policy = Policy(
            gpu_strategy=settings.placement.gpu,
            cpu_strategy=settings.placement.cpu,
            reservation_ttl_s=settings.reservation_ttl_s,
        )
        self._tasks: list[asyncio.Task[None]] = []  # parts that run for ever: one that ends is a failure
        self._collecting: asyncio.Task[None] | None = None
        self._listeners: list[Listener] = []
        self._stopping = False
        self._client: KubeClient | None = None
        self._unready: dict[str, asyncio.Event] = {}  # what other roles than the extender wait for, by name

    async def start(self) -> None:
        """Connect, listen, and begin to list. Verbs answer `Error` until `wait_ready` returns.

        Raises ConfigError without credentials or with files that are no certificate, OSError when an address is taken.
        """
        settings = self._settings
        client = self._client = await KubeClient.connect(settings.kubeconfig)
        lease = LeaseFollower(client, settings.lease, settings.identity) if settings.lease else None
        is_active = lease.is_active if lease else lambda: True
        owners = Owners(client)
        events = EventRecorder(client)
        grouper = Grouper(client, self.picture, owners, is_active)
        stopper = Stopper(client, owners, events)
        limits = TimeLimits(self.picture, stopper, is_active)
        sharing = settings.gpu_sharing
        self.picture.sharing.allowed = sharing.enabled
        reservations = maps = None
        if sharing.reservations and "extender" in settings.roles:
            policy = ReservationPolicy(
                image=sharing.image,
                own_pod=(settings.namespace, settings.identity),
                runtime_class=sharing.runtime_class,
                priority_class=sharing.priority_class,
                timeout_s=sharing.timeout_s,
                takeover_s=sharing.takeover_s,
            )
            reservations = Reservations(client, self.picture, events, is_active, policy)
            maps = GpuMaps(client, self.picture, events, is_active, cdi=sharing.cdi)
        self._feed = Feed(
            client,
            self.picture,
            pool_label=settings.pools.label,
            watchers=[
                limits.see,
                *([grouper.see] if settings.create_pod_groups else []),
                *([reservations.see] if reservations else []),
                *([maps.see] if maps else []),
            ],
        )
        planner = Planner(
            self.picture,
            PlanningSettings(
                gpu_strategy=settings.placement.gpu,
                cpu_strategy=settings.placement.cpu,
                most_evictions=settings.max_evictions,
                stale_after_s=settings.stale_gang_after_s,
                may_move=lambda pod: pod.owner is not None,
            ),
            strategies=settings.strategies,
            seat_ttl_s=settings.reservation_ttl_s,
        )
        self._binder = Binder(
            client,
            self.picture,
            self.policy,
            is_active,
            timeout_s=settings.bind_timeout_s,
            gpus=SharedGpus(reservations, maps) if reservations and maps else None,
            failed=self._unreserved(planner, events),
        )
        upkeep = self._upkeep = Upkeep(
            client, self.picture, self.policy, self._binder, events, is_active, seat_expired=planner.seat_expired
        )
        verbs = Verbs(
            self.picture,
            self.policy,
            self._binder,
            upkeep,
            self.why_not,
            planner=planner,
            answer_all=settings.placement.answer == "all",
            max_body_bytes=settings.max_body_bytes,
        )
        registry = CollectorRegistry()
        registry.register(metrics.REGISTRY)
        registry.register(metrics.PictureCollector(self.picture, settings.cluster_id))
        extends = "extender" in settings.roles
        operations = Operations(
            self.picture,
            registry,
            self._not_ready,
            self._feed.measure if extends else lambda: None,
            planner=planner if extends else None,
            cluster_id=settings.cluster_id,
        )
        try:
            if extends:
                self.extender_url = await self._listen(Listener(verbs.app(), settings.extender_address))
            self.metrics_url = await self._listen(Listener(operations.app(), settings.metrics_address))
            if "admission" in settings.roles:
                await self._start_admission(client)
        except (OSError, ConfigError):
            await self.stop()
            raise
        self._spawn(events.run(), "events")
        if "workloads" in settings.roles:
            self._start_workloads(client)
        if not extends:
            return
        # The first lists make millions of objects and no garbage cycles: collecting meanwhile takes longer than all
        # the rest, because every collection walks everything that came before.
        gc.disable()
        self._collecting = asyncio.create_task(self._collect_again(), name="gc")
        for reflector in self._feed.reflectors:
            self._spawn(reflector.run(), reflector.name)
        if lease:
            self._spawn(lease.reflector.run(), "lease")
        self._spawn(upkeep.run(), "upkeep")
        planning = PlanningLoop(client, self.picture, planner, events, is_active)
        self._spawn(self._once_synced(planning.run), "planning")
        self._spawn(self._once_synced(StatusWriter(client, self.picture, is_active).run), "status")
        self._spawn(self._once_synced(limits.run), "time limits")
        if settings.gpu_metrics.url:
            idle = IdleLimits(self.picture, owners, stopper, settings.gpu_metrics, is_active)
            self._spawn(self._once_synced(idle.run), "idle limits")
        if reservations and maps:
            self._spawn(self._once_synced(reservations.run), "reservations")
            self._spawn(maps.reflector.run(), maps.reflector.name)
            self._spawn(self._once_synced(maps.run), "config maps")
        if settings.create_pod_groups:
            self._spawn(self._once_synced(grouper.run), "grouper")
        if settings.create_namespaces:
            self._spawn(self._once_synced(ProjectNamespaces(client, self.picture, is_active).run), "namespaces")

    @staticmethod
    def _unreserved(planner: Planner, events: EventRecorder) -> Callable[[Pod, NodeName, str], None]:
        """What follows when no device of a node could be held: the pod looks elsewhere, and its owner hears why."""

        def tell(pod: Pod, node: NodeName, why: str) -> None:
            planner.turned_down(pod.uid, node, time.monotonic(), first_s=_NO_DEVICE_S)
            events.record(Subject("Pod", pod.namespace, pod.name, pod.uid), "Warning", "GpuNotReserved", why)

        return tell

    async def _start_admission(self, client: KubeClient) -> None:
        settings = self._settings
        certificate: Certificate
        if settings.tls_cert and settings.tls_key:
            certificate = FileCertificate(settings.tls_cert, settings.tls_key)
        else:
            service = f"{installed.ADMISSION_SERVICE}.{settings.namespace}"
            certificate = OwnCertificate(
                client,
                namespace=settings.namespace,
                secret=installed.ADMISSION_SECRET,
                # Loopback, for whoever runs us beside the API server or looks through a port-forward.
                hosts=(f"{service}.svc", f"{service}.svc.cluster.local", service, "localhost", "127.0.0.1"),
                configurations=installed.WEBHOOKS,
                definitions=converted(),
            )
        enforced, known = EnforcedNamespaces(client), Policies(client)
        factors = settings.admission.limit_range
        context = Context(
            "",
            gates=settings.admission.gates,
            guarded=settings.admission.guard_devices,
            sharing=settings.gpu_sharing.enabled,
            wires=settings.gpu_sharing.reservations,
            factors=Factors(
                cpu_request_milli=factors.cpu_default_request_gpu_factor,
                memory_request_mib=factors.memory_default_request_gpu_factor,
                cpu_limit_milli=factors.cpu_default_limit_gpu_factor,
                memory_limit_mib=factors.memory_default_limit_gpu_factor,
            ),
            policies=known.lookup,
        )
        webhook = Webhook(
            enforced.is_enforced,
            context,
            max_body_bytes=settings.max_body_bytes,
            judges=WorkloadAdmission(client).judges,
        )
        listener = Listener(webhook.app(), settings.admission_address, certificate.context)
        self.admission_url = await self._listen(listener)
        self._unready["a certificate"] = certificate.ready
        self._spawn(certificate.run(), "certificate")
        for what, reflector in (("namespaces", enforced.reflector), *((one.name, one) for one in known.reflectors)):
            self._unready[f"the first list of {what}"] = reflector.synced
            self._spawn(reflector.run(), reflector.name)

    def _start_workloads(self, client: KubeClient) -> None:
        settings = self._settings
        role = WorkloadRole(
            client,
            namespace=settings.namespace,
            lease=settings.workloads_lease,
            identity=settings.identity,
            backend=settings.workloads.backend,
            images=settings.workloads.images,
        )
        self._unready |= role.unready
        for name, task in role.tasks():
            self._spawn(task, name)

    async def wait_ready(self, timeout_s: float | None = None) -> None:
        """Return when every first list and a certificate is in. Raises UnavailableError naming what is missing."""
        try:
            async with asyncio.timeout(timeout_s):
                if "extender" in self._settings.roles:
                    await self._feed.synced()
                    self._upkeep.adopt_pending()
                for part in self._unready.values():
                    await part.wait()
        except TimeoutError as error:
            raise UnavailableError(f"after {timeout_s} s {self._not_ready()}") from error
        log.info("ready", address=self.extender_url, admission=self.admission_url, metrics=self.metrics_url)

    def why_not(self) -> str:
        """Why no verdict can be given now, "" when one can."""
        if self._stopping:
            return "shutting down"
        unready = self._feed.unready()
        if unready:
            return f"not ready: waiting for the first list of {', '.join(unready)}"
        return self._feed.stale(self._settings.stale_after_s)

    def _not_ready(self) -> str:
        """For /readyz: why some part of us cannot serve, "" when all can."""
        why_not = self.why_not() if self._stopping or "extender" in self._settings.roles else ""
        missing = [name for name, part in self._unready.items() if not part.is_set()]
        return why_not or (f"not ready: waiting for {', '.join(missing)}" if missing else "")

    def snapshot(self) -> dict[str, Any]:
        return snapshot.take(self.picture)

    async def stop(self) -> None:
        """Take no more verbs, finish the binds under way, then stop everything. Safe to call twice."""
        self._stopping = True
        if self._client is None:
            return
        await self._binder.drain(_DRAIN_S)
        for listener in self._listeners:
            await listener.stop()
        self._listeners.clear()
        tasks = [*self._tasks, *([self._collecting] if self._collecting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        await self._client.close()
        self._client = None

    async def run(self, stop: asyncio.Event) -> None:
        """Start, serve until `stop` is set or a part of us dies, stop. Raises what killed the part."""
        await self.start()
        stopped = asyncio.create_task(stop.wait())
        ready = asyncio.create_task(self.wait_ready())
        try:
            done, _ = await asyncio.wait({stopped, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
        finally:
            for waiter in (stopped, ready):
                waiter.cancel()
            await self.stop()

    async def _once_synced(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What compares objects with each other must not begin before all of them are listed."""
        await self._feed.synced()
        await run()

    async def _collect_again(self) -> None:
        """Switch the collector on when the first lists are in, or take too long to do without it."""
        try:
            async with asyncio.timeout(_NO_GC_S):
                await self._feed.synced()
        except TimeoutError:
            log.warning("slow_start", kind=", ".join(self._feed.unready()))
        finally:
            # The first lists live as long as we do: frozen, no later collection walks them again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_GC_THRESHOLD)
            gc.enable()

    async def _listen(self, listener: Listener) -> str:
        await listener.start()
        self._listeners.append(listener)
        return listener.url

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(coroutine, name=name))


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, on uvloop where it exists: the server then takes about a third less time for a call."""
    if sys.platform == "win32":
        asyncio.run(main)
        return
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
