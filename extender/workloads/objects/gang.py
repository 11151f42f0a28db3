"""Distributed work where no training operator is: a master and workers as jobs of ours, in one gang.

Each pod is a job of its own, `<job>` the master's and `<job>-worker-<i>-<hash>` the workers'. The reason: a pod's rank
is a number that only whoever makes the pod can write. The downward API knows a pod's index and cannot add 1 to it, a
shell that could wraps an entrypoint that we do not know, and one job of all ranks works only as long as master and
worker are alike. With a job a pod, rank, host name and TF_CONFIG are plain text in the template, and a pod that failed
comes back with the same ones; the price is an object for each worker.

    PodGroup <job>          minMember = workers + 1: all start or none
    Service <job>-hosts     headless; every pod is <host>.<job>-hosts, resolved before it is ready
    PyTorch, XGBoost        MASTER_ADDR, MASTER_PORT, WORLD_SIZE, RANK (0 is the master)
    TF                      TF_CONFIG: the master is the chief
    MPI                     ConfigMap of the hosts, mounted at /etc/mpi and named to Open MPI and RUNAI_MPI_HOSTFILE;
                            RUNAI_MPI_NUM_WORKERS. Launcher and workers run the workload's image. Workers run
                            `/usr/sbin/sshd -De`, so the image needs sshd and keys with which its user may log in to
                            itself (or a secretVolume has them); making keys is nothing that pure code can do.

A job of a worker says by its annotation `run.ai/ends-with` that it is over when the master's is: the workers of MPI
would run for ever. `controllers.workloads` suspends it then; with cleanPodPolicy None it is left alone.
An elastic PyTorch job needs the operator: here it runs with all its workers.
"""

from __future__ import annotations

import json
from typing import Any

from extender.model import names
from extender.workloads.naming import child_name
from extender.workloads.objects import jobs, metadata, network, pods, roles
from extender.workloads.objects.draft import Draft
from extender.workloads.objects.kubeflow import MPI_WORKERS_VARIABLE
from extender.workloads.objects.parts import without_empty
from extender.workloads.objects.scheduling import node_pools
from extender.workloads.objects.submission import MPI, Submission

Json = dict[str, Any]

_TF = "TF"
_PORTS = {"PyTorch": 23456, "XGBoost": 9999, _TF: 2222}  # those of the training operators
_HOSTS = "hosts"
_HOSTFILE = "hostfile"
_HOSTFILE_LABEL = "mpi-hostfile"  # with a hyphen: no job is called as the ConfigMap is
_MPI_FOLDER = "/etc/mpi"
_BACKOFF_OF_A_POD = 6
_SSHD = ["/usr/sbin/sshd", "-De"]
_MPI_SETTINGS = {
    "OMPI_MCA_orte_default_hostfile": f"{_MPI_FOLDER}/{_HOSTFILE}",
    "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
    # Workers have the same host names in every run, with other keys; and sshd may come up after the launcher.
    "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10 -o StrictHostKeyChecking=no",
    "RUNAI_MPI_HOSTFILE": f"{_MPI_FOLDER}/{_HOSTFILE}",
}


def gang(submission: Submission, values: Json) -> list[Json]:
    """workers, master…, runPolicy.cleanPodPolicy, runPolicy.backoffLimit (of each pod here), nonPreemptible."""
    hosts = child_name(submission.job, _HOSTS)
    master = _member(submission, roles.master_values(submission, values), 0)
    workers = [_member(submission, values, rank) for rank in range(1, submission.workers + 1)]
    made: list[Json] = []
    for pod in (master, *workers):
        made += [one for one in pod.objects if one not in made]
    if submission.operator == MPI:
        made.append(_hostfile(submission, values))
        for pod in workers:
            pod.container |= {"command": _SSHD, "args": []}
    ends = {} if roles.clean_pod_policy(values) == "None" else {names.ENDS_WITH_ANNOTATION: submission.job}
    return [
        *made,
        _group(submission, values),
        _hosts(submission, hosts),
        *network.access(submission, values, role=roles.MASTER, taken=(hosts,)),
        *(_job(submission, values, pod, rank, ends) for rank, pod in enumerate(workers, 1)),
        _job(submission, values, master, 0, {}),
    ]


