"""The StatefulSet controller: numbered pods, in order unless told otherwise, replaced when they go or fail."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from extender.emulator.workload_controllers.world import (
    POD,
    STATEFUL_SET,
    World,
    is_active,
    is_ready,
    short_hash,
)
from extender.errors import ConflictError

Json = dict[str, Any]

_REVISION = "controller-revision-hash"
_RETRY_S = 0.2


class StatefulSetController:
    """Brings one StatefulSet at a time to where it should be.

    volumeClaimTemplates become PersistentVolumeClaims that nothing provisions; pods do not wait for them
    here.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def reconcile(self, workload: Json) -> float | None:
        """One step; the seconds after which to look again even if nothing changes, or None."""
        if workload["metadata"].get("deletionTimestamp"):
            return None
        spec = workload["spec"]
        name, replicas = workload["metadata"]["name"], int(spec.get("replicas", 1))
        first = int((spec.get("ordinals") or {}).get("start", 0))
        wanted = {f"{name}-{number}": number for number in range(first, first + replicas)}
        revision = f"{name}-{short_hash(spec['template'], length=10)}"
        pods = {pod["metadata"]["name"]: pod for pod in self._world.picture.owned(workload, POD)}
        again_s = await self._step(workload, pods, wanted, revision)
        await self._write_status(workload, revision)
        return again_s

    async def _step(self, workload: Json, pods: dict[str, Json], wanted: dict[str, int], revision: str) -> float | None:
        ordered = workload["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        for name, number in wanted.items():
            pod = pods.get(name)
            if pod is None:
                try:
                    await self._create_pod(workload, name, number, revision)
                except ConflictError:
                    return _RETRY_S  # somebody else's pod has the name; upstream waits for it as well
            elif not is_active(pod) and not pod["metadata"].get("deletionTimestamp"):
                await self._world.delete(POD, pod)  # it has ended; its successor gets the name
            if ordered and (pod is None or not is_ready(pod)):
                return None
        surplus = [pod for name, pod in pods.items() if name not in wanted]
        for pod in sorted(surplus, key=_ordinal, reverse=True):
            if not pod["metadata"].get("deletionTimestamp"):
                await self._world.delete(POD, pod)
            if ordered:
                return None
        await self._roll(workload, [pods[name] for name in wanted if name in pods], revision)
        return None

    async def _roll(self, workload: Json, pods: list[Json], revision: str) -> None:
        """Replace the highest pod of an older template, once all are ready."""
        strategy = workload["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate" or not all(map(is_ready, pods)):
            return
        partition = int((strategy.get("rollingUpdate") or {}).get("partition", 0))
        for pod in sorted(pods, key=_ordinal, reverse=True):
            labels = pod["metadata"].get("labels") or {}
            if labels.get(_REVISION) != revision and _ordinal(pod) >= partition:
                await self._world.delete(POD, pod)
                return

    async def _create_pod(self, workload: Json, name: str, number: int, revision: str) -> None:
        spec, template = workload["spec"], workload["spec"]["template"]
        volumes = list(template["spec"].get("volumes") or ())
        for claim in spec.get("volumeClaimTemplates") or ():
            claim_name = f"{claim['metadata']['name']}-{name}"
            await self._ensure_claim(workload, claim, claim_name)
            volumes = [volume for volume in volumes if volume["name"] != claim["metadata"]["name"]]
            volumes.append({"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim_name}})
        await self._world.create_pod(
            STATEFUL_SET,
            workload,
            name,
            template,
            labels={
                "statefulset.kubernetes.io/pod-name": name,
                "apps.kubernetes.io/pod-index": str(number),
                _REVISION: revision,
            },
            spec={
                "hostname": name,
                **({"subdomain": spec["serviceName"]} if spec.get("serviceName") else {}),
                **({"volumes": volumes} if volumes else {}),
            },
        )

    async def _ensure_claim(self, workload: Json, claim: Json, name: str) -> None:
        namespace = workload["metadata"]["namespace"]
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace, "labels": claim["metadata"].get("labels")},
            "spec": claim["spec"],
        }
        with suppress(ConflictError):  # it outlives its pod
            await self._world.client.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", body)

    async def _write_status(self, workload: Json, revision: str) -> None:
        pods = [pod for pod in self._world.picture.owned(workload, POD) if is_active(pod)]
        ready = sum(map(is_ready, pods))
        updated = sum((pod["metadata"].get("labels") or {}).get(_REVISION) == revision for pod in pods)
        old = workload.get("status") or {}
        is_rolled_out = updated == len(pods)
        current = revision if is_rolled_out else old.get("currentRevision", revision)
        status = {
            **old,
            "observedGeneration": workload["metadata"].get("generation"),
            "replicas": len(pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "updatedReplicas": updated,
            "currentReplicas": updated if is_rolled_out else len(pods) - updated,
            "currentRevision": current,
            "updateRevision": revision,
            "collisionCount": 0,
        }
        await self._world.write_status(STATEFUL_SET, workload, status)


def _ordinal(pod: Json) -> int:
    return int(pod["metadata"]["name"].rpartition("-")[2])
