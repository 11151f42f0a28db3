"""The patch dialects: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch, server-side apply.

Each function takes a document that it may change and returns the patched one. `StructureOf...` says how lists of a
type merge: that is the only thing in which strategic merge and apply differ between built-in kinds and CRs.

Server-side apply is an approximation: the applied configuration is merged into the live object by the same list rules,
and fields that the same manager applied before and now leaves out are removed. Conflicts with other managers are not
detected (as if `force` were always set).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from extender.emulator import typetree
from extender.emulator.resources import JSON
from extender.emulator.status import StatusError

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class PatchError(ValueError):
    """The patch is well-formed and cannot be applied to this object."""


def refusal(error: PatchError) -> StatusError:
    """The 422 that the API server makes of a patch that does not apply."""
    details = {"causes": [{"reason": "UnexpectedServerResponse", "message": str(error)}]}
    message = "the server rejected our request due to an error in our request"
    return StatusError(422, "Invalid", message, details)


def json_patch(document: Any, operations: list[JSON]) -> Any:
    """Apply RFC 6902 operations in order. Raises PatchError naming the one that fails."""
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise PatchError("unable to decode patch: an operation needs op and path")
        apply = _OPERATIONS.get(operation.get("op", ""))
        if apply is None:
            raise PatchError(f"Unexpected kind: {operation.get('op')}")
        document = apply(document, operation)
    return document


def _tokens(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise PatchError(f"invalid path {path!r}")
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _step(node: Any, token: str, path: str) -> Any:
    if isinstance(node, dict) and token in node:
        return node[token]
    if isinstance(node, list):
        return node[_index(token, len(node) - 1, path)]
    raise PatchError(f"doc is missing path: {path}: missing value")


def _index(token: str, last: int, path: str) -> int:
    if not token.isdigit() or int(token) > last:
        raise PatchError(f"doc is missing path: {path}: invalid index {token!r}")
    return int(token)


def _read(document: Any, path: str) -> Any:
    for token in _tokens(path):
        document = _step(document, token, path)
    return document


def _write(document: Any, path: str, value: Any) -> Any:
    *parents, last = _tokens(path) or [""]
    if not path:
        return value
    node = document
    for token in parents:
        node = _step(node, token, path)
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list):
        node.insert(len(node) if last == "-" else _index(last, len(node), path), value)
    else:
        raise PatchError(f"add operation does not apply: doc is missing path: {path}: missing value")
    return document


def _remove(document: Any, path: str) -> Any:
    *parents, last = _tokens(path) or [""]
    node = document
    for token in parents:
        node = _step(node, token, path)
    if isinstance(node, dict) and last in node:
        del node[last]
    elif isinstance(node, list):
        del node[_index(last, len(node) - 1, path)]
    else:
        raise PatchError(f"remove operation does not apply: doc is missing path: {path}: missing value")
    return document


def _op_replace(document: Any, operation: JSON) -> Any:
    path = operation["path"]
    _read(document, path)
    if not path:
        return operation.get("value")
    return _write(_remove(document, path), path, operation.get("value"))


def _op_test(document: Any, operation: JSON) -> Any:
    path, wanted = operation["path"], operation.get("value")
    try:
        found = _read(document, path)
    except PatchError:
        found = None
    if found != wanted or isinstance(found, bool) != isinstance(wanted, bool):
        raise PatchError(f"testing value {path} failed: test failed")
    return document


def _op_move(document: Any, operation: JSON) -> Any:
    source = str(operation.get("from", ""))
    value = _read(document, source)
    return _write(_remove(document, source), operation["path"], value)


_OPERATIONS: dict[str, Callable[[Any, JSON], Any]] = {
    "add": lambda document, op: _write(document, op["path"], op.get("value")),
    "remove": lambda document, op: _remove(document, op["path"]),
    "replace": _op_replace,
    "test": _op_test,
    "move": _op_move,
    "copy": lambda document, op: _write(
        document, op["path"], copy.deepcopy(_read(document, str(op.get("from", ""))))
    ),
}


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: objects merge, null deletes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_patch(target.get(key), value)
    return target


class ListRule(NamedTuple):
    """How a list merges: by the values of `keys` of its objects, or (no keys) as a set of plain values."""

    keys: tuple[str, ...]


class Structure(Protocol):
    """What merging must know about the type of an object."""

    def child(self, field: str) -> Structure:
        """The structure of a field's value, or of the items of its list."""

    def list_rule(self, field: str) -> ListRule | None:
        """How the list in `field` merges; None: it is replaced as a whole."""


