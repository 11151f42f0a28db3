"""PodSpec rules that pods and pod templates share: defaults and validation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from extender.emulator import names, quantity
from extender.emulator.resources import JSON
from extender.emulator.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_DEFAULT_MODE = 0o644


def containers(spec: JSON) -> Iterator[tuple[str, JSON]]:
    """Every container of a spec with its path below the spec, e.g. ("containers[0]", {...})."""
    for field in _CONTAINER_LISTS:
        for position, container in enumerate(spec.get(field) or ()):
            yield f"{field}[{position}]", container


def set_defaults(spec: JSON) -> None:
    """What the server fills into any PodSpec, template or not."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if "serviceAccountName" in spec:
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif "serviceAccount" in spec:
        spec["serviceAccountName"] = spec["serviceAccount"]
    for _, container in containers(spec):
        _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    for constraint in spec.get("topologySpreadConstraints") or ():
        constraint.setdefault("nodeAffinityPolicy", "Honor")
        constraint.setdefault("nodeTaintsPolicy", "Ignore")


def _default_container(container: JSON) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    if "imagePullPolicy" not in container:
        image = str(container.get("image", ""))
        last = image.rpartition("/")[2]
        latest = "@" not in last and (":" not in last or last.endswith(":latest"))
        container["imagePullPolicy"] = "Always" if latest else "IfNotPresent"
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            _default_probe(container[probe])


def _default_probe(probe: JSON) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(field, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _default_volume(volume: JSON) -> None:
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if isinstance(volume.get(source), dict):
            volume[source].setdefault("defaultMode", _DEFAULT_MODE)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    if len(volume) == 1:
        volume["emptyDir"] = {}


def validate(spec: JSON, path: str) -> Iterator[Cause]:
    """The broken rules of a PodSpec; `path` is where it stands ("spec" or "spec.template.spec")."""
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    seen: set[str] = set()
    for below, container in containers(spec):
        yield from _validate_container(container, f"{path}.{below}", volumes, seen)
    if spec.get("restartPolicy") not in ("Always", "OnFailure", "Never"):
        yield not_supported(f"{path}.restartPolicy", spec.get("restartPolicy"), ("Always", "OnFailure", "Never"))
    yield from _validate_volumes(spec, path)
    yield from _validate_gates(spec, path)
    yield from names.validate_labels(spec.get("nodeSelector") or {}, f"{path}.nodeSelector")
    for position, toleration in enumerate(spec.get("tolerations") or ()):
        yield from _validate_toleration(toleration, f"{path}.tolerations[{position}]")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and deadline < 1:
        yield invalid_value(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")


def _validate_container(container: JSON, path: str, volumes: set[Any], seen: set[str]) -> Iterator[Cause]:
    name = container.get("name")
    if not name:
        yield required(f"{path}.name")
    elif problem := names.label_name_problem(name):
        yield invalid_value(f"{path}.name", name, problem)
    elif name in seen:
        yield duplicate(f"{path}.name", name)
    else:
        seen.add(name)
    if not container.get("image"):
        yield required(f"{path}.image")
    for position, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort", 0)
        if not 0 < number < 65536:
            yield invalid_value(
                f"{path}.ports[{position}].containerPort", number, "must be between 1 and 65535, inclusive"
            )
    for position, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            yield required(f"{path}.env[{position}].name")
        elif "value" in variable and "valueFrom" in variable:
            detail = "may not be specified when `value` is not empty"
            yield invalid_value(f"{path}.env[{position}].valueFrom", "", detail)
    for position, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            message = f'Not found: "{mount.get("name")}"'
            yield Cause(f"{path}.volumeMounts[{position}].name", "FieldValueNotFound", message)
        if not mount.get("mountPath"):
            yield required(f"{path}.volumeMounts[{position}].mountPath")
    if container.get("resources"):
        yield from validate_resources(container["resources"], f"{path}.resources")


def is_extended(resource: str) -> bool:
    """Whether it is an extended resource, as device plugins announce them: whole numbers, no overcommit."""
    return (
        "/" in resource
        and not resource.startswith(("kubernetes.io/", "requests."))
        and ".kubernetes.io/" not in resource
    )


def _is_integer_only(resource: str) -> bool:
    return is_extended(resource) or resource.startswith(("hugepages-", "attachable-volumes-"))


def validate_resources(resources: JSON, path: str) -> Iterator[Cause]:
    """The broken rules of a ResourceRequirements."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            for detail in _resource_problems(name, amount):
                shown = amount if "integer" in detail or "greater" in detail else name
                yield invalid_value(f"{path}.{field}[{name}]", shown, detail)
    for name, requested in requests.items():
        limit = limits.get(name)
        if limit is None:
            if _is_integer_only(name):
                yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif quantity.value_of(requested) != quantity.value_of(limit) and _is_integer_only(name):
            yield invalid_value(f"{path}.requests", requested, f"must be equal to {name} limit of {limit}")
        elif quantity.value_of(requested) > quantity.value_of(limit):
            detail = f"must be less than or equal to {name} limit of {limit}"
            yield invalid_value(f"{path}.requests", requested, detail)


@lru_cache(maxsize=4096)
def _resource_problems(name: str, amount: str) -> tuple[str, ...]:
    problems = []
    if problem := names.qualified_name_problem(name):
        problems.append(problem)
    elif "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
        problems.append("must be a standard resource type or fully qualified")
        problems.append("must be a standard resource for containers")
    value = quantity.value_of(amount)
    if value < 0:
        problems.append("must be greater than or equal to 0")
    if _is_integer_only(name) and value.denominator != 1:
        problems.append("must be an integer")
    return tuple(problems)


def _validate_volumes(spec: JSON, path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for position, volume in enumerate(spec.get("volumes") or ()):
        name = volume.get("name")
        if not name:
            yield required(f"{path}.volumes[{position}].name")
        elif name in seen:
            yield duplicate(f"{path}.volumes[{position}].name", name)
        else:
            seen.add(name)


def _validate_gates(spec: JSON, path: str) -> Iterator[Cause]:
    gates = spec.get("schedulingGates") or ()
    if gates and spec.get("nodeName"):
        yield forbidden_field(f"{path}.nodeName", "cannot be set until all schedulingGates have been cleared")
    seen: set[str] = set()
    for position, gate in enumerate(gates):
        name = gate.get("name", "")
        if problem := names.qualified_name_problem(name):
            yield invalid_value(f"{path}.schedulingGates[{position}]", name, problem)
        if name in seen:
            yield duplicate(f"{path}.schedulingGates[{position}]", name)
        seen.add(name)


def _validate_toleration(toleration: JSON, path: str) -> Iterator[Cause]:
    operator = toleration.get("operator") or "Equal"
    if operator not in ("Equal", "Exists", "Lt", "Gt"):
        yield not_supported(f"{path}.operator", operator, ("Equal", "Exists"))
    if operator == "Exists" and toleration.get("value"):
        yield invalid_value(f"{path}.operator", "", "value must be empty when `operator` is 'Exists'")
    if not toleration.get("key") and operator != "Exists":
        yield invalid_value(
            f"{path}.operator",
            operator,
            'operator must be Exists when `key` is empty, which means "match all values and all keys"',
        )
    if toleration.get("effect") not in (None, "", "NoSchedule", "PreferNoSchedule", "NoExecute"):
        supported = ("NoSchedule", "PreferNoSchedule", "NoExecute")
        yield not_supported(f"{path}.effect", toleration["effect"], supported)
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield invalid_value(f"{path}.effect", toleration.get("effect", ""), detail)
