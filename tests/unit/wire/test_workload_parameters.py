"""The parameters of workloads: which kind has which (behaviour.md 2.3), and what is made of them."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.workload import Type, WorkloadKind
from extender.wire.resources.schema import structural
from extender.wire.workloads import VERSIONS, models, parameters, policy, workload

I, T, D, F = (  # noqa: E741  the letters of the table
    WorkloadKind.INTERACTIVE,
    WorkloadKind.TRAINING,
    WorkloadKind.DISTRIBUTED,
    WorkloadKind.INFERENCE,
)
ALL = {I, T, D, F}

# The table of behaviour.md 2.3, usage, baseWorkload and jobType apart: those are plain texts.
_ROWS: list[tuple[str, set[WorkloadKind]]] = [
    ("name namePrefix username userId labels annotations image imagePullPolicy imagePullSecrets command", ALL),
    ("arguments environment workingDir stdin tty createHomeDir gitSync capabilities gpu gpuLimit gpuMemory", ALL),
    ("migProfile cpu cpuLimit memory memoryLimit largeShm extendedResources volumes mountPropagation pvcs s3", ALL),
    ("emptyDirVolumes configMapVolumes secretVolumes ports serviceType exposedUrls ingressUrl hostIpc", ALL),
    ("hostNetwork nodeType nodePool nodePools tolerations podAffinity podAffinitySchedulingRule", ALL),
    ("podAffinityTopology runAsUser runAsUid runAsGid", ALL),
    ("supplementalGroups allowPrivilegeEscalation", {I, T, D}),
    ("jupyter notebookToken tensorboard tensorboardLogdir preemptible", {I}),
    ("backoffLimit completions parallelism ttlAfterFinish terminateAfterPreemption elastic", {T}),
    ("mpi processes slotsPerWorker", {I, T}),
    ("workers mpiJob pyTorchJob runPolicy masterArguments masterEnvironment masterGpu", {D}),
    ("masterExtendedResources masterNoPvcs nonPreemptible", {D}),
    ("minScale maxScale metric metricName target class isPrivateServiceUrl", {F}),
]
TABLE = {name: kinds for names, kinds in _ROWS for name in names.split()}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_parameter_belongs_to_the_kinds_of_the_table(name: str) -> None:
    assert {kind for kind in ALL if name in parameters(kind)} == TABLE[name]


def test_there_are_no_others() -> None:
    assert {name for kind in ALL for name in parameters(kind)} == set(TABLE)
    assert parameters(WorkloadKind.DEPLOYMENT) == parameters(WorkloadKind.INFERENCE)


def test_the_deciding_code_knows_types_members_and_options() -> None:
    known = parameters(I)
    assert known["gpu"].type is Type.NUMBER
    assert known["imagePullPolicy"].options == ("Always", "IfNotPresent", "Never")
    assert known["environment"].itemized
    assert known["environment"].type is Type.TEXT
    assert known["nodePools"].type is Type.TEXTS
    assert parameters(T)["ttlAfterFinish"].type is Type.DURATION
    assert parameters(D)["runPolicy"].type is Type.OBJECT
    container = known["ports"].members["container"]
    assert (container.type, container.required) == (Type.INTEGER, True)
    assert not known["ports"].members["external"].required


@pytest.mark.parametrize("pair", models(), ids=lambda pair: pair[0].resource.kind)
def test_each_kind_has_both_versions_and_a_structural_schema(pair: Any) -> None:
    assert tuple(model.resource.version for model in pair) == VERSIONS
    for model in pair:
        spec = structural(model)["properties"]["spec"]
        assert spec["x-kubernetes-preserve-unknown-fields"]
        assert "default" not in spec


@pytest.mark.parametrize(
    ("version", "has", "lacks"),
    [("v1alpha1", "jobNamePrefix", "namePrefix"), ("v2alpha1", "namePrefix", "jobNamePrefix")],
)
def test_the_prefix_has_the_name_of_its_version(version: str, has: str, lacks: str) -> None:
    for make in (workload, policy):
        spec = structural(make(T, version))["properties"]["spec"]["properties"]
        assert has in spec
        assert lacks not in spec


def test_a_value_is_wrapped_and_a_policy_has_rules_beside_it() -> None:
    gpu = structural(workload(T, "v2alpha1"))["properties"]["spec"]["properties"]["gpu"]["properties"]
    assert set(gpu) == {"value"}
    assert gpu["value"]["x-kubernetes-int-or-string"]
    ruled = structural(policy(T, "v2alpha1"))["properties"]["spec"]["properties"]["gpu"]["properties"]
    assert set(ruled) == {"rules", "value"}
    assert set(ruled["rules"]["properties"]) == {"required", "canEdit", "min", "max", "step", "defaultFrom"}
    nested = structural(policy(T, "v1alpha1"))["properties"]["spec"]["properties"]["gpu"]["properties"]["value"]
    assert set(nested["properties"]) == {"value"}


def test_an_itemized_policy_has_the_three_parts_that_explain_shows() -> None:
    ports = structural(policy(T, "v2alpha1"))["properties"]["spec"]["properties"]["ports"]["properties"]
    assert set(ports) == {"itemRules", "items", "rules"}
    assert set(ports["rules"]["properties"]) == {"canAdd", "required"}
    assert set(ports["itemRules"]["properties"]) == set(parameters(T)["ports"].members)
