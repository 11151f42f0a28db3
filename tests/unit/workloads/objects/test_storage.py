"""The rows "Storage" of the table of parameters (behaviour.md 2.3)."""

from __future__ import annotations

from typing import Any

import pytest

from extender.workloads.objects import Images
from tests.submissions import environment, rendered

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("values", "name", "volume", "mount"),
    [
        (
            {"volumes": {"v": {"sourcePath": "/data", "targetPath": "/mnt", "readOnly": True}}},
            "host-path-volume-0",
            {"hostPath": {"path": "/data"}},
            {"mountPath": "/mnt", "readOnly": True},
        ),
        (
            {"volumes": {"v": {"sourcePath": "/data", "targetPath": "/mnt", "nfsServer": "nfs.example.com"}}},
            "nfs-volume-0",
            {"nfs": {"server": "nfs.example.com", "path": "/data"}},
            {"mountPath": "/mnt"},
        ),
        (
            {"volumes": {"v": {"sourcePath": "/data", "targetPath": "/mnt"}}, "mountPropagation": True},
            "host-path-volume-0",
            {"hostPath": {"path": "/data"}},
            {"mountPath": "/mnt", "mountPropagation": "HostToContainer"},
        ),
        (
            {"pvcs": {"p": {"claimName": "mine", "existingPvc": True, "path": "/p", "readOnly": True}}},
            "pvc-volume-0",
            {"persistentVolumeClaim": {"claimName": "mine", "readOnly": True}},
            {"mountPath": "/p", "readOnly": True},
        ),
        (
            {"emptyDirVolumes": {"e": {"path": "/scratch"}}},
            "empty-dir-volume-0",
            {"emptyDir": {}},
            {"mountPath": "/scratch"},
        ),
        (
            {"configMapVolumes": {"c": {"name": "cm", "mountPath": "/etc/c"}}},
            "config-map-volume-0",
            {"configMap": {"name": "cm"}},
            {"mountPath": "/etc/c"},
        ),
        (
            {"secretVolumes": {"s": {"name": "sec", "mountPath": "/etc/s"}}},
            "secret-volume-0",
            {"secret": {"secretName": "sec"}},
            {"mountPath": "/etc/s"},
        ),
    ],
)
def test_what_is_mounted(values: Json, name: str, volume: Json, mount: Json) -> None:
    found = rendered(**values)
    assert found.pod["volumes"] == [{"name": name, **volume}]
    assert found.container["volumeMounts"] == [{"name": name, **mount}]
    assert found.names == ["ConfigMap j", "RunaiJob j"]


def test_a_new_claim_is_made_and_goes_with_the_workload() -> None:
    found = rendered(pvcs={"b": {"size": "1Gi", "path": "/b"}, "a": {"claimName": "c", "path": "/a"}})
    assert found.names == ["ConfigMap j", "PersistentVolumeClaim pvc-j-1", "RunaiJob j"]
    claim = found.one("PersistentVolumeClaim")
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    assert claim["metadata"]["ownerReferences"][0]["uid"] == "0a1b"
    assert [volume["persistentVolumeClaim"]["claimName"] for volume, _ in found.mounts] == ["c", "pvc-j-1"]


def test_a_new_claim_has_what_was_said_of_it() -> None:
    item = {
        "claimName": "named",
        "existingPvc": False,
        "size": 1024,
        "storageClass": "fast",
        "accessModes": ["ReadWriteMany"],
        "volumeMode": "Block",
        "path": "/dev/x",
    }
    found = rendered(pvcs={"a": item})
    claim = found.one("PersistentVolumeClaim", "named")
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "volumeMode": "Block",
        "resources": {"requests": {"storage": "1024"}},
        "storageClassName": "fast",
    }
    assert found.container["volumeDevices"] == [{"name": "pvc-volume-0", "devicePath": "/dev/x"}]
    assert "volumeMounts" not in found.container


def test_an_ephemeral_claim_is_the_pods() -> None:
    found = rendered(pvcs={"a": {"size": "1Gi", "path": "/a", "ephemeral": True}})
    assert not found.all("PersistentVolumeClaim")
    ((volume, _),) = found.mounts
    template = volume["ephemeral"]["volumeClaimTemplate"]
    assert template["spec"]["resources"] == {"requests": {"storage": "1Gi"}}


def test_s3_is_copied_before_the_start() -> None:
    found = rendered(s3={"a": {"bucket": "b", "accessKeyId": "SECRET:s,k", "secret": "SECRET:s,s", "target": "/data"}})
    (init,) = found.pod["initContainers"]
    assert (init["image"], init["args"]) == (Images().s3, ["copy", "s3:b", "/s3"])
    assert environment(init) == {
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_ENDPOINT": "https://s3.amazon.com",
        "RCLONE_CONFIG_S3_ACCESS_KEY_ID": {"secretKeyRef": {"name": "s", "key": "k"}},
        "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": {"secretKeyRef": {"name": "s", "key": "s"}},
    }
    assert found.mounts == [({"emptyDir": {}}, {"mountPath": "/data"})]
    assert (
        environment(rendered(s3={"a": {"bucket": "b", "url": "http://s3", "target": "/d"}}).pod["initContainers"][0])[
            "RCLONE_CONFIG_S3_ENDPOINT"
        ]
        == "http://s3"
    )
