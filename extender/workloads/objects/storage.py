"""What is mounted in the container: folders of nodes and NFS servers, claims, ConfigMaps, Secrets, empty folders."""

from __future__ import annotations

from typing import Any

from extender.workloads.objects import metadata
from extender.workloads.objects.draft import Draft
from extender.workloads.objects.parts import items, without_empty

Json = dict[str, Any]

_BLOCK = "Block"


def add_volumes(draft: Draft) -> None:
    """volumes, emptyDirVolumes, configMapVolumes, secretVolumes, mountPropagation."""
    for number, _, item in items(draft.values, "volumes"):
        source, path = str(item["sourcePath"]), str(item["targetPath"])
        if item.get("nfsServer"):
            volume: Json = {"nfs": {"server": item["nfsServer"], "path": source}}
            name = f"nfs-volume-{number}"
        else:
            volume = {"hostPath": {"path": source}}
            name = f"host-path-volume-{number}"
        draft.mount(name, volume, path, **_how(draft, item))
    for number, _, item in items(draft.values, "emptyDirVolumes"):
        draft.mount(f"empty-dir-volume-{number}", {"emptyDir": {}}, str(item["path"]))
    for number, _, item in items(draft.values, "configMapVolumes"):
        source_ = {"configMap": {"name": item["name"]}}
        draft.mount(f"config-map-volume-{number}", source_, str(item["mountPath"]))
    for number, _, item in items(draft.values, "secretVolumes"):
        source_ = {"secret": {"secretName": item["name"]}}
        draft.mount(f"secret-volume-{number}", source_, str(item["mountPath"]))


def add_claims(draft: Draft) -> None:
    """pvcs: existing ones are mounted, new ones are made, ephemeral ones live and die with each pod.

    A claim is existing when it says so, or when it has a name and, having no size, cannot be made. A new one without
    a name is `pvc-<job>-<number>`, ReadWriteOnce; it goes with the workload.
    """
    submission = draft.submission
    for number, _, item in items(draft.values, "pvcs"):
        volume = f"pvc-volume-{number}"
        name = str(item.get("claimName") or f"pvc-{submission.job}-{number}")
        exists = item.get("existingPvc")
        if exists is None:
            exists = bool(item.get("claimName")) and not item.get("size")
        if item.get("ephemeral") and not exists:
            template = {"metadata": {"labels": metadata.own_labels(submission)}, "spec": _claim(item)}
            source: Json = {"ephemeral": {"volumeClaimTemplate": template}}
        else:
            source = {"persistentVolumeClaim": without_empty({"claimName": name, "readOnly": item.get("readOnly")})}
            if not exists:
                made = metadata.make(submission, "v1", "PersistentVolumeClaim", name, spec=_claim(item))
                draft.objects.append(made)
        if item.get("volumeMode") == _BLOCK:
            draft.volumes.append({"name": volume, **source})
            draft.devices.append({"name": volume, "devicePath": str(item["path"])})
        else:
            draft.mount(volume, source, str(item["path"]), **_how(draft, item))


def _claim(item: Json) -> Json:
    return without_empty(
        {
            "accessModes": item.get("accessModes") or ["ReadWriteOnce"],
            "volumeMode": item.get("volumeMode") or "Filesystem",
            "resources": {"requests": {"storage": str(item.get("size") or "")}},
            "storageClassName": item.get("storageClass"),
        }
    )


def _how(draft: Draft, item: Json) -> Json:
    propagation = "HostToContainer" if draft.values.get("mountPropagation") else None
    return without_empty({"readOnly": item.get("readOnly"), "mountPropagation": propagation})
