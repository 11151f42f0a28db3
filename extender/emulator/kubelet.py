"""All kubelets of the fake nodes: pods that are bound start, run, end and go away, without any container.

One watch of pods and one of nodes serve every node; each pod on a node has one task that lives as long as
the pod. Everything is written through the status subresource in forms that a real API server accepts, so
the same class plays the nodes of the end-to-end tests.

A node admits like a kubelet: what it has already admitted counts, devices included. A scheduler that gives
one device away twice therefore sees the second pod fail with UnexpectedAdmissionError instead of running.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from extender import logs
from extender.emulator.following import follow
from extender.emulator.kubelet_status import finished, refusal, running
from extender.emulator.nodes import NodeShape, add_nodes
from extender.emulator.pod_resources import amounts_of, pod_requests
from extender.errors import ApiError, ConflictError, NotFoundError
from extender.kube.client import KubeClient

Json = dict[str, Any]

log = logs.get("emulator.kubelet")

RUN_SECONDS = "emulator.run.ai/run-seconds"
EXIT_CODE = "emulator.run.ai/exit-code"

_CALL_TIMEOUT_S = 10.0
_ATTEMPTS = 8
_RETRY_S = 0.1
_TERMINAL = ("Succeeded", "Failed")
_MAX_CALLS = 32  # at once, so that a thousand pods do not open a thousand connections


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the fake nodes behave; all times in seconds.

    start_delay_s:  from binding to Running. stop_delay_s: from deletion to gone.
    heartbeat_s:    how often every node renews its Lease; None: never, fine where nobody watches node health.
    node_selector:  only nodes with these labels are played; empty: every node of the cluster.
    """

    start_delay_s: float = 0.05
    stop_delay_s: float = 0.05
    heartbeat_s: float | None = None
    node_selector: str = ""


