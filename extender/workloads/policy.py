"""Policies themselves: is one valid, and which one is in force.

A policy is judged when it is written: what no workload could get past, or what we could not enforce, is refused there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from extender.model import names
from extender.model.workload import Json, Member, Parameter, Parameters, Type
from extender.workloads import rules, scalar, specs

_BOUNDS = ("min", "max", "step")
_RULES = ("required", "canEdit", *_BOUNDS, "options", "defaultFrom")  # of a scalar or of a member
_COMPUTED = frozenset({Type.INTEGER, Type.NUMBER, Type.QUANTITY})  # types that `defaultFrom` can compute
_UNCHOSEN = frozenset({Type.BOOLEAN, Type.TEXTS, Type.OBJECT})  # types without options


@dataclass(frozen=True, slots=True)
class Effective:
    """The policy in force, a whole object, and the others of its namespace, which are ignored."""

    policy: Json | None = None
    ignored: tuple[Json, ...] = ()

    @property
    def warning(self) -> str:
        """For the owner of a workload; "" when nothing is ignored."""
        if self.policy is None or not self.ignored:
            return ""
        others = ", ".join(sorted(_metadata(one, "name") for one in self.ignored))
        kind, namespace = self.policy.get("kind", "policy"), _metadata(self.policy, "namespace")
        return f"{kind} {_metadata(self.policy, 'name')} is the oldest in {namespace}; ignored: {others}"


def effective(candidates: Iterable[Json]) -> Effective:
    """The policy in force for a project, of all of one kind in the project's namespace and in that of global ones.

    The project's own replaces the global one as a whole. Of several in one namespace the oldest is in force, of those
    of the same second the first by name.
    """
    policies = sorted(candidates, key=_age)
    own = [one for one in policies if _metadata(one, "namespace") != names.SYSTEM_NAMESPACE]
    at_hand = own or policies
    return Effective(at_hand[0], tuple(at_hand[1:])) if at_hand else Effective()


def problems(parameters: Parameters, policy_spec: object) -> tuple[str, ...]:
    """What is wrong with the spec of a policy, `<path>: <sentence>` by path. Never raises, whatever JSON it is."""
    if not isinstance(policy_spec, dict):
        return ("spec: must be an object",)
    lines = list(specs.unknown_members("", policy_spec, parameters))
    for name, part in policy_spec.items():
        parameter = parameters.get(name)
        if parameter is None or part is None:
            continue
        if isinstance(part, dict):
            lines += (_itemized if parameter.itemized else _scalar)(parameters, parameter, policy_spec)
        else:
            lines.append(f"{name}: must be an object with rules and values")
    return specs.in_order(lines)


def _age(policy: Json) -> tuple[bool, str, str]:
    created = _metadata(policy, "creationTimestamp")  # RFC 3339 in UTC: ordered as texts are
    return not created, created, _metadata(policy, "name")


def _metadata(policy: Json, name: str) -> str:
    return str(specs.mapping(policy.get("metadata")).get(name) or "")


def _scalar(parameters: Parameters, parameter: Parameter, policy: Json) -> Iterator[str]:
    name = parameter.name
    part = policy[name]
    yield from specs.unknown_members(name, part, ("rules", "value"))
    yield from _rules(f"{name}.rules", parameter, part.get("rules"))
    rule = specs.mapping(part.get("rules")).get("defaultFrom")
    if rule is not None and parameter.type in _COMPUTED:
        yield from _default_from(parameters, name, rule, policy)
    value = part.get("value")
    if value is not None:
        yield from _default(f"{name}.value", parameter, value, specs.rules_of(policy, name))


def _itemized(parameters: Parameters, parameter: Parameter, policy: Json) -> Iterator[str]:
    del parameters  # items are not computed from other parameters
    name = parameter.name
    part = policy[name]
    yield from specs.unknown_members(name, part, ("rules", "itemRules", "items"))
    yield from _flags(f"{name}.rules", part.get("rules"), ("canAdd", "required"))
    for key in ("itemRules", "items"):
        if not isinstance(part.get(key), dict | None):
            yield f"{name}.{key}: must be an object"
    item_rules = specs.mapping(part.get("itemRules"))
    if item_rules and not parameter.members:
        yield f"{name}.itemRules: its items are texts, without members that rules could be for"
    elif item_rules:
        yield from specs.unknown_members(f"{name}.itemRules", item_rules, parameter.members)
    for member_name, member in parameter.members.items():
        path = f"{name}.itemRules.{member_name}"
        yield from _rules(path, member, item_rules.get(member_name))
        if specs.mapping(item_rules.get(member_name)).get("defaultFrom") is not None and member.type in _COMPUTED:
            yield f"{path}.defaultFrom: is not for members of items"
    fill = specs.fill(policy, parameter)
    for label, entry in specs.mapping(part.get("items")).items():
        path = f"{name}.items.{label}"
        if not isinstance(entry, dict):
            yield f"{path}: must be an object with a value"
        elif label == specs.DEFAULTS and parameter.members:
            yield from _fill(path, parameter, entry, item_rules)
        else:
            yield from _item(path, parameter, entry, item_rules, fill)


def _item(path: str, parameter: Parameter, entry: Json, item_rules: Json, fill: Json) -> Iterator[str]:
    yield from specs.unknown_members(path, entry, ("rules", "value"))
    yield from _flags(f"{path}.rules", entry.get("rules"), ("canEdit", "canRemove"))
    value = specs.members(entry["value"]) if isinstance(entry.get("value"), dict) else entry.get("value")
    if value is None:
        yield f"{path}.value: {rules.BLANK}"
        return
    if parameter.members and isinstance(value, dict):
        value = fill | value
    yield from specs.item_problems(parameter, f"{path}.value", value)
    for name, member in parameter.members.items():
        for sentence in rules.broken(specs.mapping(value).get(name), member, specs.mapping(item_rules.get(name))):
            yield f"{path}.value.{name}: {sentence}"


def _fill(path: str, parameter: Parameter, entry: Json, item_rules: Json) -> Iterator[str]:
    """DEFAULTS: only members, and each of them such that a rule lets it pass."""
    yield from specs.unknown_members(path, entry, ("value",))
    if not isinstance(entry.get("value"), dict):
        yield f"{path}.value: must be an object, the members that items are filled with"
    value = specs.members(entry.get("value"))
    yield from specs.unknown_members(f"{path}.value", value, parameter.members)
    for name, member in parameter.members.items():
        if name in value:
            yield from _default(f"{path}.value.{name}", member, value[name], specs.mapping(item_rules.get(name)))


def _default(path: str, of: Parameter | Member, value: Any, own_rules: Json) -> Iterator[str]:
    """A default must be a value that is there, and pass its own rules."""
    if text := scalar.problem(value, of.type, of.options):
        yield f"{path}: {text}, not {scalar.shown(value)}"
        return
    yield from (f"{path}: {sentence}" for sentence in rules.broken(value, of, own_rules))


def _rules(path: str, of: Parameter | Member, written: Any) -> Iterator[str]:
    """The rules of one value: known, for its type, and themselves of the right form."""
    if written is None:
        return
    if not isinstance(written, dict):
        yield f"{path}: must be an object"
        return
    yield from specs.unknown_members(path, written, _RULES)
    for name in ("required", "canEdit"):
        yield from _flag(f"{path}.{name}", written.get(name))
    for name in (*_BOUNDS, "options", "defaultFrom"):
        if written.get(name) is not None and not _applies(name, of.type):
            yield f"{path}.{name}: does not apply to {of.type}"
    if of.type in scalar.AMOUNTS:
        yield from _bounds(path, of.type, written)
    if written.get("options") is not None and _applies("options", of.type):
        yield from _options(f"{path}.options", of, written["options"])


def _applies(rule: str, type_: Type) -> bool:
    if rule == "options":
        return type_ not in _UNCHOSEN
    return type_ in (_COMPUTED if rule == "defaultFrom" else scalar.AMOUNTS)


def _bounds(path: str, type_: Type, written: Json) -> Iterator[str]:
    read = {}
    for name in _BOUNDS:
        value = written.get(name)
        if value is None:
            continue
        amount = scalar.amount(value, type_)
        if amount is None:
            yield f"{path}.{name}: must be {type_}, not {scalar.shown(value)}"
        elif name == "step" and amount <= 0:
            yield f"{path}.step: must be greater than 0, not {value}"
        else:
            read[name] = amount
    if "min" in read and "max" in read and read["min"] > read["max"]:
        yield f"{path}.min: must be no greater than max, {written['min']} is more than {written['max']}"


def _options(path: str, of: Parameter | Member, written: Any) -> Iterator[str]:
    if not isinstance(written, list) or not written:
        yield f'{path}: must be a list of values, each {{"value": …, "displayed": …}}, and not empty'
        return
    for number, (option, value) in enumerate(zip(written, rules.option_values(written), strict=True)):
        if isinstance(option, dict):
            yield from specs.unknown_members(f"{path}[{number}]", option, ("value", "displayed"))
        if text := scalar.problem(value, of.type, of.options):
            yield f"{path}[{number}]: {text}, not {scalar.shown(value)}"


def _default_from(parameters: Parameters, name: str, rule: Any, policy: Json) -> Iterator[str]:
    path = f"{name}.rules.defaultFrom"
    if not isinstance(rule, dict):
        yield f'{path}: must be an object, {{"field": …, "factor": …}}'
        return
    yield from specs.unknown_members(path, rule, ("field", "factor"))
    field, factor = rule.get("field"), rule.get("factor")
    source = parameters.get(field) if isinstance(field, str) else None
    if source is None or source.itemized or source.type not in _COMPUTED or field == name:
        yield f"{path}.field: must be another parameter that is a number or a quantity, not {scalar.shown(field)}"
    elif specs.rules_of(policy, source.name).get("defaultFrom") is not None:
        yield f"{path}.field: must not be computed itself, as {field} is"
    amount = scalar.amount(factor, Type.NUMBER)
    if amount is None or amount <= 0:
        yield f"{path}.factor: must be a number greater than 0, not {scalar.shown(factor)}"
    if specs.given(policy, name) is not None:
        yield f"{path}: only one of value and defaultFrom may be set"


def _flags(path: str, written: Any, known: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(written, dict | None):
        yield f"{path}: must be an object"
        return
    yield from specs.unknown_members(path, specs.mapping(written), known)
    for name in known:
        yield from _flag(f"{path}.{name}", specs.mapping(written).get(name))


def _flag(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, bool | None):
        yield f"{path}: must be a boolean, not {scalar.shown(value)}"
