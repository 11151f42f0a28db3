"""The same workload or policy in the other version of the API.

Two things differ between v1alpha1 and v2alpha1: `jobNamePrefix` became `namePrefix`, and a policy's default of a scalar
lost one level, `value: {value: X}` became `value: X`. All else is the same in both, so whatever is not one of these two
passes as it is, unknown fields and parts of a wrong type included: what is wrong with them is said by the schema of the
version that they are written in, and an object that could not be converted would make its whole kind unreadable.

There and back is the same object. The one exception is a policy that no schema of v1alpha1 accepts, with a default that
has no inner `value`: it is kept, and comes back with one.
"""

from __future__ import annotations

from extender.errors import MalformedError
from extender.model.names import RUN_AI_GROUP
from extender.model.workload import Json, WorkloadKind

V1, V2 = f"{RUN_AI_GROUP}/v1alpha1", f"{RUN_AI_GROUP}/v2alpha1"

_PREFIX = {V1: "jobNamePrefix", V2: "namePrefix"}
_WORKLOADS = frozenset(kind.workload for kind in WorkloadKind)
_POLICIES = frozenset(kind.policy for kind in WorkloadKind)


def convert(obj: Json, to_version: str) -> Json:
    """A workload, a policy, or a list of either (`TrainingWorkloadList`), in the version asked for.

    to_version: as an object's `apiVersion` says it, "run.ai/v2alpha1".
    Only `apiVersion` and `spec` change, of a list those of its items. The result shares what stayed the same with
    `obj`, which itself is not changed. Raises MalformedError for another group, version or kind, and for an object on
    its way to v2alpha1, where it would be stored, that has the spellings of both versions.
    """
    from_version, kind = obj.get("apiVersion"), obj.get("kind")
    for version in (from_version, to_version):
        if version not in _PREFIX:
            raise MalformedError(f"apiVersion {version!r} has no conversion; there are {V1} and {V2}")
    items = obj.get("items")
    if isinstance(kind, str) and kind.removesuffix("List") in _WORKLOADS | _POLICIES and isinstance(items, list):
        return {**obj, "apiVersion": to_version, "items": [_item(one, kind, from_version, to_version) for one in items]}
    if kind not in _WORKLOADS | _POLICIES:
        raise MalformedError(f"kind {kind!r} has no conversion; there are {', '.join(sorted(_WORKLOADS | _POLICIES))}")
    converted = {**obj, "apiVersion": to_version}
    spec = obj.get("spec")
    if isinstance(spec, dict) and from_version != to_version:
        spec = _renamed(spec, to_version, _called(obj))
        converted["spec"] = _with_defaults(spec, to_version) if kind in _POLICIES else spec
    return converted


def _item(item: object, list_kind: str, from_version: object, to_version: str) -> object:
    if not isinstance(item, dict):
        raise MalformedError(f"an item of {list_kind} is {item!r}; it must be an object")
    # Inside a list the type may be left out: the list's own says it.
    typed = {"apiVersion": from_version, "kind": list_kind.removesuffix("List"), **item}
    converted = convert(typed, to_version)
    return {key: value for key, value in converted.items() if key in item}


def _renamed(spec: Json, to_version: str, called: str) -> Json:
    """With the prefix of job names under the name that it has in `to_version`, at its place."""
    old, new = _PREFIX[V1 if to_version == V2 else V2], _PREFIX[to_version]
    names = {old: new}
    if old in spec and new in spec:
        if to_version == V2:
            spellings = " and ".join(f"spec.{name} belongs to {version}" for version, name in _PREFIX.items())
            raise MalformedError(f"{called} has two prefixes for the names of its jobs: {spellings}; keep one of them")
        # Stored already: refused now, one object would keep everybody from reading its kind in v1alpha1.
        names[new] = old
    return {names.get(name, name): value for name, value in spec.items()}


def _with_defaults(spec: Json, to_version: str) -> Json:
    """With the defaults of scalars nested as in `to_version`; an entry with a `value` of its own is a scalar's."""
    nested = _nested if to_version == V1 else _flat
    return {
        name: {**entry, "value": nested(entry["value"])} if isinstance(entry, dict) and "value" in entry else entry
        for name, entry in spec.items()
    }


def _nested(value: object) -> object:
    return {"value": value}


def _flat(value: object) -> object:
    # With anything beside the inner value it is none of v1alpha1, and flattening would lose that.
    return value["value"] if isinstance(value, dict) and value.keys() == {"value"} else value


def _called(obj: Json) -> str:
    """How a message names the object."""
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{obj['kind']} {name}" if name else f"this {obj['kind']}"
