"""The patch dialects of the RFCs: JSON patch (6902) and JSON merge patch (7386); `merging` has the other two.

Both functions may change the document that they are given and return the patched one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from extender.emulator.resources import JSON
from extender.emulator.status import StatusError

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class PatchError(ValueError):
    """The patch is well-formed and cannot be applied to this object."""


def refusal(error: PatchError) -> StatusError:
    """The 422 that the API server makes of a patch that does not apply."""
    details = {"causes": [{"reason": "UnexpectedServerResponse", "message": str(error)}]}
    message = "the server rejected our request due to an error in our request"
    return StatusError(422, "Invalid", message, details)


def json_patch(document: Any, operations: Any) -> Any:
    """Apply RFC 6902 operations in order. Raises PatchError naming the one that fails."""
    if not isinstance(operations, list):
        raise PatchError("unable to decode patch: not a list of operations")
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise PatchError("unable to decode patch: an operation needs op and path")
        apply = _OPERATIONS.get(operation.get("op", ""))
        if apply is None:
            raise PatchError(f"Unexpected kind: {operation.get('op')}")
        document = apply(document, operation)
    return document


def _tokens(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise PatchError(f"invalid path {path!r}")
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _step(node: Any, token: str, path: str) -> Any:
    if isinstance(node, dict) and token in node:
        return node[token]
    if isinstance(node, list):
        return node[_index(token, len(node) - 1, path)]
    raise PatchError(f"doc is missing path: {path}: missing value")


def _index(token: str, last: int, path: str) -> int:
    if not token.isdigit() or int(token) > last:
        raise PatchError(f"doc is missing path: {path}: invalid index {token!r}")
    return int(token)


def _read(document: Any, path: str) -> Any:
    for token in _tokens(path):
        document = _step(document, token, path)
    return document


def _write(document: Any, path: str, value: Any) -> Any:
    *parents, last = _tokens(path) or [""]
    if not path:
        return value
    node = document
    for token in parents:
        node = _step(node, token, path)
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list):
        node.insert(len(node) if last == "-" else _index(last, len(node), path), value)
    else:
        raise PatchError(f"add operation does not apply: doc is missing path: {path}: missing value")
    return document


def _remove(document: Any, path: str) -> Any:
    *parents, last = _tokens(path) or [""]
    node = document
    for token in parents:
        node = _step(node, token, path)
    if isinstance(node, dict) and last in node:
        del node[last]
    elif isinstance(node, list):
        del node[_index(last, len(node) - 1, path)]
    else:
        raise PatchError(f"remove operation does not apply: doc is missing path: {path}: missing value")
    return document


def _op_replace(document: Any, operation: JSON) -> Any:
    path = operation["path"]
    _read(document, path)
    if not path:
        return operation.get("value")
    return _write(_remove(document, path), path, operation.get("value"))


def _op_test(document: Any, operation: JSON) -> Any:
    path, wanted = operation["path"], operation.get("value")
    try:
        found = _read(document, path)
    except PatchError:
        found = None
    if found != wanted or isinstance(found, bool) != isinstance(wanted, bool):
        raise PatchError(f"testing value {path} failed: test failed")
    return document


def _op_move(document: Any, operation: JSON) -> Any:
    source = str(operation.get("from", ""))
    value = _read(document, source)
    return _write(_remove(document, source), operation["path"], value)


_OPERATIONS: dict[str, Callable[[Any, JSON], Any]] = {
    "add": lambda document, op: _write(document, op["path"], op.get("value")),
    "remove": lambda document, op: _remove(document, op["path"]),
    "replace": _op_replace,
    "test": _op_test,
    "move": _op_move,
    "copy": lambda document, op: _write(document, op["path"], copy.deepcopy(_read(document, str(op.get("from", ""))))),
}


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: objects merge, null deletes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_patch(target.get(key), value)
    return target
