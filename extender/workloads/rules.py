"""What a policy allows: its rules, on what the base and the workload wrote and on the values that came of it.

canEdit, canAdd and canRemove judge what each of the two wrote; required, min, max, step, options and the rules of
members judge the result only. The sentences are the catalogue of behaviour.md 12.2; numbers print as in the policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from extender.model.workload import Json, Member, Parameter, Parameters, Type, ValuesSet
from extender.workloads import scalar, specs

BLANK = "cannot be blank"
_GPU, _MASTER_GPU = "gpu", "masterGpu"
_OF_MASTER = {"environment": "masterEnvironment", "extendedResources": "masterExtendedResources"}
_CLAIMS, _NO_CLAIMS = "pvcs", "masterNoPvcs"
_UNSET = "-"  # the value of a variable that is taken from the master


def violations(
    parameters: Parameters, contributions: Sequence[Json], policy: Json, defaults: Json, values: ValuesSet
) -> Iterator[str]:
    """The lines about each rule of `policy` that is broken, in no order.

    contributions: the specs of base and workload. defaults: the policy's values of scalars, computed ones included.
    """
    for name in policy:
        parameter = parameters.get(name)
        if parameter is None:
            continue
        if parameter.itemized:
            yield from _of_items_written(parameter, contributions, policy)
            yield from _of_items(parameter, policy, values)
            twin = _OF_MASTER.get(name)
            if twin is not None and twin in parameters and twin not in policy:
                yield from _of_items_of_master(parameter, twin, contributions, policy)
            if name == _CLAIMS and _NO_CLAIMS in parameters:
                yield from _of_claims_of_master(parameter, policy, values)
        else:
            yield from _of_scalar(parameter, contributions, policy, defaults.get(name), values)
            if name == _GPU and _MASTER_GPU in parameters and _MASTER_GPU not in policy:
                yield from _of_master(parameter, policy, defaults.get(name), values)


def broken(value: Any, of: Parameter | Member, rules: Json) -> list[str]:
    """Sentences about the rules of one value that it breaks. A missing value breaks only `required`.

    A value that is not of its type breaks none: that it is not is said elsewhere.
    """
    if scalar.is_blank(value):
        return [BLANK] if rules.get("required") is True else []
    if scalar.problem(value, of.type):
        return []
    found = _out_of_bounds(value, of.type, rules) if of.type in scalar.AMOUNTS else []
    if isinstance(rules.get("options"), list):
        options = option_values(rules["options"])
        if not any(scalar.same(value, option, of.type, of.options) for option in options):
            found.append(scalar.one_of(options))
    return found


def option_values(options: Sequence[Any]) -> list[Any]:
    """The values of a rule's options, each written {"value": …, "displayed": …} or as it is."""
    return [one.get("value") if isinstance(one, dict) else one for one in options]


def _out_of_bounds(value: Any, type_: Type, rules: Json) -> list[str]:
    low, high, step = (rules.get(name) for name in ("min", "max", "step"))
    amounts = [None if one is None else scalar.amount(one, type_) for one in (value, low, high, step)]
    given, at_least, at_most, by = amounts
    found = []
    for name, rule, read in zip(("min", "max", "step"), (low, high, step), amounts[1:], strict=True):
        if rule is not None and (read is None or (name == "step" and read <= 0)):
            # A bound that cannot be read must not let everything through.
            right = f"{type_} above 0" if name == "step" else type_
            found.append(f"cannot be judged: {name} of the policy must be {right}, not {scalar.shown(rule)}")
    if given is None:
        return found
    if at_least is not None and given < at_least:
        found.append(f"must be no less than {low}")
    if at_most is not None and given > at_most:
        found.append(f"must be no greater than {high}")
    if by is not None and by > 0 and (given - (at_least or 0)) % by:
        found.append(f"must be a multiple of {step}" if low is None else f"must be {low} plus a multiple of {step}")
    return found


def _of_scalar(
    parameter: Parameter, contributions: Sequence[Json], policy: Json, default: Any, values: ValuesSet
) -> Iterator[str]:
    name, rules = parameter.name, specs.rules_of(policy, parameter.name)
    if rules.get("canEdit") is False:
        written = [value for spec in contributions if (value := specs.given(spec, name)) is not None]
        if not all(scalar.same(value, default, parameter.type, parameter.options) for value in written):
            yield f"{name}: cannot be edited"
    result = values.scalars.get(name)
    for sentence in broken(result.value if result else None, parameter, rules):
        yield f"{name}: {sentence}"