class FakeKubelets:
    """Plays every node that `behaviour.node_selector` selects; `run` it until cancelled.

    Pod annotations: `emulator.run.ai/run-seconds: "3"` ends the pod after that time, `emulator.run.ai/exit-
    code` says how (0, the default: Succeeded; else Failed). Without either a pod runs until it is deleted.
    The pod's restartPolicy is not read: what is to end ends, even where a kubelet would start it again.
    """

    def __init__(self, client: KubeClient, behaviour: Behaviour | None = None) -> None:
        self._client = client
        self._behaviour = behaviour or Behaviour()
        self._nodes: dict[str, dict[str, int]] = {}  # name -> allocatable
        self._pods: dict[str, Json] = {}  # UID -> latest version, of pods on a node (ours or not)
        self._admitted: dict[str, Counter[str]] = {}  # node -> what its admitted pods take
        self._admitted_pods: dict[str, tuple[str, dict[str, int]]] = {}  # UID -> (node, requests)
        self._lives: dict[str, asyncio.Task[None]] = {}  # UID -> the task that moves the pod on
        self._written: dict[str, str] = {}  # UID -> phase that we wrote last; the watch may be behind
        self._ends_at: dict[str, float] = {}  # UID -> loop time at which a running pod will finish
        self._calls = asyncio.Semaphore(_MAX_CALLS)
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
                tasks.create_task(self._heartbeats(behaviour.heartbeat_s))

    async def add_nodes(self, count: int, gpus: int = 4, *, first: int = 0, **shape: Any) -> list[str]:
        """Register nodes of one shape, ready to use; their names. `shape`: the fields of `NodeShape`."""
        return await add_nodes(self._client, count, NodeShape(gpus=gpus, **shape), first=first)

    def is_settled(self, within_s: float) -> bool:
        """Whether no pod will start, go away, or end in the next `within_s` seconds by itself."""
        horizon = asyncio.get_running_loop().time() + within_s
        return all(self._ends_at.get(uid, 0.0) > horizon for uid in self._lives)

    # ---------------------------------------------------------------- the picture

    def _list_nodes(self, items: list[Json]) -> None:
        self._nodes = {item["metadata"]["name"]: _allocatable(item) for item in items}
        for pod in list(self._pods.values()):
            self._consider(pod)

    def _on_node(self, kind: str, obj: Json) -> None:
        name = obj["metadata"]["name"]
        if kind == "DELETED":
            self._nodes.pop(name, None)
            return
        is_new = name not in self._nodes
        self._nodes[name] = _allocatable(obj)
        if is_new:
            for pod in list(self._pods.values()):
                if pod["spec"]["nodeName"] == name:
                    self._consider(pod)

    def _list_pods(self, items: list[Json]) -> None:
        for uid in self._pods.keys() - {item["metadata"]["uid"] for item in items}:
            self._drop(uid)
        # What runs was admitted before; it counts before anything new is looked at.
        for item in sorted(items, key=lambda pod: self._phase(pod) != "Running"):
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
        self._written.pop(uid, None)
        self._release(uid)
        if (life := self._lives.pop(uid, None)) is not None:
            life.cancel()

    def _consider(self, pod: Json) -> None:
        """Give a pod its task if it needs one; a pod that is to be deleted has its other task ended."""
        uid = pod["metadata"]["uid"]
        if pod["spec"]["nodeName"] not in self._nodes or self._tasks is None:
            return
        phase = self._phase(pod)
        if phase in _TERMINAL:
            self._release(uid)
        elif phase == "Running":
            self._admit(pod)
        life = self._lives.get(uid)
        if pod["metadata"].get("deletionTimestamp"):
            if life is None or life.get_name() != "stop":
                if life is not None:
                    life.cancel()
                self._start(uid, self._stop(pod), "stop")
        elif life is None and (phase == "Pending" or (phase == "Running" and _will_end(pod))):
            self._start(uid, self._live(pod), "live")

    def _phase(self, pod: Json) -> str:
        """The phase of a pod, which is what we wrote last when the watch is behind."""
        seen = str((pod.get("status") or {}).get("phase") or "Pending")
        written = self._written.get(pod["metadata"]["uid"], seen)
        return seen if seen in _TERMINAL else written

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
        metadata = pod["metadata"]
        uid, annotations = metadata["uid"], metadata.get("annotations") or {}
        if self._phase(pod) != "Running":
            await asyncio.sleep(self._behaviour.start_delay_s)
            if (refused := self._admit(pod)) is not None:
                reason, message = refused
                log.warning("pod_refused", pod=metadata["name"], node=pod["spec"]["nodeName"], cause=message)
                await self._write_status(pod, {"phase": "Failed", "reason": reason, "message": message})
                return
            await self._write_status(pod, running(pod))
        if not _will_end(pod):
            return
        latest = self._pods.get(uid, pod)
        started = _parse_time((latest.get("status") or {}).get("startTime"))
        run_s = _number(annotations.get(RUN_SECONDS))
        left_s = max(0.0, run_s - (datetime.now(UTC) - started).total_seconds())
        self._ends_at[uid] = asyncio.get_running_loop().time() + left_s
        await asyncio.sleep(left_s)
        exit_code = int(_number(annotations.get(EXIT_CODE)))
        await self._write_status(pod, finished(self._pods.get(uid, pod), exit_code))

    async def _stop(self, pod: Json) -> None:
        await asyncio.sleep(self._behaviour.stop_delay_s)
        metadata = pod["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": metadata["uid"]},
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        await self._call("DELETE", path, options)

    async def _write_status(self, pod: Json, status: Json) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        # The UID: a pod of the same name that came after ours must not inherit our end.
        if await self._call("PATCH", path, {"metadata": {"uid": metadata["uid"]}, "status": status}):
            self._written[metadata["uid"]] = status["phase"]

    async def _call(self, method: str, path: str, body: Json) -> bool:
        """Send one write, a few times if need be; whether the server took it."""
        for attempt in range(_ATTEMPTS):
            try:
                async with self._calls:
                    if method == "PATCH":
                        await self._client.patch(
                            path,
                            body,
                            kind="strategic",
                            field_manager="kubelet",
                            timeout_s=_CALL_TIMEOUT_S,
                        )
                    else:
                        await self._client.delete(path, options=body, timeout_s=_CALL_TIMEOUT_S)
                return True
            except (NotFoundError, ConflictError):
                return False  # gone, or another pod of that name: the watch tells
            except ApiError as error:
                log.warning("write_failed", cause=error.message)
                await asyncio.sleep(_RETRY_S * 2**attempt)
        return False

    # ---------------------------------------------------------------- admission

    def _admit(self, pod: Json) -> tuple[str, str] | None:
        """Count `pod` on its node; else (reason, message) as a kubelet words its refusal. Idempotent."""
        uid, node = pod["metadata"]["uid"], pod["spec"]["nodeName"]
        if uid in self._admitted_pods:
            return None
        allocatable = self._nodes.get(node, {})
        used = self._admitted.setdefault(node, Counter())
        requests = pod_requests(pod)
        if self._phase(pod) != "Running":
            for resource, wanted in requests.items():
                capacity = allocatable.get(resource)
                if capacity is None:
                    continue  # a kubelet drops what its node does not have before it looks
                if wanted > capacity - used[resource]:
                    return refusal(resource, wanted, used[resource], capacity)
        used.update(requests)
        self._admitted_pods[uid] = (node, requests)
        return None

    def _release(self, uid: str) -> None:
        admitted = self._admitted_pods.pop(uid, None)
        if admitted is not None:
            node, requests = admitted
            self._admitted[node].subtract(requests)

    # ---------------------------------------------------------------- node health

    async def _heartbeats(self, every_s: float) -> None:
        """Renew every node's Lease, which is what a node controller reads."""
        while True:
            for name in list(self._nodes):
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                lease = {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"name": name, "namespace": "kube-node-lease"},
                    "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now},
                }
                path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
                try:
                    await self._client.patch(path, lease, kind="apply", field_manager="kubelet")
                except ApiError as error:
                    log.warning("heartbeat_failed", node=name, cause=error.message)
            await asyncio.sleep(every_s)


def _allocatable(node: Json) -> dict[str, int]:
    return amounts_of((node.get("status") or {}).get("allocatable"))


def _will_end(pod: Json) -> bool:
    annotations = pod["metadata"].get("annotations") or {}
    return RUN_SECONDS in annotations or EXIT_CODE in annotations


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
