"""As whom the container runs, and what it may do."""

from __future__ import annotations

from typing import Any

from extender.workloads import parse
from extender.workloads.objects.draft import Draft
from extender.workloads.objects.parts import without_empty

Json = dict[str, Any]


def add_security(draft: Draft) -> None:
    """runAsUser, runAsUid, runAsGid, supplementalGroups, allowPrivilegeEscalation, capabilities, hostIpc.

    With runAsUser and without a uid, nobody has said who the submitter is: the image's own user is taken unless it is
    root, which is what the parameter is there to prevent. The uid and gid count with runAsUser only.
    """
    values = draft.values
    pod: Json = {}
    if values.get("runAsUser"):
        uid, gid = values.get("runAsUid"), values.get("runAsGid")
        pod = {"runAsUser": uid, "runAsGroup": gid, "runAsNonRoot": True if uid is None else None}
        for name, number in (("LDAP_UID", uid), ("LDAP_GID", gid)):
            if number is not None:
                draft.set(name, number)
    pod["supplementalGroups"] = parse.supplemental_groups(values.get("supplementalGroups") or "")
    draft.spec["securityContext"] = without_empty(pod)
    capabilities = values.get("capabilities") or {}
    added = [str(capabilities[label]) for label in sorted(capabilities)]
    draft.container["securityContext"] = without_empty(
        {
            "allowPrivilegeEscalation": values.get("allowPrivilegeEscalation"),
            "capabilities": {"add": added} if added else None,
        }
    )
    if values.get("hostIpc"):
        draft.spec["hostIPC"] = True
