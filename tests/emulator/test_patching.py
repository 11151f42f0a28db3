from typing import Any

import pytest

from extender.emulator import merging, patching

POD = merging.StructureOfModel("V1Pod")


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/a/-", "value": 3}], {"a": [1, 2, 3], "b": {}}),
        ([{"op": "add", "path": "/a/0", "value": 0}], {"a": [0, 1, 2], "b": {}}),
        ([{"op": "add", "path": "/b/x~1y", "value": 1}], {"a": [1, 2], "b": {"x/y": 1}}),
        ([{"op": "remove", "path": "/a/0"}], {"a": [2], "b": {}}),
        ([{"op": "replace", "path": "/a", "value": []}], {"a": [], "b": {}}),
        ([{"op": "move", "from": "/a", "path": "/b/a"}], {"b": {"a": [1, 2]}}),
        ([{"op": "copy", "from": "/a/0", "path": "/b/c"}], {"a": [1, 2], "b": {"c": 1}}),
        ([{"op": "test", "path": "/a/1", "value": 2}, {"op": "remove", "path": "/b"}], {"a": [1, 2]}),
    ],
)
def test_json_patch(operations: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert patching.json_patch({"a": [1, 2], "b": {}}, operations) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/absent"},
        {"op": "replace", "path": "/absent", "value": 1},
        {"op": "add", "path": "/absent/x", "value": 1},
        {"op": "add", "path": "/a/9", "value": 1},
        {"op": "test", "path": "/a/0", "value": True},
        {"op": "explode", "path": "/a"},
        {"op": "add"},
    ],
)
def test_json_patch_that_does_not_apply(operation: dict[str, Any]) -> None:
    with pytest.raises(patching.PatchError):
        patching.json_patch({"a": [1, 2]}, [operation])


def test_merge_patch_deletes_by_null_and_replaces_lists() -> None:
    target = {"a": {"x": 1, "y": 2}, "l": [1, 2]}
    assert patching.merge_patch(target, {"a": {"x": None, "z": 3}, "l": [9]}) == {"a": {"y": 2, "z": 3}, "l": [9]}


def strategic(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    return merging.strategic_merge(target, patch, POD)


CONTAINERS = [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "1"}]


@pytest.mark.parametrize(
    ("what", "patch", "expected"),
    [
        ("lists merge by key", [{"name": "b", "image": "2"}], [CONTAINERS[0], {"name": "b", "image": "2"}]),
        ("new items go last", [{"name": "c"}], [*CONTAINERS, {"name": "c"}]),
        ("$patch: delete", [{"name": "a", "$patch": "delete"}], [CONTAINERS[1]]),
        ("$patch: replace", [{"$patch": "replace"}, {"name": "z"}], [{"name": "z"}]),
        (
            "lists inside items merge, too",
            [{"name": "a", "env": [{"name": "Y", "value": "2"}]}],
            [{**CONTAINERS[0], "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}, CONTAINERS[1]],
        ),
    ],
)
def test_strategic_merge_of_containers(what: str, patch: list[Any], expected: list[Any]) -> None:
    import copy

    result = strategic({"spec": {"containers": copy.deepcopy(CONTAINERS)}}, {"spec": {"containers": patch}})
    assert result["spec"]["containers"] == expected, what


def test_strategic_merge_directives() -> None:
    pod = {"metadata": {"finalizers": ["a", "b"]}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    patch = {
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
        "spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "m"}}]},
    }
    assert strategic(pod, patch) == {
        "metadata": {"finalizers": ["b", "c"]},
        "spec": {"volumes": [{"name": "v", "configMap": {"name": "m"}}]},
    }


def test_strategic_merge_orders_by_set_element_order() -> None:
    pod = {"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}
    patch = {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}], "containers": [{"name": "c"}]}}
    assert [c["name"] for c in strategic(pod, patch)["spec"]["containers"]] == ["a", "c", "b"]


def test_tolerations_are_replaced_and_conditions_merge() -> None:
    pod = {"spec": {"tolerations": [{"key": "a"}]}, "status": {"conditions": [{"type": "A"}, {"type": "B"}]}}
    patch = {"spec": {"tolerations": [{"key": "b"}]}, "status": {"conditions": [{"type": "B", "status": "True"}]}}
    result = strategic(pod, patch)
    assert result["spec"]["tolerations"] == [{"key": "b"}]
    assert result["status"]["conditions"] == [{"type": "A"}, {"type": "B", "status": "True"}]


def test_the_last_gate_goes_by_strategic_delete() -> None:
    pod = {"spec": {"schedulingGates": [{"name": "g"}]}}
    result = strategic(pod, {"spec": {"schedulingGates": [{"name": "g", "$patch": "delete"}]}})
    assert result["spec"]["schedulingGates"] == []


def test_apply_drops_what_its_manager_gave_up() -> None:
    first = {"metadata": {"labels": {"a": "1", "b": "1"}}, "spec": {"containers": [{"name": "x", "image": "1"}]}}
    owned = merging.field_set(first, POD)
    live = {
        "metadata": {"labels": {"a": "1", "b": "1", "other": "1"}},
        "spec": {"containers": [{"name": "x", "image": "1"}, {"name": "side"}]},
    }
    second = {"metadata": {"labels": {"a": "2"}}, "spec": {}}
    assert merging.apply_patch(live, second, owned, POD) == {
        "metadata": {"labels": {"a": "2", "other": "1"}},
        "spec": {"containers": [{"name": "side"}]},
    }