def _member(submission: Submission, values: Json, rank: int) -> Draft:
    """The pod of one rank: the master is 0."""
    pod = pods.draft(submission, values, jobs.ending_host(submission))
    pod.labels[network.ROLE_LABEL] = roles.WORKER if rank else roles.MASTER
    pod.annotations[names.POD_GROUP_ANNOTATION] = submission.job
    pod.spec |= {"hostname": _host(submission, rank), "subdomain": child_name(submission.job, _HOSTS)}
    pod.set("POD_INDEX", rank)
    _meet(pod, rank)
    return pod


def _meet(pod: Draft, rank: int) -> None:
    """How the pod finds the others."""
    submission = pod.submission
    if submission.operator == MPI:
        if not rank:
            source = {"configMap": {"name": child_name(submission.job, _HOSTFILE_LABEL)}}
            pod.mount("mpi-hosts", source, _MPI_FOLDER)
            pod.set(MPI_WORKERS_VARIABLE, submission.workers)
            for name, value in _MPI_SETTINGS.items():
                pod.set(name, value)
        return
    port = _PORTS[submission.operator]
    if submission.operator == _TF:
        workers = [f"{_address(submission, one)}:{port}" for one in range(1, submission.workers + 1)]
        cluster = {"chief": [f"{_address(submission, 0)}:{port}"], "worker": workers}
        task = {"type": "worker", "index": rank - 1} if rank else {"type": "chief", "index": 0}
        pod.set("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        return
    pod.set("MASTER_ADDR", _address(submission, 0))
    pod.set("MASTER_PORT", port)
    pod.set("WORLD_SIZE", submission.workers + 1)
    pod.set("RANK", rank)
    pod.set("PYTHONUNBUFFERED", "1")  # as the operator does: what is printed is to be seen when it happens


def _job(submission: Submission, values: Json, pod: Draft, rank: int, annotations: dict[str, str]) -> Json:
    policy = roles.run_policy(values)
    retries = 0 if submission.is_interactive else policy.get("backoffLimit", _BACKOFF_OF_A_POD)
    return jobs.ending(
        submission,
        # Not the name of the host: `j-worker-0` may well be the first job of the prefix `j-worker` (RUN-21948).
        child_name(submission.job, f"{roles.WORKER}-{rank - 1}") if rank else submission.job,
        pod.template(),
        completions=1,
        parallelism=1,
        backoff_limit=retries,
        ttl=policy.get("ttlAfterFinish"),
        annotations=annotations,
        numbered=False,
    )


def _group(submission: Submission, values: Json) -> Json:
    labels = metadata.own_labels(submission)
    spec = without_empty(
        {
            "minMember": submission.workers + 1,
            "queue": submission.project,
            "priorityClassName": metadata.priority_class(submission) or names.DEFAULT_PRIORITY_CLASS,
            "preemptibility": labels.get(names.PREEMPTIBILITY_LABEL),
            "nodePools": node_pools(values),
        }
    )
    return metadata.make(submission, f"{names.POD_GROUP_GROUP}/v1alpha1", "PodGroup", submission.job, spec=spec)


def _hosts(submission: Submission, name: str) -> Json:
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,  # they look for each other while they start
        "selector": {metadata.RELEASE_LABEL: submission.job},
    }
    return metadata.make(submission, "v1", "Service", name, spec=spec)


def _hostfile(submission: Submission, values: Json) -> Json:
    slots = roles.slots(values)
    lines = [f"{_address(submission, rank)} slots={slots}\n" for rank in range(1, submission.workers + 1)]
    name = child_name(submission.job, _HOSTFILE_LABEL)
    return metadata.make(submission, "v1", "ConfigMap", name, data={_HOSTFILE: "".join(lines)})


def _host(submission: Submission, rank: int) -> str:
    return f"{submission.job}-{roles.WORKER}-{rank - 1}" if rank else f"{submission.job}-{roles.MASTER}"


def _address(submission: Submission, rank: int) -> str:
    return f"{_host(submission, rank)}.{child_name(submission.job, _HOSTS)}"
