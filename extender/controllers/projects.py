"""A project owns a namespace: `runai-<project>`, labelled `runai/queue=<project>`. Made when missing, never deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from extender import logs
from extender.cluster.picture import Picture
from extender.errors import ApiError, ConflictError
from extender.kube.client import KubeClient
from extender.model import names

_EVERY_S = 0.2
_RETRY_S = 5.0

log = logs.get("projects")


class ProjectNamespaces:
    """Level-triggered: compares projects with namespaces whenever either changed. `run` it as a task."""

    def __init__(self, client: KubeClient, picture: Picture, is_active: Callable[[], bool]) -> None:
        self._client = client
        self._picture = picture
        self._is_active = is_active
        self._seen_generation = -1
        self._rest_until: dict[str, float] = {}

    async def run(self) -> None:
        """Keep namespaces until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if self._picture.generation != self._seen_generation or self._rest_until:
                self._seen_generation = self._picture.generation
                if self._is_active():
                    try:
                        await self._reconcile(asyncio.get_running_loop().time())
                    except Exception:
                        # The loop must survive whatever one round meets.
                        log.exception("namespaces_failed")

    def missing(self) -> list[str]:
        """Projects that no namespace is labelled with, and whose own namespace is missing or unlabelled."""
        labels = self._picture.membership.namespaces
        labelled = set(labels.values())
        return sorted(project for project in self._picture.quotas.projects if project not in labelled)

    async def _reconcile(self, now: float) -> None:
        self._rest_until = {project: until for project, until in self._rest_until.items() if until > now}
        for project in self.missing():
            if project in self._rest_until:
                continue
            try:
                await self._ensure(project)
            except ApiError as error:
                self._rest_until[project] = now + _RETRY_S
                log.warning("namespace_failed", project=project, cause=error.message)

    async def _ensure(self, project: str) -> None:
        namespace = names.project_namespace(project)
        label = self._picture.membership.namespaces.get(namespace)
        if label:
            # Somebody gave our namespace to another project: theirs to mend, and said once every retry.
            raise ConflictError(f"namespace {namespace} is labelled {names.QUEUE_LABEL}={label}")
        labels = {names.QUEUE_LABEL: project}
        if label is None:
            body = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": namespace, "labels": labels},
            }
            try:
                await self._client.create("/api/v1/namespaces", body)
                log.info("namespace_created", project=project)
                return
            except ConflictError:
                # Made since we looked: read whose it is before labelling it.
                found = await self._client.get(f"/api/v1/namespaces/{namespace}")
                label = (found["metadata"].get("labels") or {}).get(names.QUEUE_LABEL)
                if label:
                    if label != project:
                        raise ConflictError(f"namespace {namespace} is labelled {names.QUEUE_LABEL}={label}") from None
                    return
        await self._client.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})
        log.info("namespace_labelled", project=project)
