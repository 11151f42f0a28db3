"""The ReplicaSet controller: so many pods of one template, whichever."""

from __future__ import annotations

from typing import Any

from extender.emulator.workload_controllers.world import (
    POD,
    REPLICA_SET,
    World,
    is_active,
    is_ready,
    short_hash,
)
from extender.errors import ConflictError

Json = dict[str, Any]


class ReplicaSetController:
    """Brings one ReplicaSet at a time to where it should be."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def reconcile(self, workload: Json) -> float | None:
        """One step; None: a change will call again."""
        if workload["metadata"].get("deletionTimestamp"):
            return None
        active = [pod for pod in self._world.picture.owned(workload, POD) if is_active(pod)]
        wanted = int(workload["spec"].get("replicas", 1))
        if len(active) > wanted:
            # Those that run are worth most, then the older ones.
            active.sort(key=lambda pod: (is_ready(pod), _newest_first(pod)))
            for pod in active[: len(active) - wanted]:
                await self._world.delete(POD, pod)
            active = active[len(active) - wanted :]
        number = 0
        while len(active) < wanted:
            metadata = workload["metadata"]
            name = f"{metadata['name']}-{short_hash(metadata['namespace'], metadata['name'], number)}"
            number += 1
            try:
                active.append(await self._world.create_pod(REPLICA_SET, workload, name, workload["spec"]["template"]))
            except ConflictError:
                continue  # one of ours, or one that is still going: the next name
        ready = sum(map(is_ready, active))
        await self._world.write_status(
            REPLICA_SET,
            workload,
            {
                **(workload.get("status") or {}),
                "observedGeneration": workload["metadata"].get("generation"),
                "replicas": len(active),
                "fullyLabeledReplicas": len(active),
                "readyReplicas": ready,
                "availableReplicas": ready,
            },
        )
        return None


def _newest_first(pod: Json) -> int:
    return -int(pod["metadata"]["resourceVersion"])
