"""Label and field selectors: parsed once a request, asked once an object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from extender.emulator.resources import (
    EVENTS,
    JOBS,
    JSON,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    Resource,
    Storage,
)
from extender.emulator.status import StatusError, bad_request

Labels = Mapping[str, str]
Requirement = Callable[[Labels], bool]

_NAME = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_REQUIREMENT = re.compile(
    rf"""\s*(?:
        !\s*(?P<absent>{_NAME})
      | (?P<key>{_NAME})\s*(?:
            (?P<op>==|=|!=|>|<)\s*(?P<value>[A-Za-z0-9_.-]*)
          | \s(?P<set>in|notin)\s*\(\s*(?P<values>[A-Za-z0-9_.,\s-]*)\)
        )?
    )\s*(?:,|$)""",
    re.VERBOSE,
)


def parse_labels(text: str) -> list[Requirement]:
    """The requirements of a label selector; all of them must hold. Raises StatusError 400 when malformed."""
    requirements: list[Requirement] = []
    position = 0
    while position < len(text):
        match = _REQUIREMENT.match(text, position)
        if match is None:
            raise bad_request(f"unable to parse requirement: found '{text[position:]}', expected: identifier")
        position = match.end()
        requirements.append(_requirement(match))
    return requirements


def _requirement(match: re.Match[str]) -> Requirement:
    absent, key, op, value = match["absent"], match["key"], match["op"], match["value"]
    if absent:
        return lambda labels: absent not in labels
    if match["set"]:
        values = frozenset(part.strip() for part in match["values"].split(","))
        return _membership(key, values, match["set"] == "in")
    if op is None:
        return lambda labels: key in labels
    if op in ("=", "=="):
        return lambda labels: labels.get(key) == value
    if op == "!=":
        return lambda labels: labels.get(key) != value
    if not re.fullmatch(r"-?\d+", value):
        raise bad_request(f"for 'Gt', 'Lt' operators, the value must be an integer: {value!r}")
    bound = int(value)
    if op == ">":
        return lambda labels: (number := _integer(labels.get(key))) is not None and number > bound
    return lambda labels: (number := _integer(labels.get(key))) is not None and number < bound


def _membership(key: str, values: frozenset[str], inside: bool) -> Requirement:
    # An object without the label satisfies `notin` and not `in`.
    return lambda labels: (labels.get(key) in values) == inside


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def label_selector(selector: JSON | None) -> list[Requirement] | None:
    """The requirements of a `LabelSelector` object; None (no selector) selects nothing, an empty one everything."""
    if selector is None:
        return None
    requirements: list[Requirement] = []
    for key, value in (selector.get("matchLabels") or {}).items():
        requirements.append(_membership(key, frozenset({value}), True))
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key", ""), frozenset(expression.get("values") or ())
        operator = expression.get("operator")
        if operator in ("In", "NotIn"):
            requirements.append(_membership(key, values, operator == "In"))
        elif operator in ("Exists", "DoesNotExist"):
            requirements.append(_presence(key, operator == "Exists"))
        else:
            # No such operator: selecting nothing is the careful reading.
            requirements.append(lambda _labels: False)
    return requirements


def _presence(key: str, wanted: bool) -> Requirement:
    return lambda labels: (key in labels) == wanted


def selects(requirements: list[Requirement] | None, labels: Labels) -> bool:
    """Whether all requirements hold; None selects nothing."""
    return requirements is not None and all(requirement(labels) for requirement in requirements)


# The fields that a client may select on, beside metadata.name and metadata.namespace.
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_FIELDS: dict[Storage, frozenset[str]] = {
    PODS: frozenset(
        [
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    ),
    EVENTS: frozenset(
        [f"involvedObject.{field}" for field in _INVOLVED] + ["reason", "reportingComponent", "source", "type"]
    ),
    NAMESPACES: frozenset({"status.phase"}),
    NODES: frozenset({"spec.unschedulable"}),
    JOBS: frozenset({"status.successful"}),
    SECRETS: frozenset({"type"}),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or watch asks for beside its namespace.

    labels: requirements on the labels; fields: (path, equal?, value) with the stored field names.
    """

    labels: tuple[Requirement, ...] = ()
    fields: tuple[tuple[tuple[str, ...], bool, str], ...] = ()

    @property
    def everything(self) -> bool:
        return not self.labels and not self.fields

    def matches(self, obj: JSON) -> bool:
        metadata = obj["metadata"]
        if self.labels:
            labels = metadata.get("labels") or {}
            if not all(requirement(labels) for requirement in self.labels):
                return False
        return all((_lookup(obj, path) == value) == equal for path, equal, value in self.fields)


def parse(resource: Resource, label_text: str, field_text: str) -> Selection:
    """The selection of a request. Raises StatusError 400 for what cannot be parsed or selected on."""
    return Selection(tuple(parse_labels(label_text)), tuple(_parse_fields(resource, field_text)))


def _parse_fields(resource: Resource, text: str) -> list[tuple[tuple[str, ...], bool, str]]:
    fields = []
    for term in re.split(r"(?<!\\),", text) if text else ():
        match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
        if match is None:
            raise bad_request(f'invalid selector: "{text}"; can\'t understand "{term}"')
        name, operator, value = match.groups()
        if resource.group == "events.k8s.io":
            name = re.sub(r"^regarding\.", "involvedObject.", name)
        _check_selectable(resource, name)
        fields.append((tuple(name.split(".")), operator != "!=", re.sub(r"\\(.)", r"\1", value)))
    return fields


def _check_selectable(resource: Resource, name: str) -> None:
    if name == "metadata.name" or (name == "metadata.namespace" and resource.namespaced):
        return
    if name not in _FIELDS.get(resource.storage, ()):
        raise _unselectable(resource, name)


def _unselectable(resource: Resource, name: str) -> StatusError:
    if resource.storage in _FIELDS:
        return bad_request(f"field label not supported: {name}")
    known = '"metadata.name", "metadata.namespace"'
    return bad_request(f'"{name}" is not a known field selector: only {known}')


def _lookup(obj: JSON, path: tuple[str, ...]) -> str:
    value: Any = obj
    for step in path:
        if not isinstance(value, dict):
            break
        value = value.get(step)
    if isinstance(value, dict):
        # Events select on `source`, which means its component.
        return str(value.get("component", ""))
    if value is None:
        # Absent is the empty value of its type.
        return "false" if path[-1] in ("unschedulable", "hostNetwork") else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
