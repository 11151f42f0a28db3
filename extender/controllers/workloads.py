"""Workload resources: submits each once, and says in its status what became of it and how its job is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import orjson

from extender import logs
from extender.controllers.submissions import workload_path
from extender.controllers.submitter import Outcome, Submitter
from extender.controllers.workqueue import WorkQueue
from extender.errors import ApiError, ConflictError, NotFoundError, UnavailableError
from extender.kube.client import KubeClient
from extender.kube.discovery import Discovery
from extender.kube.events import EventRecorder, Subject
from extender.kube.mirror import Mirror, slim_pod
from extender.kube.reflector import Reflector
from extender.model import names
from extender.model.workload import ValuesSet, WorkloadKind
from extender.wire.workloads import STORED
from extender.wire.workloads.status import MOST_EVENTS, MOST_PODS, MOST_VALUES
from extender.workloads import status as states
from extender.workloads.objects.metadata import KIND_LABEL, RELEASE_LABEL
from extender.workloads.objects.references import concealed
from extender.workloads.submission import TEMPLATE, type_of, usage

Json = dict[str, Any]

_CALM_S = 0.5  # between two looks at a job whose pods change
_LOOK_AGAIN_S = 15.0  # at jobs of kinds that are not watched
# What runs pods and is watched: group and version → plural → kind. RunaiJobs write their own annotations.
_JOBS = {
    f"{names.RUN_AI_GROUP}/v1": {"runaijobs": "RunaiJob"},
    "batch/v1": {"jobs": "Job"},
    "apps/v1": {"statefulsets": "StatefulSet", "deployments": "Deployment"},
}

log = logs.get("workloads")


class WorkloadKey(NamedTuple):
    kind: WorkloadKind
    namespace: str
    name: str


class WorkloadController:
    """One per process; run its `reflectors` and `run` as tasks. Only the active replica submits and writes."""

    def __init__(
        self, client: KubeClient, submitter: Submitter, events: EventRecorder, is_active: Callable[[], bool]
    ) -> None:
        self._client = client
        self._discovery = Discovery(client)
        self._submitter = submitter
        self._events = events
        self._is_active = is_active
        self._workloads: dict[WorkloadKey, Json] = {}
        self._owner_of: dict[tuple[str, str], WorkloadKey] = {}  # namespace and job → whose it is
        self._jobs: dict[tuple[str, str, str], Json] = {}  # kind, namespace, name → as the API server has it
        # Namespace and job → the jobs, of its own kind, that are over when it is; by name.
        self._followers: dict[tuple[str, str], dict[str, Json]] = {}
        self._pods: dict[tuple[str, str], dict[str, Json]] = {}  # namespace and job → uid → what status needs of it
        self._queue: WorkQueue[WorkloadKey] = WorkQueue(self._reconcile, name="workloads")
        selected = {"labelSelector": KIND_LABEL}
        of_kinds = [
            Reflector(
                client,
                f"/apis/{names.RUN_AI_GROUP}/{STORED}/{kind.workloads}",
                Mirror(partial(self.see_workload, kind)),
                name=kind.workloads,
            )
            for kind in WorkloadKind
        ]
        of_jobs = [
            Reflector(
                client,
                f"/apis/{version}/{plural}",
                Mirror(partial(self.see_job, kind)),
                name=f"workloads' {plural}",
                params=selected,
                optional=version.startswith(names.RUN_AI_GROUP),
            )
            for version, plurals in _JOBS.items()
            for plural, kind in plurals.items()
        ]
        of_pods = Reflector(
            client, "/api/v1/pods", Mirror(self.see_pod, slim_pod), name="workloads' pods", params=selected
        )
        self.reflectors = [*of_kinds, *of_jobs, of_pods]

    async def run(self) -> None:
        """Submit and follow until cancelled; call it when the reflectors have synced."""
        await self._queue.run_when(self._is_active, lambda: self._workloads)

    # What the watches bring.

    def see_workload(self, kind: WorkloadKind, obj: Json, gone: bool) -> None:
        key = WorkloadKey(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
        job = (obj.get("status") or {}).get("job") or {}
        if gone:
            self._workloads.pop(key, None)
            # Another workload may have a job of that name by now.
            if self._owner_of.get((key.namespace, job.get("name", ""))) == key:
                del self._owner_of[key.namespace, job["name"]]
            return
        self._workloads[key] = obj
        if job:
            self._owner_of[key.namespace, job["name"]] = key
        self._queue.add(key)

    def see_job(self, kind: str, obj: Json, gone: bool) -> None:
        where = kind, obj["metadata"]["namespace"], obj["metadata"]["name"]
        if gone:
            self._jobs.pop(where, None)
        else:
            self._jobs[where] = obj
        leader = (obj["metadata"].get("annotations") or {}).get(names.ENDS_WITH_ANNOTATION)
        if leader:
            self._see_follower(leader, obj, gone)
        self._look(obj)

    def _see_follower(self, leader: str, obj: Json, gone: bool) -> None:
        led = obj["metadata"]["namespace"], leader
        followers = self._followers.setdefault(led, {})
        if gone:
            followers.pop(obj["metadata"]["name"], None)
            if not followers:
                del self._followers[led]
        else:
            followers[obj["metadata"]["name"]] = obj

    def see_pod(self, obj: Json, gone: bool) -> None:
        where = _release(obj)
        pods = self._pods.setdefault(where, {})
        if gone:
            pods.pop(obj["metadata"]["uid"], None)
            if not pods:
                del self._pods[where]
        else:
            pods[obj["metadata"]["uid"]] = obj
        self._look(obj)

    def _look(self, obj: Json) -> None:
        key = self._owner_of.get(_release(obj))
        if key is not None:
            self._queue.add(key, _CALM_S)

    # What is done about it.

    async def _reconcile(self, key: WorkloadKey) -> None:
        workload = self._workloads.get(key)
        if workload is None or not self._is_active():
            return
        if workload["metadata"].get("deletionTimestamp") or usage(workload.get("spec") or {}) == TEMPLATE:
            return
        status = workload.get("status") or {}
        if status.get("phase") == "Submitted":
            await self._follow(key, workload, status)
        elif status.get("phase") != "Failed" or _is_news(workload):
            await self._submit(key)

    async def _submit(self, key: WorkloadKey) -> None:
        # Read, not remembered: it is submitted once, as it is now.
        try:
            workload = await self._client.get(workload_path(*key))
        except NotFoundError:
            return
        status = workload.get("status") or {}
        if workload["metadata"].get("deletionTimestamp") or status.get("phase") == "Submitted":
            return
        subject = _subject(key, workload)
        try:
            outcome = await self._submitter.submit(key.kind, workload)
        except ApiError as error:
            self._events.record(
                subject, "Warning", "Submitting", f"cannot be submitted yet, and is tried again: {error.message}"
            )
            raise
        for type_, message in outcome.messages:
            self._events.record(
                subject,
                "Normal" if type_ == "Info" else "Warning",
                "Submitted" if outcome.phase == "Submitted" else "SubmissionFailed" if outcome.phase else "Submitting",
                message,
            )
        log.info("workload", name=f"{key.namespace}/{key.name}", kind=key.kind.workload, phase=outcome.phase or "retry")
        # Against the version that was read: one of the same name may have taken its place, and is to be submitted too.
        await self._write(key, _status(key.kind, workload, outcome), workload["metadata"]["resourceVersion"])
        if not outcome.phase:
            raise UnavailableError(outcome.messages[-1][1])

    async def _follow(self, key: WorkloadKey, workload: Json, status: Json) -> None:
        changes: Json = {}
        if _is_news(workload):
            message = (
                f"the spec was changed after the submission; job {status['job']['name']} keeps the values that it was "
                f"submitted with: create another {key.kind.workload} for others"
            )
            self._events.record(_subject(key, workload), "Warning", "ChangeIgnored", message)
            changes["observedGeneration"] = workload["metadata"].get("generation")
            changes["events"] = _events(status, [("Warning", message)])
        job = status.get("job") or {}
        state = await self._state(key, job)
        await self._end_followers(key.namespace, job)
        if state is not None:
            seen = job | _job_status(state)
            if seen != job:
                changes["job"] = seen
        if changes:
            await self._write(key, changes)

    async def _state(self, key: WorkloadKey, job: Json) -> states.JobState | None:
        """How the job is doing; None when it is gone and had ended before."""
        where = key.namespace, job["name"]
        pods = list(self._pods.get(where, {}).values())
        is_watched = any(job["kind"] in plurals.values() for plurals in _JOBS.values())
        if not is_watched and job.get("status") not in states.ENDED:
            self._queue.add(key, _LOOK_AGAIN_S)  # who runs again after that has pods, and these are watched
        # One that is watched may not have been brought yet.
        found = self._jobs.get((job["kind"], *where)) or await self._read(key, job)
        if found is None and job.get("status") in states.ENDED:
            return None
        state = states.calculate(found, pods)
        if found is not None and job["kind"] != "RunaiJob":
            await self._annotate(found, job, state.annotations)
        return state

    async def _end_followers(self, namespace: str, leader: Json) -> None:
        """Suspend the jobs that are over when `leader` is: their pods go, and what became of them stays to be read."""
        where = namespace, str(leader.get("name"))
        followers = self._followers.get(where)
        if not followers:
            return
        at = await self._discovery.collection(leader["version"], leader["kind"], namespace)
        led_by = self._jobs.get((leader["kind"], *where))
        if led_by is None:
            # Followers are made first: the watch may not have brought it yet. But it may be deleted, too.
            with suppress(NotFoundError):
                led_by = await self._client.get(f"{at}/{leader['name']}")
        if led_by is not None and not states.has_ended(led_by):
            return
        for job in list(followers.values()):
            if not job["spec"].get("suspend") and not states.has_ended(job):
                patch = {"metadata": {"uid": job["metadata"]["uid"]}, "spec": {"suspend": True}}
                with suppress(NotFoundError, ConflictError):
                    await self._client.patch(f"{at}/{job['metadata']['name']}", patch)

    async def _read(self, key: WorkloadKey, job: Json) -> Json | None:
        """The object that runs the pods, None when there is none."""
        try:
            at = await self._discovery.collection(job["version"], job["kind"], key.namespace)
            return await self._client.get(f"{at}/{job['name']}")
        except NotFoundError:
            return None

    async def _annotate(self, found: Json, job: Json, annotations: Mapping[str, str]) -> None:
        """What others read on the job itself (behaviour.md 2.5)."""
        known = found["metadata"].get("annotations") or {}
        if all(known.get(name) == value for name, value in annotations.items()):
            return
        metadata = found["metadata"]
        at = await self._discovery.collection(job["version"], job["kind"], metadata["namespace"])
        patch = {"metadata": {"uid": metadata["uid"], "annotations": dict(annotations)}}
        await self._client.patch(f"{at}/{metadata['name']}", patch)

    async def _write(self, key: WorkloadKey, status: Json, version: str = "") -> None:
        """version: the only one that it is for. Raises ConflictError for another."""
        metadata = {"metadata": {"resourceVersion": version}} if version else {}
        try:
            written = await self._client.patch(f"{workload_path(*key)}/status", {**metadata, "status": status})
        except NotFoundError:
            return  # deleted meanwhile, and with it all that was made
        # Before the watch brings it, so that nothing is submitted or said twice.
        if key in self._workloads:
            self._workloads[key] = written
        if status.get("job"):
            self._owner_of[key.namespace, status["job"]["name"]] = key
            self._queue.add(key, _CALM_S)


def _release(obj: Json) -> tuple[str, str]:
    """The namespace and the job that an object belongs to."""
    metadata = obj["metadata"]
    return metadata["namespace"], (metadata.get("labels") or {}).get(RELEASE_LABEL, "")


def _is_news(workload: Json) -> bool:
    """Whether the spec changed since the status was written."""
    generation: int = workload["metadata"].get("generation") or 0
    return generation != ((workload.get("status") or {}).get("observedGeneration") or 0)


def _subject(key: WorkloadKey, workload: Json) -> Subject:
    version = f"{names.RUN_AI_GROUP}/{STORED}"
    return Subject(key.kind.workload, key.namespace, key.name, workload["metadata"]["uid"], version)


def _status(kind: WorkloadKind, workload: Json, outcome: Outcome) -> Json:
    """The status of a workload that was just submitted, or was not."""
    status: Json = {
        "phase": outcome.phase,
        "observedGeneration": workload["metadata"].get("generation") or 0,
        "baseWorkload": outcome.sources.base_name,
        "policy": outcome.sources.policy_name,
        "values": _values(concealed(outcome.values)),
        "events": _events(workload.get("status") or {}, outcome.messages),
        "createdResources": sorted(
            (
                {
                    "kind": one["kind"],
                    "version": one["apiVersion"],
                    "namespace": one["metadata"]["namespace"],
                    "name": one["metadata"]["name"],
                }
                for one in outcome.created
            ),
            key=lambda one: (one["kind"], one["name"]),
        ),
    }
    if outcome.job is not None:
        status["job"] = {
            "name": outcome.job["metadata"]["name"],
            "namespace": outcome.job["metadata"]["namespace"],
            "kind": outcome.job["kind"],
            "version": outcome.job["apiVersion"],
            "type": type_of(kind, outcome.values.plain()),
            "status": "Pending",
        }
    return status


def _values(values: ValuesSet) -> list[Json]:
    items = {f"{name}.{label}": one for name, labels in values.items.items() for label, one in labels.items()}
    return [
        {"parameter": name, "value": orjson.dumps(one.value).decode(), "origin": str(one.origin)}
        for name, one in sorted({**values.scalars, **items}.items())[:MOST_VALUES]
    ]


def _events(status: Json, messages: list[tuple[str, str]]) -> list[Json]:
    """Those that there are and the new ones, the newest of them; what was said before is not repeated."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    before: list[Json] = list(status.get("events") or ())
    said = {(one.get("type"), one.get("message")) for one in before}
    fresh = [(type_, message) for type_, message in messages if (type_, message) not in said]
    if len(fresh) > MOST_EVENTS:
        fresh = [*fresh[:MOST_EVENTS], ("Warning", f"and {len(fresh) - MOST_EVENTS} more")]
    events = [*before, *({"time": now, "type": type_, "message": message} for type_, message in fresh)]
    return events[-MOST_EVENTS - 1 :]


def _job_status(state: states.JobState) -> Json:
    pods = sorted(state.pods, key=lambda pod: (pod.created, pod.name))
    return {
        "status": state.status,
        "runningPods": int(state.annotations[names.RUNNING_PODS_ANNOTATION]),
        "pendingPods": int(state.annotations[names.PENDING_PODS_ANNOTATION]),
        "pods": [
            {
                "name": pod.name,
                "status": pod.status,
                "node": f"{pod.node}/{pod.node_ip}" if pod.node and pod.node_ip else pod.node,
                "created": pod.created,
            }
            for pod in pods[:MOST_PODS]
        ],
    }
