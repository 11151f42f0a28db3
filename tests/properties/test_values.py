"""Values sets and policies against a slow, obvious reference, and on whatever JSON there is."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extender.model.workload import Member, Parameter, Parameters, Type, WorkloadKind
from extender.wire import workloads
from extender.workloads import checks
from extender.workloads.policy import problems
from extender.workloads.values import compose

Json = dict[str, Any]

PARAMETERS: Parameters = {
    "gpu": Parameter("gpu", Type.NUMBER),
    "image": Parameter("image", Type.TEXT),
    "size": Parameter("size", Type.QUANTITY),
    "environment": Parameter("environment", Type.TEXT, itemized=True),
    "ports": Parameter(
        "ports",
        Type.OBJECT,
        itemized=True,
        members={"container": Member("container", Type.INTEGER, required=True), "tool": Member("tool", Type.TEXT)},
    ),
}
SCALARS, ITEMIZED = ("gpu", "image", "size"), ("environment", "ports")

LABELS = st.sampled_from(["a", "b", "c"])
PORTS = st.fixed_dictionaries(
    {}, optional={"container": st.integers(1, 9), "tool": st.sampled_from(["x", "y"]) | st.none()}
)
VALUES = {
    "gpu": st.sampled_from(["0", "1", "1.0", 2, "5", "x"]),
    "image": st.sampled_from(["", "i", "j", 5]),
    "size": st.sampled_from(["1G", "1000M", "2Gi", "x"]),
    "environment": st.sampled_from(["x", "y", 1]),
    "ports": PORTS,
}


def _entries(name: str) -> st.SearchStrategy[Json]:
    entry = st.just({"deleted": True}) | st.builds(lambda value: {"value": value}, VALUES[name])
    return st.builds(lambda found: {"items": found}, st.dictionaries(LABELS, entry, max_size=3))


SPECS = st.fixed_dictionaries(
    {},
    optional={name: st.builds(lambda value: {"value": value}, VALUES[name] | st.none()) for name in SCALARS}
    | {name: _entries(name) for name in ITEMIZED},
)
ITEM_RULES = st.fixed_dictionaries({}, optional={"canEdit": st.booleans(), "canRemove": st.booleans()})


def _rules(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional={"required": st.booleans(), "canEdit": st.booleans(), **more})


@st.composite
def policies(draw: st.DrawFn) -> Json:
    found: Json = {}
    for name in SCALARS:
        bounds = {"min": VALUES[name], "max": VALUES[name]} if name != "image" else {}
        found[name] = {"rules": draw(_rules(**bounds)), "value": draw(VALUES[name] | st.none())}
    for name in ITEMIZED:
        labels = draw(st.lists(LABELS, unique=True))
        items: Json = {label: {"rules": draw(ITEM_RULES), "value": draw(VALUES[name])} for label in labels}
        found[name] = {"rules": {"canAdd": draw(st.booleans())}, "items": items}
    if draw(st.booleans()):
        found["ports"]["items"]["DEFAULTS"] = {"value": draw(PORTS)}
        found["ports"]["itemRules"] = {"tool": draw(_rules())}
    return found


def naive(workload: Json, base: Json, policy: Json) -> Json:
    """The values, as behaviour.md 12.2 says them step by step."""
    result: Json = {}
    for name in SCALARS:
        for spec in (workload, base, policy):
            value = spec.get(name, {}).get("value")
            if value is not None:
                result[name] = value
                break
    for name in ITEMIZED:
        fill = policy.get(name, {}).get("items", {}).get("DEFAULTS", {}).get("value", {})
        found: Json = {}
        for label in "abc":
            for spec in (policy, base, workload):
                entry = spec.get(name, {}).get("items", {}).get(label, {})
                if entry.get("deleted"):
                    found.pop(label, None)
                elif "value" in entry:
                    found[label] = entry["value"]
        if name == "ports":
            for label, item in found.items():
                whole = {member: value for member, value in item.items() if value is not None}
                for member, value in fill.items():
                    if value is not None and member not in whole:
                        whole[member] = value
                found[label] = whole
        if found:
            result[name] = found
    return result


@given(SPECS, SPECS, policies())
def test_compose_is_what_the_steps_say(workload: Json, base: Json, policy: Json) -> None:
    assert compose(PARAMETERS, workload, base, policy).values.plain() == naive(workload, base, policy)


def over(upper: Json, lower: Json) -> Json:
    """One spec that stands for two: entries by label, scalars by name."""
    result = dict(lower)
    for name, part in upper.items():
        if name in ITEMIZED:
            result[name] = {"items": {**lower.get(name, {}).get("items", {}), **part["items"]}}
        elif part["value"] is not None:
            result[name] = part
    return result


@given(SPECS, SPECS, policies())
def test_two_sources_laid_over_each_other_are_one(workload: Json, base: Json, policy: Json) -> None:
    policy["ports"]["items"].pop("DEFAULTS", None)
    apart = compose(PARAMETERS, workload, base, policy).values.plain()
    assert compose(PARAMETERS, over(workload, base), None, policy).values.plain() == apart
    lower = over(base, {name: {key: part[key] for key in part if key != "rules"} for name, part in policy.items()})
    bottom = {name: part for name, part in lower.items() if name in ITEMIZED or part["value"] is not None}
    assert compose(PARAMETERS, workload, bottom, None).values.plain() == apart


@given(SPECS, SPECS, policies())
def test_violations_are_by_path_each_once_and_always_the_same(workload: Json, base: Json, policy: Json) -> None:
    found = compose(PARAMETERS, workload, base, policy).violations
    paths = [line.split(": ")[0] for line in found]
    assert paths == sorted(paths)
    assert len(set(found)) == len(found)
    turned = [dict(reversed(one.items())) for one in (workload, base, policy)]
    assert compose(PARAMETERS, *turned).violations == found


WORTH = {"0": 0, "1": 1, "1.0": 1, 2: 2, "5": 5, "1G": 10**9, "1000M": 10**9, "2Gi": 2 * 2**30}


def _differs(value: Any, default: Any) -> bool:
    return value != default and (value not in WORTH or WORTH[value] != WORTH.get(default))


def scalar_lines(workload: Json, base: Json, policy: Json) -> set[str]:
    """The lines about rules of scalars, as behaviour.md 12.2 says them one by one."""
    lines = set()
    for name in SCALARS:
        rules, default = policy[name]["rules"], policy[name]["value"]
        given = [spec.get(name, {}).get("value") for spec in (base, workload)]
        if rules.get("canEdit") is False and any(one is not None and _differs(one, default) for one in given):
            lines.add(f"{name}: cannot be edited")
        value = naive(workload, base, policy).get(name)
        if value in (None, "") and rules.get("required"):
            lines.add(f"{name}: cannot be blank")
        if value in WORTH and rules.get("min") in WORTH and WORTH[value] < WORTH[rules["min"]]:
            lines.add(f"{name}: must be no less than {rules['min']}")
        if value in WORTH and rules.get("max") in WORTH and WORTH[value] > WORTH[rules["max"]]:
            lines.add(f"{name}: must be no greater than {rules['max']}")
    return lines


def item_lines(name: str, workload: Json, base: Json, policy: Json) -> set[str]:
    """The lines about rules of items and of their member `tool`; each entry is looked at by itself."""
    lines = set()
    items, tool = policy[name]["items"], policy[name].get("itemRules", {}).get("tool", {})
    for spec in (base, workload):
        for label, entry in spec.get(name, {}).get("items", {}).items():
            own = items.get(label, {})
            path, rules = f"{name}.{label}", own.get("rules", {})
            # What it would be, and what the policy has there, each alone with what the policy fills in.
            only = (
                {"a": None}
                if "deleted" in entry
                else naive({name: {"items": {"a": entry}}}, {}, _fill(policy, name))[name]
            )
            was = naive({name: {"items": {"a": {"value": own.get("value", {})}}}}, {}, _fill(policy, name))[name]
            if "deleted" in entry and rules.get("canRemove") is False:
                lines.add(f"{path}: cannot be removed")
            if "value" in entry and not own and policy[name]["rules"]["canAdd"] is False:
                lines.add(f"{path}: cannot be added")
            if "value" in entry and rules.get("canEdit") is False and only["a"] != was["a"]:
                lines.add(f"{path}: cannot be edited")
            fixed = "value" in entry and tool.get("canEdit") is False
            if fixed and only["a"].get("tool") != was["a"].get("tool"):
                lines.add(f"{path}.tool: cannot be edited")
    for label, item in naive(workload, base, policy).get(name, {}).items():
        if tool.get("required") and "tool" not in item:
            lines.add(f"{name}.{label}.tool: cannot be blank")
    return lines


def _fill(policy: Json, name: str) -> Json:
    return {name: {"items": {label: one for label, one in policy[name]["items"].items() if label == "DEFAULTS"}}}


@given(SPECS, SPECS, policies())
def test_rules_say_what_the_catalogue_says(workload: Json, base: Json, policy: Json) -> None:
    found = set(compose(PARAMETERS, workload, base, policy).violations)
    # Those of types, and of the one mandatory member, are another matter; so are bounds that cannot be read.
    kinds = ("must be a number", "must be a quantity", "must be a text", ".container: cannot be blank", "be judged")
    assert {line for line in found if not any(kind in line for kind in kinds)} == (
        scalar_lines(workload, base, policy)
        | item_lines("environment", workload, base, policy)
        | item_lines("ports", workload, base, policy)
    )


@given(SPECS, policies())
def test_what_passes_is_of_its_type_and_mandatory_members_are_there(workload: Json, policy: Json) -> None:
    composed = compose(PARAMETERS, workload, None, policy)
    if composed.violations:
        return
    for item in composed.values.plain().get("ports", {}).values():
        assert isinstance(item["container"], int)


@given(policies())
def test_nothing_given_breaks_no_rule_of_a_policy_without_problems(policy: Json) -> None:
    """A default that passes admission passes for everybody."""
    if problems(PARAMETERS, policy):
        return
    lines = compose(PARAMETERS, {}, None, policy).violations
    assert all(line.endswith(": cannot be blank") for line in lines)


WORDS = """gpu image size ports environment usage rules value items itemRules required canEdit canAdd min max step
options defaultFrom field factor container tool DEFAULTS a deleted"""
KEYS = st.sampled_from(WORDS.split()) | st.text(max_size=3)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | VALUES["size"]
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=25
)
OBJECTS = st.dictionaries(KEYS, ANYTHING, max_size=5)


@given(ANYTHING)
def test_problems_of_a_policy_are_found_in_any_json(spec: Any) -> None:
    assert all(": " in line for line in problems(PARAMETERS, spec))


@given(OBJECTS, OBJECTS, OBJECTS)
def test_any_json_is_composed(workload: Json, base: Json, policy: Json) -> None:
    assert all(": " in line for line in compose(PARAMETERS, workload, base, policy).violations)


KINDS = st.sampled_from(list(WorkloadKind))
REAL = sorted({name for kind in WorkloadKind for name in workloads.parameters(kind)})
MEMBERS = sorted({name for kind in WorkloadKind for one in workloads.parameters(kind).values() for name in one.members})
ODD = st.sampled_from(["", "1", "-1", "0.5", "99M", "1e99", "SECRET:a", "a'b", "NodePort", "5m", "Exists", "a:b"])
ITEMS = st.dictionaries(st.sampled_from(MEMBERS), ODD | LEAVES | st.lists(ODD, max_size=2), max_size=4)
PARTS = st.builds(lambda value: {"value": value}, ODD | LEAVES | st.lists(ODD, max_size=2) | ITEMS) | st.builds(
    lambda found: {"items": {label: {"value": value} for label, value in found.items()}},
    st.dictionaries(LABELS | st.just("DEFAULTS") | ODD, ITEMS | ODD | LEAVES, max_size=3),
)


@given(KINDS, st.dictionaries(st.sampled_from(REAL), PARTS, max_size=8), st.text(max_size=3))
def test_whatever_a_workload_says_is_judged(kind: WorkloadKind, workload: Json, job_type: str) -> None:
    parameters = workloads.parameters(kind)
    composed = compose(parameters, workload, None, None)
    found = checks.problems(kind, composed.values, job_type=job_type, node_types=())
    assert len(set(found)) == len(found)
    # The same parts as a policy: nothing but lines comes of it either.
    assert all(": " in line for line in problems(parameters, workload))
