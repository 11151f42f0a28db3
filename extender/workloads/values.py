"""The values set of a submission: what the workload says, over what its base says, over the policy's defaults.

behaviour.md 12.2, steps 4 to 7. Items are merged by their labels and replaced as a whole: whoever overrides one gives
all its members, or has them filled from the policy's DEFAULTS. An order of sources is a list, the last one winning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extender.model.workload import Json, Origin, Parameter, Parameters, Value, ValuesSet
from extender.workloads import rules, scalar, specs


@dataclass(frozen=True, slots=True)
class Composed:
    """The values, and all that is wrong with them: a line each, by path. A value of a wrong type stays as written."""

    values: ValuesSet
    violations: tuple[str, ...]


def compose(
    parameters: Parameters, workload: Json, base: Json | None, policy: Json | None, *, is_template: bool = False
) -> Composed:
    """The values set of `workload`, judged by `policy`; all are specs of v2alpha1, None for one that there is not.

    is_template: its items need not have all members, as a policy may fill them in for those who use it.
    What is written in base and workload is kept and not copied. Never raises. Cost: linear in the items.
    """
    policy = policy or {}
    contributions = [spec for spec in (base, workload) if spec]
    sources = [(Origin.BASE, base or {}), (Origin.WORKLOAD, workload)]

    scalars, defaults = _scalars(parameters, sources, policy)
    items = {
        parameter.name: merged
        for parameter in parameters.values()
        if parameter.itemized and (merged := _items(parameter, sources, policy))
    }
    values = ValuesSet(scalars, items)

    lines = [line for spec in contributions for line in specs.problems(parameters, spec)]
    lines += _mistyped(parameters, values, in_full=not is_template)
    lines += rules.violations(parameters, contributions, policy, defaults, values)
    return Composed(values, specs.in_order(lines))


def _scalars(
    parameters: Parameters, sources: Sequence[tuple[Origin, Json]], policy: Json
) -> tuple[dict[str, Value], Json]:
    """The values of all scalars, and the policy's defaults, those that are computed from other values included."""
    known = [one for one in parameters.values() if not one.itemized]
    defaults = {one.name: value for one in known if (value := specs.given(policy, one.name)) is not None}
    found = {}
    for parameter in known:
        name = parameter.name
        options = [
            (Origin.POLICY, defaults.get(name)),
            *((origin, specs.given(spec, name)) for origin, spec in sources),
        ]
        for origin, value in reversed(options):
            if value is not None:
                found[name] = Value(scalar.canonical(value, parameter.options), origin)
                break
    computed = {
        parameter.name: value
        for parameter in known
        if parameter.name not in defaults and (value := _computed(parameters, parameter, policy, found)) is not None
    }
    found |= {name: Value(value, Origin.POLICY) for name, value in computed.items() if name not in found}
    return found, defaults | computed


def _computed(parameters: Parameters, parameter: Parameter, policy: Json, found: Mapping[str, Value]) -> Any:
    """The default that `defaultFrom` gives, from values that are there without it; None when there is none."""
    rule = specs.mapping(specs.rules_of(policy, parameter.name).get("defaultFrom"))
    source = parameters.get(str(rule.get("field")))
    if source is None or source.name not in found:
        return None
    return scalar.part(found[source.name].value, source.type, rule.get("factor"), parameter.type)


def _items(parameter: Parameter, sources: Sequence[tuple[Origin, Json]], policy: Json) -> dict[str, Value]:
    """The items that are left when each source has added, replaced and deleted, by label."""
    fill = specs.fill(policy, parameter)
    left: dict[str, tuple[Any, Origin]] = {}
    layers = [(Origin.POLICY, specs.policy_items(policy, parameter))]
    layers += [(origin, specs.workload_items(spec, parameter)) for origin, spec in sources]
    for origin, layer in layers:
        for label, entry in layer.items():
            if specs.is_deleted(entry):
                left.pop(label, None)
            elif (value := specs.item(entry)) is not None:
                left[label] = (value, origin)
    return {label: _filled(parameter, value, origin, fill) for label, (value, origin) in left.items()}


def _filled(parameter: Parameter, value: Any, origin: Origin, fill: Json) -> Value:
    if not isinstance(value, dict) or not parameter.members:
        return Value(scalar.canonical(value, parameter.options), origin)
    missing = tuple(sorted(fill.keys() - value.keys()))
    whole = fill | value
    for name, member in parameter.members.items():
        if member.options and name in whole:
            whole[name] = scalar.canonical(whole[name], member.options)
    return Value(whole, origin, missing)


def _mistyped(parameters: Parameters, values: ValuesSet, *, in_full: bool) -> Iterator[str]:
    for name, value in values.scalars.items():
        if text := scalar.problem(value.value, parameters[name].type, parameters[name].options):
            yield f"{name}: {text}"
    for name, items in values.items.items():
        for label, value in items.items():
            yield from specs.item_problems(parameters[name], f"{name}.{label}", value.value, in_full=in_full)
