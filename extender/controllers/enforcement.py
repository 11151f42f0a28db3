"""Which namespaces make every pod ours: annotation `runai/enforce-scheduler-name: "true"`."""

from __future__ import annotations

from typing import Any

from extender.errors import NotFoundError
from extender.kube.client import KubeClient
from extender.kube.reflector import Reflector
from extender.model import names

Json = dict[str, Any]


class EnforcedNamespaces:
    """Mirrors the annotation of all namespaces; `run` its reflector as a task."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._enforced: dict[str, bool] = {}
        self.reflector = Reflector(client, "/api/v1/namespaces", self, name="enforcement")

    async def is_enforced(self, namespace: str) -> bool:
        """Whether pods of `namespace` are forced to us; one that the watch has not brought yet is read."""
        known = self._enforced.get(namespace)
        if known is not None:
            return known
        try:
            _, enforced = self.read(await self._client.get(f"/api/v1/namespaces/{namespace}"))
        except NotFoundError:
            return False
        return enforced

    def read(self, obj: Json) -> tuple[str, bool]:
        metadata = obj["metadata"]
        value = (metadata.get("annotations") or {}).get(names.ENFORCE_SCHEDULER_ANNOTATION)
        return metadata["name"], value == "true"

    def replace(self, values: list[tuple[str, bool]], version: int) -> None:  # noqa: ARG002  the Sink's signature
        self._enforced = dict(values)

    def apply(self, event: str, obj: Json) -> None:
        name, enforced = self.read(obj)
        if event == "DELETED":
            self._enforced.pop(name, None)
        else:
            self._enforced[name] = enforced
