"""Distributed work where a training operator runs it: MPIJob, PyTorchJob, TFJob, XGBoostJob.

The operator makes the pods, tells them about each other and restarts them; the grouper makes the PodGroup. Each kind
wants its main container by a name of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from extender.workloads import parse
from extender.workloads.objects import metadata, network, pods, roles
from extender.workloads.objects.draft import Draft, Host
from extender.workloads.objects.parts import without_empty
from extender.workloads.objects.submission import MPI, Submission

Json = dict[str, Any]

_GROUP = "kubeflow.org"
_INDEX = "training.kubeflow.org/replica-index"
MPI_WORKERS_VARIABLE = "RUNAI_MPI_NUM_WORKERS"


@dataclass(frozen=True, slots=True)
class Operator:
    """A kind of a training operator.

    roles:   the spec's field that has them. master: what it calls ours.
    restart: of a pod; Never where the operator itself starts the launcher again.
    """

    kind: str
    version: str
    roles: str
    master: str
    container: str
    restart: str


OPERATORS = {
    MPI: Operator("MPIJob", "v2beta1", "mpiReplicaSpecs", "Launcher", "mpi", "Never"),
    "PyTorch": Operator("PyTorchJob", "v1", "pytorchReplicaSpecs", "Master", "pytorch", "OnFailure"),
    "TF": Operator("TFJob", "v1", "tfReplicaSpecs", "Chief", "tensorflow", "OnFailure"),
    "XGBoost": Operator("XGBoostJob", "v1", "xgbReplicaSpecs", "Master", "xgboost", "OnFailure"),
}


def operator_of(submission: Submission) -> Operator | None:
    """The operator's kind for this submission, None where the cluster does not serve it."""
    operator = OPERATORS.get(submission.operator)
    return operator if operator and f"{_GROUP}/{operator.kind}" in submission.apis else None


def operated(submission: Submission, values: Json, operator: Operator) -> list[Json]:
    """runPolicy, mpiJob.slotsPerWorker, pyTorchJob.minReplicas and maxReplicas.

    An elastic PyTorchJob has no master: its workers meet at the first of them and go on in whatever number they are.
    """
    elastic = _elastic(submission, values)
    worker = _draft(submission, values, operator, roles.WORKER)
    made = list(worker.objects)
    replicas: Json = {}
    if not elastic:
        master = _draft(submission, roles.master_values(submission, values), operator, roles.MASTER)
        if submission.operator == MPI:
            master.set(MPI_WORKERS_VARIABLE, submission.workers)
        made += [one for one in master.objects if one not in made]
        replicas[operator.master] = _replicas(1, master, operator)
    if submission.operator == MPI:
        # The operator has them wait for the launcher; the command is the launcher's.
        worker.container |= {"command": [], "args": []}
    replicas["Worker"] = _replicas(submission.workers, worker, operator)
    spec: Json = {"runPolicy": _run_policy(submission, values)}
    if submission.operator == MPI:
        spec["slotsPerWorker"] = roles.slots(values)
    if elastic:
        spec["elasticPolicy"] = elastic
    spec[operator.roles] = replicas
    job = metadata.make_job(submission, f"{_GROUP}/{operator.version}", operator.kind, submission.job, spec)
    return [*made, *network.access(submission, values, role="" if elastic else roles.MASTER), job]


def _draft(submission: Submission, values: Json, operator: Operator, role: str) -> Draft:
    host = Host(container=operator.container, restart="", index=_INDEX)
    pod = pods.draft(submission, values, host)
    pod.labels[network.ROLE_LABEL] = role
    return pod


def _replicas(number: int, pod: Draft, operator: Operator) -> Json:
    return {"replicas": number, "restartPolicy": operator.restart, "template": pod.template()}


def _run_policy(submission: Submission, values: Json) -> Json:
    ttl = roles.run_policy(values).get("ttlAfterFinish")
    return without_empty(
        {
            "cleanPodPolicy": roles.clean_pod_policy(values),
            "backoffLimit": roles.backoff_limit(submission, values),
            "ttlSecondsAfterFinished": None if ttl is None else parse.seconds(ttl),
        }
    )


def _elastic(submission: Submission, values: Json) -> Json:
    given = values.get("pyTorchJob") or {}
    if submission.operator != "PyTorch":
        return {}
    return without_empty({"minReplicas": given.get("minReplicas"), "maxReplicas": given.get("maxReplicas")})
