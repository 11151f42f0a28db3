"""Who made a pod, and who made that: the workload objects above it, read from the API server and remembered."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from extender.errors import NotFoundError, UnauthorizedError
from extender.kube.client import KubeClient
from extender.model.pod import Owner, Pod
from extender.wire.grouping import controller_of, path_of

Json = dict[str, Any]

_REMEMBERED = 2000
_LONGEST_CHAIN = 4


class Owners:
    """One for all who ask. An answer may be as old as the first pod of its object: identity and shape do not move."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._known: OrderedDict[str, Json] = OrderedDict()  # uid → object

    async def chain(self, pod: Pod) -> list[Json]:
        """The objects above the pod, its own controller first; as far as they exist and are of kinds that we read.

        Raises ApiError when the API server cannot tell now. Cost: one GET for each object not seen before.
        """
        found: list[Json] = []
        owner = pod.owner
        while owner is not None and len(found) < _LONGEST_CHAIN:
            obj = await self._read(pod.namespace, owner)
            if obj is None:
                break
            found.append(obj)
            owner = controller_of(obj)
        return found

    async def _read(self, namespace: str, owner: Owner) -> Json | None:
        path = path_of(namespace, owner)
        if path is None:
            return None
        known = self._known.get(owner.uid)
        if known is None:
            try:
                known = await self._client.get(path)
            except (NotFoundError, UnauthorizedError):
                return None
            if known["metadata"]["uid"] != owner.uid:
                return None  # made again under the same name
            self._known[owner.uid] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known
