"""PodGroups for pods that name none: one for each Job, StatefulSet or training resource, one for each lone pod.

Nothing waits for the objects: in memory such pods are one group from the moment they are seen
(`cluster.grouping`), under the name that the object will have. The object adds what only the workload itself knows
(its minimum, the class and queue that its labels name), and a place for status and reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any

from extender import logs, metrics
from extender.cluster.grouping import group_key_of, group_owner
from extender.cluster.picture import Picture
from extender.controllers.owners import Owners
from extender.errors import ApiError, BadRequestError, ConflictError, NotFoundError
from extender.kube.client import KubeClient
from extender.model import names
from extender.model.names import PodUID
from extender.model.pod import Pod
from extender.wire import grouping

Json = dict[str, Any]

_EVERY_S = 0.5
_MOST_PODS = 200  # looked at in a round
_MOST_GROUPS = 10  # made in a round, all at the same time: twenty a second, however many Jobs are submitted at once
_REST_S = 10.0
_PRUNE_FROM = 10_000

# Kinds whose pods, or whose Jobs' pods, are one group together.

log = logs.get("grouper")


class Grouper:
    """One per process; `run` it as a task, and tell it of every pod that the watch shows (`see`).

    Only the active replica writes. Names follow from the owners, so a replica that takes over, or a restart in the
    middle, makes nothing twice.
    """

    def __init__(self, client: KubeClient, picture: Picture, owners: Owners, is_active: Callable[[], bool]) -> None:
        self._client = client
        self._picture = picture
        self._owners = owners
        self._is_active = is_active
        self._waiting: dict[PodUID, None] = {}  # in order of arrival
        self._rest_until: dict[str, float] = {}  # group key → when to try it again

    def see(self, pod: Pod) -> None:
        """One version of a pod, from the watch or a list. Cost: constant."""
        if _wants_group(pod):
            self._waiting.setdefault(pod.uid)
            if len(self._waiting) > _PRUNE_FROM and not self._is_active():
                self._prune()
        else:
            self._waiting.pop(pod.uid, None)

    async def run(self) -> None:
        """Make groups until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if not self._waiting or not self._is_active():
                continue
            try:
                await self._round(asyncio.get_running_loop().time())
            except Exception:
                # The loop must survive whatever one round meets.
                log.exception("grouper_failed")

    async def _round(self, now: float) -> None:
        self._rest_until = {key: until for key, until in self._rest_until.items() if until > now}
        groups: dict[str, list[Pod]] = {}
        for uid in list(islice(self._waiting, _MOST_PODS)):
            del self._waiting[uid]
            record = self._picture.pods.get(uid)
            if record is None or not _wants_group(record.pod):
                continue
            key = group_key_of(record.pod)
            if key in self._rest_until or (key not in groups and len(groups) == _MOST_GROUPS):
                self._waiting[uid] = None  # at the end: those behind it are not to wait for it
            else:
                groups.setdefault(key, []).append(record.pod)
        await asyncio.gather(*(self._group(key, pods, now) for key, pods in groups.items()))

    async def _group(self, key: str, pods: list[Pod], now: float) -> None:
        """Make the group of these pods, unless it is there, and name it on them."""
        try:
            name = await self._ensure(pods[0])
            if name:
                for pod in pods:
                    await self._annotate(pod, name)
        except BadRequestError as error:
            log.warning("group_refused", name=key, cause=error.message)  # nor would it be taken next time
        except ApiError as error:
            log.warning("group_failed", name=key, cause=error.message)
            self._rest_until[key] = now + _REST_S
            for pod in pods:
                self._waiting.setdefault(pod.uid)

    async def _ensure(self, pod: Pod) -> str:
        """The name of the pod's group, which exists then; "" when there is to be none. Raises ApiError."""
        owner = group_owner(pod)
        chain = await self._owners.chain(pod)
        if owner.kind == "Pod":
            try:
                own = await self._client.get(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}")
            except NotFoundError:
                return ""
            if own["metadata"]["uid"] != pod.uid:
                return ""
            made_for = {"apiVersion": "v1", "kind": "Pod", **own}
            chain = [own, *chain]
        else:
            if not chain:
                # Of a kind that we may not read, or gone: what the pod itself tells has to do.
                metadata = {"name": owner.name, "uid": owner.uid}
                chain = [{"apiVersion": owner.api_version, "kind": owner.kind, "metadata": metadata}]
            made_for = next((one for one in reversed(chain) if one.get("kind") in names.GANG_KINDS), chain[0])
        if grouping.skips(chain):
            return ""
        body = grouping.pod_group(made_for, chain, pod)
        name: str = body["metadata"]["name"]
        if (pod.namespace, name) not in self._picture.membership.groups:
            # A conflict: made before a restart, or by the replica before us.
            with suppress(ConflictError):
                await self._client.create(
                    f"/apis/{names.POD_GROUP_GROUP}/v1alpha1/namespaces/{pod.namespace}/podgroups", body
                )
                metrics.GROUPS_MADE.inc()
                log.info("group_created", name=name, namespace=pod.namespace, members=body["spec"]["minMember"])
        return name

    async def _annotate(self, pod: Pod, name: str) -> None:
        # With the uid, a pod made again under the same name is not meant: it answers 409.
        patch = {"metadata": {"uid": pod.uid, "annotations": {names.POD_GROUP_ANNOTATION: name}}}
        with suppress(NotFoundError, ConflictError):
            await self._client.patch(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", patch)

    def _prune(self) -> None:
        """A passive replica groups nothing: forget the pods that have gone."""
        self._waiting = {uid: None for uid in self._waiting if uid in self._picture.pods}


def _wants_group(pod: Pod) -> bool:
    return (
        pod.scheduler == names.SCHEDULER_NAME
        and not pod.group
        and not pod.skips_grouping
        and not pod.deleting
        and not pod.is_finished
    )
