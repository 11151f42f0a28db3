"""The heartbeat of fake nodes: their Leases, which is what a node controller reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from extender import logs
from extender.errors import ApiError
from extender.kube.client import KubeClient

log = logs.get("emulator.kubelet")


async def renew_leases(client: KubeClient, nodes: Callable[[], Iterable[str]], every_s: float) -> None:
    """Renew the Lease of every node there is, until cancelled."""
    while True:
        for name in nodes():
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name, "namespace": "kube-node-lease"},
                "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now},
            }
            path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
            try:
                await client.patch(path, lease, kind="apply", field_manager="kubelet")
            except ApiError as error:
                log.warning("heartbeat_failed", node=name, cause=error.message)
        await asyncio.sleep(every_s)
