"""Values that are secret: `SECRET:<name>,<key>` names one; a plain one is moved to a Secret before anything is made.

So no pod template, and not the ConfigMap that remembers the values, has a password in clear (regression RUN-6027).
The Secret belongs to the workload and goes with it. What the submitter wrote in the workload resource stays there.
"""

from __future__ import annotations

import base64
from typing import Any

from extender.workloads import parse
from extender.workloads.naming import child_name
from extender.workloads.objects import metadata
from extender.workloads.objects.parts import items
from extender.workloads.objects.submission import Submission

Json = dict[str, Any]

_SECRET_MEMBERS = {"gitSync": ("username", "password"), "s3": ("accessKeyId", "secret")}
_SECRET_SCALARS = ("notebookToken",)
_LABEL = "secrets"


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
