"""What the container finds in its environment and how it starts: behaviour.md 2.9, command, arguments, home."""

from __future__ import annotations

from typing import Any

from extender.workloads import parse
from extender.workloads.objects.compute import gpus
from extender.workloads.objects.draft import Draft
from extender.workloads.objects.references import variable

Json = dict[str, Any]

HOME = "/home/runai-home"
_HOME_VOLUME = "user-data"
_PULL_POLICIES = {one.lower(): one for one in ("Always", "IfNotPresent", "Never")}


def add_container(draft: Draft) -> None:
    """image, imagePullPolicy, imagePullSecrets, command, arguments, workingDir, stdin, tty.

    Always is the default of the pull policy, as documented; Kubernetes' own depends on the tag.
    """
    values = draft.values
    policy = str(values.get("imagePullPolicy") or "Always")
    draft.container |= {
        "name": draft.host.container or draft.submission.job,
        "image": values.get("image"),
        "imagePullPolicy": _PULL_POLICIES.get(policy.lower(), policy),
        "command": parse.words(values.get("command") or ""),
        "args": parse.words(values.get("arguments") or ""),
        "workingDir": values.get("workingDir"),
        "stdin": values.get("stdin"),
        "tty": values.get("tty"),
    }
    secrets = values.get("imagePullSecrets") or {}
    draft.spec["imagePullSecrets"] = [{"name": str(secrets[label])} for label in sorted(secrets)]


def add_identity(draft: Draft) -> None:
    """JOB_NAME, JOB_UUID, POD_INDEX, POD_UUID, NODE_NAME, RUNAI_PROJECT, RUNAI_JOB_NAME, RUNAI_NUM_OF_GPUS.

    JOB_UUID is the uid of the job where its pods have it as a label, else of the workload, which is as good to tell
    one run from another. POD_INDEX is there where pods are numbered.
    """
    submission, host = draft.submission, draft.host
    draft.set("JOB_NAME", submission.job)
    draft.set("RUNAI_JOB_NAME", submission.job)
    draft.set("RUNAI_PROJECT", submission.project)
    draft.set("RUNAI_NUM_OF_GPUS", gpus(draft.values))
    if host.uid and host.fields:
        _take(draft, "JOB_UUID", _label(host.uid))
    else:
        draft.set("JOB_UUID", submission.workload.uid)
    if not host.fields:
        return
    if host.index:
        _take(draft, "POD_INDEX", _label(host.index))
    _take(draft, "POD_UUID", "metadata.uid")
    _take(draft, "NODE_NAME", "spec.nodeName")


def add_home(draft: Draft) -> None:
    """createHomeDir: by default when runAsUser is true, since a user that the image does not know has no home."""
    wanted = draft.values.get("createHomeDir")
    if wanted if wanted is not None else draft.values.get("runAsUser"):
        draft.mount(_HOME_VOLUME, {"emptyDir": {}}, HOME)
        draft.set("HOME", HOME)


def add_variables(draft: Draft) -> None:
    """environment: by name; what the submitter sets wins over what we do."""
    given = draft.values.get("environment") or {}
    for name in sorted(given):
        draft.environment[name] = variable(name, given[name])


def _take(draft: Draft, name: str, path: str) -> None:
    draft.environment[name] = {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _label(key: str) -> str:
    return f"metadata.labels['{key}']"
