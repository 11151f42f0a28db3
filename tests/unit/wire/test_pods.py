from __future__ import annotations

import copy
from typing import Any

import pytest

from extender.errors import MalformedError
from extender.model.gpu import BAD_COUNT, GpuRequest
from extender.model.pod import Phase, Placement
from extender.wire import pods
from tests.builders import pod, pod_object

Json = dict[str, Any]


def containers(*resources: Json, init: list[Json] | None = None, overhead: Json | None = None) -> Json:
    obj = pod_object("p")
    obj["spec"]["containers"] = [{"name": str(n), "resources": one} for n, one in enumerate(resources)]
    obj["spec"]["initContainers"] = init or []
    if overhead:
        obj["spec"]["overhead"] = overhead
    return obj


def test_everything_that_is_read() -> None:
    read = pod(
        "p",
        namespace="ns",
        uid="u",
        version=7,
        fraction="0.5",
        cpu="250m",
        memory="1Gi",
        group="g",
        queue="q",
        priority_class="build",
        priority=100,
        owner="StatefulSet",
        deleting=True,
        claim=True,
        phase="Running",
        on="n",
        indices=[3],
        gpu_groups=["x"],
    )
    assert (read.uid, read.namespace, read.name, read.key, read.version) == ("u", "ns", "p", "ns/p", 7)
    assert (read.gpu, read.gpu_error) == (GpuRequest(devices=1, share_milli=500), "")
    assert (read.cpu_milli, read.memory_mib) == (250, 1024)
    assert (read.group, read.queue_label, read.priority_class, read.priority) == ("g", "q", "build", 100)
    assert (read.owner_kind, read.scheduler) == ("StatefulSet", "runai-scheduler")
    assert (read.deleting, read.slow_volumes, read.phase) == (True, True, Phase.RUNNING)
    assert read.placement == Placement("n", ((3, "x"),))  # type: ignore[arg-type]


def test_the_least_that_is_a_pod() -> None:
    read = pods.parse({"metadata": {"name": "p", "uid": "u"}})
    assert (read.namespace, read.version, read.phase, read.placement) == ("default", 0, Phase.PENDING, None)
    assert read.gpu.is_cpu_only


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"metadata": None},
        {"metadata": []},
        {"metadata": {"name": "p"}},
        {"metadata": {"uid": "u"}},
        {"metadata": {"name": "", "uid": "u"}},
        {"metadata": {"name": "p", "uid": ""}},
        {"metadata": {"name": 1, "uid": "u"}},
        {"metadata": {"name": "p", "uid": ["u"]}},
        {"metadata": {"name": "p", "uid": "u", "namespace": 3}},
        {"metadata": {"name": "p", "uid": "u", "annotations": ["a"]}},
        {"metadata": {"name": "p", "uid": "u", "labels": "x"}},
        {"metadata": {"name": "p", "uid": "u", "annotations": {"gpu-fraction": 0.5}}},
        {"metadata": {"name": "p", "uid": "u"}, "spec": [1]},
        {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [None]}},
        {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": 5}},
        {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [{"resources": {"limits": [1]}}]}},
        {"metadata": {"name": "p", "uid": "u"}, "status": "Running"},
        {"metadata": {"name": "p", "uid": "u"}, "status": {"phase": ["x"]}},
    ],
)
def test_what_is_no_pod(obj: Json) -> None:
    with pytest.raises(MalformedError, match="not a Pod: "):
        pods.parse(obj)


@pytest.mark.parametrize(
    "path",
    [
        ("metadata", "labels", "runai/queue"),
        ("metadata", "annotations", "scheduling.k8s.io/group-name"),
        ("spec", "priority"),
        ("spec", "priorityClassName"),
        ("spec", "nodeName"),
        ("spec", "schedulerName"),
        ("metadata", "creationTimestamp"),
    ],
)
@pytest.mark.parametrize("value", [["x"], {"x": 1}, 7.5])
def test_wrong_types_of_what_is_read(path: tuple[str, ...], value: Any) -> None:
    obj = copy.deepcopy(pod_object("p"))
    target = obj
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(MalformedError):
        pods.parse(obj)


@pytest.mark.parametrize(
    ("text", "version"), [("7", 7), ("", 0), ("abc", 0), (7, 0), (None, 0), ("9" * 30, 0), ("-1", 0)]
)
def test_a_resource_version_that_is_no_number_is_unknown(text: Any, version: int) -> None:
    obj = pod_object("p")
    obj["metadata"]["resourceVersion"] = text
    assert pods.parse(obj).version == version


def test_a_resource_version_of_odd_digits_is_unknown() -> None:
    obj = pod_object("p")
    obj["metadata"]["resourceVersion"] = "²"
    assert pods.parse(obj).version == 0


