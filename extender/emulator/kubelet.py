"""All kubelets of the fake nodes: pods that are bound start, run, end and go away, without any container.

One watch of pods and one of nodes serve every node; each pod on a node has one task that lives as long as
the pod. Everything is written through the status subresource in forms that a real API server accepts, so
the same class plays the nodes of the end-to-end tests.

A node admits like a kubelet: what it has already admitted counts, devices included. A scheduler that gives
one device away twice therefore sees the second pod fail with UnexpectedAdmissionError instead of running.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from extender import logs
from extender.controllers.reserve_gpu import keep, own_pod, report
from extender.emulator.devices import Health, NodeDevices, recorded_devices
from extender.emulator.environment import Environments
from extender.emulator.following import follow
from extender.emulator.kubelet_status import crashing, finished, held_back, running, too_few_devices
from extender.emulator.kubelet_writes import KubeletWrites
from extender.emulator.node_admission import NodeAdmission
from extender.emulator.node_leases import renew_leases
from extender.emulator.nodes import NodeShape, add_nodes
from extender.emulator.reservation_pods import FakeDriver, Reporting, is_reservation
from extender.errors import ApiError, NotFoundError, RunaiError
from extender.kube.client import KubeClient
from extender.model.names import GPU_RESOURCE

Json = dict[str, Any]

log = logs.get("emulator.kubelet")

RUN_SECONDS = "emulator.run.ai/run-seconds"
EXIT_CODE = "emulator.run.ai/exit-code"

_RETRY_S = 0.2
_LONGEST_CRASH_PAUSE_S = 300.0
_TERMINAL = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the fake nodes behave; all times in seconds.

    start_delay_s:  from binding to Running. stop_delay_s: from deletion to gone.
    heartbeat_s:    how often every node renews its Lease; None: never, fine where nobody watches node health.
    node_selector:  only nodes with these labels are played; empty: every node of the cluster.
    report_delay_s: from the start of a reservation pod until it says which device it got. look_every_s: how often it
                    looks afterwards whether the device is still there. crash_pause_s: before it is started again.
    """

    start_delay_s: float = 0.05
    stop_delay_s: float = 0.05
    heartbeat_s: float | None = None
    node_selector: str = ""
    report_delay_s: float = 0.0
    look_every_s: float = 10.0
    crash_pause_s: float = 10.0


