"""How a spec is read, and what is wrong with its form: fields that do not exist, values that are not wrapped.

Reading never fails: what is not of the form that `extender.model.workload` shows reads as absent, and `problems` tells.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from extender.model.workload import Json, Parameter, Parameters
from extender.workloads import scalar

DEFAULTS = "DEFAULTS"  # the label, in a policy, of what the other items are filled from
PLAIN = ("usage", "baseWorkload", "jobType")  # texts without a wrapper; policies have none

_LONGEST_NAME = 64
_MOST_MEANT = 10


def mapping(value: Any) -> Json:
    """`value` when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def given(spec: Json, name: str) -> Any:
    """The value of a scalar; None when there is none."""
    return mapping(spec.get(name)).get("value")


def entries(spec: Json, name: str) -> Json:
    """What a spec says of the items of a parameter, by label."""
    return mapping(mapping(spec.get(name)).get("items"))


def item(entry: Any) -> Any:
    """The value of one entry, members that are null left out; None when it has none, or is deleted."""
    value = None if is_deleted(entry) else mapping(entry).get("value")
    return members(value) if isinstance(value, dict) else value


def is_deleted(entry: Any) -> bool:
    return mapping(entry).get("deleted") is True


def members(value: Any) -> Json:
    """The members of an item that have a value."""
    return {name: one for name, one in mapping(value).items() if one is not None}


def rules_of(policy: Json, name: str) -> Json:
    """The rules of a parameter as a whole."""
    return mapping(mapping(policy.get(name)).get("rules"))


def workload_items(spec: Json, parameter: Parameter) -> Json:
    """The entries of a workload, without the label that is only for policies."""
    return _but_defaults(entries(spec, parameter.name), parameter)


def policy_items(policy: Json, parameter: Parameter) -> Json:
    """The entries of the policy's own items, without what they are filled from."""
    return _but_defaults(entries(policy, parameter.name), parameter)


def fill(policy: Json, parameter: Parameter) -> Json:
    """The members that items are filled with; a text has none."""
    found = entries(policy, parameter.name).get(DEFAULTS)
    return members(mapping(found).get("value")) if parameter.members else {}


def in_order(lines: Iterable[str]) -> tuple[str, ...]:
    """Violations `<path>: <sentence>` by path, each once."""
    return tuple(sorted(set(lines), key=lambda line: (line.partition(": ")[0], line)))


def problems(parameters: Parameters, spec: Json) -> Iterator[str]:
    """What is wrong with the form of a workload's spec; its values are not judged here."""
    yield from unknown_members("", spec, (*parameters, *PLAIN))
    for name, part in spec.items():
        parameter = parameters.get(name)
        if part is None:
            continue
        if name in PLAIN:
            if not isinstance(part, str):
                yield f"{name}: must be a text"
        elif parameter is not None:
            yield from _itemized(parameter, part) if parameter.itemized else _scalar(name, part)


def unknown_members(path: str, value: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """Lines about the keys of `value` that do not exist, with those that were probably meant. path: "" for a spec."""
    names = tuple(known)
    before = f"{path}." if path else ""
    for number, key in enumerate(key for key in value if key not in names):
        # Looking for what was meant is slow: not for each of a thousand wrong names.
        meant = _closest(key, names) if number < _MOST_MEANT and len(key) <= _LONGEST_NAME else ""
        yield f"{before}{key}: unknown field" + (f" (did you mean {meant}?)" if meant else "")


def item_problems(parameter: Parameter, path: str, value: Any, *, in_full: bool = True) -> Iterator[str]:
    """What is wrong with one item as such: its type, members that do not exist, that are missing, of a wrong type.

    in_full: whether mandatory members must be there.
    """
    if not parameter.members:
        if text := scalar.problem(value, parameter.type, parameter.options):
            yield f"{path}: {text}"
        return
    if not isinstance(value, dict):
        yield f"{path}: must be an object"
        return
    yield from unknown_members(path, value, parameter.members)
    for name, member in parameter.members.items():
        one = value.get(name)
        if one is None or (member.required and scalar.is_blank(one)):
            if member.required and in_full:
                yield f"{path}.{name}: cannot be blank"
        elif text := scalar.problem(one, member.type, member.options):
            yield f"{path}.{name}: {text}"


def _but_defaults(found: Json, parameter: Parameter) -> Json:
    if not parameter.members or DEFAULTS not in found:
        return found
    return {label: entry for label, entry in found.items() if label != DEFAULTS}


@lru_cache(maxsize=1024)
def _closest(name: str, known: tuple[str, ...]) -> str:
    by_fold = {one.casefold(): one for one in reversed(known)}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.7)
    return by_fold[found[0]] if found else ""


def _scalar(name: str, part: Any) -> Iterator[str]:
    if not isinstance(part, dict):
        yield f'{name}: must be an object with the value in it, as in {name}: {{"value": …}}'
        return
    yield from unknown_members(name, part, ("value",))


def _itemized(parameter: Parameter, part: Any) -> Iterator[str]:
    name = parameter.name
    if not isinstance(part, dict):
        yield f'{name}: must be an object with items, as in {name}: {{"items": {{"<label>": {{"value": …}}}}}}'
        return
    yield from unknown_members(name, part, ("items",))
    items = part.get("items")
    if items is not None and not isinstance(items, dict):
        yield f"{name}.items: must be an object, the items by label"
    for label, entry in mapping(items).items():
        yield from _entry(parameter, label, entry)


def _entry(parameter: Parameter, label: str, entry: Any) -> Iterator[str]:
    path = f"{parameter.name}.{label}"
    if label == DEFAULTS and parameter.members:
        yield f"{path}: this label is only for policies"
        return
    if entry is not None and not isinstance(entry, dict):
        yield f'{path}: must be an object, {{"value": …}} or {{"deleted": true}}'
        return
    entry = mapping(entry)
    yield from unknown_members(path, entry, ("value", "deleted"))
    deleted = entry.get("deleted")
    if deleted is not None and not isinstance(deleted, bool):
        yield f"{path}.deleted: must be a boolean"
    elif deleted and entry.get("value") is not None:
        yield f"{path}: has both a value and deleted: true; only one of them may be set"
    elif not deleted and entry.get("value") is None:
        yield f"{path}: has neither a value nor deleted: true; one of them must be set"