def _of_master(gpu: Parameter, policy: Json, default: Any, values: ValuesSet) -> Iterator[str]:
    """A master of its own is no way to have more GPUs than a policy allows that has only heard of `gpu`."""
    rules, result = specs.rules_of(policy, gpu.name), values.scalars.get(_MASTER_GPU)
    if result is None:
        return
    for sentence in broken(result.value, gpu, {"max": rules.get("max")}):
        yield f"{_MASTER_GPU}: {sentence}"
    if rules.get("canEdit") is False:
        given, locked = scalar.amount(result.value, gpu.type), scalar.amount(default, gpu.type)
        if given is not None and given > (locked or 0):
            yield f"{_MASTER_GPU}: cannot be edited"


def _of_items_written(parameter: Parameter, contributions: Sequence[Json], policy: Json) -> Iterator[str]:
    """canAdd, canRemove and canEdit, of items and of their members."""
    own, fill = specs.policy_items(policy, parameter), specs.fill(policy, parameter)
    may_add = specs.rules_of(policy, parameter.name).get("canAdd") is not False
    fixed = [name for name, rules in _item_rules(policy, parameter).items() if rules.get("canEdit") is False]
    for spec in contributions:
        for label, entry in specs.workload_items(spec, parameter).items():
            path = f"{parameter.name}.{label}"
            rules = specs.rules_of(own, label)
            if specs.is_deleted(entry):
                if rules.get("canRemove") is False:
                    yield f"{path}: cannot be removed"
                continue
            value = specs.item(entry)
            if value is None:
                continue
            if label not in own and not may_add:
                yield f"{path}: cannot be added"
            default = specs.item(own.get(label))
            if rules.get("canEdit") is False and not _same_item(parameter, value, default, fill):
                yield f"{path}: cannot be edited"
            written, allowed = fill | specs.mapping(value), fill | specs.mapping(default)
            for name in fixed:
                if not _same_member(parameter, name, written, allowed):
                    yield f"{path}.{name}: cannot be edited"


def _of_items_of_master(parameter: Parameter, twin: str, contributions: Sequence[Json], policy: Json) -> Iterator[str]:
    """What the master has in place of the workers' items is held to the rules of these."""
    written = [
        {parameter.name: {"items": {label: _of_twin(entry) for label, entry in specs.entries(spec, twin).items()}}}
        for spec in contributions
    ]
    for line in _of_items_written(parameter, written, policy):
        yield twin + line.removeprefix(parameter.name)


def _of_twin(entry: Any) -> Any:
    return {"deleted": True} if specs.item(entry) == _UNSET else entry


def _of_claims_of_master(pvcs: Parameter, policy: Json, values: ValuesSet) -> Iterator[str]:
    """A master without claims lacks those too that nobody may remove."""
    result = values.scalars.get(_NO_CLAIMS)
    own = specs.policy_items(policy, pvcs)
    kept = sorted(label for label in own if specs.rules_of(own, label).get("canRemove") is False)
    if result is not None and result.value is True and kept:
        yield f"{_NO_CLAIMS}: must be false, as {', '.join(kept)} cannot be removed"


def _of_items(parameter: Parameter, policy: Json, values: ValuesSet) -> Iterator[str]:
    """What is required of the result, and the rules of members on each of its items."""
    items = values.items.get(parameter.name, {})
    if not items and specs.rules_of(policy, parameter.name).get("required") is True:
        yield f"{parameter.name}: {BLANK}"
    rules = _item_rules(policy, parameter)
    for label, value in items.items() if rules else ():
        if isinstance(value.value, dict):
            for name, rule in rules.items():
                for sentence in broken(value.value.get(name), parameter.members[name], rule):
                    yield f"{parameter.name}.{label}.{name}: {sentence}"


def _item_rules(policy: Json, parameter: Parameter) -> dict[str, Json]:
    found = specs.mapping(specs.mapping(policy.get(parameter.name)).get("itemRules"))
    return {name: specs.mapping(rules) for name, rules in found.items() if name in parameter.members}


def _same_item(parameter: Parameter, one: Any, other: Any, fill: Json) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict) or not parameter.members:
        return scalar.same(one, other, parameter.type, parameter.options)
    one, other = fill | one, fill | other
    return all(_same_member(parameter, name, one, other) for name in one.keys() | other.keys())


def _same_member(parameter: Parameter, name: str, one: Json, other: Json) -> bool:
    member = parameter.members.get(name)
    if member is None:
        return name in one and name in other and scalar.same(one[name], other[name], Type.OBJECT)
    return scalar.same(one.get(name), other.get(name), member.type, member.options)
