"""Distributed work has two roles: a master, which for MPI is the launcher, and workers."""

from __future__ import annotations

from typing import Any

from extender.workloads.objects.compute import without_gpus
from extender.workloads.objects.submission import MPI, Submission

Json = dict[str, Any]

MASTER = "master"
WORKER = "worker"
_UNSET = "-"
_BACKOFF_OF_A_WORKER = 6


def master_values(submission: Submission, values: Json) -> Json:
    """The workers' values as the master has them: masterArguments, masterEnvironment, masterGpu,
    masterExtendedResources, masterNoPvcs.

    An MPI launcher has no GPU unless masterGpu says so: it starts the ranks and does not compute. A variable whose
    value is `-` is taken away. Extended resources that are given for the master replace the workers'.
    """
    changed = dict(values)
    if values.get("masterGpu") is not None:
        changed = without_gpus(changed) | {"gpu": values["masterGpu"]}
    elif submission.operator == MPI:
        changed = without_gpus(changed)
    if values.get("masterArguments") is not None:
        changed["arguments"] = values["masterArguments"]
    if values.get("masterEnvironment"):
        environment = (values.get("environment") or {}) | values["masterEnvironment"]
        unset = {name for name, text in values["masterEnvironment"].items() if text == _UNSET}
        changed["environment"] = {name: text for name, text in environment.items() if name not in unset}
    if values.get("masterExtendedResources"):
        changed["extendedResources"] = values["masterExtendedResources"]
    if values.get("masterNoPvcs"):
        changed["pvcs"] = {}
    return changed


def run_policy(values: Json) -> Json:
    """runPolicy as it was given; training with mpi has its members as parameters of its own."""
    own = {name: values[name] for name in ("backoffLimit", "ttlAfterFinish") if values.get(name) is not None}
    return own | (values.get("runPolicy") or {})


def clean_pod_policy(values: Json) -> str:
    """What is deleted at the job's end: Running, the default, All or None."""
    return str(run_policy(values).get("cleanPodPolicy") or "Running").capitalize()


def backoff_limit(submission: Submission, values: Json) -> int:
    """Retries of the whole job: six for each worker unless given, none of interactive work (behaviour.md 2.3, 4.3)."""
    if submission.is_interactive:
        return 0
    given = run_policy(values).get("backoffLimit")
    return _BACKOFF_OF_A_WORKER * submission.workers if given is None else int(given)


def slots(values: Json) -> int:
    """Ranks of an MPI worker."""
    given = (values.get("mpiJob") or {}).get("slotsPerWorker") or values.get("slotsPerWorker")
    return int(given or 1)
