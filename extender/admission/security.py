"""What the containers of a pod may do, in the parameters of a workload: of each its own word, or else the pod's.

No container is a back door (regression RUN-5676): what one of them says is judged for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from extender.admission.subject import Items, Scalar, Subject

Json = dict[str, Any]


def context_of(holder: Json) -> Json:
    return dict(holder.get("securityContext") or {})


def _of_each(read: Callable[[Json, Json], Any]) -> Callable[[Subject], list[Any]]:
    """read: of a container's and of the pod's securityContext. Entries that are alike are one."""

    def read_all(subject: Subject) -> list[Any]:
        of_pod = context_of(subject.spec)
        found = [read(context_of(one), of_pod) for one in subject.containers]
        return list(dict.fromkeys(found)) or [None]

    return read_all


def _identity(key: str) -> Scalar:
    """A user or group: the pod's, but for a container that has its own."""

    def read(own: Json, of_pod: Json) -> Any:
        return own[key] if own.get(key) is not None else of_pod.get(key)

    def write(subject: Subject, value: Any) -> None:
        if context_of(subject.spec).get(key) is None:
            subject.spec["securityContext"] = context_of(subject.spec) | {key: value}

    return Scalar(_of_each(read), write)


def _is_not_root(own: Json, of_pod: Json) -> bool | None:
    """runAsUser: whether it runs as somebody who is not root; None when the image decides."""
    uid = own["runAsUser"] if own.get("runAsUser") is not None else of_pod.get("runAsUser")
    if uid is not None:
        return bool(uid != 0)
    not_root = own["runAsNonRoot"] if own.get("runAsNonRoot") is not None else of_pod.get("runAsNonRoot")
    return None if not_root is None else bool(not_root)


def _write_not_root(subject: Subject, value: Any) -> None:
    of_pod = context_of(subject.spec)
    if value and of_pod.get("runAsNonRoot") is None:
        subject.spec["securityContext"] = of_pod | {"runAsNonRoot": True}


def _escalates(own: Json, of_pod: Json) -> Any:  # noqa: ARG001  as `_of_each` has it
    """allowPrivilegeEscalation. Privileged or with SYS_ADMIN it does, whatever is said: Kubernetes has it so."""
    if own.get("privileged") or "SYS_ADMIN" in _capabilities(own):
        return True
    return own.get("allowPrivilegeEscalation")


def _write_escalation(subject: Subject, value: Any) -> None:
    for one in subject.containers:
        if _escalates(context_of(one), {}) is None:
            one["securityContext"] = context_of(one) | {"allowPrivilegeEscalation": value}


def _read_groups(subject: Subject) -> list[Any]:
    return [";".join(str(one) for one in context_of(subject.spec).get("supplementalGroups") or ()) or None]


def _write_groups(subject: Subject, value: Any) -> None:
    groups = [int(one) for one in str(value).split(";") if one.strip()]
    subject.spec["securityContext"] = context_of(subject.spec) | {"supplementalGroups": groups}


def _capabilities(own: Json) -> list[str]:
    """Without the prefix that some write: SYS_PTRACE. Who is privileged has them ALL."""
    given = (own.get("capabilities") or {}).get("add") or ()
    return [*(_bare(one) for one in given), *(["ALL"] if own.get("privileged") else [])]


def _bare(capability: object) -> str:
    return str(capability).upper().removeprefix("CAP_")


def _read_capabilities(subject: Subject, own: Json) -> Json:
    """Of all containers. One that the policy has is under its label there; any other is its own label."""
    labels = {_bare(value): label for label, value in own.items()}
    found = dict.fromkeys(one for container in subject.containers for one in _capabilities(context_of(container)))
    return {labels.get(one, one): own[labels[one]] if one in labels else one for one in found}


def _write_capabilities(subject: Subject, items: Json) -> None:
    context = context_of(subject.main)
    given = dict(context.get("capabilities") or {})
    given["add"] = [*(given.get("add") or ()), *(_bare(one) for one in items.values())]
    subject.main["securityContext"] = context | {"capabilities": given}


SECURITY: dict[str, Scalar] = {
    "runAsUid": _identity("runAsUser"),
    "runAsGid": _identity("runAsGroup"),
    "runAsUser": Scalar(_of_each(_is_not_root), _write_not_root),
    "supplementalGroups": Scalar(_read_groups, _write_groups),
    "allowPrivilegeEscalation": Scalar(_of_each(_escalates), _write_escalation, is_permissive=True),
}
CAPABILITIES = Items(_read_capabilities, _write_capabilities)
