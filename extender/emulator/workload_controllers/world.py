"""What the workload controllers share: their picture of the cluster, a work queue of keys, and the few
writes they do.

Level-triggered, like the real ones: an event only says *which* object to look at again, and the look
compares what is wanted with what is there. Their own writes go into the picture at once, so that a look
never misses a pod that the same controller has just created.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from extender import logs
from extender.emulator.pod_resources import is_terminal
from extender.emulator.times import now_text
from extender.errors import ApiError, ConflictError, NotFoundError
from extender.kube.client import KubeClient

Json = dict[str, Any]

log = logs.get("emulator.workloads")

_CALL_TIMEOUT_S = 10.0
# As upstream: no vowels, so that no word comes out, and nothing that looks like something else.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Kind:
    """A workload kind: its REST path and what its children say about their owner."""

    name: str
    api_version: str
    plural: str

    @property
    def collection(self) -> str:
        return f"/apis/{self.api_version}/{self.plural}"

    def path(self, namespace: str, name: str = "") -> str:
        path = f"/apis/{self.api_version}/namespaces/{namespace}/{self.plural}"
        return f"{path}/{name}" if name else path


JOB = Kind("Job", "batch/v1", "jobs")
STATEFUL_SET = Kind("StatefulSet", "apps/v1", "statefulsets")
REPLICA_SET = Kind("ReplicaSet", "apps/v1", "replicasets")
DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments")
POD = Kind("Pod", "v1", "pods")
KINDS = (JOB, STATEFUL_SET, REPLICA_SET, DEPLOYMENT)

Key = tuple[str, str, str]  # kind, namespace, name


def key_of(kind: Kind, obj: Json) -> Key:
    metadata = obj["metadata"]
    return kind.name, metadata["namespace"], metadata["name"]


def owner_of(obj: Json) -> Json | None:
    """The ownerReference of the controller of `obj`, or None."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def is_active(pod: Json) -> bool:
    return not is_terminal(pod) and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return is_active(pod) and any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def short_hash(*parts: object, length: int = 5) -> str:
    """A repeatable name suffix for `parts`."""
    digest = hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])


def _version(obj: Json) -> int:
    return int(obj["metadata"]["resourceVersion"])


@dataclass(slots=True)
class Picture:
    """Latest version of every workload and pod."""

    objects: dict[Key, Json] = field(default_factory=dict)
    children: dict[str, dict[Key, Json]] = field(default_factory=dict)  # owner UID -> its objects

    def set(self, kind: Kind, obj: Json) -> bool:
        """Keep a version; False when a newer one of the same object is known already."""
        key = key_of(kind, obj)
        old = self.objects.get(key)
        metadata = obj["metadata"]
        is_same = old is not None and old["metadata"]["uid"] == metadata["uid"]
        if old is not None and is_same and _version(old) > _version(obj):
            return False
        self.remove(key)
        self.objects[key] = obj
        if (owner := owner_of(obj)) is not None:
            self.children.setdefault(owner["uid"], {})[key] = obj
        return True

    def remove(self, key: Key) -> None:
        old = self.objects.pop(key, None)
        if old is not None and (owner := owner_of(old)) is not None:
            siblings = self.children.get(owner["uid"], {})
            siblings.pop(key, None)
            if not siblings:
                self.children.pop(owner["uid"], None)

    def get(self, key: Key) -> Json | None:
        return self.objects.get(key)

    def of_kind(self, kind: Kind) -> Iterator[tuple[Key, Json]]:
        return ((key, obj) for key, obj in list(self.objects.items()) if key[0] == kind.name)

    def owned(self, owner: Json, kind: Kind) -> list[Json]:
        """The objects of `kind` that `owner` controls, by name."""
        siblings = self.children.get(owner["metadata"]["uid"], {})
        return [siblings[key] for key in sorted(siblings) if key[0] == kind.name]


class WorkQueue:
    """Keys to look at; a key is in it once, and never worked on twice at the same time."""

    def __init__(self) -> None:
        self._waiting: dict[Key, None] = {}  # ordered
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._filled = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._working

    def add(self, key: Key) -> None:
        if key in self._working:
            self._again.add(key)
            return
        self._waiting[key] = None
        self._filled.set()

    def add_after(self, key: Key, delay_s: float) -> None:
        """Add `key` in `delay_s` seconds; the latest such wish replaces the earlier ones."""
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(delay_s, self.add, key)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def take(self) -> Key:
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._working.add(key)
        return key

    def done(self, key: Key) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)


