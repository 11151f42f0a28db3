"""Parts of a GPU in new pods and in templates: quantities, wiring, and what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from extender.admission import rules
from extender.admission.patch import difference
from extender.admission.pods import Context
from extender.wire.admission import Review

Json = dict[str, Any]
HERE = "runai-team-a"
NAMES = ["NVIDIA_VISIBLE_DEVICES", "GPU_PORTION", "RUNAI_GPU_FRACTION", "RUNAI_GPU_MEMORY_MIB", "RUNAI_NUM_OF_GPUS"]


def container(name: str = "main", gpu: object = None, where: str = "limits", **more: Any) -> Json:
    return {"name": name, **({"resources": {where: {"nvidia.com/gpu": gpu}}} if gpu is not None else {}), **more}


def pod(*containers: Json, name: str = "p", annotations: Json | None = None, **spec: Any) -> Json:
    metadata: Json = {"name": name, "annotations": annotations or {}}
    return {
        "metadata": metadata,
        "spec": {"schedulerName": "runai-scheduler", "containers": list(containers) or [container()], **spec},
    }


def review(obj: Json, kind: str = "Pod", operation: str = "CREATE", uid: str = "review-1") -> Review:
    return Review(uid, operation, kind, HERE, obj)


def apply(obj: Json, operations: Any) -> Json:
    """The object with a JSON patch of ours applied: the operations are add, remove and replace."""
    result = copy.deepcopy(obj)
    for one in operations:
        *path, last = [key.replace("~1", "/").replace("~0", "~") for key in one["path"].split("/")[1:]]
        at: Any = result
        for key in path:
            at = at[int(key)] if isinstance(at, list) else at[key]
        if isinstance(at, list):
            if last == "-":
                at.append(one["value"])
            else:
                at[int(last)] = one["value"]
        elif one["op"] == "remove":
            del at[last]
        else:
            at[last] = one["value"]
    return result


def mutated(obj: Json, *, kind: str = "Pod", uid: str = "review-1", **context: Any) -> Json:
    given = Context(HERE, gates=False, request_uid=uid, **context)
    answer = rules.mutate(review(obj, kind, uid=uid), given)
    assert answer.refusals == ()
    result = apply(obj, answer.patch)
    given = replace(given, request_uid="another")
    again = rules.mutate(review(result, kind, uid="another"), given)
    assert again.patch == (), "asked twice, it changes something"
    return result


def refused(obj: Json, *, kind: str = "Pod", **context: Any) -> tuple[str, ...]:
    given = Context(HERE, gates=False, **context)
    answer = rules.mutate(review(obj, kind), given)
    if answer.refusals:
        return answer.refusals
    return rules.validate(review(apply(obj, answer.patch), kind), given).refusals


@pytest.mark.parametrize(
    ("quantity", "annotation"),
    [
        ("0.5", "0.5"),
        ("500m", "0.5"),
        ("250m", "0.25"),
        ("0.3334", "0.3334"),
        (0.5, "0.5"),
        (".5", "0.5"),
        ("1m", "0.001"),
    ],
)
def test_a_quantity_becomes_the_annotation(quantity: object, annotation: str) -> None:
    for where in ("limits", "requests"):
        made = mutated(pod(container(gpu=quantity, where=where)))
        assert made["metadata"]["annotations"]["gpu-fraction"] == annotation
        assert made["spec"]["containers"][0]["resources"] == {where: {}}


@pytest.mark.parametrize("quantity", ["1", "2", "2.0", 1, "0", "2k"])
def test_whole_devices_stay_what_they_are(quantity: object) -> None:
    given = pod(container(gpu=quantity))
    assert mutated(given) == given


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (pod(container(gpu="1.5")), "gpu: must be an integer or a fraction between 0 and 1"),
        (pod(container(gpu="-0.5")), "gpu: must be an integer or a fraction between 0 and 1"),
        (
            pod(container(gpu="0.12345")),
            "gpu-fraction annotation value must be a positive number smaller than 1.0",
        ),
        (
            pod(container("a", "0.5"), container("b", "0.25")),
            "gpu: only one container of a pod may have a part of a GPU, here a and b ask for one",
        ),
        (
            pod(container("a", "0.5"), container("b", "1")),
            "cannot have both GPU fraction request and whole GPU resource request/limit",
        ),
        (
            pod(container(gpu="0.5"), annotations={"gpu-fraction": "0.25"}),
            "cannot have both GPU fraction request and whole GPU resource request/limit",
        ),
        (
            pod(container(gpu="0.5"), annotations={"gpu-memory": "2000"}),
            "cannot have both GPU fraction request and whole GPU resource request/limit",
        ),
        (
            pod(annotations={"gpu-fraction": "0.5", "gpu-fraction-container-name": "other"}),
            "gpu-fraction-container-name: the pod has no container other (it has main)",
        ),
        (
            pod(
                {
                    "name": "main",
                    "resources": {"requests": {"nvidia.com/gpu": "0.5"}, "limits": {"nvidia.com/gpu": "0.25"}},
                }
            ),
            "container main requests 0.5 GPU and is limited to 0.25",
        ),
    ],
)
def test_what_is_refused(given: Json, text: str) -> None:
    assert refused(given) == (text,)


def test_sharing_can_be_switched_off() -> None:
    text = "attempting to create a pod runai-team-a/p with gpu sharing request, while GPU sharing is disabled"
    for given in (
        pod(annotations={"gpu-fraction": "0.5"}),
        pod(annotations={"gpu-memory": "10"}),
        pod(container(gpu="0.5")),
    ):
        assert refused(given, sharing=False) == (text,)
    assert refused(pod(container(gpu=1)), sharing=False) == ()


def test_the_container_reads_its_device_from_a_map_that_is_not_optional() -> None:
    made = mutated(pod(container(env=[{"name": "A", "value": "b"}]), annotations={"gpu-fraction": "0.5"}))
    name = made["metadata"]["annotations"]["runai/shared-gpu-configmap"]
    *ours, users = made["spec"]["containers"][0]["env"]
    assert users == {"name": "A", "value": "b"}
    assert ours == [{"name": one, "valueFrom": {"configMapKeyRef": {"name": name, "key": one}}} for one in NAMES]


def test_a_value_that_the_user_set_gives_way() -> None:
    env = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
    made = mutated(pod(container(env=env), annotations={"gpu-fraction": "0.5"}))
    assert [one["name"] for one in made["spec"]["containers"][0]["env"]] == NAMES


@pytest.mark.parametrize("where", ["containers", "initContainers"])
def test_the_named_container_is_the_one(where: str) -> None:
    given = pod(container("main"), annotations={"gpu-memory": "10", "gpu-fraction-container-name": "other"})
    given["spec"][where] = [*given["spec"].get(where, []), container("other")]
    made = mutated(given)
    assert "env" not in made["spec"]["containers"][0]
    assert len(made["spec"][where][-1]["env"]) == len(NAMES)


def test_a_quantity_in_another_container_names_it() -> None:
    made = mutated(pod(container("main"), container("side", "0.5")))
    assert made["metadata"]["annotations"]["gpu-fraction-container-name"] == "side"
    assert len(made["spec"]["containers"][1]["env"]) == len(NAMES)


def test_maps_of_different_pods_have_different_names() -> None:
    half = {"gpu-fraction": "0.5"}

    def name_of(obj: Json, uid: str = "review-1") -> str:
        return str(mutated(obj, uid=uid)["metadata"]["annotations"]["runai/shared-gpu-configmap"])

    generated = pod(annotations=half)
    generated["metadata"] = {"generateName": "job-", "annotations": dict(half)}
    names = {name_of(pod(name="a", annotations=half)), name_of(pod(name="b", annotations=half))}
    names |= {name_of(generated), name_of(generated, "review-2")}
    assert len(names) == 4
    assert all(len(name) <= 253 for name in names)
    assert len(name_of(pod(name="x" * 253, annotations=half))) <= 253


def test_a_pod_made_from_anothers_yaml_gets_a_map_of_its_own() -> None:
    first = mutated(pod(name="first", annotations={"gpu-fraction": "0.5"}))
    second = copy.deepcopy(first)
    second["metadata"]["name"] = "second"
    made = mutated(second)
    name = made["metadata"]["annotations"]["runai/shared-gpu-configmap"]
    assert name != first["metadata"]["annotations"]["runai/shared-gpu-configmap"]
    assert {one["valueFrom"]["configMapKeyRef"]["name"] for one in made["spec"]["containers"][0]["env"]} == {name}


def test_pods_without_a_share_are_not_touched() -> None:
    for given in (pod(), pod(container(gpu=1)), pod(annotations={"gpu-fraction": "none"})):
        assert mutated(given) == given


def test_the_name_of_a_map_is_ours_to_give() -> None:
    stray = {"runai/shared-gpu-configmap": "mine", "kept": "1"}
    source = {"configMapKeyRef": {"name": "mine", "key": "NVIDIA_VISIBLE_DEVICES"}}
    env = [{"name": "NVIDIA_VISIBLE_DEVICES", "valueFrom": source}, {"name": "A", "value": "b"}]
    made = mutated(pod(container(env=env), annotations=stray))
    assert made["metadata"]["annotations"] == {"kept": "1"}
    assert made["spec"]["containers"][0]["env"] == [{"name": "A", "value": "b"}]
    half = pod(container(), annotations={"gpu-fraction": "0.5", **stray})
    assert mutated(half, wires=False)["metadata"]["annotations"] == {"gpu-fraction": "0.5", "kept": "1"}


def test_a_pod_that_nobody_binds_shares_nothing() -> None:
    text = "a pod that comes with its node (spec.nodeName) cannot share a GPU: nobody would hold one for it"
    assert refused(pod(annotations={"gpu-fraction": "0.5"}, nodeName="n1")) == (text,)
    assert refused(pod(container(gpu=1), nodeName="n1")) == ()


def test_the_same_amount_written_in_another_way_is_the_same() -> None:
    made = mutated(pod(container(gpu="500m"), annotations={"gpu-fraction": ".50"}))
    assert made["metadata"]["annotations"]["gpu-fraction"] == "0.5"


def test_with_the_guard_devices_are_given_by_request_only() -> None:
    env = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
    text = "container side sets NVIDIA_VISIBLE_DEVICES: devices are given by request only"
    assert refused(pod(container("main"), container("side", env=env)), guarded=True) == (text,)
    made = mutated(pod(container("main"), container("side"), annotations={"gpu-fraction": "0.5"}), guarded=True)
    assert made["spec"]["containers"][1]["env"] == [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]
    assert refused(made, guarded=True) == ()


# Templates

TEMPLATES = ["Job.batch", "StatefulSet.apps", "Deployment.apps", "ReplicaSet.apps", "RunaiJob.run.ai", "CronJob.batch"]


def workload(kind: str, template: Json) -> Json:
    spec = {"template": template, "kept": 1}
    return {"metadata": {"name": "w"}, "spec": {"jobTemplate": {"spec": spec}} if kind.startswith("Cron") else spec}


def template_in(kind: str, obj: Json) -> Json:
    spec = obj["spec"]["jobTemplate"]["spec"] if kind.startswith("Cron") else obj["spec"]
    found: Json = spec["template"]
    return found


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_quantity_in_a_template_becomes_the_annotation_of_its_pods(kind: str) -> None:
    given = {"spec": pod(container(gpu="500m"))["spec"]}  # a template may have no metadata
    made = template_in(kind, mutated(workload(kind, given), kind=kind))
    assert made["metadata"] == {"annotations": {"gpu-fraction": "0.5"}}
    assert made["spec"]["containers"] == [{"name": "main", "resources": {"limits": {}}}]


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_template_is_refused_for_what_its_pods_would_be(kind: str) -> None:
    bad = pod(container(gpu=1), annotations={"gpu-fraction": "0.5"})
    text = "cannot have both GPU fraction request and whole GPU resource request/limit"
    assert refused(workload(kind, bad), kind=kind) == (text,)
    assert refused(workload(kind, pod(container(gpu="1.5"))), kind=kind) == (
        "gpu: must be an integer or a fraction between 0 and 1",
    )
    assert "GPU sharing is disabled" in refused(workload(kind, pod(container(gpu="0.5"))), kind=kind, sharing=False)[0]


def test_a_quantity_that_is_changed_counts_and_not_what_was_made_of_the_one_before() -> None:
    given = workload("Deployment.apps", pod(container(gpu="0.25"), annotations={"gpu-fraction": "0.5"}))
    answer = rules.mutate(review(given, "Deployment.apps", "UPDATE"), Context(HERE))
    made = template_in("Deployment.apps", apply(given, answer.patch))
    assert made["metadata"]["annotations"]["gpu-fraction"] == "0.25"
    assert rules.mutate(review(given, "Deployment.apps"), Context(HERE)).refusals


def test_a_template_made_from_a_pod_does_not_point_at_that_pods_map() -> None:
    wired = mutated(pod(name="first", annotations={"gpu-fraction": "0.5"}))
    made = template_in("Job.batch", mutated(workload("Job.batch", wired), kind="Job.batch"))
    assert made["metadata"]["annotations"] == {"gpu-fraction": "0.5"}
    assert made["spec"]["containers"] == [{"name": "main", "env": []}]


def test_templates_of_others_are_left_alone_unless_their_namespace_makes_them_ours() -> None:
    theirs = pod(container(gpu="0.5"))
    theirs["spec"]["schedulerName"] = "default-scheduler"
    given = workload("Job.batch", theirs)
    assert rules.mutate(review(given, "Job.batch"), Context(HERE)).patch == ()
    assert rules.validate(review(given, "Job.batch"), Context(HERE)).refusals == ()
    assert rules.mutate(review(given, "Job.batch"), Context(HERE, enforced=True)).patch != ()


def test_what_has_no_template_is_for_the_api_server_to_refuse() -> None:
    for given in ({}, {"spec": None}, {"spec": {"template": {}}}, {"spec": {"template": None}}):
        assert rules.mutate(review(given, "Job.batch"), Context(HERE)).patch == ()
        assert rules.validate(review(given, "Job.batch"), Context(HERE)).refusals == ()


def test_the_patch_is_the_difference() -> None:
    given = workload("Job.batch", pod(container(gpu="0.5")))
    answer = rules.mutate(review(given, "Job.batch"), Context(HERE))
    assert list(answer.patch) == difference(given, apply(given, answer.patch))
