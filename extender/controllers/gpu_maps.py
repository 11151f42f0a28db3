"""ConfigMaps that tell a container its share of a device, and what a bind of a share has to wait for.

The webhook has made the container read variables from a ConfigMap that does not exist yet, so the kubelet holds it
until the bind has written the map. The pod owns its map; when the pod ends, before its object goes, we delete it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from extender import logs, metrics
from extender.cluster.picture import HoldState, Picture
from extender.controllers.reservations import Reservations
from extender.errors import ApiError, ConflictError, NotFoundError, ReservationError
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder, Subject
from extender.kube.reflector import Reflector
from extender.model.amounts import GPU
from extender.model.names import PodUID
from extender.model.pod import Placement, Pod
from extender.pods.repair import Why
from extender.wire.reservations import CONFIG_MAP_LABELS, VISIBLE_DEVICES, config_map, visible_devices

Json = dict[str, Any]

_TICK_S = 0.2
_REST_S = 5.0
_WRITES = 32  # at a time
_TRIES = 3

log = logs.get("gpu_maps")


class SharedGpus:
    """What the binder asks: every device of a share held and named, and its container told."""

    def __init__(self, reservations: Reservations, maps: GpuMaps) -> None:
        self._reservations = reservations
        self._maps = maps

    async def prepare(self, pod: Pod, seat: Placement) -> tuple[str, ...]:
        """The UUIDs of the devices of `seat`, in its order, once they are reserved and the pod's ConfigMap says so.

        Takes no longer than the policy's `timeout_s`, and a few API calls. Raises ReservationError.
        """
        deadline = time.monotonic() + self._reservations.policy.timeout_s
        asked = (self._reservations.ensure(seat.node, group, index, deadline) for index, group in seat.devices)
        uuids = tuple(await asyncio.gather(*asked))
        if len(set(uuids)) < len(uuids):
            raise ReservationError(f"two GPUs of {seat.node} were reserved as one: {', '.join(uuids)}")
        await self._maps.write(pod, seat, uuids)
        return uuids

    async def undo(self, pod: Pod) -> None:
        """A bind did not come about: take its ConfigMap away. Reservations that nobody shares go by themselves."""
        await self._maps.remove(pod)


class GpuMaps:
    """One per process: `run` it and its `reflector` as tasks; hand `see` every pod that the watch shows."""

    def __init__(
        self,
        client: KubeClient,
        picture: Picture,
        events: EventRecorder,
        is_active: Callable[[], bool],
        *,
        cdi: bool = False,
    ) -> None:
        self._client = client
        self._picture = picture
        self._events = events
        self._is_active = is_active
        self._cdi = cdi
        self._maps: dict[tuple[str, str], _Map] = {}  # by (namespace, name)
        self._due: dict[PodUID, float] = {}  # pods to look at, and when
        self._writes = asyncio.Semaphore(_WRITES)
        self._was_active = False
        selector = ",".join(f"{key}={value}" for key, value in CONFIG_MAP_LABELS.items())
        params = {"labelSelector": selector}
        self.reflector = Reflector(client, "/api/v1/configmaps", _Sink(self), name="configmaps", params=params)

    async def write(self, pod: Pod, seat: Placement, uuids: Sequence[str]) -> bool:
        """Store the pod's ConfigMap, and return whether it was not there, or not so, before.

        A pod that the webhook has not seen has none. Raises ReservationError.
        """
        if not pod.config_map:
            return False
        body = self._body(pod, seat, uuids)
        try:
            for _ in range(_TRIES):
                try:
                    await self._client.create(_path(pod.namespace), body)
                    return True
                except ConflictError:
                    changed = await self._make_way(pod, body)
                    if changed is not None:
                        return changed
        except ApiError as error:
            raise ReservationError(f"ConfigMap {pod.config_map} cannot be written: {error.message}") from error
        raise ReservationError(f"ConfigMap {pod.config_map} is written by somebody else again and again")

    async def _make_way(self, pod: Pod, body: Json) -> bool | None:
        """There is a map of that name: ours becomes what it should be (whether it was not); None: there is none now,
        as one of a pod that has gone goes.
        """
        path = _path(pod.namespace, pod.config_map)
        try:
            found = await self._client.get(path)
        except NotFoundError:
            return None
        metadata = found["metadata"]
        owner = _owner(found)
        if owner == pod.uid:
            if found.get("data") == body["data"]:
                return False
            body["metadata"]["resourceVersion"] = metadata["resourceVersion"]
            await self._client.replace(path, body)
            return True
        other = self._picture.pods.get(owner)
        if not owner or (other is not None and not other.pod.is_finished):
            whose = f"of pod {other.pod.key}" if other is not None else "of no pod"
            raise ReservationError(
                f"ConfigMap {pod.config_map}, from which pod {pod.key} is to learn its GPU, is {whose}: "
                "create the pod without the annotation and the variables copied from another"
            )
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._client.delete(path, options={"preconditions": {"uid": metadata["uid"]}})
        return None

    async def remove(self, pod: Pod) -> None:
        """Delete the pod's ConfigMap if it is the pod's; failures are logged, its owner reference will do it later."""
        if not pod.config_map:
            return
        path = _path(pod.namespace, pod.config_map)
        try:
            found = await self._client.get(path)
            if _owner(found) == pod.uid:
                await self._client.delete(path, options={"preconditions": {"uid": found["metadata"]["uid"]}})
        except (NotFoundError, ConflictError):
            pass
        except ApiError as error:
            log.warning("config_map_not_removed", pod=pod.key, name=pod.config_map, cause=error.message)
            self._due[pod.uid] = time.monotonic() + _REST_S

    def see(self, pod: Pod) -> None:
        """One version of a pod, which the picture has taken in."""
        if pod.config_map and pod.placement is not None and self._was_active:
            self._due.setdefault(pod.uid, 0.0)

    def changed(self, namespace: str, name: str, now: _Map | None) -> None:
        """The watch of maps: one is so now, or (None) has gone."""
        before = self._maps.pop((namespace, name), None)
        if now is not None:
            self._maps[(namespace, name)] = now
        for one in (before, now):
            if one is not None and one.owner in self._picture.pods and self._was_active:
                self._due.setdefault(one.owner, 0.0)

    def listed(self, maps: dict[tuple[str, str], _Map]) -> None:
        for key in self._maps.keys() | maps.keys():
            self.changed(*key, maps.get(key))

    async def run(self) -> None:
        """Write maps that are missing and delete those of pods that have ended, until cancelled."""
        await self.reflector.synced.wait()
        while True:
            await asyncio.sleep(_TICK_S)
            if not self._is_active():
                self._was_active = False
                self._due.clear()
                continue
            if not self._was_active:
                self._was_active = True
                pods = (record.pod for record in self._picture.pods.values())
                self._due = {pod.uid: 0.0 for pod in pods if pod.config_map and pod.placement is not None}
            now = time.monotonic()
            due = [uid for uid, at in self._due.items() if at <= now]
            for uid in due:
                del self._due[uid]
            try:
                await asyncio.gather(*(self._look(uid) for uid in due))
            except Exception:
                # The loop must survive whatever one round meets.
                log.exception("gpu_maps_failed")

    async def _look(self, uid: PodUID) -> None:
        async with self._writes:
            await self._put_right(uid)

    async def _put_right(self, uid: PodUID) -> None:
        record = self._picture.pods.get(uid)
        if record is None:
            return  # whoever collects garbage takes what it owned
        pod, hold = record.pod, record.hold
        known = self._maps.get((pod.namespace, pod.config_map))
        exists = known is not None and known.owner == uid
        if pod.is_finished:
            if exists:
                await self.remove(pod)
            return
        is_bound = hold is not None and hold.state is HoldState.BOUND
        is_right = exists and known is not None and known.devices == visible_devices(pod.gpu_uuids, cdi=self._cdi)
        if is_right or not is_bound or not pod.gpu_uuids or pod.deleting or pod.placement is None:
            return
        try:
            if not await self.write(pod, pod.placement, pod.gpu_uuids):
                return  # our watch is behind, and nothing is wrong
        except ReservationError as error:
            self._due[uid] = time.monotonic() + _REST_S
            log.warning("repair_failed", pod=pod.key, reason=Why.MAP.value, cause=str(error))
            return
        metrics.GPU_REPAIRS.labels(Why.MAP.value).inc()
        text = (
            f"ConfigMap {pod.config_map}, which tells this pod its GPU, had gone or said another, and was written again"
        )
        self._events.record(Subject("Pod", pod.namespace, pod.name, pod.uid), "Warning", "GpuSharingRepaired", text)

    def _body(self, pod: Pod, seat: Placement, uuids: Sequence[str]) -> Json:
        ledger = self._picture.ledger(seat.node)
        memory_mib = 0 if ledger is None else ledger.gpu_memory_mib
        return config_map(pod, uuids, pod.gpu.share_on(memory_mib) or GPU, memory_mib, cdi=self._cdi)


class _Sink:
    """Of each map only whose it is, and which devices it names."""

    def __init__(self, maps: GpuMaps) -> None:
        self._maps = maps

    def read(self, obj: Json) -> tuple[tuple[str, str], _Map] | None:
        metadata = obj["metadata"]
        return ((metadata["namespace"], metadata["name"]), _Map.of(obj))

    def replace(self, values: list[tuple[tuple[str, str], _Map]], version: int) -> None:  # noqa: ARG002  a sink's
        self._maps.listed(dict(values))

    def apply(self, event: str, obj: Json) -> None:
        metadata = obj["metadata"]
        self._maps.changed(metadata["namespace"], metadata["name"], None if event == "DELETED" else _Map.of(obj))


@dataclass(frozen=True, slots=True)
class _Map:
    owner: PodUID
    devices: str

    @classmethod
    def of(cls, obj: Json) -> _Map:
        return cls(_owner(obj), str((obj.get("data") or {}).get(VISIBLE_DEVICES) or ""))


def _owner(obj: Json) -> PodUID:
    owners = obj["metadata"].get("ownerReferences") or ()
    return PodUID(next((str(one.get("uid")) for one in owners if one.get("kind") == "Pod"), ""))


def _path(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps" + (f"/{name}" if name else "")
