"""The garbage collector, in small: what a deleted workload owned goes too.

Follows owners of the kinds in `world.KINDS` and dependents of those kinds and pods. Foreground and orphan
deletion work through the finalizers that the API server puts on an owner.
"""

from __future__ import annotations

import logging
from typing import Any

from extender.emulator.workload_controllers.world import (
    KINDS,
    POD,
    Key,
    Kind,
    World,
)
from extender.errors import NotFoundError

Json = dict[str, Any]

_log = logging.getLogger(__name__)
_FOREGROUND = "foregroundDeletion"
_ORPHAN = "orphan"
_BY_NAME = {kind.name: kind for kind in (*KINDS, POD)}


class GarbageCollector:
    """Looks at one object at a time: is its owner still there, and is it itself waiting for its children to
    go?
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def collect(self, key: Key, obj: Json) -> bool:
        """Delete `obj` if its owner is gone, or help its own deletion on; True when `obj` is on its way
        out.
        """
        kind = _BY_NAME[key[0]]
        if obj["metadata"].get("deletionTimestamp"):
            await self._help_along(kind, obj)
            return True
        references = obj["metadata"].get("ownerReferences") or ()
        followed = [reference for reference in references if reference["kind"] in _BY_NAME]
        if len(followed) < len(references) or not followed:
            return False  # not owned, or owned by a kind that nobody here can vouch for
        for reference in followed:
            if await self._exists(key[1], reference):
                return False
        await self._world.delete(kind, obj)
        return True

    async def _exists(self, namespace: str, reference: Json) -> bool:
        known = self._world.picture.get((reference["kind"], namespace, reference["name"]))
        if known is not None and known["metadata"]["uid"] == reference["uid"]:
            return True
        # The picture may be behind (two watches): ask before deleting anything.
        kind = _BY_NAME[reference["kind"]]
        if kind is POD:
            path = f"/api/v1/namespaces/{namespace}/pods/{reference['name']}"
        else:
            path = kind.path(namespace, reference["name"])
        try:
            owner = await self._world.client.get(path)
        except NotFoundError:
            return False
        return bool(owner["metadata"]["uid"] == reference["uid"])

    async def _help_along(self, kind: Kind, obj: Json) -> None:
        finalizers = obj["metadata"].get("finalizers") or []
        children = list(self._world.picture.children.get(obj["metadata"]["uid"], {}).items())
        if _FOREGROUND in finalizers:
            for child_key, child in children:
                if not child["metadata"].get("deletionTimestamp"):
                    await self._world.delete(_BY_NAME[child_key[0]], child)
            if not children:
                await self._drop_finalizer(kind, obj, _FOREGROUND)
        elif _ORPHAN in finalizers:
            for child_key, child in children:
                owners = [
                    reference
                    for reference in child["metadata"].get("ownerReferences") or ()
                    if reference["uid"] != obj["metadata"]["uid"]
                ]
                patch = {"metadata": {"ownerReferences": owners or None}}
                await self._world.patch(_BY_NAME[child_key[0]], child, patch)
            await self._drop_finalizer(kind, obj, _ORPHAN)

    async def _drop_finalizer(self, kind: Kind, obj: Json, finalizer: str) -> None:
        left = [name for name in obj["metadata"]["finalizers"] if name != finalizer]
        try:
            await self._world.patch(kind, obj, {"metadata": {"finalizers": left or None}})
        except NotFoundError:
            _log.debug("already gone", extra={"kind": kind.name})
