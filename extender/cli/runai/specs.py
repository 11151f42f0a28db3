"""The spec of a submission, v2alpha1, from flags: pure, apart from who is at the keyboard."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extender.cli.runai.flags import Flag
from extender.cli.runai.items import items
from extender.errors import ConfigError
from extender.model.workload import Type, WorkloadKind

Json = dict[str, Any]

# Flags that make no sense for a kind and do no harm: said, and left out. behaviour.md 4.3, 12.8.
_IGNORED = {WorkloadKind.INTERACTIVE: ("backoffLimit", "completions"), WorkloadKind.TRAINING: ("preemptible",)}
PREEMPTIBLE = "Warning: Using the preemptible flag may lead to your resources being preempted without notice"


@dataclass(frozen=True, slots=True)
class Written:
    """A spec, and what its author should know of it."""

    spec: Json
    warnings: tuple[str, ...] = ()


def write(
    kind: WorkloadKind,
    flags: Mapping[str, Flag],
    given: Mapping[str, Any],
    *,
    positional: str | None = None,
    pvc_exists: Sequence[str] | None = None,
    pvc_new: Sequence[str] | None = None,
    nfs_server: str | None = None,
    required_topology: str | None = None,
    preferred_topology: str | None = None,
) -> Written:
    """The spec of the values that were given, by key of the flag, and of the shortcuts that stand for several.

    Raises ConfigError for a value that cannot be read, and for a flag that the kind has not. What is only not allowed,
    the policy and the checks say.
    """
    given = dict(given)
    if positional is not None:
        if "name" in given:
            raise ConfigError(f"unexpected arguments [{positional}]")
        given["name"] = positional
    claims = [*(given.get("pvcs") or ()), *(pvc_new or ()), *(f"{one},existingpvc=true" for one in pvc_exists or ())]
    if claims:
        given["pvcs"] = claims
    spec: Json = {}
    warnings = []
    for key, value in given.items():
        flag = flags[key]
        if kind in flag.kinds:
            _add(spec, flag, value)
        else:
            warnings.append(_not_of(kind, flag))
    if nfs_server is not None:
        for item in spec.get("volumes", {}).get("items", {}).values():
            item["value"].setdefault("nfsServer", nfs_server)
    _add_topology(spec, required_topology, preferred_topology)
    if spec.get("runAsUser", {}).get("value"):
        spec.setdefault("runAsUid", {"value": os.getuid()})
        spec.setdefault("runAsGid", {"value": os.getgid()})
    if spec.get("preemptible", {}).get("value"):
        warnings.append(PREEMPTIBLE)
    return Written(spec, tuple(warnings))


def with_plain(spec: Json, *, base_workload: str | None, job_type: str) -> Json:
    """The spec with the values that have no wrapper."""
    plain = {"jobType": job_type, "baseWorkload": base_workload}
    return {**{name: value for name, value in plain.items() if value}, **spec}


def run(spec: Json, words: Sequence[str], *, as_command: bool) -> None:
    """Add the words after `--` to a spec: the arguments, or what is run in place of the image's entrypoint."""
    if as_command and not words:
        raise ConfigError("--command: what to run must follow after --, as in: --command -- sleep 60")
    if not words:
        return
    if not as_command and "arguments" in spec:
        raise ConfigError("--arguments: cannot be given together with words after --")
    spec["command" if as_command else "arguments"] = {"value": shlex.join(words)}


def _add(spec: Json, flag: Flag, value: Any) -> None:
    field = flag.field
    if field.itemized:
        read = items(field, value)
        spec[field.name] = {"items": {label: {"value": one} for label, one in read.items()}}
    elif flag.part:
        spec.setdefault(flag.part, {"value": {}})["value"][field.name] = value
    else:
        spec[field.name] = {"value": _words(value) if field.marks.type is Type.TEXTS else value}


def _add_topology(spec: Json, required: str | None, preferred: str | None) -> None:
    """That the pods run near each other: on nodes that share the value of this label."""
    if required is not None and preferred is not None:
        raise ConfigError("--required-pod-topology-key and --preferred-pod-topology-key cannot be used together")
    topology = required or preferred
    if topology is not None:
        spec["podAffinity"] = {"value": True}
        spec["podAffinitySchedulingRule"] = {"value": "hard" if required is not None else "soft"}
        spec["podAffinityTopology"] = {"value": topology}


def _not_of(kind: WorkloadKind, flag: Flag) -> str:
    if kind is WorkloadKind.INTERACTIVE and flag.key == "parallelism":
        raise ConfigError("interactive jobs can't run with Parallelism")
    name = flag.names[0].partition("/")[0]
    if flag.key not in _IGNORED.get(kind, ()):
        kinds = " or ".join(one.workload for one in flag.kinds)
        raise ConfigError(f"{name}: is for {kinds}, and this is {kind.workload}")
    return f"Warning: {name} has no effect on {kind.workload}"


def _words(texts: Sequence[str]) -> list[str]:
    """Of a list: repeat the flag, or give several in one, with blanks between them."""
    return [word for text in texts for word in text.split()]
