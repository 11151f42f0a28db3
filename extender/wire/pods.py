"""Pod objects → `model.Pod`. Reads only the fields that deciding needs; never raises for what a user wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from extender.errors import MalformedError
from extender.model import amounts, gpu, names
from extender.model.gpu import NO_GPU, GpuRequest, GpuRequestError
from extender.model.names import NodeName, PodUID
from extender.model.pod import Owner, Phase, Placement, Pod
from extender.wire.constraints import parse_affinity, parse_constraint
from extender.wire.reservations import parse_reservation

Json = Mapping[str, Any]

_PHASES = {phase.value: phase for phase in Phase}
_MOST_DEVICES = 256


def parse(obj: Json) -> Pod:
    """One Pod object. A malformed GPU request or quantity becomes `gpu_error`, for a verdict later.

    Raises MalformedError when it is not a pod at all: no metadata, uid, namespace or name, or wrong types.
    """
    try:
        metadata = obj["metadata"]
        uid, name = metadata["uid"], metadata["name"]
        namespace = metadata.get("namespace") or "default"
        spec = obj.get("spec") or {}
        status = obj.get("status") or {}
        annotations = metadata.get("annotations") or {}
        labels = metadata.get("labels") or {}
        if not (_text(uid) and _text(name) and _text(namespace)):
            raise TypeError("uid and name must be texts")
        resources, error = _resources(spec)
        request = NO_GPU
        try:
            request = gpu.parse_gpu_request(annotations, resources)
        except GpuRequestError as refused:
            error = error or str(refused)
        node = _text(spec.get("nodeName"))
        reserves = parse_reservation(namespace, metadata, spec, status)
        placement = _placement(node, annotations, labels, request) if node else None
        if reserves is not None and node and reserves.device >= 0:
            placement = Placement(NodeName(node), ((reserves.device, reserves.group),))
        elif placement is not None and placement.devices:
            # What the Binding recorded counts, whatever the annotations of the request say by now.
            request, error = _recorded(annotations, request, len(placement.devices)), ""
        spec_class = _text(spec.get("priorityClassName"))
        priority_class = _text(labels.get(names.PRIORITY_CLASS_LABEL)) or spec_class
        return Pod(
            uid=PodUID(uid),
            namespace=namespace,
            name=name,
            version=_version(metadata.get("resourceVersion")),
            phase=_PHASES.get(status.get("phase") or "Pending", Phase.UNKNOWN),
            gpu=request,
            gpu_error=error,
            cpu_milli=resources.get("cpu", 0),
            memory_mib=resources.get("memory", 0),
            queue_label=next(filter(None, (_text(labels.get(key)) for key in names.QUEUE_LABELS)), ""),
            group=_text(annotations.get(names.GROUP_NAME_ANNOTATION))
            or _text(annotations.get(names.POD_GROUP_ANNOTATION)),
            priority_class=priority_class,
            # The number belongs to the class of the spec, not to one that a label names.
            priority=_whole(spec.get("priority")) if priority_class == spec_class else None,
            owner=_owner(metadata.get("ownerReferences") or ()),
            scheduler=_text(spec.get("schedulerName")),
            gpu_products=_gpu_products(spec),
            constraint=parse_constraint(spec),
            labels=tuple(labels.items()),
            affinity=parse_affinity(spec) if spec.get("affinity") else None,
            placement=placement,
            deleting=bool(metadata.get("deletionTimestamp")),
            unschedulable=_is_unschedulable(status),
            nominated=_text(status.get("nominatedNodeName")),
            gates=tuple(_text(gate.get("name")) for gate in spec.get("schedulingGates") or ()),
            subgroup=_text(labels.get(names.SUBGROUP_LABEL)),
            order=_order(labels.get(names.TASK_PRIORITY_LABEL)),
            slow_volumes=_has_slow_volumes(spec),
            created=_text(metadata.get("creationTimestamp")),
            started=_text(status.get("startTime")),
            pools=node_pools(labels, annotations),
            min_member=max(0, _order(annotations.get(names.MIN_MEMBER_ANNOTATION)) or 0),
            skips_grouping=annotations.get(names.SKIP_GROUPING_ANNOTATION) == "true",
            config_map=_text(annotations.get(names.GPU_CONFIG_MAP_ANNOTATION)),
            gpu_uuids=_uuids(annotations, placement),
            reserves=reserves,
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error_:
        raise MalformedError(f"not a Pod: {type(error_).__name__}: {str(error_)[:80]}") from error_


def identity(obj: Json) -> tuple[PodUID, int]:
    """uid and resourceVersion of what may be a Pod object; ("", 0) when it is none."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return PodUID(""), 0
    uid = metadata.get("uid")
    return PodUID(uid if isinstance(uid, str) else ""), _version(metadata.get("resourceVersion"))


