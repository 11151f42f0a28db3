"""From a URL path to what it addresses."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from extender.emulator import status
from extender.emulator.resources import Registry, Resource


@dataclass(frozen=True, slots=True)
class Target:
    """A collection (name ""), an object, or a subresource; `namespace` is None where the path names none."""

    resource: Resource
    namespace: str | None
    name: str = ""
    subresource: str = ""


def segments_of(path: str) -> list[str]:
    """The parts of a path, decoded; a trailing slash plays no part."""
    return [unquote(part) for part in path.strip("/").split("/")]


def resolve(registry: Registry, parts: list[str]) -> Target:
    """The target of `api/v1/...` or `apis/{group}/{version}/...`. Raises StatusError 404."""
    if parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    else:
        group, version, rest = parts[1], parts[2], parts[3:]
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    if not rest or len(rest) > 3 or not all(rest):
        raise status.no_such_path()
    resource = registry.find(group, version, rest[0])
    if resource is None or (namespace is not None and not resource.namespaced):
        raise status.no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        raise status.no_such_path()
    if name and resource.namespaced and namespace is None:
        raise status.no_such_path()
    return Target(resource, namespace, name, subresource)
