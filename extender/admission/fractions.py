"""Parts of a GPU: how they may be written, and how the container learns which device it got."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from extender.errors import RefusedError
from extender.model import names
from extender.model.amounts import parse_quantity
from extender.model.gpu import BAD_FRACTION, FRACTION_AND_WHOLE
from extender.wire.reservations import VARIABLES

Json = dict[str, Any]

_SUFFIX = "shared-gpu"
_LONGEST_STEM = 200
_WHERE = ("requests", "limits")
_ONE_CONTAINER = "gpu: only one container of a pod may have a part of a GPU, here {names} ask for one"


def take_quantities(pod: Json, *, again: bool = False) -> None:
    """Turn `nvidia.com/gpu: "0.5"` in a container's resources into the annotation; the API server takes no such number.

    pod: a pod or a pod template, changed in place. again: it has been here before, so what the annotations say may be
    of then, and the quantity counts. Raises RefusedError for what is neither whole nor a part of one.
    """
    asked: dict[str, str] = {}
    for container in _containers(pod["spec"]):
        resources = container.get("resources") or {}
        for where in _WHERE:
            quantity = (resources.get(where) or {}).get(names.GPU_RESOURCE)
            part = None if quantity is None else _part(quantity)
            if part is not None:
                name = str(container.get("name"))
                if asked.setdefault(name, part) != part:
                    raise RefusedError(f"container {name} requests {asked[name]} GPU and is limited to {part}")
    if not asked:
        return
    if len(asked) > 1:
        raise RefusedError(_ONE_CONTAINER.format(names=" and ".join(asked)))
    ((name, part),) = asked.items()
    metadata = pod.setdefault("metadata", {})
    annotations = dict(metadata.get("annotations") or {})
    if again:
        annotations.pop(names.GPU_FRACTION, None)
        annotations.pop(names.GPU_FRACTION_CONTAINER, None)
    if not _is_same(annotations.get(names.GPU_FRACTION, part), part) or annotations.get(names.GPU_MEMORY):
        raise RefusedError(FRACTION_AND_WHOLE)
    if annotations.get(names.GPU_FRACTION_CONTAINER, name) != name:
        raise RefusedError(f"{names.GPU_FRACTION_CONTAINER}: container {name} is the one that asks for {part} GPU")
    annotations[names.GPU_FRACTION] = part
    if name != _first_container(pod["spec"]):
        annotations[names.GPU_FRACTION_CONTAINER] = name
    metadata["annotations"] = annotations
    for container in _containers(pod["spec"]):
        resources = container.get("resources") or {}
        for where in _WHERE:
            if names.GPU_RESOURCE in (resources.get(where) or {}) and container.get("name") == name:
                del resources[where][names.GPU_RESOURCE]


def wire(pod: Json, namespace: str, request_uid: str) -> None:
    """Make the container with the part of a GPU read from a ConfigMap which devices it has.

    The map does not exist yet and the references are not optional: the kubelet holds the container until the bind
    has written it. request_uid: of the review, which tells pods apart that have no name yet.
    """
    annotations = pod["metadata"].get("annotations") or {}
    container = chosen(pod["spec"], annotations)
    if container is None:
        return  # the check says so
    name = _map_name(pod["metadata"], namespace, request_uid)
    pod["metadata"]["annotations"] = {**annotations, names.GPU_CONFIG_MAP_ANNOTATION: name}
    others = [one for one in container.get("env") or () if one.get("name") not in VARIABLES]
    reference = [
        {"name": variable, "valueFrom": {"configMapKeyRef": {"name": name, "key": variable}}} for variable in VARIABLES
    ]
    # In front: what the user's own variables refer to must be there before them.
    container["env"] = [*reference, *others]


def unwire(template: Json) -> None:
    """A pod template copied from a pod must not point all its pods at that one's ConfigMap."""
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    name = annotations.pop(names.GPU_CONFIG_MAP_ANNOTATION, None)
    if name is None:
        return
    for container in _containers(template["spec"]):
        if container.get("env"):
            container["env"] = [one for one in container["env"] if _map_of(one) != name]


def chosen(spec: Json, annotations: Json) -> Json | None:
    """The container that has the part of a GPU: the one that the annotation names, else the first."""
    asked = annotations.get(names.GPU_FRACTION_CONTAINER) or _first_container(spec)
    return next((one for one in _containers(spec) if one.get("name") == asked), None)


def container_error(pod: Json) -> str:
    """Why the container that is to have the part of a GPU is none of the pod's, "" when it is."""
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    if chosen(pod["spec"], annotations) is not None:
        return ""
    known = ", ".join(str(one.get("name")) for one in _containers(pod["spec"]))
    asked = annotations.get(names.GPU_FRACTION_CONTAINER)
    return f"{names.GPU_FRACTION_CONTAINER}: the pod has no container {asked} (it has {known})"


def is_wired(variable: Json, pod: Json) -> bool:
    """Whether an environment variable is one that `wire` has put there."""
    annotations = pod["metadata"].get("annotations") or {}
    return bool(_map_of(variable)) and _map_of(variable) == annotations.get(names.GPU_CONFIG_MAP_ANNOTATION)


def _part(quantity: object) -> str | None:
    """The part of a GPU as the annotation writes it; None for whole devices. Raises RefusedError."""
    try:
        amount = parse_quantity(quantity if isinstance(quantity, str | int | float) else str(quantity))
    except ValueError:
        return None  # the API server says what it thinks of it
    if amount == amount.to_integral_value():
        return None
    if not 0 < amount < 1:
        raise RefusedError("gpu: must be an integer or a fraction between 0 and 1")
    text = format(amount.normalize(), "f")
    if not re.fullmatch(r"0\.\d{1,4}", text):
        raise RefusedError(BAD_FRACTION)
    return text


def _is_same(annotation: object, part: str) -> bool:
    try:
        return parse_quantity(str(annotation)) == parse_quantity(part)
    except ValueError:
        return False


def _first_container(spec: Json) -> str:
    return next((str(one.get("name")) for one in spec.get("containers") or ()), "")


def _containers(spec: Json) -> list[Json]:
    return [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]


def _map_name(metadata: Json, namespace: str, request_uid: str) -> str:
    """Of the pod's own name where it has one; else of the review's, and then it stays what it is.

    A name that stands there already is kept only where it may be ours: the API server asks twice about one pod.
    """
    own, prefix = metadata.get("name") or "", metadata.get("generateName") or ""
    stem = (own or str(prefix).rstrip("-.") or "pod")[:_LONGEST_STEM].rstrip("-.")
    known = (metadata.get("annotations") or {}).get(names.GPU_CONFIG_MAP_ANNOTATION)
    if not own and isinstance(known, str) and re.fullmatch(rf"{re.escape(stem)}-[0-9a-f]{{7}}-{_SUFFIX}", known):
        return known
    told_apart = own or f"{prefix} {request_uid}"
    digest = hashlib.sha256(f"{namespace}/{told_apart}".encode()).hexdigest()[:7]
    return f"{stem}-{digest}-{_SUFFIX}"


def _map_of(variable: Json) -> str:
    source = variable.get("valueFrom") or {}
    return str((source.get("configMapKeyRef") or {}).get("name") or "")