def node_pools(labels: Mapping[str, Any], annotations: Mapping[str, Any]) -> tuple[str, ...]:
    """The pools that a pod, or what makes it, names: its annotation's, in their order, else its label's.

    Raises TypeError for what is no text.
    """
    listed = _text(annotations.get(names.NODE_POOLS_ANNOTATION)).split()
    label = _text(labels.get(names.NODE_POOL_LABEL))
    return tuple(dict.fromkeys(listed)) or ((label,) if label else ())


def gpu_error(obj: Json) -> str:
    """Why the GPU request of a pod (or of a pod template) is none, "" when it is one.

    For objects that are not created yet, which have no uid and perhaps no name. Raises MalformedError.
    """
    try:
        resources, error = _resources(obj["spec"])
        gpu.parse_gpu_request((obj.get("metadata") or {}).get("annotations") or {}, resources)
    except GpuRequestError as refused:
        return error or str(refused)
    except (KeyError, TypeError, AttributeError) as error_:
        raise MalformedError(f"not a Pod: {type(error_).__name__}: {str(error_)[:80]}") from error_
    return error


def gpu_request(obj: Json) -> GpuRequest:
    """What a pod (or a pod template) asks of GPUs; none when it is no request. Raises MalformedError."""
    try:
        resources, _ = _resources(obj["spec"])
        return gpu.parse_gpu_request((obj.get("metadata") or {}).get("annotations") or {}, resources)
    except GpuRequestError:
        return NO_GPU
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedError(f"not a Pod: {type(error).__name__}: {str(error)[:80]}") from error


def container_gpu(container: Json, annotations: Mapping[str, str]) -> GpuRequest:
    """What one container asks of GPUs; none when it is no request.

    annotations: of its pod, for the container that a part of a GPU is for; else none. Raises MalformedError.
    """
    try:
        resources: dict[str, int] = {}
        _add(resources, container, "")
        return gpu.parse_gpu_request(annotations, resources)
    except GpuRequestError:
        return NO_GPU
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedError(f"not a Pod: {type(error).__name__}: {str(error)[:80]}") from error


def shares_gpu(obj: Json) -> bool:
    """Whether a pod (or a pod template) asks for a part of a GPU, and does it well. Raises MalformedError."""
    return gpu_request(obj).is_shared