# (Go type, field) → merge key. The type is "*" where every type that has the field merges it that way; a field that is
# not here is replaced as a whole (tolerations and taints among them). "" merges plain values.
_MERGE_KEYS = {
    ("*", "conditions"): "type",
    ("ObjectMeta", "ownerReferences"): "uid",
    ("ObjectMeta", "finalizers"): "",
    ("PodSpec", "containers"): "name",
    ("PodSpec", "initContainers"): "name",
    ("PodSpec", "ephemeralContainers"): "name",
    ("PodSpec", "volumes"): "name",
    ("PodSpec", "imagePullSecrets"): "name",
    ("PodSpec", "hostAliases"): "ip",
    ("PodSpec", "topologySpreadConstraints"): "topologyKey",
    ("PodSpec", "schedulingGates"): "name",
    ("PodSpec", "resourceClaims"): "name",
    ("PodStatus", "podIPs"): "ip",
    ("PodStatus", "hostIPs"): "ip",
    ("PodStatus", "resourceClaimStatuses"): "name",
    ("Container", "ports"): "containerPort",
    ("Container", "env"): "name",
    ("Container", "volumeMounts"): "mountPath",
    ("Container", "volumeDevices"): "devicePath",
    ("EphemeralContainer", "env"): "name",
    ("EphemeralContainer", "volumeMounts"): "mountPath",
    ("NodeSpec", "podCIDRs"): "",
    ("NodeStatus", "addresses"): "type",
    ("ServiceSpec", "ports"): "port",
    ("ServiceAccount", "secrets"): "name",
    ("MutatingWebhookConfiguration", "webhooks"): "name",
    ("ValidatingWebhookConfiguration", "webhooks"): "name",
}


class StructureOfModel:
    """A built-in type, by its model class ("" for values without one)."""

    def __init__(self, model: str) -> None:
        self._model = model

    def child(self, field: str) -> Structure:
        found = typetree.fields_of(self._model).get(field) if self._model else None
        shape = found.shape if found else None
        while shape is not None and shape.item is not None:
            shape = shape.item
        return StructureOfModel(shape.model if shape else "")

    def list_rule(self, field: str) -> ListRule | None:
        key = merge_key(self._model, field)
        return None if key is None else ListRule((key,) if key else ())


def merge_key(model: str, field: str) -> str | None:
    """The strategic merge key of a list field, "" for a merged list of plain values, None when it is replaced."""
    return _MERGE_KEYS.get((typetree.go_name(model), field), _MERGE_KEYS.get(("*", field)))


class StructureOfSchema:
    """A custom resource's type, by its OpenAPI schema."""

    def __init__(self, schema: JSON) -> None:
        self._schema = schema

    def _field(self, field: str) -> JSON:
        properties = self._schema.get("properties") or {}
        found = properties.get(field) or self._schema.get("additionalProperties")
        return found if isinstance(found, dict) else {}

    def child(self, field: str) -> Structure:
        schema = self._field(field)
        return StructureOfSchema(schema.get("items") or schema)

    def list_rule(self, field: str) -> ListRule | None:
        schema = self._field(field)
        kind = schema.get("x-kubernetes-list-type")
        if kind == "map":
            return ListRule(tuple(schema.get("x-kubernetes-list-map-keys") or ()))
        return ListRule(()) if kind == "set" else None


_ORDER = "$setElementOrder/"
_DELETE_PLAIN = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"
_DIRECTIVE = "$patch"


def strategic_merge(target: JSON, patch: JSON, structure: Structure) -> JSON:
    """Merge `patch` into `target` by the rules of its type, honouring the $ directives. Raises PatchError."""
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(f"Unknown patch type found: {directive}")
    if _RETAIN in patch:
        kept = set(patch[_RETAIN])
        target = {key: value for key, value in target.items() if key in kept}
    for key, value in patch.items():
        if key.startswith(_DELETE_PLAIN):
            field = key.removeprefix(_DELETE_PLAIN)
            target[field] = [item for item in target.get(field) or () if item not in value]
    for key, value in patch.items():
        if not key.startswith("$"):
            _merge_field(target, key, value, structure)
    for key, order in patch.items():
        if key.startswith(_ORDER):
            field = key.removeprefix(_ORDER)
            if target.get(field):
                target[field] = _ordered(target[field], order, structure.list_rule(field))
    return target


