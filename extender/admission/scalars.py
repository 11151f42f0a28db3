"""Every single value that a pod, or the workload around a template, can say, by the name of its parameter."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from extender.admission.compute import COMPUTE
from extender.admission.security import SECURITY
from extender.admission.subject import Scalar, Subject
from extender.model import names
from extender.workloads import parse

Json = dict[str, Any]


def _main(subject: Subject) -> Json:
    return subject.main


def _spec(subject: Subject) -> Json:
    return subject.spec


def _text(of: Callable[[Subject], Json], key: str) -> Scalar:
    def write(subject: Subject, value: Any) -> None:
        of(subject)[key] = value

    return Scalar(lambda subject: [of(subject).get(key) or None], write)


def _flag(of: Callable[[Subject], Json], key: str) -> Scalar:
    """False is what the API server keeps nothing of: it is left open."""

    def write(subject: Subject, value: Any) -> None:
        if value:
            of(subject)[key] = True

    return Scalar(lambda subject: [of(subject).get(key) or None], write, usual=lambda _: [False])


def _words(key: str) -> Scalar:
    """A list of words, said as a shell would split it."""

    def write(subject: Subject, value: Any) -> None:
        subject.main[key] = parse.words(value)

    return Scalar(lambda subject: [shlex.join(map(str, subject.main.get(key) or ())) or None], write)


def _read_images(subject: Subject) -> list[Any]:
    """Of every container: what a policy allows to run holds for whatever runs beside the program, and before it."""
    return [one.get("image") or None for one in subject.containers] or [None]


def _write_images(subject: Subject, value: Any) -> None:
    for one in subject.containers:
        if not one.get("image"):
            one["image"] = value


def _read_pull_policies(subject: Subject) -> list[Any]:
    return [one.get("imagePullPolicy") or None for one in subject.containers] or [None]


def _write_pull_policies(subject: Subject, value: Any) -> None:
    for one in subject.containers:
        if (one.get("imagePullPolicy") or None) in (None, _usual_pull_policy(one)):
            one["imagePullPolicy"] = value


def _usual_pull_policies(subject: Subject) -> list[Any]:
    return [_usual_pull_policy(one) for one in subject.containers] or [None]


def _usual_pull_policy(container: Json) -> Any:
    """Before there is an image nobody has chosen how it is pulled, whatever stands there."""
    if not container.get("image"):
        return container.get("imagePullPolicy")
    reference, _, digest = str(container["image"]).partition("@")
    tag = reference.rpartition("/")[2].partition(":")[2]
    return "Always" if tag == "latest" or not (tag or digest) else "IfNotPresent"


def _write_retries(subject: Subject, value: Any) -> None:
    subject.workload["backoffLimit"] = value


def _of_job(key: str, usual: int, write: Callable[[Subject, Any], None]) -> Scalar:
    return Scalar(lambda subject: [subject.workload.get(key)], write, usual=lambda _: [usual])


def _leave(_: Subject, __: Any) -> None:
    """How often a program has to run only its author knows: a policy judges it and gives no default."""


def _read_node_type(subject: Subject) -> list[Any]:
    return [(subject.spec.get("nodeSelector") or {}).get(names.NODE_TYPE_LABEL) or None]


def _write_node_type(subject: Subject, value: Any) -> None:
    subject.spec["nodeSelector"] = {**(subject.spec.get("nodeSelector") or {}), names.NODE_TYPE_LABEL: str(value)}


def _read_node_pools(subject: Subject) -> list[Any]:
    given = subject.annotations.get(names.NODE_POOLS_ANNOTATION) or subject.labels.get(names.NODE_POOL_LABEL)
    return [str(given).split() if given else None]


def _write_node_pools(subject: Subject, value: Any) -> None:
    subject.annotate(names.NODE_POOLS_ANNOTATION, " ".join(map(str, value)))


def _read_preemptible(subject: Subject) -> list[Any]:
    priority = names.PRIORITY_CLASSES.get(subject.priority_class)
    return [None if priority is None else priority < names.NON_PREEMPTIBLE_FROM]


def _write_preemptible(subject: Subject, value: Any) -> None:
    """By the label: the number of the spec's class has been filled in, and may not be of another class then."""
    if value:
        subject.label(names.PRIORITY_CLASS_LABEL, "interactive-preemptible")


OF_WORKLOADS: dict[str, Scalar] = {
    "backoffLimit": _of_job("backoffLimit", 6, _write_retries),
    "completions": _of_job("completions", 1, _leave),
    "parallelism": _of_job("parallelism", 1, _leave),
}
SCALARS: dict[str, Scalar] = {
    # Before the image is written: what is usual is read of that.
    "imagePullPolicy": Scalar(_read_pull_policies, _write_pull_policies, usual=_usual_pull_policies),
    "image": Scalar(_read_images, _write_images),
    "command": _words("command"),
    "arguments": _words("args"),
    "workingDir": _text(_main, "workingDir"),
    "stdin": _flag(_main, "stdin"),
    "tty": _flag(_main, "tty"),
    **COMPUTE,
    "nodeType": Scalar(_read_node_type, _write_node_type),
    "nodePools": Scalar(_read_node_pools, _write_node_pools),
    "preemptible": Scalar(_read_preemptible, _write_preemptible),
    **SECURITY,
    "hostIpc": _flag(_spec, "hostIPC"),
    "hostNetwork": _flag(_spec, "hostNetwork"),
    **OF_WORKLOADS,
}