def _text(value: object) -> str:
    """A text, "" for none; another type is no pod."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, not {type(value).__name__}")
    return value


def _whole(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise TypeError(f"a whole number is expected, not {type(value).__name__}")


def _order(text: object) -> int | None:
    """A number that somebody wrote as a label; anything else is none."""
    return int(text) if isinstance(text, str) and re.fullmatch("-?[0-9]{1,9}", text) else None


def _version(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20 else 0


def _is_unschedulable(status: Json) -> bool:
    return any(
        one.get("type") == "PodScheduled" and one.get("status") == "False" and one.get("reason") == "Unschedulable"
        for one in status.get("conditions") or ()
    )


def _owner(owners: Iterable[Json]) -> Owner | None:
    for owner in owners:
        if owner.get("controller"):
            kind, name, uid = (str(owner.get(key) or "") for key in ("kind", "name", "uid"))
            return Owner(kind, name, uid, str(owner.get("apiVersion") or ""))
    return None


def _gpu_products(spec: Json) -> tuple[str, ...]:
    """The GPU models that the pod's node selector or required affinity names; none when it takes any.

    Only to learn what is in demand and to score: kube-scheduler itself applies both in full.
    """
    chosen = _text((spec.get("nodeSelector") or {}).get(names.NODE_GPU_PRODUCT))
    if chosen:
        return (chosen,)
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    named: set[str] = set()
    for term in required.get("nodeSelectorTerms") or ():
        values = [
            value
            for one in term.get("matchExpressions") or ()
            if one.get("key") == names.NODE_GPU_PRODUCT and one.get("operator") == "In"
            for value in one.get("values") or ()
        ]
        if not values:
            return ()  # terms are alternatives: this one takes any model
        named.update(map(_text, values))
    return tuple(sorted(named))


def _has_slow_volumes(spec: Json) -> bool:
    if spec.get("resourceClaims"):
        return True
    return any("persistentVolumeClaim" in volume or "ephemeral" in volume for volume in spec.get("volumes") or ())


def _resources(spec: Json) -> tuple[dict[str, int], str]:
    """What the pod takes of a node, by resource, the way the kubelet adds it up, and an error text or "".

    Containers run together; init containers one after the other, beside the restartable ones before them.
    CPU in milli, memory in MiB, the rest in whole numbers.
    """
    error = ""
    together: dict[str, int] = {}
    for container in spec.get("containers") or ():
        error = _add(together, container, error)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            error = _add(sidecars, container, error)
            _raise_to(peak, sidecars)
        else:
            alone = dict(sidecars)
            error = _add(alone, container, error)
            _raise_to(peak, alone)
    for name, value in sidecars.items():
        together[name] = together.get(name, 0) + value
    _raise_to(together, peak)
    overhead = spec.get("overhead")
    if overhead:
        error = _add(together, {"resources": {"requests": overhead}}, error)
    return together, error


def _raise_to(sums: dict[str, int], floor: Mapping[str, int]) -> None:
    for name, value in floor.items():
        if value > sums.get(name, 0):
            sums[name] = value


def _add(sums: dict[str, int], container: Json, error: str) -> str:
    resources = container.get("resources")
    if not resources:
        return error
    requests = resources.get("requests") or {}
    limits = resources.get("limits") or {}
    # A limit without a request is the request, as the API server would have it.
    for name, quantity in {**limits, **requests}.items():
        try:
            if name == "cpu":
                value = amounts.cpu_milli(quantity, up=True)
            elif name == "memory":
                value = amounts.memory_mib(quantity, up=True)
            elif name == names.GPU_RESOURCE or name.startswith(names.MIG_PREFIX):
                value = amounts.count(limits.get(name, quantity))
            else:
                continue
        except ValueError:
            is_gpu = name not in ("cpu", "memory")
            error = error or (gpu.BAD_COUNT if is_gpu else f"{name} request is not a quantity")
            continue
        sums[name] = sums.get(name, 0) + value
    return error


def _placement(
    node: str, annotations: Mapping[str, str], labels: Mapping[str, str], request: gpu.GpuRequest
) -> Placement:
    """Where the object says the pod is. Device records count only on a bound pod: on any other they are forged."""
    indices = _indices(_text(annotations.get(names.GPU_DEVICES_ANNOTATION)))
    if request.is_whole and len(indices) != request.devices:
        # Limits cannot change after creation, so here it is the record that was edited.
        return Placement(NodeName(node))
    if not indices or request.mig:
        return Placement(NodeName(node))
    if request.is_whole:
        return Placement(NodeName(node), tuple((index, "") for index in indices))
    if not annotations.get(names.GPU_SHARE_ANNOTATION) and len(indices) != request.devices:
        return Placement(NodeName(node))
    groups = (_text(annotations.get(names.GPU_GROUP_LABEL)) or _text(labels.get(names.GPU_GROUP_LABEL))).split(",")
    if len(groups) != len(indices):
        groups = [""] * len(indices)
    return Placement(NodeName(node), tuple(zip(indices, groups, strict=True)))


def _uuids(annotations: Mapping[str, str], placement: Placement | None) -> tuple[str, ...]:
    text = _text(annotations.get(names.GPU_UUID_ANNOTATION))
    uuids = tuple(text.split(",")) if text and len(text) <= 128 * _MOST_DEVICES else ()
    return uuids if placement is not None and len(uuids) == len(placement.devices) else ()


def _recorded(annotations: Mapping[str, str], request: gpu.GpuRequest, devices: int) -> gpu.GpuRequest:
    """The request as it was bound: the recorded share of each device, else what the pod asks for."""
    share = _text(annotations.get(names.GPU_SHARE_ANNOTATION))
    if request.is_whole or not (share.isascii() and share.isdigit() and len(share) <= 4):
        return request
    milli = int(share)
    return gpu.GpuRequest(devices, share_milli=milli) if 0 < milli <= amounts.GPU else request


def _indices(text: str) -> list[int]:
    parts = text.split(",") if 0 < len(text) <= 4 * _MOST_DEVICES else []
    if not parts or not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts):
        return []
    indices = sorted(int(part) for part in parts)
    return indices if len(set(indices)) == len(indices) and indices[-1] < _MOST_DEVICES else []
