"""Every parameter that a kind takes changes what is made: none is taken and forgotten."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extender.model.workload import Member, Parameter, Type, WorkloadKind
from extender.wire.workloads import parameters
from extender.workloads.objects import render
from tests.submissions import submission

Json = dict[str, Any]
K = WorkloadKind

NO_EFFECT = {
    "name": "it is the job's name, which the submission carries",
    "namePrefix": "the job's name is made of it before, and the submission carries both",
}
NO_EFFECT_OF_MEMBERS = {
    ("tolerations", "name"): "Kubernetes has no place for it",
}

# What has an effect only beside something else.
BESIDE: dict[str, Json] = {
    "gpuLimit": {"gpu": "0.5"},
    "mountPropagation": {"volumes": {"v": {"sourcePath": "/a", "targetPath": "/b"}}},
    "serviceType": {"ports": {"p": {"container": 1}}},
    "ingressUrl": {"ports": {"p": {"container": 1, "serviceType": "ingress"}}},
    "podAffinitySchedulingRule": {"podAffinity": True},
    "podAffinityTopology": {"podAffinity": True},
    "runAsUid": {"runAsUser": True},
    "runAsGid": {"runAsUser": True},
    "tensorboardLogdir": {"tensorboard": True},
    "processes": {"mpi": True},
    "slotsPerWorker": {"mpi": True},
    "masterNoPvcs": {"pvcs": {"p": {"claimName": "c", "path": "/p"}}},
}
# Values where one of the type alone would say nothing.
VALUES: dict[str, Any] = {
    "supplementalGroups": "100;2000",
    "serviceType": "NodePort",
    "podAffinitySchedulingRule": "hard",
    "workers": 7,
    "processes": 7,
    "slotsPerWorker": 7,
    "minScale": 7,
    "mpiJob": {"slotsPerWorker": 7},
    "pyTorchJob": {"minReplicas": 2},
    "runPolicy": {"backoffLimit": 1},
    "imagePullPolicy": "Never",
    "runAsUser": True,
}
BY_TYPE: dict[Type, Any] = {
    Type.TEXT: "text",
    Type.BOOLEAN: True,
    Type.INTEGER: 7,
    Type.NUMBER: "0.5",
    Type.QUANTITY: "7Gi",
    Type.DURATION: "7s",
    Type.TEXTS: ["one", "two"],
}
SITUATIONS = [
    {},
    {"job_type": "PyTorch", "apis": frozenset({"kubeflow.org/PyTorchJob", "serving.knative.dev/Service"})},
    {"job_type": "MPI", "apis": frozenset({"kubeflow.org/MPIJob"})},
]
OTHER: dict[Type, Any] = {Type.TEXT: "other", Type.INTEGER: 9, Type.QUANTITY: "9Gi", Type.NUMBER: "0.9"}
BESIDE_MEMBER: dict[tuple[str, str], Json] = {
    ("ports", "autoGenerate"): {"serviceType": "NodePort", "external": 30000},
    ("pvcs", "existingPvc"): {"size": "1Gi"},
    ("pvcs", "ephemeral"): {"size": "1Gi"},
    ("pvcs", "storageClass"): {"size": "1Gi"},
    ("pvcs", "accessModes"): {"size": "1Gi"},
    ("pvcs", "volumeMode"): {"size": "1Gi"},
}
_ALL = [(kind, one) for kind in K for one in parameters(kind).values()]


def made(kind: WorkloadKind, values: Json) -> list[str]:
    """The objects in each situation, without the ConfigMap: it remembers every value anyhow."""
    found = []
    for given in SITUATIONS:
        given = {"job_type": "PyTorch"} | given if kind is K.DISTRIBUTED else {**given, "job_type": ""}
        found.append(json.dumps(render(submission(kind, values, **given))[1:]))
    return found


def one_of(type_: Type, options: tuple[str, ...] = ()) -> Any:
    return options[-1] if options else BY_TYPE[type_]


def item_of(members: list[Member]) -> Json:
    item = {one.name: one_of(one.type, one.options) for one in members}
    if "container" in item:
        item["container"] = 80
    return item


def value_of(parameter: Parameter) -> Any:
    if parameter.name in VALUES:
        return VALUES[parameter.name]
    if parameter.itemized:
        required = [one for one in parameter.members.values() if one.required]
        return {"label": item_of(required) if parameter.members else "text"}
    return one_of(parameter.type, parameter.options)


@pytest.mark.parametrize(("kind", "parameter"), _ALL, ids=lambda one: getattr(one, "name", None) or str(one))
def test_every_parameter_has_an_effect(kind: WorkloadKind, parameter: Parameter) -> None:
    beside = BESIDE.get(parameter.name, {})
    without, with_ = made(kind, beside), made(kind, beside | {parameter.name: value_of(parameter)})
    assert (without == with_) == (parameter.name in NO_EFFECT)


@pytest.mark.parametrize(
    ("kind", "parameter", "member"),
    [(kind, one, member) for kind, one in _ALL if one.itemized for member in one.members.values()],
    ids=lambda one: getattr(one, "name", None) or str(one),
)
def test_every_member_of_an_item_has_an_effect(kind: WorkloadKind, parameter: Parameter, member: Member) -> None:
    others = [one for one in parameter.members.values() if one.required and one is not member]
    base = item_of(others) | BESIDE_MEMBER.get((parameter.name, member.name), {})
    value: Any = one_of(member.type, member.options)
    # A required member is not left out: another value has to make the difference.
    before = base | ({member.name: OTHER[member.type]} if member.required else {})
    after = base | {member.name: value}
    without = made(kind, {parameter.name: {"label": before}})
    with_ = made(kind, {parameter.name: {"label": after}})
    assert (without == with_) == ((parameter.name, member.name) in NO_EFFECT_OF_MEMBERS)