def _merge_field(target: JSON, key: str, value: Any, structure: Structure) -> None:
    if value is None:
        target.pop(key, None)
    elif isinstance(value, dict):
        live = target.get(key)
        merged = strategic_merge(live if isinstance(live, dict) else {}, value, structure.child(key))
        if value.get(_DIRECTIVE) == "delete":
            target.pop(key, None)
        else:
            target[key] = merged
    elif isinstance(value, list):
        rule = structure.list_rule(key)
        live = target.get(key) or []
        if rule is None:
            target[key] = value
        elif rule.keys:
            target[key] = _merge_list(live, value, rule, structure.child(key))
        else:
            target[key] = live + [item for item in value if item not in live]
    else:
        target[key] = value


def _merge_list(live: list[JSON], patch: list[JSON], rule: ListRule, structure: Structure) -> list[JSON]:
    if any(item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if item.get(_DIRECTIVE) != "replace"]
    merged = list(live)
    for item in patch:
        key = _key_of(item, rule)
        if all(part is None for part in key):
            raise PatchError(f"map: {item} does not contain declared merge key: {rule.keys[0]}")
        position = next((i for i, old in enumerate(merged) if _key_of(old, rule) == key), None)
        if item.get(_DIRECTIVE) == "delete":
            if position is not None:
                del merged[position]
        elif position is None:
            merged.append(strategic_merge({}, item, structure))
        else:
            merged[position] = strategic_merge(merged[position], item, structure)
    return merged


def _key_of(item: Any, rule: ListRule | None) -> tuple[Any, ...]:
    if rule is None or not rule.keys or not isinstance(item, dict):
        return (item,) if not isinstance(item, dict) else (str(item),)
    return tuple(item.get(key) for key in rule.keys)


def _ordered(items: list[Any], order: list[Any], rule: ListRule | None) -> list[Any]:
    """The listed items in the given order; an item that the order does not know stays behind its predecessor."""
    rank = {_key_of(entry, rule): position for position, entry in enumerate(order)}
    ranked = []
    last = -1
    for item in items:
        last = rank.get(_key_of(item, rule), last)
        ranked.append((last, item))
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]


def apply_patch(live: JSON, applied: JSON, previous: JSON, structure: Structure) -> JSON:
    """Server-side apply: `applied` over `live`, less what `previous` (the manager's last set) has and `applied` lacks.

    previous: the field set as `field_set` made it, {} for a manager's first apply.
    """
    _drop_abandoned(live, applied, previous, structure)
    return strategic_merge(live, applied, structure)


def field_set(applied: JSON, structure: Structure) -> JSON:
    """The fields of an applied configuration, in the form of `managedFields[].fieldsV1`."""
    fields: JSON = {}
    for name, value in applied.items():
        rule = structure.list_rule(name) if isinstance(value, list) else None
        if isinstance(value, dict):
            fields[f"f:{name}"] = field_set(value, structure.child(name))
        elif rule is not None and rule.keys:
            fields[f"f:{name}"] = {
                _item_key(item, rule): field_set(item, structure.child(name))
                for item in value
                if isinstance(item, dict)
            }
        else:
            fields[f"f:{name}"] = {}
    return fields


def _item_key(item: JSON, rule: ListRule) -> str:
    pairs = ",".join(f'"{key}":{_json(item[key])}' for key in rule.keys if key in item)
    return f"k:{{{pairs}}}"


def _json(value: Any) -> str:
    return (
        f'"{value}"'
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )


def _drop_abandoned(live: JSON, applied: JSON, previous: JSON, structure: Structure) -> None:
    for mark, below in previous.items():
        name = mark[2:]
        if name not in live:
            continue
        if name not in applied:
            if isinstance(live[name], dict) and below:
                _drop_abandoned(live[name], {}, below, structure.child(name))
                if not live[name]:
                    del live[name]
            elif isinstance(live[name], list) and below:
                _drop_items(live, name, [], below, structure)
            else:
                del live[name]
        elif isinstance(live[name], dict) and isinstance(applied[name], dict):
            _drop_abandoned(live[name], applied[name], below, structure.child(name))
        elif isinstance(live[name], list) and isinstance(applied[name], list) and below:
            _drop_items(live, name, applied[name], below, structure)


def _drop_items(live: JSON, name: str, applied: list[Any], previous: JSON, structure: Structure) -> None:
    rule = structure.list_rule(name)
    if rule is None or not rule.keys:
        return
    wanted = {_item_key(item, rule): item for item in applied if isinstance(item, dict)}
    kept = []
    for item in live[name]:
        key = _item_key(item, rule)
        if key not in previous:
            kept.append(item)
        elif key in wanted:
            _drop_abandoned(item, wanted[key], previous[key], structure.child(name))
            kept.append(item)
    live[name] = kept
