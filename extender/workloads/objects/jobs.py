"""Work in one kind of pod: a RunaiJob, or what Kubernetes itself has for it.

interactive   RunaiJob, run once           StatefulSet of one, started again whenever it ends
training      RunaiJob                     Job, indexed, so that each pod has its POD_INDEX
"""

from __future__ import annotations

from typing import Any

from extender.model import names
from extender.workloads import parse
from extender.workloads.objects import metadata, network, pods
from extender.workloads.objects.draft import Host
from extender.workloads.objects.parts import without_empty
from extender.workloads.objects.submission import Backend, Submission

Json = dict[str, Any]

_STATEFUL = Host(restart="Always", index="apps.kubernetes.io/pod-index")
_ENDING = {
    Backend.RUNAI: Host(index=names.POD_INDEX_LABEL, uid=names.JOB_UID_LABEL),
    Backend.KUBERNETES: Host(
        index="batch.kubernetes.io/job-completion-index", uid="batch.kubernetes.io/controller-uid"
    ),
}


def interactive(submission: Submission, values: Json) -> list[Json]:
    """preemptible is in the labels; backoffLimit, completions and parallelism are not the submitter's to choose."""
    if submission.backend is Backend.RUNAI:
        return _one(submission, values, completions=1, parallelism=1, backoff_limit=0)
    pod = pods.draft(submission, values, _STATEFUL)
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {metadata.RELEASE_LABEL: submission.job}},
        "template": pod.template(),
    }
    job = metadata.make_job(submission, "apps/v1", "StatefulSet", submission.job, spec)
    return [*pod.objects, *network.access(submission, values), job]


def training(submission: Submission, values: Json) -> list[Json]:
    """completions, parallelism, backoffLimit, ttlAfterFinish, terminateAfterPreemption."""
    return _one(
        submission,
        values,
        completions=values.get("completions"),
        parallelism=values.get("parallelism"),
        backoff_limit=values.get("backoffLimit"),
        ttl=values.get("ttlAfterFinish"),
    )


def ending_host(submission: Submission) -> Host:
    """What pods that run to an end are run by."""
    return _ENDING[submission.backend]


def ending(
    submission: Submission,
    name: str,
    template: Json,
    *,
    completions: Any = None,
    parallelism: Any = None,
    backoff_limit: Any = None,
    ttl: Any = None,
    annotations: dict[str, str] | None = None,
    numbered: bool = True,
) -> Json:
    """An object that runs pods to an end: numbers that are not given are left to its kind's defaults.

    numbered: the pods have an index, and for that their host name is Kubernetes' to give.
    """
    spec: Json = {
        "parallelism": parallelism,
        "completions": completions,
        "backoffLimit": backoff_limit,
        "ttlSecondsAfterFinished": None if ttl is None else parse.seconds(ttl),
        "template": template,
    }
    marks = {"annotations": annotations or {}}
    if submission.backend is Backend.RUNAI:
        return metadata.make_job(submission, f"{names.RUN_AI_GROUP}/v1", "RunaiJob", name, without_empty(spec), **marks)
    if numbered:
        # Only an indexed Job numbers its pods, and it has to say how many there are.
        spec |= {"completionMode": "Indexed", "completions": completions or 1}
    return metadata.make_job(submission, "batch/v1", "Job", name, without_empty(spec), **marks)


def _one(submission: Submission, values: Json, **numbers: Any) -> list[Json]:
    pod = pods.draft(submission, values, ending_host(submission))
    ends = {names.TERMINATE_AFTER_PREEMPTION_ANNOTATION: "true"} if values.get("terminateAfterPreemption") else {}
    job = ending(submission, submission.job, pod.template(), annotations=ends, **numbers)
    return [*pod.objects, *network.access(submission, values), job]