@pytest.mark.parametrize(
    ("phase", "finished"),
    [("Pending", False), ("Running", False), ("Succeeded", True), ("Failed", True), ("Odd", False)],
)
def test_phases(phase: str, finished: bool) -> None:
    assert pod("p", phase=phase).is_finished == finished


# Resources


GPU = "nvidia.com/gpu"
ALWAYS = {"name": "side", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("obj", "gpus", "cpu"),
    [
        pytest.param(containers({"limits": {GPU: "1"}}, {"limits": {GPU: "2"}}), 3, 0, id="containers add up"),
        pytest.param(containers({"requests": {GPU: "1"}, "limits": {GPU: "1"}}), 1, 0, id="limit and request are one"),
        pytest.param(containers({"requests": {"cpu": "1"}, "limits": {"cpu": "4"}}), 0, 1000, id="the request counts"),
        pytest.param(containers({"limits": {"cpu": "4"}}), 0, 4000, id="a limit alone is the request"),
        pytest.param(containers({GPU: "1"}), 0, 0, id="neither"),
        pytest.param(
            containers({"limits": {GPU: "1"}}, init=[{"name": "i", "resources": {"limits": {GPU: "4"}}}]), 4, 0,
            id="an init container alone",
        ),
        pytest.param(
            containers(
                {"requests": {"cpu": "1"}},
                init=[
                    {**ALWAYS, "resources": {"requests": {"cpu": "2"}}},
                    {"name": "i", "resources": {"requests": {"cpu": "3"}}},
                ],
            ), 0, 5000, id="an init container beside a sidecar",
        ),
        pytest.param(
            containers({"requests": {"cpu": "4"}}, init=[{**ALWAYS, "resources": {"requests": {"cpu": "2"}}}]), 0, 6000,
            id="containers beside a sidecar",
        ),
        pytest.param(containers({"requests": {"cpu": "1"}}, overhead={"cpu": "100m"}), 0, 1100, id="overhead"),
        pytest.param(containers({"limits": None, "requests": None}), 0, 0, id="null"),
        pytest.param(containers({"limits": {GPU: 2}}), 2, 0, id="a number, not a text"),
    ],
)  # fmt: skip
def test_sums(obj: Json, gpus: int, cpu: int) -> None:
    read = pods.parse(obj)
    assert (read.gpu.devices, read.cpu_milli, read.gpu_error) == (gpus, cpu, "")


@pytest.mark.parametrize(
    ("resources", "error"),
    [
        ({"limits": {GPU: "0.5"}}, BAD_COUNT),
        ({"limits": {GPU: "-1"}}, BAD_COUNT),
        ({"limits": {GPU: "NaN"}}, BAD_COUNT),
        ({"limits": {"nvidia.com/mig-1g.5gb": "x"}}, BAD_COUNT),
        ({"requests": {"cpu": "1e309"}}, "cpu request is not a quantity"),
        ({"requests": {"memory": "½"}}, "memory request is not a quantity"),
    ],
)
def test_what_is_no_quantity(resources: Json, error: str) -> None:
    assert pods.parse(containers(resources)).gpu_error == error


def test_resources_of_others_are_nobodys_business() -> None:
    assert pods.parse(containers({"limits": {"amd.com/gpu": "zzz", "ephemeral-storage": "1"}})).gpu_error == ""


# Who


@pytest.mark.parametrize(
    ("annotations", "group"),
    [
        ({"scheduling.k8s.io/group-name": "a", "pod-group-name": "b"}, "a"),
        ({"scheduling.k8s.io/group-name": "", "pod-group-name": "b"}, "b"),
        ({}, ""),
    ],
)
def test_its_group(annotations: dict[str, str], group: str) -> None:
    assert pod("p", annotations=annotations).group == group


@pytest.mark.parametrize(
    ("label", "annotation", "pools"),
    [
        ("", "", ()),
        ("a", "", ("a",)),
        ("", "b a", ("b", "a")),
        ("c", " b  a b ", ("b", "a")),
        ("c", " ", ("c",)),
    ],
)
def test_the_node_pools_that_it_names(label: str, annotation: str, pools: tuple[str, ...]) -> None:
    obj = pod_object("p", labels={"kai.scheduler/node-pool": label}, annotations={"run.ai/node-pools": annotation})
    assert pods.parse(obj).pools == pools


def test_the_controlling_owner_is_the_owner() -> None:
    obj = pod_object("p")
    obj["metadata"]["ownerReferences"] = [{"kind": "Node"}, {"kind": "Job", "controller": True}]
    assert pods.parse(obj).owner_kind == "Job"


