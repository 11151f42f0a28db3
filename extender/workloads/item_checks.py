"""What items may not ask for: ports, claims and what else is mounted, tolerations, variables, labels, resources."""

from __future__ import annotations

import re
from collections.abc import Iterator

from extender.errors import MalformedError
from extender.model import names
from extender.model.workload import Json, Type
from extender.workloads import parse, scalar, specs
from extender.workloads.rules import BLANK

PORTS = range(1, 65536)
NODE_PORTS = range(30000, 32768)  # of Kubernetes; a cluster may have another range

_NODE_PORT = "nodeport"
_ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
_VOLUME_MODES = ("Filesystem", "Block")
# Where an item is mounted: the member that says it, and where when it is not said.
_MOUNTED_AT = {
    "configMapVolumes": ("mountPath", ""),
    "emptyDirVolumes": ("path", ""),
    "gitSync": ("target", "/code"),
    "pvcs": ("path", ""),
    "s3": ("target", ""),
    "secretVolumes": ("mountPath", ""),
    "volumes": ("targetPath", ""),
}
_SECRETS = {"gitSync": ("username", "password"), "s3": ("accessKeyId", "secret")}
_OWN_RESOURCES = {"cpu": "cpu", "memory": "memory", names.GPU_RESOURCE: "gpu"}
_OWN_ANNOTATIONS = {names.GPU_FRACTION: "gpu", names.GPU_MEMORY: "gpuMemory"}

_VARIABLE = re.compile(r"[ -<>-~]+", re.ASCII)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)


def problems(plain: Json) -> Iterator[str]:
    """The lines about items, in no order. plain: of the values set. Cost: linear in the items."""
    yield from _ports(plain)
    yield from _claims(plain)
    yield from _mounts(plain)
    yield from _tolerations(plain)
    yield from _resources(plain)
    for name in ("environment", "masterEnvironment"):
        for path, label, text in _texts(plain, name):
            if not _VARIABLE.fullmatch(label):
                yield f'{path}: the name of a variable has letters, digits and signs, and no "="'
            yield from _secret(path, text)
    for name, members in _SECRETS.items():
        for path, _, item in _items(plain, name):
            for member in members:
                if isinstance(item.get(member), str):
                    yield from _secret(f"{path}.{member}", item[member])
    yield from _keys(plain)


def _ports(plain: Json) -> Iterator[str]:
    by_external: dict[int, str] = {}
    for path, label, item in sorted(_items(plain, "ports")):
        container, external = scalar.integer(item.get("container")), scalar.integer(item.get("external"))
        for name, number in (("container", container), ("external", external)):
            if number is not None and number not in PORTS:
                yield f"{path}.{name}: must be between {PORTS[0]} and {PORTS[-1]}"
        if external is None or external not in PORTS or item.get("autoGenerate") is True:
            continue
        type_ = item.get("serviceType") or plain.get("serviceType")
        if isinstance(type_, str) and type_.lower() == _NODE_PORT and external not in NODE_PORTS:
            yield f"{path}.external: a port of nodes must be between {NODE_PORTS[0]} and {NODE_PORTS[-1]}"
        other = by_external.setdefault(external, label)
        if other != label:
            yield f"{path}.external: {external} is the external port of {other} already"
    for path, _, item in _items(plain, "exposedUrls"):
        container = scalar.integer(item.get("container"))
        if container is not None and container not in PORTS:
            yield f"{path}.container: must be between {PORTS[0]} and {PORTS[-1]}"


def _claims(plain: Json) -> Iterator[str]:
    for path, _, item in _items(plain, "pvcs"):
        exists = item.get("existingPvc")
        if exists is None:  # as it is rendered
            exists = bool(item.get("claimName")) and not item.get("size")
        needed = "claimName" if exists else "size"
        if scalar.is_blank(item.get(needed)):
            yield f"{path}.{needed}: {BLANK}"
        size = scalar.amount(item.get("size"), Type.QUANTITY)
        if size is not None and size <= 0:
            yield f"{path}.size: must be greater than 0"
        modes = item.get("accessModes")
        if isinstance(modes, list) and not all(one in _ACCESS_MODES for one in modes):
            yield f"{path}.accessModes: {scalar.one_of(_ACCESS_MODES)}"
        if item.get("volumeMode") is not None and item["volumeMode"] not in _VOLUME_MODES:
            yield f"{path}.volumeMode: {scalar.one_of(_VOLUME_MODES)}"


def _mounts(plain: Json) -> Iterator[str]:
    """A path has no colon, and one thing is mounted at it: Kubernetes refuses pods for either."""
    at: dict[str, str] = {}
    for name, (member, otherwise) in _MOUNTED_AT.items():
        for path, _, item in sorted(_items(plain, name)):
            where = item.get(member) or otherwise
            if not isinstance(where, str) or not where:
                continue
            if ":" in where:
                yield f'{path}.{member}: must not have ":" in it, as {where} has'
            other = at.setdefault(where, path)
            if other != path:
                yield f"{path}.{member}: {where} is where {other} is mounted already"


def _tolerations(plain: Json) -> Iterator[str]:
    for path, _, item in _items(plain, "tolerations"):
        exists = str(item.get("operator") or "").lower() == "exists"
        if exists and item.get("value"):
            yield f"{path}.value: must be absent with operator Exists"
        if not exists and not item.get("key"):
            yield f"{path}.key: {BLANK}"
        if item.get("seconds") is not None and str(item.get("effect") or "").lower() != "noexecute":
            yield f"{path}.seconds: needs effect NoExecute"


def _resources(plain: Json) -> Iterator[str]:
    """What has a parameter of its own, and rules for it, is not asked for behind their back (RUN-5676)."""
    for name in ("extendedResources", "masterExtendedResources"):
        for path, label, item in _items(plain, name):
            resource = str(item.get("resource") or label)
            own = "migProfile" if resource.startswith(names.MIG_PREFIX) else _OWN_RESOURCES.get(resource)
            if own:
                yield f"{path}: {resource} is given as {own}"
            amount = scalar.amount(item.get("quantity"), Type.QUANTITY)
            if amount is not None and (amount < 0 or amount.denominator != 1):
                yield f"{path}.quantity: must be a whole number, not {item['quantity']}"
    for path, label, _ in _texts(plain, "annotations"):
        if label in _OWN_ANNOTATIONS:
            yield f"{path}: is given as {_OWN_ANNOTATIONS[label]}"


def _keys(plain: Json) -> Iterator[str]:
    for name in ("labels", "annotations"):
        for path, label, text in _texts(plain, name):
            if not _KEY.fullmatch(label):
                yield (
                    f"{path}: a key is at most 63 letters, digits, hyphens, underscores and dots, after <domain>/ "
                    "if it has one"
                )
            if name == "labels" and not _LABEL_VALUE.fullmatch(text):
                yield (
                    f"{path}: the value of a label is at most 63 letters, digits, hyphens, underscores and dots, "
                    f"not {scalar.shown(text)}"
                )


def _secret(path: str, text: str) -> Iterator[str]:
    try:
        parse.secret(text)
    except MalformedError as error:
        yield f"{path}: {error}"


def _items(plain: Json, name: str) -> Iterator[tuple[str, str, Json]]:
    """Path, label and members of the items that have members."""
    for label, item in specs.mapping(plain.get(name)).items():
        if isinstance(item, dict):
            yield f"{name}.{label}", label, item


def _texts(plain: Json, name: str) -> Iterator[tuple[str, str, str]]:
    for label, text in specs.mapping(plain.get(name)).items():
        if isinstance(text, str):
            yield f"{name}.{label}", label, text
