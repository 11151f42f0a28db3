"""Submits one workload: its name is claimed, its objects are made, or nothing of it stays.

The ConfigMap that is named as the job is the claim: whoever creates it has the name, whatever else is submitted at the
same moment. It also remembers what is being submitted: after a crash in the middle the same objects are made again
under the same name, and what exists already is left as it is.

    judged ──► claimed (ConfigMap) ──► objects, the job last ──► Submitted
                                          │ refused for good: what was made is deleted ──► Failed
                                          └ not now: said in an event, tried again
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from extender.controllers import claims
from extender.controllers.claims import Claim
from extender.controllers.submissions import read_sources, workload_path
from extender.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    UnauthorizedError,
    UnavailableError,
)
from extender.kube.client import KubeClient
from extender.kube.discovery import Discovery
from extender.model import names
from extender.model.pod import Owner
from extender.model.workload import ValuesSet, WorkloadKind
from extender.wire.workloads import STORED, parameters
from extender.workloads import naming
from extender.workloads.objects import Backend, Images, Submission, render
from extender.workloads.objects.references import is_concealed, revealed
from extender.workloads.submission import Judged, Sources, job_type_of, judge

Json = dict[str, Any]

FIELD_MANAGER = "runai-workloads"
_DEFAULT_PREFIX = "job"
_ATTEMPTS = 20  # names tried when others take them at the same moment
_RUNAI_JOBS = f"{names.RUN_AI_GROUP}/v1"
# What runs pods, by group and version: a name that one of these has is taken.
_JOBS = {
    _RUNAI_JOBS: ("RunaiJob",),
    "batch/v1": ("Job",),
    "apps/v1": ("Deployment", "StatefulSet"),
    "kubeflow.org/v1": ("PyTorchJob", "TFJob", "XGBoostJob"),
    "kubeflow.org/v2beta1": ("MPIJob",),
    "serving.knative.dev/v1": ("Service",),
}
_KINDS = {kind.workload: kind for kind in WorkloadKind}


@dataclass(slots=True)
class Outcome:
    """What became of a submission.

    phase:    Submitted, Failed, or "" when it is to be tried again.
    messages: (Info, Warning or Error; sentence), in the order in which it happened.
    created:  the objects that exist now. job: the one that runs the pods.
    """

    phase: str = ""
    messages: list[tuple[str, str]] = field(default_factory=list)
    created: list[Json] = field(default_factory=list)
    job: Json | None = None
    values: ValuesSet = field(default_factory=ValuesSet)
    sources: Sources = field(default_factory=Sources)

    def fail(self, *sentences: str) -> None:
        self.phase = "Failed"
        self.messages += [("Error", one) for one in sentences]


class Submitter:
    """One for all workloads. Nothing is remembered between calls."""

    def __init__(
        self, client: KubeClient, *, backend: Backend, images: Images, is_active: Callable[[], bool] = lambda: True
    ) -> None:
        """is_active: whether nobody else submits; asked before a name is claimed."""
        self._is_active = is_active
        self._client = client
        self._discovery = Discovery(client)
        self._backend = backend
        self._images = images

    async def submit(self, kind: WorkloadKind, workload: Json) -> Outcome:
        """Bring the workload's objects about. Raises ApiError when nothing could be found out; call it again then."""
        left = await self._clear(workload)
        if left is not None:
            return left
        try:
            claimed = await self._claimed(workload)
        except (AttributeError, KeyError, TypeError, ValueError):
            outcome = Outcome()
            outcome.fail(
                f"a ConfigMap with the label {claims.UID_LABEL}={workload['metadata']['uid']} was changed while it was "
                "needed, and what is to be made cannot be read from it any more: delete it, and make another workload"
            )
            return outcome
        if claimed is None:
            outcome, objects = await self._begin(kind, workload)
        else:
            # Neither a changed policy nor a changed spec makes another job of it now.
            claimed = await self._with_secrets(kind, workload, claimed)
            outcome = Outcome(values=claimed.values, sources=claimed.sources)
            objects = render(await self._submission(kind, workload, claimed))
        if objects and not outcome.phase:
            await self._make(workload, objects, outcome)
        return outcome

    async def _clear(self, workload: Json) -> Outcome | None:
        """Delete what an earlier submission made, failed, and could not delete; the outcome when that fails again.

        Its claim among it: what was wrong then would be made again.
        """
        status = workload.get("status") or {}
        left = [
            {
                "kind": one["kind"],
                "apiVersion": one["version"],
                "metadata": {"name": one["name"], "namespace": workload["metadata"]["namespace"]},
            }
            for one in (status.get("createdResources") or () if status.get("phase") == "Failed" else ())
        ]
        outcome = Outcome(created=left)
        await self._undo(workload, outcome)
        if not outcome.created:
            return None
        outcome.fail("what an earlier submission left cannot be deleted, and nothing new is made beside it")
        return outcome

    async def _with_secrets(self, kind: WorkloadKind, workload: Json, claim: Claim) -> Claim:
        """The claim with the secrets that it does not keep, as they are written now."""
        if not is_concealed(claim.values):
            return claim
        _, judged = await self._judged(kind, workload)
        return replace(claim, values=revealed(claim.values, judged.values))

    async def _judged(self, kind: WorkloadKind, workload: Json) -> tuple[Sources, Judged]:
        namespace, spec = workload["metadata"]["namespace"], workload.get("spec") or {}
        sources = await read_sources(self._client, kind, namespace, spec)
        return sources, judge(kind, parameters(kind), namespace, spec, sources)

    async def _claimed(self, workload: Json) -> Claim | None:
        metadata = workload["metadata"]
        found, _ = await self._client.list(
            f"/api/v1/namespaces/{metadata['namespace']}/configmaps",
            params={"labelSelector": f"{claims.UID_LABEL}={metadata['uid']}"},
        )
        return claims.read(found[0]) if found else None

    async def _begin(self, kind: WorkloadKind, workload: Json) -> tuple[Outcome, list[Json]]:
        """Judge it and claim a name: the objects to make, or an outcome that says why there are none."""
        namespace, spec = workload["metadata"]["namespace"], workload.get("spec") or {}
        sources, judged = await self._judged(kind, workload)
        outcome = Outcome(
            messages=[("Warning", one) for one in sources.warnings], values=judged.values, sources=sources
        )
        if judged.violations:
            outcome.fail(*judged.violations)
            return outcome, []
        plain = judged.values.plain()
        explicit = str(plain.get("name") or "")
        base = "" if explicit else str(plain.get("namePrefix") or _DEFAULT_PREFIX)
        taken = await self._taken(namespace)
        for _ in range(_ATTEMPTS):
            job = explicit or naming.next_name(base, taken)
            if explicit and job in taken:
                if all([await self._is_leaving(one) for one in taken[job]]):
                    outcome.messages.append(("Warning", f"the job {job} is just being deleted; its name is waited for"))
                    return outcome, []
                outcome.fail(f"the job {job} already exists, please delete it first (use 'runai delete {job}')")
                return outcome, []
            problem = naming.name_problem(job)
            if problem:
                outcome.fail(problem)
                return outcome, []
            index = None if explicit else int(job.rpartition("-")[2])
            claim = Claim(job, job_type_of(spec, sources), base, index, judged.values, sources)
            objects = render(await self._submission(kind, workload, claim))
            claims.write(objects[0], workload["metadata"]["uid"], claim)
            if not self._is_active():
                # Judging takes as long as the API server wants; whoever took over has perhaps claimed a name for it.
                raise UnavailableError(f"another replica submits {namespace}/{workload['metadata']['name']} now")
            try:
                await self._client.create(f"/api/v1/namespaces/{namespace}/configmaps", objects[0])
            except ConflictError:
                taken[job] = [objects[0]]  # somebody was faster, or a ConfigMap of somebody's own is called so
                continue
            except ApiError as error:
                if not _is_for_good(error):
                    raise
                outcome.fail(f"ConfigMap {job} could not be created: {_said(error)}")
                return outcome, []
            return outcome, objects
        outcome.fail("job creation has failed. Please try again")
        return outcome, []

    async def _submission(self, kind: WorkloadKind, workload: Json, claim: Claim) -> Submission:
        metadata = workload["metadata"]
        served = await self._discovery.served_by(*_JOBS)
        apis = {f"{version.partition('/')[0]}/{one}" for version, found in served.items() for one in found}
        return Submission(
            kind=kind,
            namespace=metadata["namespace"],
            project=claim.sources.project,
            workload=Owner(kind.workload, metadata["name"], metadata["uid"], f"{names.RUN_AI_GROUP}/{STORED}"),
            job=claim.job,
            values=claim.values.plain(),
            job_type=claim.job_type,
            apis=frozenset(apis),
            backend=self._backend if "RunaiJob" in served[_RUNAI_JOBS] else Backend.KUBERNETES,
            base_name=claim.base,
            base_index=claim.index,
            images=self._images,
        )

    async def _taken(self, namespace: str) -> dict[str, list[Json]]:
        """Every name that a job of the namespace has, whoever made it, or that is claimed for one; and what has it."""
        served = await self._discovery.served_by(*_JOBS)
        paths = [f"/api/v1/namespaces/{namespace}/configmaps"]
        paths += [
            f"/apis/{version}/namespaces/{namespace}/{served[version][kind]}"
            for version, kinds in _JOBS.items()
            for kind in kinds
            if kind in served[version]
        ]
        lists = await asyncio.gather(*(self._client.list(path) for path in paths))
        taken: dict[str, list[Json]] = {}
        for found, _ in lists:
            for one in found:
                taken.setdefault(one["metadata"]["name"], []).append(one)
        return taken

    async def _is_leaving(self, obj: Json) -> bool:
        """Whether it is being deleted, or belongs to a workload that is gone or going."""
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp"):
            return True
        for owner in metadata.get("ownerReferences") or ():
            kind = _KINDS.get(str(owner.get("kind")))
            if kind is None or not owner.get("controller"):
                continue
            try:
                found = await self._client.get_metadata(workload_path(kind, metadata["namespace"], owner["name"]))
            except NotFoundError:
                return True
            return found["uid"] != owner["uid"] or "deletionTimestamp" in found
        return False

    async def _make(self, workload: Json, objects: Sequence[Json], outcome: Outcome) -> None:
        """Bring the objects about, in their order; the first, the claim, is there."""
        outcome.created.append(objects[0])
        for wanted in objects[1:]:
            what = f"{wanted['kind']} {wanted['metadata']['name']}"
            try:
                ours = await self._apply(workload, wanted)
            except ApiError as error:
                if not _is_for_good(error):
                    text = f"{what} could not be created yet, and is tried again: {_said(error)}"
                    outcome.messages.append(("Warning", text))
                    return
                outcome.fail(f"{what} could not be created: {_said(error)}")
            else:
                if not ours:
                    outcome.fail(f"{what} could not be created: there is one already, and it is not of this workload")
            if outcome.phase:
                await self._undo(workload, outcome)
                return
            outcome.created.append(wanted)
        outcome.job = objects[-1]
        outcome.phase = "Submitted"
        outcome.messages.append(("Info", "all the resources were created successfully"))

    async def _apply(self, workload: Json, wanted: Json) -> bool:
        """Server-side apply; False when somebody else's object has the name, which is left alone then."""
        path = await self._path(wanted)
        try:
            found = await self._find(wanted, path)
        except NotFoundError:
            found = await self._client.patch(path, wanted, kind="apply", field_manager=FIELD_MANAGER)
        else:
            if await self._is_leaving(found):
                raise ConflictError("there is one that is just being deleted")
        return _is_owned(found, workload)

    async def _find(self, wanted: Json, path: str) -> Json:
        """The object at `path`, of a Secret the metadata alone. Raises NotFoundError."""
        if wanted["kind"] != "Secret":
            return await self._client.get(path)
        # We may write Secrets and not read them. A patch without a change tells whose it is, and no more.
        return {"metadata": await self._client.patch_metadata(path, {})}

    async def _undo(self, workload: Json, outcome: Outcome) -> None:
        """Delete what was made, the last one first; what cannot be deleted stays listed, and is said."""
        undone = []
        for made in reversed(outcome.created.copy()):
            what = f"{made['kind']} {made['metadata']['name']}"
            try:
                await self._delete(workload, made)
            except ApiError as error:
                outcome.messages.append(("Warning", f"{what} could not be deleted again: {_said(error)}"))
            else:
                outcome.created.remove(made)
                undone.append(what)
        if undone:
            outcome.messages.append(("Warning", f"what had been created was deleted again: {', '.join(undone)}"))

    async def _delete(self, workload: Json, made: Json) -> None:
        path = await self._path(made)
        try:
            found = await self._find(made, path)
            if _is_owned(found, workload):
                options = {
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "preconditions": {"uid": found["metadata"]["uid"]},
                    "propagationPolicy": "Background",
                }
                await self._client.delete(path, options=options)
        except NotFoundError:
            pass

    async def _path(self, obj: Json) -> str:
        metadata = obj["metadata"]
        at = await self._discovery.collection(obj["apiVersion"], obj["kind"], metadata["namespace"])
        return f"{at}/{metadata['name']}"


def _is_for_good(error: ApiError) -> bool:
    """Whether repeating it is pointless: what was asked for is wrong, or forbidden. A token that ran out is renewed."""
    return isinstance(error, BadRequestError | UnauthorizedError | NotFoundError) and error.status != 401


def _is_owned(obj: Json, workload: Json) -> bool:
    owners = (obj.get("metadata") or {}).get("ownerReferences") or ()
    return any(one.get("uid") == workload["metadata"]["uid"] for one in owners)


def _said(error: ApiError) -> str:
    """What the API server said, without the request's path."""
    if isinstance(error, OutcomeUnknownError):
        return "the API server did not answer in time"
    return error.message.partition(f": {error.status} ")[2] or error.message
