"""What every object of a submission carries: whose it is, what it belongs to, and who goes with whom.

Our own labels win over a submitter's: `runai/queue` says who pays.
"""

from __future__ import annotations

from typing import Any

from extender.model import names
from extender.model.workload import WorkloadKind
from extender.workloads.objects.submission import MPI, Submission

Json = dict[str, Any]

USER_ANNOTATION = "user"
USER_ID_ANNOTATION = "run.ai/user-id"
KIND_LABEL = "run.ai/workload-kind"
RELEASE_LABEL = "release"


def priority_class(submission: Submission) -> str:
    """The class that the scheduler and kube-scheduler go by; "" for training, whose class is the default.

    It is written twice: as the label that the scheduler and PodGroups read, and as the class of the pod's spec, which
    is what `kubectl` shows and gives the pod its number. behaviour.md 2.4, 6.2.
    """
    if submission.is_serving:
        return "inference"
    if not submission.is_interactive:
        return ""
    return "interactive-preemptible" if submission.values.get("preemptible") else "build"


def own_labels(submission: Submission) -> dict[str, str]:
    """The labels by which the objects of a submission are found."""
    labels = {
        "app": "runaijob",
        "createdBy": "MPIJob" if submission.operator == MPI else "RunaiJob",
        "heritage": names.SCHEDULER_NAME,
        "project": submission.project,
        RELEASE_LABEL: submission.job,
        KIND_LABEL: str(submission.kind),
        names.QUEUE_LABEL: submission.project,
    }
    if priority_class(submission):
        labels[names.PRIORITY_CLASS_LABEL] = priority_class(submission)
    if submission.kind is WorkloadKind.DISTRIBUTED and submission.values.get("nonPreemptible"):
        labels[names.PREEMPTIBILITY_LABEL] = "non-preemptible"
    return labels


def job_labels(submission: Submission) -> dict[str, str]:
    """Of the job and its pods: the submitter's and ours."""
    return _sorted(submission.values.get("labels") or {}) | own_labels(submission)


def own_annotations(submission: Submission) -> dict[str, str]:
    """Who submitted it; for display, it grants nothing."""
    user = submission.values.get("username") or submission.user
    return ({USER_ANNOTATION: str(user)} if user else {}) | (
        {USER_ID_ANNOTATION: str(submission.values["userId"])} if submission.values.get("userId") else {}
    )


def pod_annotations(submission: Submission) -> dict[str, str]:
    """The submitter's and ours."""
    return _sorted(submission.values.get("annotations") or {}) | own_annotations(submission)


def make(submission: Submission, api_version: str, kind: str, name: str, **body: Any) -> Json:
    """A helper object of the submission."""
    return owned(submission, api_version, kind, name, own_labels(submission), own_annotations(submission), body)


def make_job(submission: Submission, api_version: str, kind: str, name: str, spec: Json, **marks: Any) -> Json:
    """An object that runs pods. marks: `labels` and `annotations` beside those of every job."""
    labels = job_labels(submission) | marks.get("labels", {})
    annotations = own_annotations(submission) | marks.get("annotations", {})
    return owned(submission, api_version, kind, name, labels, annotations, {"spec": spec})


def owned(
    submission: Submission,
    api_version: str,
    kind: str,
    name: str,
    labels: dict[str, str],
    annotations: dict[str, str],
    body: Json,
) -> Json:
    """Deleting the workload deletes it, and `kubectl delete --cascade=foreground` waits for it."""
    owner = submission.workload
    reference = {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata: Json = {"name": name, "namespace": submission.namespace, "labels": labels}
    if annotations:
        metadata["annotations"] = annotations
    metadata["ownerReferences"] = [reference]
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def _sorted(texts: Json) -> dict[str, str]:
    return {key: str(texts[key]) for key in sorted(texts)}
