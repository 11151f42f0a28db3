"""Merging by type: strategic merge patch and server-side apply.

`Structure` says how the lists of a type merge: the only thing in which built-in kinds and custom resources differ.

Server-side apply is an approximation: the applied configuration is merged into the live object by the same list rules,
and fields that the same manager applied before and now leaves out are removed. Conflicts with other managers are not
detected (as if `force` were always set).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from extender.emulator import typetree
from extender.emulator.patching import PatchError
from extender.emulator.resources import JSON


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
    if not all(isinstance(item, dict) for item in (*live, *patch)):
        raise PatchError("invalid JSON document: expected a list of objects")
    if any(item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if item.get(_DIRECTIVE) != "replace"]
    merged = list(live)
    for item in patch:
        key = _key_of(item, rule)
        if not any(name in item for name in rule.keys):
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


def _key_of(item: Any, rule: ListRule | None) -> str:
    """What identifies an item of a list; text, since the values need not be hashable."""
    if rule is None or not rule.keys or not isinstance(item, dict):
        return repr(item)
    return repr([item.get(key) for key in rule.keys])


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
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


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
