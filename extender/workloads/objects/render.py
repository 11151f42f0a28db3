"""A submission → all its objects, in the order in which they are to be created."""

from __future__ import annotations

import json
from typing import Any

from extender.model.workload import WorkloadKind
from extender.workloads.objects import gang, jobs, kubeflow, metadata, serving
from extender.workloads.objects.references import set_apart
from extender.workloads.objects.submission import Submission, expanded

Json = dict[str, Any]

BASE_NAME_LABEL = "base-name"
BASE_INDEX_LABEL = "base-name-index"
JOB_CONFIG_LABEL = "runai/job-config"


def render(submission: Submission) -> list[Json]:
    """The objects of one submission: the ConfigMap that holds its name first, the job last.

    The ConfigMap comes first because its name is the job's: of two submissions that chose the same name, the one that
    creates it goes on. All belong to the workload resource, and are deleted with it. The caller owns the result.
    Cost: a walk over the values; of distributed work without an operator once a worker.
    """
    values, secrets = set_apart(submission, expanded(submission.values, submission.path))
    made = [*secrets, *_work(submission, values)]
    return [_bookkeeping(submission, values, made), *made]


def _work(submission: Submission, values: Json) -> list[Json]:
    if submission.operator:
        operator = kubeflow.operator_of(submission)
        return kubeflow.operated(submission, values, operator) if operator else gang.gang(submission, values)
    if submission.is_serving:
        return serving.serving(submission, values)
    if submission.kind is WorkloadKind.TRAINING:
        return jobs.training(submission, values)
    return jobs.interactive(submission, values)


def _bookkeeping(submission: Submission, values: Json, made: list[Json]) -> Json:
    """What the job was made of, without secrets, and what was made: behaviour.md 2.8."""
    data = {
        "app": "".join(f"{one['apiVersion']} {one['kind']} {one['metadata']['name']}\n" for one in made),
        "values": json.dumps(values, sort_keys=True),
    }
    config = metadata.make(submission, "v1", "ConfigMap", submission.job, data=data)
    config["metadata"]["labels"][JOB_CONFIG_LABEL] = "true"
    if submission.base_name:
        config["metadata"]["labels"][BASE_NAME_LABEL] = submission.base_name
    if submission.base_index is not None:
        config["metadata"]["labels"][BASE_INDEX_LABEL] = str(submission.base_index)
    return config
