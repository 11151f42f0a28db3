"""Distributed work of the table of parameters (behaviour.md 2.3): with a training operator, and without one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extender.model import names
from extender.model.workload import WorkloadKind
from extender.wire import grouping, pods
from extender.wire.resources.podgroup import parse_podgroup
from extender.workloads.naming import child_name
from extender.workloads.objects import Backend
from tests.submissions import Rendered, environment, rendered

Json = dict[str, Any]
K = WorkloadKind
HOSTFILE = child_name("j", "mpi-hostfile")
WORKERS = [child_name("j", f"worker-{number}") for number in range(2)]
KINDS = {"MPI": "MPIJob", "PyTorch": "PyTorchJob", "TF": "TFJob", "XGBoost": "XGBoostJob"}
APIS = frozenset(f"kubeflow.org/{kind}" for kind in KINDS.values())


def operated(job_type: str = "PyTorch", **values: Any) -> Rendered:
    return rendered(K.DISTRIBUTED, given={"job_type": job_type, "apis": APIS}, **values)


def plain(job_type: str = "PyTorch", **values: Any) -> Rendered:
    return rendered(K.DISTRIBUTED, given={"job_type": job_type}, **values)


def roles_of(found: Rendered) -> Json:
    return next(value for key, value in found.spec.items() if key.endswith("ReplicaSpecs"))


def containers(found: Rendered) -> tuple[Json, Json]:
    """Of the master and of the first worker, in either form."""
    if found.job["kind"] in KINDS.values():
        master, worker = (one["template"] for one in roles_of(found).values())
    else:
        master, worker = found.template, worker_job(found, 0)["spec"]["template"]
    return master["spec"]["containers"][0], worker["spec"]["containers"][0]


def worker_job(found: Rendered, number: int) -> Json:
    """The job of a worker in the plain form."""
    return found.one(found.job["kind"], child_name("j", f"worker-{number}"))


BOTH = pytest.mark.parametrize("form", [operated, plain])


@pytest.mark.parametrize(
    ("job_type", "version", "field", "master", "container", "restart"),
    [
        ("MPI", "v2beta1", "mpiReplicaSpecs", "Launcher", "mpi", "Never"),
        ("PyTorch", "v1", "pytorchReplicaSpecs", "Master", "pytorch", "OnFailure"),
        ("TF", "v1", "tfReplicaSpecs", "Chief", "tensorflow", "OnFailure"),
        ("XGBoost", "v1", "xgbReplicaSpecs", "Master", "xgboost", "OnFailure"),
    ],
)
def test_the_kind_of_the_operator(
    job_type: str, version: str, field: str, master: str, container: str, restart: str
) -> None:
    found = operated(job_type, workers=3, gpu="1")
    assert found.names == ["ConfigMap j", f"{KINDS[job_type]} j"]
    assert found.job["apiVersion"] == f"kubeflow.org/{version}"
    replicas = found.spec[field]
    assert {role: one["replicas"] for role, one in replicas.items()} == {master: 1, "Worker": 3}
    for one in replicas.values():
        assert one["restartPolicy"] == restart
        assert "restartPolicy" not in one["template"]["spec"]
        assert one["template"]["spec"]["containers"][0]["name"] == container
    assert found.spec["runPolicy"] == {"cleanPodPolicy": "Running", "backoffLimit": 18}


def test_an_operators_job_that_the_cluster_does_not_serve_is_not_made() -> None:
    given = {"job_type": "PyTorch", "apis": frozenset({"kubeflow.org/MPIJob"})}
    assert rendered(K.DISTRIBUTED, given=given).job["kind"] == "RunaiJob"


@pytest.mark.parametrize("job_type", list(KINDS))
def test_the_group_of_an_operators_job_has_workers_and_one(job_type: str) -> None:
    assert grouping.minimum(operated(job_type, workers=3).job, {}) == 4


def test_run_policy() -> None:
    given = {"cleanPodPolicy": "none", "backoffLimit": 2, "ttlAfterFinish": "2m"}
    assert operated(runPolicy=given).spec["runPolicy"] == {
        "cleanPodPolicy": "None",
        "backoffLimit": 2,
        "ttlSecondsAfterFinished": 120,
    }
    found = plain(runPolicy=given)
    for job in found.all("RunaiJob"):
        assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (2, 120)
        assert "annotations" not in job["metadata"]


def test_slots_per_worker() -> None:
    assert operated("MPI").spec["slotsPerWorker"] == 1
    assert operated("MPI", mpiJob={"slotsPerWorker": 4}).spec["slotsPerWorker"] == 4
    assert " slots=4\n" in plain("MPI", mpiJob={"slotsPerWorker": 4}).one("ConfigMap", HOSTFILE)["data"]["hostfile"]


def test_an_elastic_pytorch_job_has_no_master() -> None:
    found = operated(workers=4, pyTorchJob={"minReplicas": 2, "maxReplicas": 4})
    assert found.spec["elasticPolicy"] == {"minReplicas": 2, "maxReplicas": 4}
    assert list(roles_of(found)) == ["Worker"]
    assert grouping.minimum(found.job, {}) == 2


@BOTH
def test_the_master_has_what_workers_have_but_for_what_was_said_of_it(form: Any) -> None:
    master, worker = containers(
        form(
            gpu="2",
            arguments="--worker",
            masterArguments="--master",
            environment={"A": "1", "B": "2"},
            masterEnvironment={"A": "-", "C": "3"},
            masterGpu="1",
            extendedResources={"rdma/hca": {"quantity": 1}},
            masterExtendedResources={"rdma/hca": {"quantity": 2}},
            pvcs={"p": {"claimName": "c", "path": "/p"}},
            masterNoPvcs=True,
        )
    )
    assert (master["args"], worker["args"]) == (["--master"], ["--worker"])
    assert master["resources"]["limits"] == {"rdma/hca": "2", "nvidia.com/gpu": "1"}
    assert worker["resources"]["limits"] == {"rdma/hca": "1", "nvidia.com/gpu": "2"}
    assert {key: environment(master).get(key) for key in "ABC"} == {"A": None, "B": "2", "C": "3"}
    assert {key: environment(worker).get(key) for key in "ABC"} == {"A": "1", "B": "2", "C": None}
    assert "volumeMounts" not in master
    assert worker["volumeMounts"] == [{"name": "pvc-volume-0", "mountPath": "/p"}]


@BOTH
def test_without_anything_said_of_it_the_master_is_like_a_worker(form: Any) -> None:
    master, worker = containers(form(gpu="0.5", arguments="--x", pvcs={"p": {"claimName": "c", "path": "/p"}}))
    own = {"RANK", "POD_INDEX"}
    assert {key: value for key, value in environment(master).items() if key not in own} == {
        key: value for key, value in environment(worker).items() if key not in own
    }
    assert {**master, "env": []} == {**worker, "env": []}


@BOTH
def test_a_claim_that_all_mount_is_made_once(form: Any) -> None:
    found = form(workers=3, pvcs={"p": {"size": "1Gi", "path": "/p"}})
    assert [one["metadata"]["name"] for one in found.all("PersistentVolumeClaim")] == ["pvc-j-0"]


@BOTH
def test_services_lead_to_the_master(form: Any) -> None:
    found = form(ports={"web": {"container": 80}})
    assert found.one("Service", "j-web")["spec"]["selector"] == {"release": "j", "run.ai/role": "master"}


@pytest.mark.parametrize("form", [operated, plain])
@pytest.mark.parametrize(
    ("values", "limits"), [({"gpu": "2"}, {}), ({"gpu": "2", "masterGpu": 1}, {"nvidia.com/gpu": "1"})]
)
def test_an_mpi_launcher_has_no_gpu_unless_it_is_given_one(form: Any, values: Json, limits: Json) -> None:
    launcher, worker = containers(form("MPI", workers=2, cpu="1", command="mpirun train", **values))
    assert launcher["resources"].get("limits", {}) == limits
    assert launcher["resources"]["requests"] == {"cpu": "1"}
    assert launcher["command"] == ["mpirun", "train"]
    assert worker["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert worker.get("command") in (None, ["/usr/sbin/sshd", "-De"])
    assert environment(launcher)["RUNAI_MPI_NUM_WORKERS"] == "2"
    assert "RUNAI_MPI_NUM_WORKERS" not in environment(worker)


@pytest.mark.parametrize("kind", [K.TRAINING, K.INTERACTIVE])
def test_mpi_as_a_parameter(kind: WorkloadKind) -> None:
    found = rendered(kind, given={"apis": APIS}, mpi=True, processes=3, slotsPerWorker=2)
    assert (found.job["kind"], found.spec["slotsPerWorker"]) == ("MPIJob", 2)
    assert roles_of(found)["Worker"]["replicas"] == 3
    assert found.job["metadata"]["labels"]["createdBy"] == "MPIJob"
    assert rendered(kind, mpi=False, processes=3).job["kind"] == "RunaiJob"


def test_training_by_mpi_keeps_its_own_limits() -> None:
    found = rendered(given={"apis": APIS}, mpi=True, backoffLimit=1, ttlAfterFinish="5s")
    assert found.spec["runPolicy"] == {"cleanPodPolicy": "Running", "backoffLimit": 1, "ttlSecondsAfterFinished": 5}


def test_a_gang_without_an_operator() -> None:
    found = plain(workers=2, gpu="1", nodePools=["b", "a"])
    assert found.names == [
        "ConfigMap j",
        "PodGroup j",
        "Service j-hosts",
        f"RunaiJob {WORKERS[0]}",
        f"RunaiJob {WORKERS[1]}",
        "RunaiJob j",
    ]
    group = parse_podgroup(found.one("PodGroup")).to_model()
    assert (group.min_member, group.queue, group.priority_class, group.pools) == (3, "team-a", "train", ("b", "a"))
    for job in found.all("RunaiJob"):
        metadata = {"uid": "u", "name": "p", "namespace": "runai-team-a", **job["spec"]["template"]["metadata"]}
        assert pods.parse({"metadata": metadata, "spec": job["spec"]["template"]["spec"]}).group == "j"
        assert (job["spec"]["parallelism"], job["spec"]["completions"], job["spec"]["backoffLimit"]) == (1, 1, 6)
    service = found.one("Service")["spec"]
    assert service == {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"release": "j"}}


def test_on_plain_kubernetes_the_gang_is_of_jobs() -> None:
    found = rendered(K.DISTRIBUTED, given={"job_type": "TF", "backend": Backend.KUBERNETES}, workers=2)
    assert found.names[-3:] == [*(f"Job {name}" for name in WORKERS), "Job j"]
    assert worker_job(found, 1)["spec"]["template"]["spec"]["hostname"] == "j-worker-1"
    assert {one["apiVersion"] for one in found.all("Job")} == {"batch/v1"}
    # An indexed Job would give its pods host names of its own.
    assert not [one for one in found.all("Job") if "completionMode" in one["spec"]]


@pytest.mark.parametrize(("job_type", "port"), [("PyTorch", "23456"), ("XGBoost", "9999")])
def test_ranks_know_where_the_master_is(job_type: str, port: str) -> None:
    found = plain(job_type, workers=2)
    expected = {"MASTER_ADDR": "j-master.j-hosts", "MASTER_PORT": port, "WORLD_SIZE": "3"}
    for name, rank in (("j", "0"), (WORKERS[0], "1"), (WORKERS[1], "2")):
        env = environment(found.one("RunaiJob", name)["spec"]["template"]["spec"]["containers"][0])
        assert {key: env[key] for key in (*expected, "RANK", "POD_INDEX")} == expected | {
            "RANK": rank,
            "POD_INDEX": rank,
        }
    assert (found.pod["hostname"], found.pod["subdomain"]) == ("j-master", "j-hosts")


def test_tensorflow_knows_the_whole_cluster() -> None:
    found = plain("TF", workers=2)
    cluster = {"chief": ["j-master.j-hosts:2222"], "worker": [f"j-worker-{i}.j-hosts:2222" for i in range(2)]}
    worker = environment(worker_job(found, 1)["spec"]["template"]["spec"]["containers"][0])
    assert json.loads(found.environment["TF_CONFIG"]) == {"cluster": cluster, "task": {"type": "chief", "index": 0}}
    assert json.loads(worker["TF_CONFIG"]) == {"cluster": cluster, "task": {"type": "worker", "index": 1}}


def test_mpi_without_an_operator_has_a_host_file() -> None:
    found = plain("MPI", workers=2)
    config = found.one("ConfigMap", HOSTFILE)
    assert config["data"]["hostfile"] == "j-worker-0.j-hosts slots=1\nj-worker-1.j-hosts slots=1\n"
    assert found.mounts == [({"configMap": {"name": HOSTFILE}}, {"mountPath": "/etc/mpi"})]
    for name in ("OMPI_MCA_orte_default_hostfile", "RUNAI_MPI_HOSTFILE"):
        assert found.environment[name] == "/etc/mpi/hostfile"


def test_workers_end_with_the_master_unless_pods_are_to_stay() -> None:
    found = plain(workers=1)
    assert worker_job(found, 0)["metadata"]["annotations"] == {"run.ai/ends-with": "j"}
    assert "annotations" not in found.job["metadata"]


@BOTH
def test_non_preemptible(form: Any) -> None:
    found = form(nonPreemptible=True)
    assert found.job["metadata"]["labels"][names.PREEMPTIBILITY_LABEL] == "non-preemptible"
    for group in found.all("PodGroup"):
        assert parse_podgroup(group).to_model().preemptible is False
    assert names.PREEMPTIBILITY_LABEL not in form().job["metadata"]["labels"]


def test_a_name_of_a_port_does_not_take_the_gangs_service() -> None:
    found = plain(ports={"hosts": {"container": 80}})
    assert [one["metadata"]["name"] for one in found.all("Service")] == ["j-hosts", child_name("j", "hosts-2")]
