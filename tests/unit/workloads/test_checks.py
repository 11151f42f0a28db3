"""What no workload may ask for: behaviour.md 4.3, 12.7, and what Kubernetes would not take."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.workload import Origin, Value, ValuesSet, WorkloadKind
from extender.wire import workloads
from extender.workloads import checks
from extender.workloads.values import compose
from tests.unit.workloads.specs import Json, items, scalars

NOTEBOOK, T, D, F = WorkloadKind.INTERACTIVE, WorkloadKind.TRAINING, WorkloadKind.DISTRIBUTED, WorkloadKind.INFERENCE
WITHOUT_COMPLETIONS = (
    "if the parallelism flag is set, you must also set the number of successful pod completions required for this job "
    "to complete (use --completions <number_of_required_completions>)"
)
BAD_NAME = (
    "Job names must consist of lower case alphanumeric characters or '-' and start with an alphabetic character "
    "(e.g. 'my-name',  or 'abc-123')"
)
ACCESS_MODES = "ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod"
BAD_SECRET = "must be SECRET:<name>,<key>, the name of a Secret and a key in it"


def judged(kind: WorkloadKind, spec: Json, *, job_type: str = "", node_types: tuple[str, ...] = ()) -> list[str]:
    """The lines about a spec that composes without violations."""
    composed = compose(workloads.parameters(kind), spec, None, None)
    assert composed.violations == ()
    return list(checks.problems(kind, composed.values, job_type=job_type, node_types=node_types))


def with_image(**values: Any) -> Json:
    return scalars(image="i", **values)


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({"gpu": "1"}, []),
        ({"gpu": "0"}, []),
        ({"gpu": "1.5"}, ["gpu: must be an integer or a fraction between 0 and 1"]),
        ({"gpu": "-1"}, ["gpu: must be an integer or a fraction between 0 and 1"]),
        ({"gpu": "0.12345"}, ["gpu: a fraction may have 4 decimals, 0.12345 has more"]),
        ({"gpuMemory": "100M"}, []),
        ({"gpuMemory": "99M"}, ["gpu memory must be greater than 100Mb"]),
        (
            {"gpu": "1", "gpuMemory": "1G"},
            ["unexpected to accept both gpu and gpu-memory flag. please use only one of them"],
        ),
        ({"gpu": "0.0", "gpuMemory": "1G"}, []),
        (
            {"gpu": "1", "migProfile": "1g.5gb"},
            ["unexpected to accept both gpu and mig flag. please use only one of them"],
        ),
        (
            {"gpu": "1", "gpuMemory": "1G", "migProfile": "1g.5gb"},
            [
                "unexpected to accept both gpu and gpu-memory flag. please use only one of them",
                "unexpected to accept both gpu and mig flag. please use only one of them",
                "unexpected to accept both gpu-memory and mig flag. please use only one of them",
            ],
        ),
        ({"gpu": "0.5", "gpuLimit": "0.4"}, ["gpuLimit: must be no less than gpu, 0.5"]),
        ({"cpu": "2", "cpuLimit": 1}, ["cpuLimit: must be no less than cpu, 2"]),
        ({"cpu": "-1"}, ["cpu: must be no less than 0"]),
        ({"memory": "1Gi", "memoryLimit": "1G"}, ["memoryLimit: must be no less than memory, 1Gi"]),
        ({"memory": "1G", "memoryLimit": "1Gi"}, []),
        ({"tty": True}, ["--stdin is required for containers with -t/--tty=true"]),
        ({"tty": True, "stdin": True}, []),
        ({"name": "a", "namePrefix": "b"}, ["name: only one of name and namePrefix may be set"]),
        ({"name": "A"}, [BAD_NAME]),
        ({"namePrefix": "1a"}, [BAD_NAME]),
        ({"name": "a" * 49}, []),
        ({"name": "a" * 50}, [f"The len 50 of name {'a' * 50} is too long, it should be less than 49"]),
        ({"namePrefix": "a" * 47}, []),
        ({"namePrefix": "a" * 48}, [f"The len 50 of name {'a' * 48}-0 is too long, it should be less than 49"]),
        ({"command": "echo it's"}, ['command: must be words with their quotes closed, not "echo it\'s"']),
        ({"supplementalGroups": "1,2"}, ['supplementalGroups: must be ids of groups separated by ";", not "1,2"']),
        ({"runAsUid": 5}, ["runAsUid: needs runAsUser to be true"]),
        ({"runAsUid": 5, "runAsUser": True}, []),
        ({"runAsUid": -1, "runAsUser": True}, ["runAsUid: must be no less than 0"]),
        ({"podAffinitySchedulingRule": "hard"}, ["podAffinitySchedulingRule: needs podAffinity to be true"]),
        ({"podAffinitySchedulingRule": "hard", "podAffinity": True}, []),
        ({"parallelism": 2}, [WITHOUT_COMPLETIONS]),
        ({"parallelism": 1}, []),
        ({"parallelism": 2, "completions": 2}, []),
        ({"parallelism": 3, "completions": 2}, ["parallelism: must be no greater than completions, 2"]),
        ({"parallelism": 2, "completions": 2, "elastic": True}, ["elasitc jobs can't run with Parallelism"]),
        (
            {"parallelism": 0, "completions": 0},
            ["completions: must be no less than 1", "parallelism: must be no less than 1"],
        ),
        ({"elastic": True, "gpu": "0.5"}, ["elastic: needs whole GPUs"]),
        ({"elastic": True, "gpu": "2"}, []),
        ({"ttlAfterFinish": "-5s"}, ["ttlAfterFinish: must not be below 0, as -5s is"]),
        ({"backoffLimit": -1}, ["backoffLimit: must be no less than 0"]),
        ({"processes": 2}, ["processes: needs mpi to be true"]),
        ({"processes": 2, "mpi": True}, []),
        ({"serviceType": "NodePort"}, ["Ports must be provided when exposing a service."]),
    ],
)
def test_4_3_training(values: Json, lines: list[str]) -> None:
    assert judged(T, with_image(**values)) == lines


def test_an_image_is_needed_unless_a_notebook_brings_it() -> None:
    assert judged(T, {}) == ["image: cannot be blank"]
    assert judged(T, scalars(image="")) == ["image: cannot be blank"]
    assert judged(NOTEBOOK, scalars(jupyter=True, serviceType="ingress")) == []


def test_interactive_work_is_not_parallel() -> None:
    values = ValuesSet({name: Value(value, Origin.WORKLOAD) for name, value in (("image", "i"), ("parallelism", 2))})
    lines = checks.problems(NOTEBOOK, values, job_type="", node_types=())
    assert "interactive jobs can't run with Parallelism" in lines


@pytest.mark.parametrize(
    ("node_types", "lines"),
    [((), []), (("a100", "v100"), []), (("t4", "a100"), ["nodeType: must be a valid value (one of: t4, a100)"])],
)
def test_the_node_types_of_the_project(node_types: tuple[str, ...], lines: list[str]) -> None:
    assert judged(T, with_image(nodeType="v100"), node_types=node_types) == lines
    assert judged(T, with_image(), node_types=node_types) == []


@pytest.mark.parametrize(
    ("values", "job_type", "lines"),
    [
        ({}, "PyTorch", []),
        ({}, "", ["jobType: cannot be blank"]),
        ({}, "pytorch", ["jobType: must be a valid value (one of: MPI, PyTorch, TF, XGBoost)"]),
        ({"workers": 0}, "MPI", ["workers: must be no less than 1"]),
        ({"masterGpu": "1.5"}, "TF", ["masterGpu: must be an integer or a fraction between 0 and 1"]),
        ({"mpiJob": {"slotsPerWorker": 0}}, "MPI", ["mpiJob.slotsPerWorker: must be no less than 1"]),
        ({"mpiJob": {"slotsPerWorker": 2}}, "TF", ["mpiJob: is only for jobType MPI, not TF"]),
        (
            {"pyTorchJob": {"minReplicas": 3, "maxReplicas": 2}},
            "PyTorch",
            ["pyTorchJob.minReplicas: must be no greater than maxReplicas, 2"],
        ),
        (
            {"runPolicy": {"ttlAfterFinish": "5", "backoffLimit": -1}},
            "TF",
            [
                "runPolicy.backoffLimit: must be no less than 0",
                'runPolicy.ttlAfterFinish: must be a duration such as "90s" or "1h30m", not "5"',
            ],
        ),
    ],
)
def test_distributed_work(values: Json, job_type: str, lines: list[str]) -> None:
    assert judged(D, with_image(**values), job_type=job_type) == lines


def test_inference_has_a_port_and_a_sensible_scale() -> None:
    assert judged(F, with_image()) == ["ports: cannot be blank"]
    served = with_image(minScale=3, maxScale=2) | items("ports", web={"container": 8000})
    assert judged(F, served) == ["minScale: must be no greater than maxScale, 2"]


@pytest.mark.parametrize(
    ("ports", "service_type", "lines"),
    [
        ({"a": {"container": 80, "external": 8080}}, None, []),
        ({"a": {"container": 0}}, None, ["ports.a.container: must be between 1 and 65535"]),
        ({"a": {"container": 80, "external": 65536}}, None, ["ports.a.external: must be between 1 and 65535"]),
        pytest.param(
            {"a": {"container": 80, "external": 30022}, "b": {"container": 81, "external": 30022}},
            "nodeport",
            ["ports.b.external: 30022 is the external port of a already"],
            id="RUN-5370",
        ),
        pytest.param(
            {"a": {"container": 80, "external": 8080}},
            "NodePort",
            ["ports.a.external: a port of nodes must be between 30000 and 32767"],
            id="RUN-6838",
        ),
        (
            {"a": {"container": 80, "external": 29999, "serviceType": "nodeport"}},
            "ClusterIP",
            ["ports.a.external: a port of nodes must be between 30000 and 32767"],
        ),
        ({"a": {"container": 80, "external": 8080, "serviceType": "ClusterIP"}}, "NodePort", []),
        ({"a": {"container": 80, "external": 80, "autoGenerate": True}}, "NodePort", []),
        ({"a": {"container": 80}, "b": {"container": 80}}, "NodePort", []),
    ],
)
def test_ports(ports: Json, service_type: str | None, lines: list[str]) -> None:
    assert judged(T, with_image(serviceType=service_type) | items("ports", **ports)) == lines


def test_ports_that_come_from_base_and_workload_are_compared_run_5370() -> None:
    base = with_image() | items("ports", mine={"container": 1, "external": 30001})
    workload = items("ports", other={"container": 2, "external": 30001})
    values = compose(workloads.parameters(T), workload, base, None).values
    lines = checks.problems(T, values, job_type="", node_types=())
    assert lines == ("ports.other.external: 30001 is the external port of mine already",)


@pytest.mark.parametrize(
    ("claim", "lines"),
    [
        ({"path": "/a", "claimName": "c"}, []),
        ({"path": "/a", "claimName": "c", "existingPvc": True}, []),
        ({"path": "/a", "existingPvc": True}, ["pvcs.x.claimName: cannot be blank"]),
        ({"path": "/a", "size": "1Gi"}, []),
        ({"path": "/a"}, ["pvcs.x.size: cannot be blank"]),
        ({"path": "/a", "claimName": "c", "existingPvc": False}, ["pvcs.x.size: cannot be blank"]),
        ({"path": "/a", "size": "0"}, ["pvcs.x.size: must be greater than 0"]),
        ({"path": "/a:b", "size": "1"}, ['pvcs.x.path: must not have ":" in it, as /a:b has']),
        (
            {"path": "/a", "size": "1", "accessModes": ["RWO"], "volumeMode": "x"},
            [
                f"pvcs.x.accessModes: must be a valid value (one of: {ACCESS_MODES})",
                "pvcs.x.volumeMode: must be a valid value (one of: Filesystem, Block)",
            ],
        ),
    ],
)
def test_claims(claim: Json, lines: list[str]) -> None:
    assert judged(T, with_image() | items("pvcs", x=claim)) == lines


def test_one_thing_is_mounted_at_a_path() -> None:
    spec = with_image() | items("pvcs", b={"claimName": "c", "path": "/data"})
    spec |= items("volumes", a={"sourcePath": "/x", "targetPath": "/data"})
    spec |= items("gitSync", one={"source": "u"}, two={"source": "v"}, three={"source": "w", "target": "/w"})
    assert judged(T, spec) == [
        "gitSync.two.target: /code is where gitSync.one is mounted already",
        "volumes.a.targetPath: /data is where pvcs.b is mounted already",
    ]


@pytest.mark.parametrize(
    ("toleration", "lines"),
    [
        ({"operator": "Exists"}, []),
        ({"operator": "exists", "key": "k", "effect": "NoExecute", "seconds": 5}, []),
        ({"key": "k", "value": "v"}, []),
        ({"value": "v"}, ["tolerations.x.key: cannot be blank"]),
        ({"operator": "Exists", "value": "v"}, ["tolerations.x.value: must be absent with operator Exists"]),
        ({"key": "k", "effect": "NoSchedule", "seconds": 5}, ["tolerations.x.seconds: needs effect NoExecute"]),
    ],
)
def test_tolerations(toleration: Json, lines: list[str]) -> None:
    assert judged(T, with_image() | items("tolerations", x=toleration)) == lines


def test_secrets_are_named_in_full() -> None:
    spec = with_image() | items("environment", A="SECRET:a,b", B="SECRET:a", URL="http://h:80/?a=b")
    spec |= items("gitSync", x={"source": "u", "password": "SECRET:,k", "target": "/c"})
    assert judged(T, spec) == [f"environment.B: {BAD_SECRET}", f"gitSync.x.password: {BAD_SECRET}"]
    assert judged(NOTEBOOK, with_image(notebookToken="SECRET:x")) == [f"notebookToken: {BAD_SECRET}"]


def test_names_of_variables_labels_and_annotations() -> None:
    spec = with_image() | items("environment", **{"A=B": "c", "": "d", "a.b-c": "fine"})
    spec |= items("labels", **{"team": "a b", "-x": "y", "example.com/team": "a", "empty": ""})
    spec |= items("annotations", **{"a b": "x", "note": "any text: at all"})
    key = "a key is at most 63 letters, digits, hyphens, underscores and dots, after <domain>/ if it has one"
    variable = 'the name of a variable has letters, digits and signs, and no "="'
    assert judged(T, spec) == [
        f"annotations.a b: {key}",
        f"environment.: {variable}",
        f"environment.A=B: {variable}",
        f"labels.-x: {key}",
        'labels.team: the value of a label is at most 63 letters, digits, hyphens, underscores and dots, not "a b"',
    ]


def test_what_has_rules_is_not_had_without_them_run_5676() -> None:
    spec = with_image() | items(
        "extendedResources",
        **{"nvidia.com/gpu": {"quantity": 8}, "x": {"resource": "nvidia.com/mig-1g.5gb", "quantity": 1}},
        fine={"resource": "rdma/hca", "quantity": 1},
        half={"resource": "rdma/hca", "quantity": "500m"},
    )
    spec |= items("annotations", **{"gpu-fraction": "0.5"})
    assert judged(T, spec) == [
        "annotations.gpu-fraction: is given as gpu",
        "extendedResources.half.quantity: must be a whole number, not 500m",
        "extendedResources.nvidia.com/gpu: nvidia.com/gpu is given as gpu",
        "extendedResources.x: nvidia.com/mig-1g.5gb is given as migProfile",
    ]


def test_what_a_policy_gives_to_all_is_no_mistake_of_a_workload() -> None:
    policy = scalars(runAsUid=500, podAffinityTopology="zone", serviceType="NodePort")
    values = compose(workloads.parameters(T), with_image(), None, policy).values
    assert checks.problems(T, values, job_type="", node_types=()) == ()


@pytest.mark.parametrize("kind", list(WorkloadKind))
@pytest.mark.parametrize("value", [None, True, 5, -1, "x", ["x"], {"x": 1}, {"x": {"container": "y"}}])
def test_values_of_a_wrong_type_are_passed_over(kind: WorkloadKind, value: Any) -> None:
    parameters = workloads.parameters(kind)
    plain = ValuesSet({name: Value(value, Origin.WORKLOAD) for name in parameters})
    nested = ValuesSet({}, {name: {"x": Value(value, Origin.WORKLOAD)} for name in parameters})
    deep = {"x": {"y": value}, "container": value, "external": value, "path": value, "size": value}
    odd = ValuesSet({}, {name: {"x": Value(deep, Origin.BASE)} for name in parameters})
    for values in (plain, nested, odd):
        assert all(checks.problems(kind, values, job_type="MPI", node_types=("a",)))


def test_no_label_or_annotation_is_a_way_around_the_rules_for_gpus_and_priorities() -> None:
    """RUN-5676: a share of each of eight devices is four GPUs where a policy says one; a class makes others leave."""
    marks = items("annotations", **{"gpu-fraction-num-devices": "8"}) | items(
        "labels", **{"priorityClassName": "build", "kai.scheduler/preemptibility": "non-preemptible", "mine": "x"}
    )
    by_kind = "follows from the kind of the workload and from preemptible"
    assert judged(T, with_image(gpu="0.5") | marks) == [
        "annotations.gpu-fraction-num-devices: gpu and gpuMemory are a share of one device",
        f"labels.kai.scheduler/preemptibility: {by_kind}",
        f"labels.priorityClassName: {by_kind}",
    ]
    composed = compose(workloads.parameters(T), with_image(), None, marks)
    assert checks.problems(T, composed.values, job_type="", node_types=()) == ()


def test_no_workload_is_larger_than_can_be_made_at_once() -> None:
    spec = with_image(workers=1000)
    assert judged(D, spec, job_type="TF") == []
    spec = with_image(workers=2_000_000_000)
    assert judged(D, spec, job_type="TF") == ["workers: must be no greater than 1000"]
    assert judged(T, with_image(mpi=True, processes=1001)) == ["processes: must be no greater than 1000"]