class FakeKubelets:
    """Plays every node that `behaviour.node_selector` selects; `run` it until cancelled.

    Pod annotations: `emulator.run.ai/run-seconds: "3"` ends the pod after that time, `emulator.run.ai/exit-
    code` says how (0, the default: Succeeded; else Failed). Without either a pod runs until it is deleted.
    The restartPolicy of such pods is not read: what is to end ends, even where a kubelet would start it again.

    A container starts when the ConfigMaps that its environment refers to are there (see `environment`). A pod of the
    reservation namespace runs our `reserve-gpu` with a fake driver; where that exits, its restartPolicy counts.
    """

    def __init__(self, client: KubeClient, behaviour: Behaviour | None = None) -> None:
        self._client = client
        self._behaviour = behaviour or Behaviour()
        self._admission = NodeAdmission()
        self._writes = KubeletWrites(client, self._admission)
        self._environments = Environments(self._config_map)
        self._reporting: dict[str, Reporting] = {}  # node -> how its reservation pods fare
        self._pods: dict[str, Json] = {}  # UID -> latest version, of pods on a node (ours or not)
        self._lives: dict[str, asyncio.Task[None]] = {}  # UID -> the task that moves the pod on
        self._ends_at: dict[str, float] = {}  # UID -> loop time at which a running pod will finish
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Play until cancelled. API errors are retried a few times, then logged; the pod stays as it is."""
        behaviour = self._behaviour
        params = {"labelSelector": behaviour.node_selector} if behaviour.node_selector else None
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(
                follow(
                    self._client,
                    "/api/v1/nodes",
                    on_list=self._list_nodes,
                    on_event=self._on_node,
                    params=params,
                )
            )
            tasks.create_task(follow(self._client, "/api/v1/pods", on_list=self._list_pods, on_event=self._on_pod))
            if behaviour.heartbeat_s is not None:
                tasks.create_task(renew_leases(self._client, lambda: self._admission.nodes, behaviour.heartbeat_s))

    async def add_nodes(self, count: int, gpus: int = 4, *, first: int = 0, **shape: Any) -> list[str]:
        """Register nodes of one shape, ready to use; their names. `shape`: the fields of `NodeShape`."""
        return await add_nodes(self._client, count, NodeShape(gpus=gpus, **shape), first=first)

    def is_settled(self, within_s: float) -> bool:
        """Whether no pod will start, go away, or end in the next `within_s` seconds by itself."""
        horizon = asyncio.get_running_loop().time() + within_s
        return all(self._ends_at.get(uid, 0.0) > horizon for uid in self._lives)

    # ---------------------------------------------------------------- what tests look at and disturb

    def devices(self, node: str) -> NodeDevices:
        """The devices of a node and who holds them, to look at."""
        return self._admission.devices(node)

    def environment(self, uid: str) -> Mapping[str, Mapping[str, str]]:
        """Container -> the variables that it was started with, of those of a pod that have started."""
        return self._environments.of(uid)

    async def set_health(self, node: str, device: str, health: Health) -> None:
        """Let a device (its UUID) fall ill, recover, or vanish; the node and the pods that hold it say so on return.

        A kubelet moves no pod away for that, and gives the device to no new one. Raises KeyError for an unknown one.
        """
        devices = self._admission.devices(node)
        devices.set_health(device, health)
        amounts = {"capacity": devices.capacity, "allocatable": devices.allocatable}
        await self._writes.node_status(node, {name: {GPU_RESOURCE: str(n)} for name, n in amounts.items()})
        for uid in devices.holders(device):
            if (pod := self._pods.get(uid)) is not None:
                await self._writes.devices(pod)

    def set_reporting(self, node: str, reporting: Reporting) -> None:
        """How the reservation pods of a node fare from now on."""
        self._reporting[node] = reporting

    # ---------------------------------------------------------------- the picture

    def _list_nodes(self, items: list[Json]) -> None:
        self._admission.keep_nodes({item["metadata"]["name"] for item in items})
        for item in items:
            self._admission.set_node(item)
        for pod in list(self._pods.values()):
            self._consider(pod)

    def _on_node(self, kind: str, obj: Json) -> None:
        name = obj["metadata"]["name"]
        if kind == "DELETED":
            self._admission.remove_node(name)
            return
        is_new = name not in self._admission
        self._admission.set_node(obj)
        if is_new:
            for pod in list(self._pods.values()):
                if pod["spec"]["nodeName"] == name:
                    self._consider(pod)

    def _list_pods(self, items: list[Json]) -> None:
        for uid in self._pods.keys() - {item["metadata"]["uid"] for item in items}:
            self._drop(uid)
        # What runs was admitted before; it counts before anything new is looked at.
        # What is known to hold certain devices comes before what may hold any.
        for item in sorted(items, key=lambda pod: (not recorded_devices(pod), not self._is_admitted(pod))):
            self._on_pod("MODIFIED", item)

    def _on_pod(self, kind: str, obj: Json) -> None:
        uid = obj["metadata"]["uid"]
        if kind == "DELETED":
            self._drop(uid)
        elif obj["spec"].get("nodeName"):
            self._pods[uid] = obj
            self._consider(obj)

    def _drop(self, uid: str) -> None:
        self._pods.pop(uid, None)
        self._writes.forget(uid)
        self._environments.drop(uid)
        self._admission.release(uid)
        if (life := self._lives.pop(uid, None)) is not None:
            life.cancel()

    def _consider(self, pod: Json) -> None:
        """Give a pod its task if it needs one; a pod that is to be deleted has its other task ended."""
        uid = pod["metadata"]["uid"]
        if pod["spec"]["nodeName"] not in self._admission or self._tasks is None:
            return
        phase = self._phase(pod)
        if phase in _TERMINAL:
            self._admission.release(uid)
        elif self._is_admitted(pod):
            self._admission.admit(pod, runs=True)
        life = self._lives.get(uid)
        if pod["metadata"].get("deletionTimestamp"):
            if life is None or life.get_name() != "stop":
                if life is not None:
                    life.cancel()
                self._start(uid, self._stop(pod), "stop")
        elif life is None and (phase == "Pending" or (phase == "Running" and _has_more_to_do(pod))):
            self._start(uid, self._live(pod), "live")

    def _phase(self, pod: Json) -> str:
        """The phase of a pod, which is what we wrote last when the watch is behind."""
        seen = str((pod.get("status") or {}).get("phase") or "Pending")
        written = self._writes.phase(pod["metadata"]["uid"]) or seen
        return seen if seen in _TERMINAL else written

    def _is_admitted(self, pod: Json) -> bool:
        """Whether a pod says that it was admitted, by us or by those who played its node before."""
        return self._phase(pod) == "Running" or bool(recorded_devices(pod))

    def _start(self, uid: str, steps: Coroutine[Any, Any, None], name: str) -> None:
        assert self._tasks is not None
        task = self._tasks.create_task(steps, name=name)
        self._lives[uid] = task

        def ended(done: asyncio.Task[None]) -> None:
            if self._lives.get(uid) is done:
                del self._lives[uid]
                self._ends_at.pop(uid, None)

        task.add_done_callback(ended)

    # ---------------------------------------------------------------- a pod's life

    async def _live(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        if self._phase(pod) != "Running":
            if (refused := self._admit(pod)) is not None:
                reason, message = refused
                log.warning("pod_refused", pod=pod["metadata"]["name"], node=pod["spec"]["nodeName"], cause=message)
                await self._writes.status(pod, {"phase": "Failed", "reason": reason, "message": message})
                return
            await asyncio.sleep(self._behaviour.start_delay_s)
            await self._start_containers(pod)
            await self._writes.status(pod, running(self._pods.get(uid, pod)))
        if is_reservation(pod):
            await self._run_reservation(pod)
        elif _will_end(pod):
            await self._run_to_end(pod)

    def _admit(self, pod: Json) -> tuple[str, str] | None:
        """Count a new pod on its node; else (reason, message) as a kubelet words its refusal."""
        if is_reservation(pod) and self._reporting.get(pod["spec"]["nodeName"]) is Reporting.REFUSED:
            return too_few_devices(GPU_RESOURCE, 1, 0)
        return self._admission.admit(pod, runs=False)

    async def _start_containers(self, pod: Json) -> None:
        """Return when all containers have started; until then say what is missing, as a kubelet does."""
        uid, node = pod["metadata"]["uid"], pod["spec"]["nodeName"]
        said: dict[str, str] = {}
        while True:
            latest = self._pods.get(uid, pod)
            try:
                missing = await self._environments.start(latest, self.devices(node).held_by(uid))
                if not missing:
                    self._ends_at.pop(uid, None)
                    return
                if missing != said and self._phase(latest) != "Running":
                    await self._writes.status(pod, held_back(latest, missing))
                    said = missing
            except ApiError as error:
                log.warning("config_maps_unknown", pod=pod["metadata"]["name"], cause=error.message)
            self._ends_at[uid] = math.inf  # it waits for somebody else
            await asyncio.sleep(_RETRY_S)

    async def _config_map(self, namespace: str, name: str) -> Json | None:
        try:
            return await self._client.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        except NotFoundError:
            return None

    async def _run_reservation(self, pod: Json) -> None:
        uid, node = pod["metadata"]["uid"], pod["spec"]["nodeName"]
        await self._start_containers(pod)  # where it runs since before we did
        while self._reporting.get(node) is Reporting.SILENT:
            self._ends_at[uid] = math.inf
            await asyncio.sleep(_RETRY_S)
        self._ends_at.pop(uid, None)
        environment = self.environment(uid)[pod["spec"]["containers"][0]["name"]]
        driver = FakeDriver(environment, self.devices(node))
        pause_s = self._behaviour.crash_pause_s
        for restarts in itertools.count():
            try:
                await asyncio.sleep(self._behaviour.report_delay_s)
                device = await report(self._client, driver, own_pod(environment))
                self._ends_at[uid] = math.inf
                if restarts:
                    await self._writes.status(pod, running(self._pods.get(uid, pod), restarts))
                await keep(driver, device, look_every_s=self._behaviour.look_every_s)
            except RunaiError as error:
                log.warning("reservation_ended", pod=pod["metadata"]["name"], node=node, cause=str(error))
            latest = self._pods.get(uid, pod)
            if pod["spec"].get("restartPolicy") == "Never":
                await self._writes.status(pod, finished(latest, 1))
                return
            await self._writes.status(pod, crashing(latest, restarts, pause_s))
            self._ends_at[uid] = math.inf
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_CRASH_PAUSE_S)

    async def _run_to_end(self, pod: Json) -> None:
        uid, annotations = pod["metadata"]["uid"], pod["metadata"].get("annotations") or {}
        latest = self._pods.get(uid, pod)
        started = _parse_time((latest.get("status") or {}).get("startTime"))
        run_s = _number(annotations.get(RUN_SECONDS))
        left_s = max(0.0, run_s - (datetime.now(UTC) - started).total_seconds())
        self._ends_at[uid] = asyncio.get_running_loop().time() + left_s
        await asyncio.sleep(left_s)
        exit_code = int(_number(annotations.get(EXIT_CODE)))
        await self._writes.status(pod, finished(self._pods.get(uid, pod), exit_code))

    async def _stop(self, pod: Json) -> None:
        await asyncio.sleep(self._behaviour.stop_delay_s)
        await self._writes.delete(pod)


def _will_end(pod: Json) -> bool:
    annotations = pod["metadata"].get("annotations") or {}
    return RUN_SECONDS in annotations or EXIT_CODE in annotations


def _has_more_to_do(pod: Json) -> bool:
    return is_reservation(pod) or _will_end(pod)


def _parse_time(text: object) -> datetime:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.now(UTC)


def _number(text: object) -> float:
    """An annotation's number; anything unreadable is 0, as an emulator has nobody to complain to."""
    try:
        return max(0.0, float(str(text)))
    except ValueError:
        return 0.0
