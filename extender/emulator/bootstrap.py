"""What every new cluster has: its namespaces, the system's priority classes, the service of the API itself."""

from __future__ import annotations

from extender.emulator.resources import JSON, NAMESPACES, PRIORITY_CLASSES, SERVICES, Registry, Storage
from extender.emulator.store import Store
from extender.emulator.writes import WriteOptions, Writer

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


async def populate(store: Store, writer: Writer, registry: Registry) -> None:
    """Create what is not there yet."""

    async def ensure(storage: Storage, namespace: str, body: JSON) -> None:
        if store.get(storage, namespace, body["metadata"]["name"]) is None:
            resource = registry.of_storage(storage)
            typed = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
            await writer.create(resource, namespace, typed, WriteOptions())

    for name in _NAMESPACES:
        await ensure(NAMESPACES, "", {"metadata": {"name": name}})
    for name, value in _PRIORITIES.items():
        await ensure(PRIORITY_CLASSES, "", {"metadata": {"name": name}, "value": value})
    labels = {"component": "apiserver", "provider": "kubernetes"}
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]
    service = {"metadata": {"name": "kubernetes", "labels": labels}, "spec": {"clusterIP": "10.96.0.1", "ports": ports}}
    await ensure(SERVICES, "default", service)