class World:
    """The picture and the writes. Methods that write raise ApiError; the caller's queue tries again."""

    def __init__(self, client: KubeClient) -> None:
        self.client = client
        self.picture = Picture()

    async def create_child(self, kind: Kind, owner_kind: Kind, owner: Json, body: Json) -> Json:
        """Create `body`, owned by `owner`. Raises ConflictError when the name is taken."""
        metadata, namespace = body["metadata"], owner["metadata"]["namespace"]
        metadata["namespace"] = namespace
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner_kind.api_version,
                "kind": owner_kind.name,
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        body = {"apiVersion": kind.api_version, "kind": kind.name, **body}
        try:
            created = await self.client.create(self._path(kind, namespace), body, timeout_s=_CALL_TIMEOUT_S)
        except ConflictError:
            raise
        except ApiError as error:
            await self.report(owner_kind, owner, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self.picture.set(kind, created)
        return created

    async def create_pod(
        self,
        owner_kind: Kind,
        owner: Json,
        name: str,
        template: Json,
        *,
        labels: Json | None = None,
        annotations: Json | None = None,
        spec: Json | None = None,
    ) -> Json:
        """Create a pod from `template` with these additions."""
        metadata = template.get("metadata") or {}
        body: Json = {
            "metadata": {
                "name": name,
                "generateName": f"{owner['metadata']['name']}-",
                "labels": {**(metadata.get("labels") or {}), **(labels or {})},
                "annotations": {**(metadata.get("annotations") or {}), **(annotations or {})},
                "finalizers": metadata.get("finalizers") or [],
            },
            "spec": {**template["spec"], **(spec or {})},
        }
        return await self.create_child(POD, owner_kind, owner, body)

    async def delete(self, kind: Kind, obj: Json) -> None:
        """Delete an object with its children; one that is gone or replaced already is fine."""
        metadata = obj["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"]},
        }
        path = self._path(kind, metadata["namespace"], metadata["name"])
        try:
            answer = await self.client.delete(path, options=options, timeout_s=_CALL_TIMEOUT_S)
        except (NotFoundError, ConflictError):
            return
        if answer.get("kind") == kind.name and answer["metadata"].get("deletionTimestamp"):
            self.picture.set(kind, answer)

    async def patch(self, kind: Kind, obj: Json, patch: Json) -> Json:
        """Merge-patch an object; the new version."""
        metadata = obj["metadata"]
        path = self._path(kind, metadata["namespace"], metadata["name"])
        patched = await self.client.patch(
            path, patch, field_manager="kube-controller-manager", timeout_s=_CALL_TIMEOUT_S
        )
        self.picture.set(kind, patched)
        return patched

    async def write_status(self, kind: Kind, obj: Json, status: Json) -> None:
        """Make `status` the status of `obj`; sends nothing when it is already."""
        old = obj.get("status") or {}
        changes = {name: status.get(name) for name in {*old, *status} if old.get(name) != status.get(name)}
        if not changes:
            return
        metadata = obj["metadata"]
        path = f"{self._path(kind, metadata['namespace'], metadata['name'])}/status"
        try:
            patched = await self.client.patch(
                path,
                {"metadata": {"uid": metadata["uid"]}, "status": changes},
                field_manager="kube-controller-manager",
                timeout_s=_CALL_TIMEOUT_S,
            )
        except NotFoundError:
            return
        self.picture.set(kind, patched)

    async def report(self, kind: Kind, obj: Json, level: str, reason: str, message: str) -> None:
        """An Event about `obj`; the same one is written once. A failure to write it is only logged."""
        metadata, now = obj["metadata"], now_text()
        name = f"{metadata['name']}.{short_hash(metadata['uid'], reason, message, length=16)}"
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": kind.api_version,
                "kind": kind.name,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "type": level,
            "reason": reason,
            "message": message[:1024],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": f"{kind.name.lower()}-controller"},
        }
        try:
            await self.client.create(f"/api/v1/namespaces/{metadata['namespace']}/events", event)
        except ConflictError:
            pass
        except ApiError as error:
            log.warning("event_not_written", kind=kind.name, reason=reason, cause=error.message)

    @staticmethod
    def _path(kind: Kind, namespace: str, name: str = "") -> str:
        if kind is POD:
            path = f"/api/v1/namespaces/{namespace}/pods"
            return f"{path}/{name}" if name else path
        return kind.path(namespace, name)
