"""From a pydantic model to the structural OpenAPI schema of a CustomResourceDefinition.

Pydantic writes JSON Schema 2020-12; a CRD wants a subset of OpenAPI 3.0 with rules of its own: every field
has a type, no `$ref`, no `title`, no `additionalProperties` beside `properties`, `exclusiveMinimum` is a
boolean, keyed lists name keys that every item has. What cannot be said there raises SchemaError when the
manifests are generated, so it is a failing test here and not an error at an administrator's `kubectl apply`.
A field without a description is refused as well: what `kubectl explain` shows is part of the interface.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from extender.errors import ConfigError
from extender.wire.resources.parts import Resource, ResourceType

Json = dict[str, Any]

_OUTER_DESCRIPTIONS = {
    "apiVersion": "The group and version of this object's schema.",
    "kind": "The kind of this object, in CamelCase.",
}
# Copied as they are. Whatever is neither here nor handled below is refused rather than dropped: a bound that
# silently disappears would be enforced by the parser alone.
_COPIED = frozenset(
    {
        "enum",
        "format",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "nullable",
        "pattern",
        "required",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    }
)
_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean"})
_NULL = {"type": "null"}
_PROTECTED_GROUP = re.compile(r"(^|\.)(k8s|kubernetes)\.io$")


class SchemaError(ConfigError):
    """A model says something that a CRD cannot; the text names the field and the construct."""


def structural(model: type[Resource]) -> Json:
    """The `openAPIV3Schema` of a resource. Raises SchemaError where the API server would refuse it."""
    document = model.model_json_schema(by_alias=True, mode="validation")
    definitions = document.pop("$defs", {})
    properties: Json = document["properties"]
    metadata = _inlined(properties.pop("metadata"), definitions, "metadata", ())
    for name, text in _OUTER_DESCRIPTIONS.items():
        properties[name] = {"type": "string", "description": text}
    # The class docstring alone is the kind's description; pydantic would inherit the base's for a class
    # without one.
    document["description"] = inspect.cleandoc(model.__doc__ or "")
    schema = _convert(document, definitions, model.resource.kind, ())
    schema["properties"] = {
        "apiVersion": schema["properties"].pop("apiVersion"),
        "kind": schema["properties"].pop("kind"),
        "metadata": _metadata(metadata),
        **schema["properties"],
    }
    return schema


def crd(*models: type[Resource]) -> Json:
    """The CustomResourceDefinition of one kind: a version a model, each with a status subresource and columns.

    The first model is the version that objects are stored in. Names and scope are the same in all. How objects become
    those of another version is not said here. Raises SchemaError for what the API server would refuse.
    """
    resource = models[0].resource
    _check_versions([model.resource for model in models])
    metadata: Json = {"name": resource.name, "labels": {"app.kubernetes.io/part-of": "runai-scheduler"}}
    if _PROTECTED_GROUP.search(resource.group):
        if not resource.protected_group_reason:
            raise SchemaError(f"{resource.kind}: the group {resource.group} is protected; say why it is used")
        # The API server refuses a CRD in such a group without this annotation.
        metadata["annotations"] = {"api-approved.kubernetes.io": f"unapproved, {resource.protected_group_reason}"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": resource.group,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": list(resource.short_names),
            },
            "preserveUnknownFields": False,
            "versions": [_version(model, is_stored=model is models[0]) for model in models],
        },
    }


def _check_versions(resources: list[ResourceType]) -> None:
    """Versions of one kind differ in what is in an object, not in what the kind is called and where it lives."""
    first = resources[0]
    for one in resources[1:]:
        if replace(one, version=first.version, columns=first.columns) != first:
            raise SchemaError(f"{first.kind} {one.version}: names, scope and group are those of {first.version}")
    if len({one.version for one in resources}) < len(resources):
        raise SchemaError(f"{first.kind}: two models of one version")


def _version(model: type[Resource], *, is_stored: bool) -> Json:
    return {
        "name": model.resource.version,
        "served": True,
        "storage": is_stored,
        "schema": {"openAPIV3Schema": structural(model)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {
                "name": column.name,
                "type": column.type,
                "jsonPath": column.path,
                "description": column.description,
                **({"priority": column.priority} if column.priority else {}),
            }
            for column in model.resource.columns
        ],
    }


def _metadata(schema: Json) -> Json:
    """`metadata` may only narrow the name; everything else in it is the API server's business."""
    name = schema.get("properties", {}).get("name", {})
    bounds = {key: name[key] for key in ("minLength", "maxLength", "pattern") if key in name}
    return {"type": "object", **({"properties": {"name": {"type": "string", **bounds}}} if bounds else {})}


