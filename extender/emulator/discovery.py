"""What the server says it serves: /version, /api, /apis, per version, and all at once (aggregated discovery)."""

from __future__ import annotations

import re

from extender.emulator import status
from extender.emulator.resources import JSON, VERBS, Registry, Resource

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "go1.25",
    "compiler": "gc",
    "platform": "linux/amd64",
}

_AGGREGATED = re.compile(r"application/json;\s*g=apidiscovery\.k8s\.io;\s*v=(v2|v2beta1);\s*as=APIGroupDiscoveryList")

_SUBRESOURCE_VERBS = {
    "binding": ["create"],
    "eviction": ["create"],
    "finalize": ["update"],
    "status": ["get", "patch", "update"],
    "scale": ["get", "patch", "update"],
}
_SUBRESOURCE_KINDS = {
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "scale": ("autoscaling", "v1", "Scale"),
}


def aggregated_version(accept: str) -> str | None:
    """The version of aggregated discovery that an Accept header prefers, None for the plain form."""
    match = _AGGREGATED.search(accept)
    return match[1] if match else None


def aggregated(registry: Registry, version: str, core: bool) -> JSON:
    """All groups (or, for /api, the core one) with their resources in one document."""
    items = []
    for group, versions in registry.groups().items():
        if (group == "") == core:
            served = [
                {"version": v, "freshness": "Current", "resources": [_aggregated_resource(r) for r in resources]}
                for v, resources in versions.items()
            ]
            items.append({"metadata": {"name": group, "creationTimestamp": None}, "versions": served})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_resource(resource: Resource) -> JSON:
    document: JSON = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(VERBS),
    }
    if resource.short_names:
        document["shortNames"] = list(resource.short_names)
    if resource.categories:
        document["categories"] = list(resource.categories)
    if resource.subresources:
        document["subresources"] = [
            {
                "subresource": name,
                "responseKind": dict(zip(("group", "version", "kind"), _subresource_kind(resource, name), strict=True)),
                "verbs": _SUBRESOURCE_VERBS[name],
            }
            for name in sorted(resource.subresources)
        ]
    return document


def _subresource_kind(resource: Resource, name: str) -> tuple[str, str, str]:
    return _SUBRESOURCE_KINDS.get(name, (resource.group, resource.version, resource.kind))


def api_versions(address: str) -> JSON:
    """/api: the versions of the core group."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> JSON:
    """/apis: every named group."""
    groups = [_group(group, list(versions)) for group, versions in registry.groups().items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group_document(registry: Registry, group: str) -> JSON:
    """/apis/{group}. Raises StatusError 404."""
    versions = registry.groups().get(group)
    if not versions or not group:
        raise status.no_such_path()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, list(versions))}


def _group(group: str, versions: list[str]) -> JSON:
    served = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": served, "preferredVersion": served[0]}


def resource_list(registry: Registry, group: str, version: str) -> JSON:
    """/api/v1 and /apis/{group}/{version}. Raises StatusError 404."""
    resources = registry.groups().get(group, {}).get(version)
    if not resources:
        raise status.no_such_path()
    entries: list[JSON] = []
    for resource in resources:
        entry: JSON = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(VERBS),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        entries.append(entry)
        for name in sorted(resource.subresources):
            kind_group, kind_version, kind = _subresource_kind(resource, name)
            below: JSON = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
            if name in _SUBRESOURCE_KINDS:
                below |= {"group": kind_group, "version": kind_version}
            entries.append(below | {"kind": kind, "verbs": _SUBRESOURCE_VERBS[name]})
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}


def root_paths(registry: Registry) -> JSON:
    """/: the paths that lead on."""
    paths = ["/api", "/api/v1", "/apis"]
    for group, versions in registry.groups().items():
        if group:
            paths += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
    return {"paths": [*paths, "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]}
