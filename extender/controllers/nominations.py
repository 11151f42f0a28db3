"""Nominations: which node kube-scheduler is to look at for a pod, given and withdrawn.

kube-scheduler counts a nominated pod as if it were on its node. A pod that lost its seat and is still nominated there
would keep whoever has the seat now from it, and nothing would make kube-scheduler look again: so nobody is nominated
to a node before those have been withdrawn.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from weakref import WeakValueDictionary

from extender.cluster.picture import HoldState, Picture
from extender.errors import NotFoundError
from extender.kube.client import KubeClient
from extender.model import names
from extender.model.names import NodeName, PodUID


class Nominations:
    """Those that stand, as far as we know. What is asked of the API server about one pod is done one by one."""

    def __init__(self, client: KubeClient, picture: Picture) -> None:
        self._client = client
        self._picture = picture
        self._node_of: dict[PodUID, NodeName] = {}
        self._on: defaultdict[NodeName, set[PodUID]] = defaultdict(set)
        self._locks: WeakValueDictionary[PodUID, asyncio.Lock] = WeakValueDictionary()

    def adopt(self) -> None:
        """Those that stand on objects, of whoever decided before us. Cost: all pods."""
        for uid, record in self._picture.pods.items():
            pod = record.pod
            if pod.nominated and pod.placement is None and pod.scheduler == names.SCHEDULER_NAME:
                self._note(uid, NodeName(pod.nominated))

    def stale(self, among: Iterable[PodUID] | None = None) -> list[PodUID]:
        """Nominated pods that have no seat where they are nominated; those that are settled are forgotten."""
        found = []
        for uid in list(self._node_of if among is None else among):
            record = self._picture.pods.get(uid)
            if record is None or record.pod.placement is not None or record.pod.is_finished:
                self._forget(uid)
            elif not self._has_seat(uid, self._node_of[uid]):
                found.append(uid)
        return found

    async def give(self, uid: PodUID, node: NodeName) -> bool:
        """Nominate a pod to the node of its seat, the last who had it withdrawn before; False: it has none there.

        Raises ApiError; NotFoundError when the pod is gone.
        """
        for other in self.stale(self._on.get(node, ())):
            if other != uid:
                await self.withdraw(other)
        async with self._lock(uid):
            if not self._has_seat(uid, node):
                return False
            self._note(uid, node)
            await self._patch(uid, node)
            return True

    async def withdraw(self, uid: PodUID) -> None:
        """Take a nomination back, unless the pod has its seat again or is gone. Raises ApiError."""
        async with self._lock(uid):
            if not self.stale([uid] if uid in self._node_of else ()):
                return
            with suppress(NotFoundError):
                await self._patch(uid, None)
            self._forget(uid)

    def _lock(self, uid: PodUID) -> asyncio.Lock:
        lock = self._locks.get(uid)
        if lock is None:
            lock = self._locks[uid] = asyncio.Lock()
        return lock

    async def _patch(self, uid: PodUID, node: NodeName | None) -> None:
        record = self._picture.pods.get(uid)
        if record is not None:
            path = f"/api/v1/namespaces/{record.pod.namespace}/pods/{record.pod.name}/status"
            await self._client.patch(path, {"metadata": {"uid": uid}, "status": {"nominatedNodeName": node}})

    def _has_seat(self, uid: PodUID, node: NodeName) -> bool:
        record = self._picture.pods.get(uid)
        hold = None if record is None else record.hold
        return hold is not None and hold.state is not HoldState.PROMISED and hold.placement.node == node

    def _note(self, uid: PodUID, node: NodeName) -> None:
        self._forget(uid)
        self._node_of[uid] = node
        self._on[node].add(uid)

    def _forget(self, uid: PodUID) -> None:
        node = self._node_of.pop(uid, None)
        if node is not None:
            self._on[node].discard(uid)
            if not self._on[node]:
                del self._on[node]
