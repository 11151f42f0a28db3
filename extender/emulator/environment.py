"""The environment of containers, as a kubelet puts it together when it starts one.

A ConfigMap, or a key of it, that is referred to and not optional holds the container back until it is there; the
messages are a kubelet's. What a container was started with is kept: later changes of the map do not reach it.
Left out, with no value: secretKeyRef, resourceFieldRef, $(NAME) inside values, service links.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from extender.emulator.devices import Held
from extender.emulator.kubelet_status import host_address, pod_address

Json = dict[str, Any]
ReadMap = Callable[[str, str], Awaitable[Json | None]]  # namespace, name -> the ConfigMap, None when there is none

VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class Environments:
    """The environments of all containers that have started."""

    def __init__(self, read: ReadMap) -> None:
        self._read = read
        self._started: dict[str, dict[str, dict[str, str]]] = {}  # pod UID -> container -> variables

    def of(self, uid: str) -> Mapping[str, Mapping[str, str]]:
        """Container -> its variables, of those that have started."""
        return self._started.get(uid, {})

    def drop(self, uid: str) -> None:
        self._started.pop(uid, None)

    async def start(self, pod: Json, held: Held) -> dict[str, str]:
        """Start what can be started of a pod; container -> why it cannot be, empty when all have started.

        Init containers come one after the other, so nothing after one that is held back is looked at. Raises
        ApiError when a ConfigMap could not be read.
        """
        spec, started = pod["spec"], self._started.setdefault(pod["metadata"]["uid"], {})
        maps = _Maps(self._read, pod["metadata"]["namespace"])
        missing: dict[str, str] = {}
        for is_init, containers in ((True, spec.get("initContainers") or ()), (False, spec["containers"])):
            for container in containers:
                name = container["name"]
                if name in started:
                    continue
                try:
                    started[name] = await _variables(container, pod, held.get(name, ()), maps)
                except _MissingError as error:
                    missing[name] = str(error)
                    if is_init:
                        return missing
        return missing


class _MissingError(Exception):
    """What a container refers to is not there."""


class _Maps:
    """The ConfigMaps of one namespace, each read once."""

    def __init__(self, read: ReadMap, namespace: str) -> None:
        self._read = read
        self._namespace = namespace
        self._found: dict[str, Json | None] = {}

    async def data(self, reference: Json) -> Mapping[str, str] | None:
        """The data of the map that is referred to; None where it may be missing and is."""
        name = reference.get("name") or ""
        if name not in self._found:
            self._found[name] = await self._read(self._namespace, name)
        found = self._found[name]
        if found is None:
            if not reference.get("optional"):
                raise _MissingError(f'configmap "{name}" not found')
            return None
        return found.get("data") or {}

    async def value(self, reference: Json) -> str | None:
        data = await self.data(reference)
        if data is not None and reference["key"] in data:
            return data[reference["key"]]
        if reference.get("optional"):
            return None
        raise _MissingError(f"couldn't find key {reference['key']} in ConfigMap {self._namespace}/{reference['name']}")


async def _variables(container: Json, pod: Json, devices: Sequence[str], maps: _Maps) -> dict[str, str]:
    # The device plugin's come first: a kubelet lets the pod's own win, and so does the container runtime.
    variables = {VISIBLE_DEVICES: ",".join(devices)} if devices else {}
    for source in container.get("envFrom") or ():
        if reference := source.get("configMapRef"):
            data = await maps.data(reference)
            prefix = source.get("prefix") or ""
            variables |= {prefix + key: value for key, value in (data or {}).items()}
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        value: str | None = variable.get("value") or ""
        if reference := source.get("configMapKeyRef"):
            value = await maps.value(reference)
        elif reference := source.get("fieldRef"):
            value = _field(pod, reference["fieldPath"])
        elif source:
            value = None
        if value is not None:
            variables[variable["name"]] = value
    return variables


def _field(pod: Json, path: str) -> str | None:
    """A field of the downward API."""
    metadata, spec = pod["metadata"], pod["spec"]
    if (subscript := _SUBSCRIPT.fullmatch(path)) is not None:
        return str((metadata.get(subscript[1]) or {}).get(subscript[2], ""))
    fields = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec["nodeName"],
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": host_address(pod),
        "status.podIP": pod_address(pod),
    }
    return fields.get(path)
