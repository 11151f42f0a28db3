"""RunaiJobs and their pods: two watches, and whatever `workloads.runaijob` says is due for a job, carried out.

Level-triggered: an event only says which job to look at. What we have written ourselves is known at once, from the
answer, so a job is not looked at with a status that we know to be old. Names of pods follow from their number, so
making one twice is making it once: who finds the name taken by a pod of the same job has nothing left to do.

    status, against the version that was read ──► pods to delete ──► pods to make ──► annotations
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from extender import logs
from extender.controllers.workqueue import WorkQueue
from extender.errors import ApiError, ConflictError, NotFoundError
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder, Subject
from extender.kube.mirror import slim, slim_pod
from extender.kube.reflector import Reflector
from extender.model import names
from extender.workloads import runaijob, status
from extender.workloads.attempts import Place

Json = dict[str, Any]
Key = tuple[str, str]  # namespace, name

_NAMES_TAKEN = 50  # by pods of others: then something is wrong, and it is tried again later
_WRITES = 16  # at a time, for one job

log = logs.get("runaijobs")


class RunaiJobs:
    """One per process: `run` it and its `reflectors` as tasks. Writes only while `is_active`."""

    def __init__(self, client: KubeClient, events: EventRecorder, is_active: Callable[[], bool]) -> None:
        self._client = client
        self._events = events
        self._is_active = is_active
        self._jobs: dict[Key, Json] = {}
        self._pods: dict[str, dict[str, Json]] = {}  # job uid → pod uid → pod
        self._gone: dict[str, dict[str, Json]] = {}  # likewise, deleted ones that no status has counted
        self._queue: WorkQueue[Key] = WorkQueue(self._look, name="runaijobs")
        pods = {"labelSelector": names.JOB_UID_LABEL}
        self.reflectors = (
            Reflector(client, f"/apis/{runaijob.API_VERSION}/runaijobs", _Jobs(self), name="runaijobs", optional=True),
            Reflector(client, "/api/v1/pods", _Pods(self), name="pods of runaijobs", params=pods),
        )

    async def run(self) -> None:
        """Work until cancelled. Not before both first lists are in: a job may look as if it had no pods."""
        await self._queue.run_when(self._is_active, lambda: self._jobs)

    # What the watches bring.

    def job_is(self, job: Json) -> None:
        """Keep a version, unless a later one is known."""
        key = _key(job)
        known = self._jobs.get(key)
        if known is not None and _uid(known) == _uid(job) and _version(known) > _version(job):
            return
        if known is not None and _uid(known) != _uid(job):
            self._gone.pop(_uid(known), None)
        self._jobs[key] = job
        self._queue.add(key)

    def job_went(self, job: Json) -> None:
        known = self._jobs.get(_key(job))
        if known is not None and _uid(known) == _uid(job):
            del self._jobs[_key(job)]
            self._gone.pop(_uid(job), None)

    def pod_is(self, pod: Json) -> None:
        owner, uid = _job_of(pod), _uid(pod)
        known = self._pods.get(owner, {}).get(uid)
        if not owner or uid in self._gone.get(owner, ()) or (known is not None and _version(known) > _version(pod)):
            return
        self._pods.setdefault(owner, {})[uid] = pod
        self._queue.add(_key_of_job(pod))

    def pod_went(self, pod: Json) -> None:
        """pod: as it was last seen."""
        owner, uid = _job_of(pod), _uid(pod)
        pods = self._pods.get(owner, {})
        pods.pop(uid, None)
        if not pods:
            self._pods.pop(owner, None)
        job = self._jobs.get(_key_of_job(pod))
        if job is not None and _uid(job) == owner:
            self._gone.setdefault(owner, {})[uid] = pod
            self._queue.add(_key(job))

    def jobs_listed(self, jobs: list[Json], version: int) -> None:
        """version: of the list; what is newer is not in it."""
        there = {_uid(job) for job in jobs}
        for known in list(self._jobs.values()):
            if _uid(known) not in there and _version(known) <= version:
                self.job_went(known)
        for job in jobs:
            self.job_is(job)

    def pods_listed(self, pods: list[Json], version: int) -> None:
        there = {_uid(pod) for pod in pods}
        for known in [pod for of_job in self._pods.values() for pod in of_job.values()]:
            if _uid(known) not in there and _version(known) <= version:
                self.pod_went(known)
        for pod in pods:
            self.pod_is(pod)

    # What is done about it.

    async def _look(self, key: Key) -> None:
        job = self._jobs.get(key)
        if job is None or not self._is_active():
            return
        uid = _uid(job)
        gone = dict(self._gone.get(uid, {}))
        step = runaijob.sync(job, self._pods_of(uid), time.time(), gone=list(gone.values()))
        if step.status is not None:
            try:
                job = await self._write_status(job, step.status)
            except ConflictError:
                await self._read_again(key)
                return
            except NotFoundError:
                return  # the watch will say so
        for pod_uid in gone:
            self._gone.get(uid, {}).pop(pod_uid, None)
        for news in step.news:
            self._events.record(_subject(job), news.type, news.reason, news.message)
        if step.delete_job:
            await self._delete_job(job)
            return
        failed = await self._carry_out(job, step)
        await self._write_back(key)
        if failed is not None:
            raise failed
        if step.again_s is not None:
            self._queue.add(key, step.again_s)

    async def _write_status(self, job: Json, written: Json) -> Json:
        """The job as it is then. Raises ConflictError when it is no longer the version that was read."""
        path = f"{_path(job)}/status"
        self.job_is(await self._client.replace(path, {**_TYPE, **job, "status": written}))
        return self._jobs.get(_key(job), job)

    async def _read_again(self, key: Key) -> None:
        """Our view is behind; whatever is there now is put on the queue."""
        namespace, name = key
        with suppress(NotFoundError):
            self.job_is(await self._client.get(f"{_COLLECTION.format(namespace)}/{name}"))

    async def _delete_job(self, job: Json) -> None:
        options = {"preconditions": {"uid": _uid(job)}, "propagationPolicy": "Background"}
        with suppress(NotFoundError, ConflictError):
            await self._client.delete(_path(job), options=options)
        log.info("job_deleted", name="/".join(_key(job)), cause="its time after the end is over")

    async def _carry_out(self, job: Json, step: runaijob.Step) -> ApiError | None:
        """Delete and make pods; the first failure, after everything was tried."""
        limit = asyncio.Semaphore(_WRITES)

        async def bounded(write: Callable[[Json, Any], Any], argument: Any) -> None:
            async with limit:
                await write(job, argument)

        for write, arguments in ((self._delete_pod, step.delete), (self._create_pod, step.create)):
            results = await asyncio.gather(*(bounded(write, one) for one in arguments), return_exceptions=True)
            for result in results:
                if isinstance(result, ApiError):
                    return result
                if result is not None:
                    raise result
        return None

    async def _delete_pod(self, job: Json, pod: Json) -> None:
        name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{name}"
        with suppress(NotFoundError, ConflictError):
            await self._client.delete(path, options={"preconditions": {"uid": _uid(pod)}})
            self._events.record(_subject(job), "Normal", "SuccessfulDelete", f"Deleted pod: {name}")

    async def _create_pod(self, job: Json, place: Place) -> None:
        namespace = job["metadata"]["namespace"]
        collection = f"/api/v1/namespaces/{namespace}/pods"
        for number in range(place.attempt, place.attempt + _NAMES_TAKEN):
            body = runaijob.pod_of(job, Place(place.index, number))
            name = body["metadata"]["name"]
            try:
                self.pod_is(await self._client.create(collection, body))
            except ConflictError:
                try:
                    found = await self._client.get(f"{collection}/{name}")
                except NotFoundError:
                    raise ConflictError(f"pod {namespace}/{name} was there a moment ago") from None
                if _job_of(found) == _uid(job):
                    self.pod_is(found)  # made before, by us or by whoever was active then
                    return
            except ApiError as error:
                said = f"Error creating pod {name}: {error.message}"
                self._events.record(_subject(job), "Warning", "FailedCreate", said)
                raise
            else:
                self._events.record(_subject(job), "Normal", "SuccessfulCreate", f"Created pod: {name}")
                return
        raise ConflictError(f"the names of {_NAMES_TAKEN} pods for index {place.index} are taken by pods of others")

    async def _write_back(self, key: Key) -> None:
        """The annotations of behaviour.md 2.5, where they are not right."""
        job = self._jobs.get(key)
        if job is None:
            return
        pods = self._pods_of(_uid(job))
        state = status.calculate(job, pods)
        changes = _differences(job, state.annotations)
        if changes:
            metadata = {"uid": _uid(job), "resourceVersion": job["metadata"]["resourceVersion"], "annotations": changes}
            try:
                # Against the version that was read: somebody may just have recorded that its time is up.
                self.job_is(await self._client.patch(_path(job), {"metadata": metadata}))
            except ConflictError:
                await self._read_again(key)
            except NotFoundError:
                return
        of_pod = {one.name: one.status for one in state.pods}
        await asyncio.gather(*(self._mark(pod, of_pod[pod["metadata"]["name"]]) for pod in pods))

    async def _mark(self, pod: Json, word: str) -> None:
        metadata = pod["metadata"]
        known = (metadata.get("annotations") or {}).get(names.CALCULATED_STATUS_ANNOTATION, status.PENDING)
        if word == known:
            return
        patch = {"metadata": {"uid": metadata["uid"], "annotations": {names.CALCULATED_STATUS_ANNOTATION: word}}}
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        with suppress(NotFoundError, ConflictError):
            self.pod_is(await self._client.patch(path, patch))

    def _pods_of(self, uid: str) -> list[Json]:
        return list(self._pods.get(uid, {}).values())


class _Jobs:
    def __init__(self, jobs: RunaiJobs) -> None:
        self._jobs = jobs

    def read(self, obj: Json) -> Json:
        return slim(obj)

    def replace(self, values: list[Json], version: int) -> None:
        self._jobs.jobs_listed(values, version)

    def apply(self, event: str, obj: Json) -> None:
        (self._jobs.job_went if event == "DELETED" else self._jobs.job_is)(slim(obj))


class _Pods:
    def __init__(self, jobs: RunaiJobs) -> None:
        self._jobs = jobs

    def read(self, obj: Json) -> Json:
        return slim_pod(obj)

    def replace(self, values: list[Json], version: int) -> None:
        self._jobs.pods_listed(values, version)

    def apply(self, event: str, obj: Json) -> None:
        (self._jobs.pod_went if event == "DELETED" else self._jobs.pod_is)(slim_pod(obj))


_TYPE = {"apiVersion": runaijob.API_VERSION, "kind": runaijob.KIND}
_COLLECTION = f"/apis/{runaijob.API_VERSION}/namespaces/{{}}/runaijobs"


def _differences(obj: Json, annotations: Mapping[str, str]) -> dict[str, str]:
    known = obj["metadata"].get("annotations") or {}
    return {key: value for key, value in annotations.items() if known.get(key) != value}


def _subject(job: Json) -> Subject:
    namespace, name = _key(job)
    return Subject(runaijob.KIND, namespace, name, _uid(job), runaijob.API_VERSION)


def _path(job: Json) -> str:
    namespace, name = _key(job)
    return f"{_COLLECTION.format(namespace)}/{name}"


def _key(job: Json) -> Key:
    return job["metadata"]["namespace"], job["metadata"]["name"]


def _uid(obj: Json) -> str:
    return str(obj["metadata"]["uid"])


def _version(obj: Json) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _owner(pod: Json) -> Json:
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((one for one in owners if one.get("controller") and one.get("kind") == runaijob.KIND), {})


def _job_of(pod: Json) -> str:
    """The uid of the job that controls the pod, "" when none does."""
    return str(_owner(pod).get("uid") or "")


def _key_of_job(pod: Json) -> Key:
    return pod["metadata"]["namespace"], str(_owner(pod).get("name") or "")
