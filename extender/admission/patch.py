"""JSON patches (RFC 6902) as the difference of two values."""

from __future__ import annotations

from typing import Any

Operation = dict[str, Any]


def difference(before: Any, after: Any, at: str = "") -> list[Operation]:
    """The operations that turn `before` into `after`; none when they are equal. Keys in the order of `after`.

    Only what differs is named: a field that neither side knows of survives, whoever added it meanwhile. The
    operations hold parts of `after`. Cost: O(size of both).
    """
    if isinstance(before, dict) and isinstance(after, dict):
        return _of_objects(before, after, at)
    if isinstance(before, list) and isinstance(after, list):
        return _of_lists(before, after, at)
    return [] if _same(before, after) else [{"op": "replace", "path": at, "value": after}]


def pointer(*keys: str) -> str:
    """The JSON pointer (RFC 6901) to a member: `pointer("a", "b/c")` is `/a/b~1c`."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def _of_objects(before: dict[str, Any], after: dict[str, Any], at: str) -> list[Operation]:
    operations: list[Operation] = [{"op": "remove", "path": at + pointer(key)} for key in before if key not in after]
    for key, value in after.items():
        path = at + pointer(key)
        if key in before:
            operations += difference(before[key], value, path)
        else:
            operations.append({"op": "add", "path": path, "value": value})
    return operations


def _of_lists(before: list[Any], after: list[Any], at: str) -> list[Operation]:
    if len(after) < len(before):
        return [{"op": "replace", "path": at, "value": after}]
    operations: list[Operation] = []
    for index, value in enumerate(before):
        operations += difference(value, after[index], f"{at}/{index}")
    return operations + [{"op": "add", "path": f"{at}/-", "value": value} for value in after[len(before) :]]


def _same(before: Any, after: Any) -> bool:
    """JSON's equality: Python's, but true is not 1."""
    return bool(before == after) and isinstance(before, bool) == isinstance(after, bool)
