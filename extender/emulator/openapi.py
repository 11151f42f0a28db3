"""OpenAPI v3: what `kubectl explain` prints, and the sign by which kubectl knows that the server validates fields.

Built-in kinds are described from the model classes of kubernetes_asyncio, custom ones by their own schemas. kubectl
looks for a `fieldValidation` parameter on the PATCH of a kind; with it, `apply` leaves strict validation to the server.
The PATCH operations do not offer strategic merge in the document: kubectl then takes merge keys from its own types.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, cast

import orjson

from extender.emulator import merging, patching, status, typetree
from extender.emulator.resources import JSON, Registry, Resource

_METADATA = "V1ObjectMeta"
_API_VERSION_TEXT = "APIVersion defines the versioned schema of this representation of an object."
_KIND_TEXT = "Kind is a string value representing the REST resource this object represents."


# OpenAPI v2 describes nothing here, but has to be readable: kubectl falls back to it for kinds that v3 does not know
# yet, and what it cannot read there it takes for a reason to refuse a file. Field 1: swagger, 2: info, 8: paths.
# (With an "@" in its name, as requests write it, the type is one that Go cannot parse.)
V2_PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
V2_PROTOBUF = b"\x0a\x032.0" + b"\x12\x15\x0a\x0aKubernetes\x12\x07v1.36.0" + b"\x42\x00"
V2_JSON: JSON = {"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.0"}, "paths": {}}


class OpenApi:
    """The documents of one server, made when first asked for and again when the registry has changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = -1
        self._documents: dict[str, bytes] = {}

    def index(self) -> JSON:
        """/openapi/v3: where the document of each group version is."""
        paths = {}
        for group, versions in self._registry.groups().items():
            for version in versions:
                path = f"apis/{group}/{version}" if group else f"api/{version}"
                # The hash lets kubectl cache a document on disk for as long as it is the same.
                digest = self._digest(group, version)
                paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return {"paths": paths}

    def document(self, path: str) -> bytes:
        """/openapi/v3/{path}, path being "api/v1" or "apis/{group}/{version}". Raises StatusError 404."""
        if self._revision != self._registry.revision:
            self._documents.clear()
            self._revision = self._registry.revision
        if path not in self._documents:
            parts = path.split("/")
            group, version = ("", parts[1]) if parts[0] == "api" and len(parts) == 2 else ("", "")
            if parts[0] == "apis" and len(parts) == 3:
                group, version = parts[1], parts[2]
            resources = self._registry.groups().get(group, {}).get(version)
            if not resources:
                raise status.no_such_path()
            self._documents[path] = orjson.dumps(_document(resources))
        return self._documents[path]

    def _digest(self, group: str, version: str) -> str:
        resources = self._registry.groups()[group][version]
        content = [(r.kind, r.plural, r.namespaced, r.schema, sorted(r.subresources)) for r in resources]
        return hashlib.sha256(orjson.dumps(content)).hexdigest().upper()


def _document(resources: list[Resource]) -> JSON:
    schemas: JSON = {}
    paths: JSON = {}
    for resource in resources:
        gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        name = _add_custom(schemas, resource) if resource.custom else _add_model(schemas, str(resource.model))
        schemas[name]["x-kubernetes-group-version-kind"] = [gvk]
        prefix = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
        collection = f"{prefix}/namespaces/{{namespace}}/" if resource.namespaced else f"{prefix}/"
        reference = {"$ref": f"#/components/schemas/{name}"}
        paths[f"{collection}{resource.plural}"] = {
            "get": _operation("list", gvk, reference),
            "post": _operation("post", gvk, reference),
        }
        paths[f"{collection}{resource.plural}/{{name}}"] = {
            "get": _operation("get", gvk, reference),
            "put": _operation("put", gvk, reference),
            "patch": _operation("patch", gvk, reference),
            "delete": _operation("delete", gvk, reference),
        }
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(action: str, gvk: JSON, reference: JSON) -> JSON:
    content = {"application/json": {"schema": reference}}
    operation: JSON = {
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
    }
    if action in ("post", "put", "patch"):
        operation["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for name in ("dryRun", "fieldManager", "fieldValidation")
        ]
    if action == "patch":
        types = (patching.APPLY_PATCH, patching.JSON_PATCH, patching.MERGE_PATCH)
        body = {"type": "object", "description": "Patch is provided to give a concrete name and type to the body."}
        operation["requestBody"] = {"content": {type_: {"schema": body} for type_ in types}, "required": True}
    elif action in ("post", "put"):
        operation["requestBody"] = {"content": content, "required": True}
    return operation


def _schema_name(model: str) -> str:
    match = re.match(r"([A-Z][a-z]+(?=V\d))?(V\d+(?:alpha\d+|beta\d+)?)(?=[A-Z])", model)
    group = (match[1] or "api").lower() if match else "api"
    version = match[2].lower() if match else "v1"
    return f"io.k8s.{group}.{version}.{typetree.go_name(model)}"


def _add_model(schemas: JSON, model: str) -> str:
    """Put the schema of a model class and of all that it refers to into `schemas`; returns its name."""
    name = _schema_name(model)
    if name in schemas:
        return name
    schema: JSON = {"type": "object"}
    # Entered before its fields: some types contain themselves.
    schemas[name] = schema
    properties: JSON = {}
    needed = []
    for field in typetree.fields_of(model).values():
        described: JSON = {"description": typetree.describe(model, field.attribute)}
        described |= _shape_schema(schemas, field.shape)
        key = merging.merge_key(model, field.name) if field.shape.form == "list" else None
        if key is not None:
            described["x-kubernetes-patch-strategy"] = "merge"
            if key:
                described["x-kubernetes-patch-merge-key"] = key
        properties[field.name] = described
        if typetree.is_required(model, field.attribute):
            needed.append(field.name)
    schema["properties"] = properties
    if needed:
        schema["required"] = needed
    return name


_SCALARS: dict[str, JSON] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "quantity": {"type": "string"},
}


def _shape_schema(schemas: JSON, shape: typetree.Shape) -> JSON:
    if shape.model:
        if shape.model.endswith("JSONSchemaProps"):
            # kubectl follows references without end where a type contains itself.
            return {"type": "object"}
        return {"allOf": [{"$ref": f"#/components/schemas/{_add_model(schemas, shape.model)}"}]}
    if shape.form == "list":
        return {"type": "array", "items": _shape_schema(schemas, cast("typetree.Shape", shape.item))}
    if shape.form == "map":
        return {"type": "object", "additionalProperties": _shape_schema(schemas, cast("typetree.Shape", shape.item))}
    return _SCALARS.get(shape.form, {"x-kubernetes-int-or-string": True})


def _add_custom(schemas: JSON, resource: Resource) -> str:
    """Put the schema of a custom resource into `schemas`, completed by what every object has; returns its name."""
    name = ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])
    metadata = _add_model(schemas, _METADATA)
    given: JSON = resource.schema or {}
    properties: dict[str, Any] = {
        "apiVersion": {"type": "string", "description": _API_VERSION_TEXT},
        "kind": {"type": "string", "description": _KIND_TEXT},
        "metadata": {
            "description": "Standard object's metadata.",
            "allOf": [{"$ref": f"#/components/schemas/{metadata}"}],
        },
    }
    for field, below in (given.get("properties") or {}).items():
        properties.setdefault(field, below)
    schemas[name] = {**given, "properties": properties}
    return name
