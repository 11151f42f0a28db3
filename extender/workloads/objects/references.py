"""Values that are secret: `SECRET:<name>,<key>` names one; a plain one is moved to a Secret before anything is made.

So no pod template, not the ConfigMap that remembers the values and no status has a password in clear (regression
RUN-6027). The Secret belongs to the workload and goes with it. What the submitter wrote in the workload resource stays
there.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from extender.model.workload import ValuesSet
from extender.workloads import parse
from extender.workloads.naming import child_name
from extender.workloads.objects import metadata
from extender.workloads.objects.parts import items
from extender.workloads.objects.submission import Submission

Json = dict[str, Any]

_SECRET_MEMBERS = {"gitSync": ("username", "password"), "s3": ("accessKeyId", "secret")}
_SECRET_SCALARS = ("notebookToken",)
_LABEL = "secrets"
_HIDDEN = "********"


def variable(name: str, text: Any) -> Json:
    """An entry of `env`: the text, or the key of a Secret that it names. Only the whole text can name one."""
    found = parse.secret(str(text))
    if found is None:
        return {"name": name, "value": str(text)}
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": found.name, "key": found.key}}}


def set_apart(submission: Submission, values: Json) -> tuple[Json, list[Json]]:
    """The values with every secret as a reference, and the Secret that has those that were plain, if there were any."""
    secret = child_name(submission.job, _LABEL)
    kept: dict[str, str] = {}

    def reference(key: str, text: Any) -> str:
        if parse.secret(str(text)):
            return str(text)
        kept[key] = base64.b64encode(str(text).encode()).decode()
        return f"SECRET:{secret},{key}"

    changed = dict(values)
    for name in _SECRET_SCALARS:
        if values.get(name):
            changed[name] = reference(name, values[name])
    for name, members in _SECRET_MEMBERS.items():
        if values.get(name):
            changed[name] = {
                label: item | {one: reference(f"{name}-{number}-{one}", item[one]) for one in members if item.get(one)}
                for number, label, item in items(values, name)
            }
    made = [metadata.make(submission, "v1", "Secret", secret, type="Opaque", data=kept)] if kept else []
    return changed, made


def concealed(values: ValuesSet) -> ValuesSet:
    """The values without plain secrets: for whoever may read a status or a ConfigMap and no Secret."""
    return _exchanged(values, lambda text, *_: text if parse.secret(str(text)) else _HIDDEN)


def revealed(values: ValuesSet, known: ValuesSet) -> ValuesSet:
    """Concealed values with their secrets again, as far as `known` has them; others stay concealed."""
    plain = known.plain()

    def found(text: Any, name: str, label: str, member: str) -> Any:
        if text != _HIDDEN:
            return text
        one = plain.get(name)
        return ((one or {}).get(label) or {}).get(member) or text if label else one or text

    return _exchanged(values, found)


def is_concealed(values: ValuesSet) -> bool:
    """Whether some secret is not there."""
    seen: list[Any] = []
    _exchanged(values, lambda text, *_: seen.append(text))
    return _HIDDEN in seen


def _exchanged(values: ValuesSet, exchange: Callable[[Any, str, str, str], Any]) -> ValuesSet:
    """Every secret that is there, exchanged; called with the text, the parameter, and of items label and member."""
    scalars = dict(values.scalars)
    for name in _SECRET_SCALARS:
        if name in scalars and scalars[name].value:
            scalars[name] = replace(scalars[name], value=exchange(scalars[name].value, name, "", ""))
    itemized = {name: dict(labels) for name, labels in values.items.items()}
    for name, members in _SECRET_MEMBERS.items():
        for label, one in itemized.get(name, {}).items():
            if isinstance(one.value, dict):
                said = {member: one.value[member] for member in members if one.value.get(member)}
                new = {member: exchange(text, name, label, member) for member, text in said.items()}
                itemized[name][label] = replace(one, value=one.value | new)
    return ValuesSet(scalars, itemized)