def _inlined(schema: Json, definitions: Mapping[str, Json], path: str, open_refs: tuple[str, ...]) -> Json:
    """Replace a `$ref` by what it points to; keywords beside it win, a field's description above all."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    if reference in open_refs:
        raise SchemaError(f"{path}: a model that contains itself has no structural schema")
    target = definitions[reference.removeprefix("#/$defs/")]
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}


def _convert(schema: Json, definitions: Mapping[str, Json], path: str, open_refs: tuple[str, ...]) -> Json:
    """One node of the schema and everything below it; `open_refs` are the definitions being expanded."""
    schema = _without_null(schema, path)
    inner_refs = (*open_refs, schema["$ref"]) if "$ref" in schema else open_refs
    schema = _inlined(schema, definitions, path, open_refs)
    kind = schema.get("type")
    preserved = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if kind not in _TYPES and not (kind is None and preserved):
        raise SchemaError(f"{path}: type {kind!r}; a structural schema gives every field one of {sorted(_TYPES)}")
    result: Json = {} if kind is None else {"type": kind}
    if "description" in schema:
        result["description"] = _prose(schema["description"])
    for key, value in schema.items():
        match key:
            case "type" | "description" | "title":
                pass
            case "default":
                # An empty text stands for "absent" in the models; stored objects need not carry it, and the
                # API server refuses it as the default of a date.
                if value not in (None, ""):
                    result[key] = value
            case "const":
                result["enum"] = [value]
            case "exclusiveMinimum" | "exclusiveMaximum":
                result[key.removeprefix("exclusive").lower()] = value
                result[key] = True
            case "items":
                result[key] = _convert(value, definitions, f"{path}[]", inner_refs)
            case "properties":
                result[key] = {
                    name: _described(_convert(child, definitions, f"{path}.{name}", inner_refs), f"{path}.{name}")
                    for name, child in value.items()
                }
            case "additionalProperties":
                result |= _free_keys(value, schema, definitions, path, inner_refs)
            case _ if key in _COPIED:
                result[key] = value
            case _:
                raise SchemaError(f"{path}: {key} cannot be said in a structural schema")
    _check(result, path)
    return result


def _without_null(schema: Json, path: str) -> Json:
    """`X | None` is an optional X: a null in a manifest counts as absent, so the schema has no null."""
    choices = schema.get("anyOf")
    if choices is None:
        return schema
    rest = [choice for choice in choices if choice != _NULL]
    if len(rest) != 1:
        raise SchemaError(f"{path}: a union of {len(rest)} types; a field of a CRD has one")
    return {**rest[0], **{key: value for key, value in schema.items() if key != "anyOf"}}


def _free_keys(
    value: object, schema: Json, definitions: Mapping[str, Json], path: str, open_refs: tuple[str, ...]
) -> Json:
    """A map from any string to one type."""
    if not isinstance(value, dict):
        raise SchemaError(f"{path}: additionalProperties {value!r}; unknown fields are pruned, not forbidden")
    if "properties" in schema:
        raise SchemaError(f"{path}: properties and additionalProperties exclude each other")
    return {"additionalProperties": _convert(value, definitions, f"{path}[*]", open_refs)}


def _described(schema: Json, path: str) -> Json:
    if not schema.get("description"):
        raise SchemaError(f"{path}: no description; `kubectl explain` would show an empty one")
    return schema


def _check(schema: Json, path: str) -> None:
    """Rules of the API server that join several keywords."""
    if schema.get("type") == "array" and "items" not in schema:
        raise SchemaError(f"{path}: a list without items")
    list_type = schema.get("x-kubernetes-list-type")
    if list_type is not None and schema.get("type") != "array":
        raise SchemaError(f"{path}: x-kubernetes-list-type on a {schema.get('type')}")
    if list_type == "set" and schema["items"].get("type") in ("object", "array"):
        raise SchemaError(f"{path}: a list of type set holds scalars")
    keys = schema.get("x-kubernetes-list-map-keys", [])
    if (list_type == "map") != bool(keys):
        raise SchemaError(f"{path}: a list of type map names its keys, and only that")
    for key in keys:
        item = schema["items"]
        known = item.get("properties", {}).get(key)
        if known is None or (key not in item.get("required", []) and "default" not in known):
            raise SchemaError(
                f"{path}: the key {key} of a list of type map is required, or has a default, in every item"
            )


def _prose(text: str) -> str:
    """Join the lines of each paragraph: `kubectl explain` breaks lines itself."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))
