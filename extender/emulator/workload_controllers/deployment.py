"""The Deployment controller: one ReplicaSet a template, rolled from the old ones to the newest."""

from __future__ import annotations

import math
from typing import Any

from extender.emulator.pod_resources import is_terminal
from extender.emulator.times import now_text
from extender.emulator.workload_controllers.world import DEPLOYMENT, POD, REPLICA_SET, World, short_hash
from extender.errors import ConflictError

Json = dict[str, Any]

_HASH = "pod-template-hash"


class DeploymentController:
    """Brings one Deployment at a time to where it should be. Rollback, pause and history are left out."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def reconcile(self, deployment: Json) -> float | None:
        """One step; None: a change will call again."""
        if deployment["metadata"].get("deletionTimestamp"):
            return None
        spec = deployment["spec"]
        newest_name = f"{deployment['metadata']['name']}-{short_hash(spec['template'], length=10)}"
        sets = {rs["metadata"]["name"]: rs for rs in self._world.picture.owned(deployment, REPLICA_SET)}
        newest = sets.pop(newest_name, None)
        old = list(sets.values())
        replicas = int(spec.get("replicas", 1))
        surge, unavailable = _rolling_limits(spec, replicas)
        if spec.get("strategy", {}).get("type") == "Recreate":
            for rs in old:
                await self._resize(rs, 0)
            size = 0 if any(self._has_pods(rs) for rs in old) else replicas
        else:
            others = sum(_size(rs) for rs in old)
            size = max(_size(newest) if newest else 0, min(replicas, replicas + surge - others))
            size = min(size, replicas)
        if newest is None:
            newest = await self._create(deployment, newest_name, size)
        else:
            newest = await self._resize(newest, size)
        await self._shrink(old, newest, replicas - unavailable)
        await self._write_status(deployment, newest, old)
        return None

    def _has_pods(self, rs: Json) -> bool:
        """Whether a pod of `rs` still runs, if only to its end; its going calls us again."""
        return any(not is_terminal(pod) for pod in self._world.picture.owned(rs, POD))

    async def _shrink(self, old: list[Json], newest: Json, min_available: int) -> None:
        """Take pods from older ReplicaSets, as many as availability allows; what is not ready goes first."""
        spare = _ready(newest) + sum(_ready(rs) for rs in old) - min_available
        for rs in old:
            idle = max(0, _size(rs) - _ready(rs))
            step = min(_size(rs), idle + max(0, spare))
            spare -= max(0, step - idle)
            if step:
                await self._resize(rs, _size(rs) - step)

    async def _create(self, deployment: Json, name: str, size: int) -> Json:
        spec = deployment["spec"]
        digest = name.rpartition("-")[2]
        template = spec["template"]
        metadata = template.get("metadata") or {}
        labels = {**(metadata.get("labels") or {}), _HASH: digest}
        selector = spec["selector"]
        body: Json = {
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": size,
                "selector": {
                    **selector,
                    "matchLabels": {**(selector.get("matchLabels") or {}), _HASH: digest},
                },
                "template": {**template, "metadata": {**metadata, "labels": labels}},
            },
        }
        try:
            return await self._world.create_child(REPLICA_SET, DEPLOYMENT, deployment, body)
        except ConflictError:
            raise ConflictError(f"replicaset {name} belongs to somebody else or is still going") from None

    async def _resize(self, rs: Json, size: int) -> Json:
        if _size(rs) == size:
            return rs
        return await self._world.patch(REPLICA_SET, rs, {"spec": {"replicas": size}})

    async def _write_status(self, deployment: Json, newest: Json, old: list[Json]) -> None:
        replicas = int(deployment["spec"].get("replicas", 1))
        sets = [newest, *old]
        ready = sum(map(_ready, sets))
        updated = int((newest.get("status") or {}).get("replicas", 0))
        is_available = ready >= replicas - _rolling_limits(deployment["spec"], replicas)[1]
        is_complete = updated == ready == replicas
        conditions = [
            _condition(
                deployment,
                "Available",
                is_available,
                "MinimumReplicasAvailable" if is_available else "MinimumReplicasUnavailable",
                f"Deployment {'has' if is_available else 'does not have'} minimum availability.",
            ),
            _condition(
                deployment,
                "Progressing",
                True,
                "NewReplicaSetAvailable" if is_complete else "ReplicaSetUpdated",
                f'ReplicaSet "{newest["metadata"]["name"]}" '
                + ("has successfully progressed." if is_complete else "is progressing."),
            ),
        ]
        status = {
            **(deployment.get("status") or {}),
            "observedGeneration": deployment["metadata"].get("generation"),
            "replicas": sum(int((rs.get("status") or {}).get("replicas", 0)) for rs in sets),
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(0, replicas - ready),
            "conditions": conditions,
        }
        await self._world.write_status(DEPLOYMENT, deployment, status)


def _rolling_limits(spec: Json, replicas: int) -> tuple[int, int]:
    """(how many more, how many fewer) pods than wanted a roll-out may have."""
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = _part(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = _part(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return (surge, unavailable) if surge or unavailable else (1, 0)


def _part(value: Any, whole: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * whole / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value)


def _size(rs: Json) -> int:
    return int(rs["spec"].get("replicas", 1))


def _ready(rs: Json) -> int:
    return int((rs.get("status") or {}).get("readyReplicas") or 0)


def _condition(deployment: Json, kind: str, holds: bool, reason: str, message: str) -> Json:
    value = "True" if holds else "False"
    for old in (deployment.get("status") or {}).get("conditions") or ():
        if (old["type"], old["status"], old.get("reason")) == (kind, value, reason):
            return {**old, "message": message}
    now = now_text()
    return {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    }
