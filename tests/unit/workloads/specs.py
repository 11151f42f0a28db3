"""Short forms for specs in tests, and a small catalogue of parameters."""

from __future__ import annotations

from typing import Any

from extender.model.workload import Member, Parameter, Type

Json = dict[str, Any]


def members(*found: Member) -> dict[str, Member]:
    return {one.name: one for one in found}


PARAMETERS = {
    one.name: one
    for one in (
        Parameter("gpu", Type.NUMBER),
        Parameter("cpuCoreLimit", Type.NUMBER),
        Parameter("cpuCoreRequest", Type.NUMBER),
        Parameter("memory", Type.QUANTITY),
        Parameter("memoryLimit", Type.QUANTITY),
        Parameter("runAsUser", Type.BOOLEAN),
        Parameter("runAsUid", Type.INTEGER),
        Parameter("image", Type.TEXT),
        Parameter("imagePullPolicy", Type.TEXT, options=("Always", "IfNotPresent", "Never")),
        Parameter("serviceType", Type.TEXT, options=("ClusterIP", "NodePort")),
        Parameter("ttlAfterFinish", Type.DURATION),
        Parameter("nodePools", Type.TEXTS),
        Parameter("environment", Type.TEXT, itemized=True),
        Parameter(
            "ports",
            Type.OBJECT,
            itemized=True,
            members=members(
                Member("container", Type.INTEGER, required=True),
                Member("external", Type.INTEGER),
                Member("serviceType", Type.TEXT, options=("ClusterIP", "NodePort")),
            ),
        ),
        Parameter(
            "pvcs",
            Type.OBJECT,
            itemized=True,
            members=members(
                Member("claimName", Type.TEXT), Member("existingPvc", Type.BOOLEAN), Member("path", Type.TEXT)
            ),
        ),
        Parameter(
            "extendedResources",
            Type.OBJECT,
            itemized=True,
            members=members(Member("resource", Type.TEXT), Member("quantity", Type.QUANTITY, required=True)),
        ),
    )
}


def scalars(**values: Any) -> Json:
    """scalars(gpu="1") is a spec with gpu "1"."""
    return {name: {"value": value} for name, value in values.items()}


def items(name: str, **labels: Any) -> Json:
    """items("ports", web={"container": 80}, old=None) is a spec with the item web, and with old deleted."""
    return {name: {"items": {label: entry(value) for label, value in labels.items()}}}


def entry(value: Any) -> Json:
    return {"deleted": True} if value is None else {"value": value}


def port(container: int, external: int) -> Json:
    return {"container": container, "external": external}
