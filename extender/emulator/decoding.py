"""From a request body to an object as it is stored: parse, check the type, drop or refuse unknown fields."""

from __future__ import annotations

from typing import Any

import orjson
import yaml

from extender.emulator import convert, protobuf, schema, typetree
from extender.emulator.resources import JSON, Resource
from extender.emulator.status import StatusError, bad_request, unsupported_media_type

_PROTOBUF = "application/vnd.kubernetes.protobuf"
_ACCEPTED = ("application/json", "application/yaml")
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_body(content_type: str, body: bytes) -> JSON:
    """A request body as an object. Raises StatusError 400 when malformed, 415 for a type that is not read."""
    if content_type in ("application/json", "", "*/*"):
        value = parse_json(body)
    elif content_type == "application/yaml":
        value = parse_yaml(body)
    elif content_type == _PROTOBUF:
        value = _parse_protobuf(body)
    else:
        raise unsupported_media_type(_ACCEPTED)
    if not isinstance(value, dict):
        raise bad_request("the request body is not an object")
    return value


def _parse_protobuf(body: bytes) -> JSON:
    try:
        return protobuf.decode(body)
    except protobuf.UnknownKindError as error:
        raise unsupported_media_type(_ACCEPTED) from error


def parse_json(body: bytes) -> Any:
    """JSON text as values. Raises StatusError 400."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def parse_yaml(body: bytes) -> Any:
    """YAML (or JSON) text as values. Raises StatusError 400."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # Timestamps become strings again: an API object has no other kind.
        value = yaml.load(body, Loader=_YAML_LOADER)
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS))
    except (yaml.YAMLError, TypeError, UnicodeDecodeError) as error:
        raise bad_request(f"error parsing YAML: {error}") from error


def check_type(resource: Resource, obj: JSON) -> None:
    """Refuse an object whose apiVersion and kind are not those of the path. Raises StatusError 400.

    Built-in kinds may leave them out, as client libraries do; the path says enough.
    """
    if not isinstance(obj.get("metadata"), (dict, type(None))):
        raise bad_request("metadata is not an object")
    kind, api_version = obj.get("kind"), obj.get("apiVersion")
    if not resource.custom:
        kind, api_version = kind or resource.kind, api_version or resource.api_version
    if not kind:
        raise bad_request(
            "Object 'Kind' is missing in '{}'".replace("{}", orjson.dumps(obj)[:200].decode(errors="replace"))
        )
    if api_version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    if kind != resource.kind:
        raise bad_request(
            f"{kind} in version {resource.version!r} cannot be handled as a {resource.kind}".replace("'", '"')
        )


def to_stored(resource: Resource, obj: JSON, unknown: list[str]) -> JSON:
    """The object with known fields only and without its type; the paths of dropped fields go to `unknown`.

    `obj` may be changed. Raises StatusError 400 for a value of a wrong type in a built-in kind or in metadata.
    """
    if not isinstance(obj.get("metadata"), (dict, type(None))):
        raise bad_request("metadata is not an object")
    obj.pop("apiVersion", None)
    obj.pop("kind", None)
    try:
        if resource.model:
            stored = convert.to_stored(resource, typetree.prune(resource.model, obj, unknown))
            stored.setdefault("metadata", {})
            return stored
        metadata = typetree.prune("V1ObjectMeta", obj.get("metadata") or {}, unknown, "metadata.")
    except typetree.DecodeError as error:
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {error}'
        ) from error
    schema.prune(resource.schema or {}, obj, unknown)
    return {"metadata": metadata, **{key: value for key, value in obj.items() if key != "metadata"}}


def to_model(model: str, obj: JSON) -> JSON:
    """An object that is no resource (a Binding, say), reduced to what its model knows. Raises StatusError 400."""
    try:
        return typetree.prune(model, obj, [])
    except typetree.DecodeError as error:
        kind = typetree.go_name(model)
        raise bad_request(f"the object provided is unrecognized as a {kind}: {error}") from error


def strict_text(unknown: list[str]) -> str:
    """What strict validation says about unknown fields."""
    return "strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown)


def strict_refusal(resource: Resource, unknown: list[str]) -> StatusError:
    """The 400 for a create or update with unknown fields under strict validation."""
    return bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
        f"{strict_text(unknown)}"
    )
