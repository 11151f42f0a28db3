"""Every itemized value that a pod can say, by the name of its parameter.

What Kubernetes or this scheduler itself puts on pods is nobody's choice, so no rule about adding is for it, unless the
policy names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from extender.admission.security import CAPABILITIES
from extender.admission.subject import Items, Subject
from extender.model import names
from extender.workloads.objects.references import variable

Json = dict[str, Any]

_SYSTEMS = ("kubernetes.io", "k8s.io", "kai.scheduler", "run.ai", "runai")
_OUR_KEYS = frozenset(
    {
        *names.QUEUE_LABELS,
        *names.RECORD_ANNOTATIONS,
        names.POD_GROUP_ANNOTATION,
        names.GPU_FRACTION,
        names.GPU_MEMORY,
        names.GPU_FRACTION_NUM_DEVICES,
        names.GPU_FRACTION_CONTAINER,
        names.MPS,
        names.PRIORITY_CLASS_LABEL,
        # By Kubernetes, without a domain.
        "controller-revision-hash",
        "controller-uid",
        "job-name",
        names.POD_TEMPLATE_HASH_LABEL,
    }
)
_OUTAGE = "node.kubernetes.io/"  # tolerated by every pod for a while, as the API server has it


def _read_environment(subject: Subject, own: Json) -> Json:  # noqa: ARG001  a reader's signature
    """Of two of one name the last counts, as for the kubelet."""
    return {str(one.get("name")): _said(one) for one in subject.main.get("env") or ()}


def _said(entry: Json) -> str:
    """As a workload would say it; a source that none can name is said in a way that none would."""
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value") or "")
    key = source.get("secretKeyRef")
    return f"SECRET:{key.get('name')},{key.get('key')}" if key else f"valueFrom {source}"


def _write_environment(subject: Subject, items: Json) -> None:
    # In front: what the user's own variables refer to must be there before them.
    added = [variable(name, items[name]) for name in sorted(items)]
    subject.main["env"] = [*added, *(subject.main.get("env") or ())]


def _marks(read: Callable[[Subject], Json], write: Callable[[Subject, str, str], None]) -> Items:
    """Labels or annotations of the pods."""

    def read_those_of_people(subject: Subject, own: Json) -> Json:
        return {key: str(text) for key, text in read(subject).items() if key in own or not _is_systems(key)}

    def write_all(subject: Subject, items: Json) -> None:
        for key in sorted(items):
            write(subject, key, str(items[key]))

    return Items(read_those_of_people, write_all)


def _is_systems(key: str) -> bool:
    domain = key.rpartition("/")[0]
    return key in _OUR_KEYS or any(domain == one or domain.endswith("." + one) for one in _SYSTEMS)


def _read_tolerations(subject: Subject, own: Json) -> Json:
    """One that the policy has is under its label there; any other under its key, with a number where that is taken."""
    labels = [(_tolerates(value), label) for label, value in own.items()]
    found: Json = {}
    for one in subject.spec.get("tolerations") or ():
        item = {
            "operator": one.get("operator") or "Equal",
            "key": one.get("key"),
            "value": one.get("value"),
            "effect": one.get("effect"),
            "seconds": one.get("tolerationSeconds"),
        }
        known = next((label for tolerates, label in labels if tolerates == _tolerates(item)), None)
        if known is not None:
            found[known] = own[known]
        elif not str(one.get("key") or "").startswith(_OUTAGE):
            key = str(one.get("key") or "all")
            taken = found.keys() | own.keys()
            label = (
                key if key not in taken else next(f"{key}-{n}" for n in range(2, 10**6) if f"{key}-{n}" not in taken)
            )
            found[label] = {name: value for name, value in item.items() if value not in (None, "")}
    return found


def _tolerates(item: Json) -> tuple[Any, ...]:
    """What a toleration does; its name does nothing."""
    operator = item.get("operator") or "Equal"
    return (operator, *(item.get(name) or "" for name in ("key", "value", "effect")), item.get("seconds"))


def _write_tolerations(subject: Subject, items: Json) -> None:
    names_there = {"operator": "operator", "key": "key", "value": "value", "effect": "effect"}
    added = [
        {
            there: items[label][name]
            for name, there in {**names_there, "seconds": "tolerationSeconds"}.items()
            if items[label].get(name) not in (None, "")
        }
        for label in sorted(items)
    ]
    subject.spec["tolerations"] = [*(subject.spec.get("tolerations") or ()), *added]


def _read_volumes(subject: Subject, own: Json) -> Json:
    """Folders of nodes and of NFS servers, an item for each mount: under its label in the policy where that has the
    same, else under the volume's name. One that nobody mounts counts as mounted at /: a debugger still could.
    """
    known = {_mounts(value): label for label, value in own.items()}
    found: Json = {}
    for volume in subject.spec.get("volumes") or ():
        name, folder, nfs = str(volume.get("name")), volume.get("hostPath"), volume.get("nfs")
        if not folder and not nfs:
            continue
        # A folder of the node is of no server, whatever server the policy takes for granted.
        source = {"nfsServer": (nfs or {}).get("server") or "", "sourcePath": (nfs or folder)["path"]}
        mounts = [one for of in subject.containers for one in of.get("volumeMounts") or () if one.get("name") == name]
        for mount in mounts or [{"mountPath": "/"}]:
            item = source | {"targetPath": mount.get("mountPath"), "readOnly": bool(mount.get("readOnly"))}
            label = known.get(_mounts(item))
            if label is None:
                label = next(
                    one for n in range(10**6) if (one := f"{name}-{n}" if n else name) not in found and one not in own
                )
            found[label] = own.get(label, item)
    return found


def _mounts(item: Json) -> tuple[Any, ...]:
    return (*(item.get(one) or "" for one in ("nfsServer", "sourcePath", "targetPath")), bool(item.get("readOnly")))


def _leave(_: Subject, __: Json) -> None:
    """Judged, and no default: what an image reads from where only its author knows."""


ITEMS: dict[str, Items] = {
    "volumes": Items(_read_volumes, _leave),
    "environment": Items(_read_environment, _write_environment),
    "labels": _marks(lambda subject: subject.labels, Subject.label),
    "annotations": _marks(lambda subject: subject.annotations, Subject.annotate),
    "tolerations": Items(_read_tolerations, _write_tolerations),
    "capabilities": CAPABILITIES,
}