@pytest.mark.parametrize(
    ("owner", "labels", "workload"),
    [
        (None, {}, "p"),
        ({"kind": "Job", "name": "train"}, {}, "train"),
        ({"kind": "ReplicaSet", "name": "serve-5d8f"}, {"pod-template-hash": "5d8f"}, "serve"),
        ({"kind": "ReplicaSet", "name": "serve-5d8f"}, {}, "serve-5d8f"),
    ],
)
def test_its_workload_is_what_users_made(owner: Json | None, labels: dict[str, str], workload: str) -> None:
    obj = pod_object("p", labels=labels)
    obj["metadata"]["ownerReferences"] = [{**owner, "controller": True}] if owner else []
    assert pods.parse(obj).workload == workload


@pytest.mark.parametrize(
    ("spec", "slow"),
    [
        ({"volumes": [{"emptyDir": {}}]}, False),
        ({"volumes": [{"persistentVolumeClaim": {"claimName": "x"}}]}, True),
        ({"volumes": [{"ephemeral": {}}]}, True),
        ({"resourceClaims": [{"name": "x"}]}, True),
    ],
)
def test_what_makes_binding_slow(spec: Json, slow: bool) -> None:
    obj = pod_object("p")
    obj["spec"].update(spec)
    assert pods.parse(obj).slow_volumes == slow


# Where


def test_our_annotations_on_an_unbound_pod_are_forged() -> None:
    assert pod("p", gpus=1, indices=[0]).placement is None


@pytest.mark.parametrize(
    ("given", "devices"),
    [
        pytest.param({"gpus": 2, "indices": [1, 0]}, ((0, ""), (1, "")), id="whole, sorted"),
        pytest.param({"gpus": 2, "indices": [1]}, (), id="fewer than asked for: not recorded"),
        pytest.param({"gpus": 1, "indices": [1, 2]}, (), id="more than asked for"),
        pytest.param({"gpus": 1, "annotations": {"runai-gpu": "x"}}, (), id="no number"),
        pytest.param({"gpus": 1, "annotations": {"runai-gpu": "-1"}}, (), id="negative"),
        pytest.param({"gpus": 1, "annotations": {"runai-gpu": "999"}}, (), id="beyond any machine"),
        pytest.param({"gpus": 2, "annotations": {"runai-gpu": "1,1"}}, (), id="twice the same"),
        pytest.param({"gpus": 1, "annotations": {"runai-gpu": "²"}}, (), id="odd digits"),
        pytest.param({"gpus": 1, "annotations": {"runai-gpu": "1," * 5000}}, (), id="endless"),
        pytest.param({"cpu": "1", "indices": [0]}, (), id="cpu only"),
        pytest.param({"fraction": "0.5", "indices": [4], "gpu_groups": ["g"]}, ((4, "g"),), id="a share"),
        pytest.param({"fraction": "0.5", "indices": [4]}, ((4, ""),), id="a share without its group"),
        pytest.param(
            {"fraction": "0.5", "devices": 2, "indices": [4, 6], "gpu_groups": ["g", "h"]}, ((4, "g"), (6, "h")),
            id="shares",
        ),
        pytest.param(
            {"fraction": "0.5", "devices": 2, "indices": [4, 6], "annotations": {"runai-gpu-group": "g"}},
            ((4, ""), (6, "")), id="shares without all groups",
        ),
    ],
)  # fmt: skip
def test_placement(given: dict[str, Any], devices: tuple[tuple[int, str], ...]) -> None:
    assert pod("p", on="n", **given).placement == Placement("n", devices)  # type: ignore[arg-type]


PRODUCT = "nvidia.com/gpu.product"


def _required(*terms: list[dict[str, Any]]) -> dict[str, Any]:
    selector = {"nodeSelectorTerms": [{"matchExpressions": term} for term in terms]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": selector}}}


@pytest.mark.parametrize(
    ("spec", "products"),
    [
        pytest.param({}, (), id="any"),
        pytest.param({"nodeSelector": {PRODUCT: "a"}}, ("a",), id="selector"),
        pytest.param(_required([{"key": PRODUCT, "operator": "In", "values": ["b", "a"]}]), ("a", "b"), id="affinity"),
        pytest.param(
            _required([{"key": PRODUCT, "operator": "In", "values": ["b"]}], [{"key": "x", "operator": "Exists"}]),
            (),
            id="an alternative takes any",
        ),
        pytest.param(_required([{"key": PRODUCT, "operator": "NotIn", "values": ["b"]}]), (), id="not in"),
    ],
)
def test_the_gpu_models_that_a_pod_accepts(spec: dict[str, Any], products: tuple[str, ...]) -> None:
    obj = {"metadata": {"uid": "u", "name": "p", "namespace": "n"}, "spec": spec}
    assert pods.parse(obj).gpu_products == products
