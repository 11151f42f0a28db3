"""What a reflector holds, told object by object."""

from __future__ import annotations

from typing import Any

from extender.kube.mirror import Mirror, slim_pod

Json = dict[str, Any]


def pod(uid: str, name: str = "p", **status: Any) -> Json:
    return {"metadata": {"uid": uid, "name": name, "managedFields": [{"manager": "m"}]}, "status": status}


def test_a_new_list_is_told_as_the_changes_that_lead_to_it() -> None:
    told: list[tuple[str, bool]] = []
    mirror = Mirror(lambda obj, gone: told.append((obj["metadata"]["uid"], gone)))
    mirror.replace([mirror.read(pod("a")), mirror.read(pod("b"))], 1)
    mirror.apply("ADDED", pod("c"))
    mirror.apply("DELETED", pod("b"))
    told.clear()
    mirror.replace([mirror.read(pod("c", phase="Running")), mirror.read(pod("d"))], 2)
    assert told == [("a", True), ("c", False), ("d", False)]


def test_one_made_again_under_its_name_is_told_after_the_one_that_is_gone() -> None:
    told: list[tuple[str, bool]] = []
    mirror = Mirror(lambda obj, gone: told.append((obj["metadata"]["uid"], gone)))
    mirror.replace([pod("old")], 1)
    mirror.replace([pod("new")], 2)
    assert told == [("old", False), ("old", True), ("new", False)]


def test_of_a_pod_what_its_containers_run_with_is_not_kept() -> None:
    given = pod("a", phase="Running")
    resources = {"limits": {"nvidia.com/gpu": "1"}}
    given["spec"] = {
        "nodeName": "n",
        "volumes": [{"name": "v"}],
        "initContainers": [{"name": "i", "restartPolicy": "Always", "command": ["x"]}],
        "containers": [{"name": "c", "env": [{"name": "A"}], "resources": resources}],
    }
    assert slim_pod(given) == {
        "metadata": {"uid": "a", "name": "p"},
        "status": {"phase": "Running"},
        "spec": {
            "nodeName": "n",
            "initContainers": [{"name": "i", "restartPolicy": "Always"}],
            "containers": [{"name": "c", "resources": resources}],
        },
    }
