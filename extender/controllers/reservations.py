"""Reservation pods: made before a device's first share is bound, deleted after its last one's end, repaired between.

Three ways in. `ensure` is a bind that needs a device held and named. `see` is every version of a pod that the watch
shows. `run` is the loop that carries out what `pods/repair` finds due, at devices where something has happened.
Whoever holds a seat on a device, if only reserved, protects its reservation: the picture counts both in one step.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from extender import __version__, logs, metrics
from extender.cluster.picture import Picture
from extender.cluster.sharing import Device, reserved_device
from extender.errors import ApiError, ConflictError, MalformedError, NotFoundError, ReservationError
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder, Subject
from extender.model import names
from extender.model.amounts import GPU
from extender.model.names import NodeName, PodUID
from extender.model.pod import Pod
from extender.model.reservation import reservation_name
from extender.pods import bind, repair
from extender.pods.repair import Evict, Make, Relabel, Remove, Step, Why
from extender.wire import pods as wire
from extender.wire.reservations import reservation_pod

_PODS = f"/api/v1/namespaces/{names.RESERVATION_NAMESPACE}/pods"
_TICK_S = 0.1
_POLL_S = 0.5
_UNUSED_FOR_S = 0.5  # before a reservation goes: the next share may be on its way
_UNREPORTED_FOR_S = 15.0  # one whose image is still pulled: its bind has given up, and comes again
_WRITES = 32  # at a time
_FIRST_REST_S = 1.0
_LONGEST_REST_S = 60.0

log = logs.get("reservations")


@dataclass(frozen=True, slots=True)
class ReservationPolicy:
    """How devices are reserved. Times in seconds.

    image:      of the pods; "": that of the container that we run in. own_pod: its namespace and name.
    timeout_s:  a device that is not held and named by then fails its bind.
    takeover_s: what was reserved when we became active does not go for want of sharers at first: a Binding of
                whoever was active before us may still be on its way.
    """

    image: str = ""
    own_pod: tuple[str, str] = ("", "")
    runtime_class: str = ""
    priority_class: str = ""
    timeout_s: float = 20.0
    takeover_s: float = 15.0


class Reservations:
    """One per process. `run` it as a task; hand `see` every pod that the watch shows."""

    def __init__(
        self,
        client: KubeClient,
        picture: Picture,
        events: EventRecorder,
        is_active: Callable[[], bool],
        policy: ReservationPolicy,
    ) -> None:
        self._client = client
        self._picture = picture
        self._events = events
        self._is_active = is_active
        self.policy = policy
        self._image = ""
        self._moved = asyncio.Event()
        self._due: dict[Device, float] = {}  # when to look at a device (again), monotonic
        self._working: set[Device] = set()
        self._writes = asyncio.Semaphore(_WRITES)
        self._rests: dict[Device, float] = {}  # how long the last failure made it wait
        self._unshared_since: dict[Device, float] = {}
        self._edited: dict[PodUID, float] = {}  # sharers whose records differ from ours → when to write them
        self._deleted: set[PodUID] = set()  # reservations whose deletion the API server has accepted
        self._orphans: set[Device] = set()  # reserved and not shared when we began to look
        self._found: set[Device] = set()  # reserved when we began to look, shared or not
        self._active_since: float | None = None

    # A bind's way in

    async def ensure(self, node: NodeName, group: str, index: int, deadline: float) -> str:
        """Have a device of `node` held for `group`, and return its UUID.

        index: our number of it. deadline: monotonic seconds. Raises ReservationError; what was made stays, and goes
        by itself when nobody shares the device.
        """
        device = (node, group)
        seen: set[PodUID] = set()
        while True:
            moved = self._moved
            found = self._usable(device)
            if found is not None and found.reserves is not None and found.reserves.uuid:
                self._is_its_own(device, found.reserves.uuid)
                return found.reserves.uuid
            if found is not None:
                seen.add(found.uid)
            await self._heed_refusals(device, seen)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                what = f"pod {found.key} did not report its device" if found else "there is no pod that holds it"
                raise ReservationError(f"no GPU of {node} was reserved in {self.policy.timeout_s:g} s: {what}")
            if found is None:
                try:
                    await self._create(device, index)
                except ConflictError:
                    await self._adopt(group)  # it is there, or on its way out
                except ApiError as error:
                    raise ReservationError(f"no GPU of {node} could be reserved: {error.message}") from error
                if self._usable(device) is not None:
                    continue
            try:
                await asyncio.wait_for(moved.wait(), min(_POLL_S, left_s))
            except TimeoutError:
                continue

    def _usable(self, device: Device) -> Pod | None:
        """The reservation to use: one that holds the device of those who share it already, or will."""
        group = device[1]
        sharers = (self._picture.pods[uid].pod for uid in self._picture.sharing.sharers.get(device, ()))
        expected = repair.device_of_sharers(sharers, group)
        alive = [pod for pod in self._reservations(device) if not pod.is_finished and not pod.deleting]
        alive.sort(key=lambda pod: (pod.name != reservation_name(group), pod.name))
        reported = {pod.reserves.uuid: pod for pod in reversed(alive) if pod.reserves is not None and pod.reserves.uuid}
        if expected is not None and reported and expected not in reported:
            raise ReservationError(f"the GPU shared on {device[0]} by {group} was lost and is being found again")
        if expected is not None and expected in reported:
            return reported[expected]
        return next(iter([*reversed(reported.values()), *alive]), None)

    def _is_its_own(self, device: Device, uuid: str) -> None:
        """Raises ReservationError for a GPU that is reserved for others too, as where the device plugin slices time."""
        for other in repair.holding(self._picture, device[0], uuid):
            if other.reserves is not None and other.reserves.group != device[1]:
                raise ReservationError(f"GPU {uuid} of {device[0]} is reserved for {other.reserves.group} already")

    async def _heed_refusals(self, device: Device, seen: set[PodUID]) -> None:
        """Raises ReservationError where one that was `seen` alive has ended; what ended before makes way."""
        for pod in self._reservations(device):
            if not pod.is_finished or pod.deleting or pod.reserves is None:
                continue
            if pod.uid in seen:
                refusal = pod.reserves.refusal
                raise ReservationError(f"the kubelet of {device[0]} refused the pod that was to hold a GPU: {refusal}")
            with contextlib.suppress(ApiError):
                await self._take(device, Remove(pod, Why.FAILED))

    def _reservations(self, device: Device) -> list[Pod]:
        return [self._picture.pods[uid].pod for uid in self._picture.sharing.reservations.get(device, ())]

    async def _create(self, device: Device, index: int, spare: int = 0) -> None:
        """Raises ApiError; ConflictError when one of that name exists."""
        node, group = device
        ledger = self._picture.ledger(node)
        if ledger is None or ledger.node is None:
            raise NotFoundError(f"node {node} does not exist", status=404)
        policy, uid = self.policy, ledger.node.uid
        if not self._image:
            self._image = policy.image or await own_image(self._client, *policy.own_pod)
        body = reservation_pod(
            group,
            node,
            uid,
            index,
            image=self._image,
            runtime_class=policy.runtime_class,
            priority_class=policy.priority_class,
            spare=spare,
        )
        try:
            made = await self._client.create(_PODS, body)
        except NotFoundError:
            await self._make_namespace()
            made = await self._client.create(_PODS, body)
        self._take_in(made)
        log.info("reservation_made", pod=body["metadata"]["name"], node=node)

    async def _make_namespace(self) -> None:
        """The manifests bring it; whoever runs us without them gets it here."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.RESERVATION_NAMESPACE}}
        with contextlib.suppress(ConflictError):
            await self._client.create("/api/v1/namespaces", body)

    async def _adopt(self, group: str) -> None:
        try:
            self._take_in(await self._client.get(f"{_PODS}/{reservation_name(group)}"))
        except NotFoundError:
            return
        except ApiError as error:
            log.warning("reservation_unreadable", pod=reservation_name(group), cause=error.message)

    def _take_in(self, obj: dict[str, Any]) -> None:
        try:
            self._picture.upsert_pod(wire.parse(obj))
        except MalformedError as error:
            log.warning("malformed", kind="pods", cause=str(error))

    # The watch's way in

    def see(self, pod: Pod) -> None:
        """One version of a pod, which the picture has taken in."""
        if pod.reserves is not None:
            self._moved.set()
            self._moved = asyncio.Event()
            if not pod.reserves.healthy and not pod.is_finished:
                self._tell_unhealthy(pod)
        elif pod.placement is not None and pod.gpu.is_shared:
            record = self._picture.pods.get(pod.uid)
            if record is not None and _is_edited(pod, record.pod):
                self._edited.setdefault(pod.uid, 0.0)
            else:
                self._edited.pop(pod.uid, None)

    def _tell_unhealthy(self, pod: Pod) -> None:
        device = reserved_device(pod)
        if device is None or pod.reserves is None:
            return
        for sharer in self._sharers(device):
            text = f"GPU {pod.reserves.uuid} of node {device[0]}, which this pod shares, is not healthy"
            self._events.record(_subject(sharer), "Warning", "GpuUnhealthy", text)

    def _sharers(self, device: Device) -> list[Pod]:
        return [self._picture.pods[uid].pod for uid in sorted(self._picture.sharing.sharers.get(device, ()))]

    # The loop

    async def run(self) -> None:
        """Carry out what is due until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(_TICK_S)
                self._picture.sharing.is_followed = self._is_active()
                if not self._picture.sharing.is_followed:
                    self._reopen()
                    self._active_since = None
                    continue
                devices, edited = self._take_due(time.monotonic())
                for device in devices:
                    tasks.create_task(self._look(device))
                for uid in edited:
                    tasks.create_task(self._rewrite(uid))

    def _take_due(self, now: float) -> tuple[list[Device], list[PodUID]]:
        """Devices to look at and sharers to write to; each is taken once, until something moves there again."""
        sharing = self._picture.sharing
        self._deleted = {uid for uid in self._deleted if uid in self._picture.pods}
        if self._active_since is None:
            self._reopen()
            self._active_since = now
            self._due.update(dict.fromkeys([*sharing.sharers, *sharing.reservations], now))
            self._found = set(sharing.reservations)
            self._orphans = self._found - sharing.sharers.keys()
        for device in sharing.take_changed():
            # One that could not be put right rests, whatever moves there; what nobody shares goes all the same.
            if device not in self._rests or device not in sharing.sharers:
                self._due[device] = now
        devices = [device for device, at in self._due.items() if at <= now and device not in self._working]
        for device in devices:
            del self._due[device]
            wait_s = self._to_wait(device, now)
            if wait_s > 0:
                self._due[device] = now + wait_s
        devices = [device for device in devices if device not in self._due]
        self._working.update(devices)
        edited = [uid for uid, at in self._edited.items() if at <= now]
        for uid in edited:
            del self._edited[uid]
        return devices, edited

    def _reopen(self) -> None:
        """What was to be deleted, and was not, is open again: whoever is active meanwhile may let others join it."""
        for uid in [uid for uid in self._picture.sharing.closing if uid not in self._deleted]:
            self._picture.reopen_reservation(uid)

    async def _look(self, device: Device) -> None:
        step: Step | None = None
        try:
            async with self._writes:
                steps = repair.review(self._picture, device)
                for step in steps:
                    if isinstance(step, Remove):
                        # All at once, before the first of them is waited for: nobody may join meanwhile.
                        self._picture.close_reservation(step.pod.uid, step.why)
                for step in steps:
                    await self._take(device, step)
            if any(isinstance(step, Remove) and step.why is Why.FAILED for step in steps):
                self._rest(device)  # what the kubelet has refused it may refuse again and again
            elif not steps:
                self._rests.pop(device, None)
            elif device in self._rests:
                self._due[device] = time.monotonic() + self._rests[device]  # until all is well, whatever moves
        except Exception as error:
            # One device must not cost the others theirs.
            self._rest(device)
            if isinstance(error, ApiError):
                log.warning("repair_failed", node=device[0], reason=type(step).__name__, cause=error.message)
            else:
                log.exception("repair_failed", node=device[0])
        finally:
            self._working.discard(device)

    def _rest(self, device: Device) -> None:
        """Look at the device again in a while, longer each time."""
        rest_s = self._rests[device] = min(2 * self._rests.get(device, _FIRST_REST_S / 2), _LONGEST_REST_S)
        self._due[device] = time.monotonic() + rest_s

    def _to_wait(self, device: Device, now: float) -> float:
        """How long a device without sharers keeps its reservation yet; 0 with sharers."""
        sharing = self._picture.sharing
        if device in sharing.sharers or self._picture.ledger(device[0]) is None:
            self._unshared_since.pop(device, None)
            self._orphans.discard(device)
            return 0.0
        if device not in sharing.reservations:
            self._unshared_since.pop(device, None)
            self._rests.pop(device, None)
            return 0.0
        alive = [pod for pod in self._reservations(device) if not pod.is_finished]
        if not alive:
            return 0.0
        since = self._unshared_since.setdefault(device, now)
        reported = any(pod.reserves is not None and pod.reserves.uuid for pod in alive)
        assert self._active_since is not None
        until = since + (_UNUSED_FOR_S if reported else _UNREPORTED_FOR_S)
        if device in self._found:
            until = max(until, self._active_since + self.policy.takeover_s)
        return until - now

    async def _take(self, device: Device, step: Step) -> None:
        """Carry out one step. Raises ApiError when the API server does not let us."""
        match step:
            case Remove(pod, why):
                if why is Why.UNUSED and device in self._orphans:
                    why = Why.ORPHAN
                self._picture.close_reservation(pod.uid, why)
                if pod.uid in self._deleted:
                    return
                options = {"preconditions": {"uid": pod.uid}, "gracePeriodSeconds": 0 if why is Why.NODE_GONE else None}
                try:
                    await self._client.delete(
                        f"{_PODS}/{pod.name}",
                        options={key: value for key, value in options.items() if value is not None},
                    )
                except (NotFoundError, ConflictError):
                    return  # gone, or another of that name by now
                self._deleted.add(pod.uid)
                log.info("reservation_removed", pod=pod.key, node=device[0], reason=why)
                if why is not Why.UNUSED:
                    self._repaired(why, [pod], f"reservation pod {pod.key} was removed: {_BECAUSE[why]}")
            case Make(index, spare, why):
                try:
                    await self._create(device, index, spare)
                except ConflictError:
                    await self._adopt(device[1])
                    return
                text = f"a reservation for the GPU that this pod shares on {device[0]} was made anew: {_BECAUSE[why]}"
                self._repaired(why, self._sharers(device), text)
            case Relabel(pod):
                labels = {names.GPU_GROUP_LABEL: device[1]}
                await self._client.patch(f"{_PODS}/{pod.name}", {"metadata": {"uid": pod.uid, "labels": labels}})
                self._repaired(Why.LABELS, [pod], f"the label {names.GPU_GROUP_LABEL} is {device[1]} again")
            case Evict(pods, proof):
                for pod in pods:
                    try:
                        await self._evict(pod, device, proof)
                    except ApiError as error:
                        # A disruption budget, perhaps: the others go, and for this one it is proven anew.
                        log.warning("repair_failed", pod=pod.key, reason=Why.TAKEN.value, cause=error.message)

    async def _evict(self, pod: Pod, device: Device, proof: str) -> None:
        try:
            await self._client.evict(pod.namespace, pod.name, pod.uid)
        except (NotFoundError, ConflictError):
            return
        text = f"the GPU of {device[0]} that this pod shared is held by somebody else; the kubelet says: {proof}"
        self._repaired(Why.TAKEN, [pod], text)

    async def _rewrite(self, uid: PodUID) -> None:
        """What a sharer's object says of its devices is made to be what was bound."""
        record = self._picture.pods.get(uid)
        if record is None or record.pod.placement is None or record.pod.is_finished:
            return
        pod = record.pod
        # API servers before 1.35 drop the labels of a Binding: then nobody has edited anything.
        is_first = not any(key.split("/")[0] == names.GPU_GROUP_LABEL for key, _ in pod.labels)
        annotations, labels = _records(pod)
        patch = {"metadata": {"uid": pod.uid, "annotations": annotations, "labels": labels}}
        try:
            async with self._writes:
                await self._client.patch(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", patch)
        except NotFoundError:
            return
        except ApiError as error:
            self._edited[uid] = time.monotonic() + _FIRST_REST_S
            log.warning("repair_failed", pod=pod.key, reason="labels", cause=error.message)
            return
        if not is_first:
            self._repaired(
                Why.LABELS, [pod], "labels and annotations that say which GPU the pod has are as bound again"
            )

    def _repaired(self, why: Why, about: list[Pod], text: str) -> None:
        metrics.GPU_REPAIRS.labels(why.value).inc()
        for pod in about:
            self._events.record(_subject(pod), "Warning", "GpuSharingRepaired", text[:1].upper() + text[1:])
        log.warning("repaired", reason=why, cause=text)


async def own_image(client: KubeClient, namespace: str, name: str) -> str:
    """The image of the container that we run in: `name` is its Pod. Outside a Pod, our own name and version.

    Raises ApiError when the API server does not say.
    """
    try:
        pod = await client.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
    except NotFoundError:
        pod = {}
    containers = (pod.get("spec") or {}).get("containers") or ()
    serving = (one for one in containers if "serve" in (one.get("args") or ()))
    return next((str(one["image"]) for one in serving if one.get("image")), f"{names.SCHEDULER_NAME}:{__version__}")


_BECAUSE = {
    Why.NODE_GONE: "its node has gone",
    Why.FAILED: "it has failed",
    Why.ORPHAN: "nobody shares its GPU",
    Why.DUPLICATE: "another holds the device",
    Why.MISSING: "nothing held the GPU",
    Why.LOST: "what held the GPU has another one now",
}


def _records(pod: Pod) -> tuple[dict[str, str], dict[str, str]]:
    assert pod.placement is not None
    return bind.records(pod, pod.placement, share_milli=pod.gpu.share_milli or GPU, uuids=pod.gpu_uuids)


def _is_edited(now: Pod, recorded: Pod) -> bool:
    """Whether the object says something else of its devices than what was bound."""
    if recorded.placement is None or not all(group for _, group in recorded.placement.devices):
        return False  # bound by somebody else, or before groups were recorded
    if (now.placement, now.gpu, now.gpu_uuids) != (recorded.placement, recorded.gpu, recorded.gpu_uuids):
        return True
    _, labels = _records(recorded)
    return not labels.items() <= dict(now.labels).items()


def _subject(pod: Pod) -> Subject:
    return Subject("Pod", pod.namespace, pod.name, pod.uid)
