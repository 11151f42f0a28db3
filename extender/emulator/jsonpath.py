"""The JSONPath that printer columns use: `.a.b`, `.a[0]`, `.a[*].b`, `['a.b/c']`, `[?(@.type=="X")]`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import orjson

_STEP = re.compile(
    r"""\.?(?:
        (?P<name>[A-Za-z_$][\w-]*(?:\\.[\w/-]+)*)
      | \[(?P<index>-?\d+)\]
      | (?P<all>\[\*\]|\*)
      | \[['"](?P<quoted>[^'"]+)['"]\]
      | \[\?\(\s*@\.(?P<field>[\w.]+)\s*(?P<op>==|!=)\s*(?P<value>'[^']*'|"[^"]*"|[\w.-]+)\s*\)\]
    )""",
    re.VERBOSE,
)


@lru_cache(maxsize=512)
def _steps(path: str) -> tuple[re.Match[str], ...]:
    """The steps of a path. Raises ValueError where it cannot be read."""
    path = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    steps = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or match.end() == position:
            raise ValueError(f"unreadable JSONPath {path!r} at {position}")
        steps.append(match)
        position = match.end()
    return tuple(steps)


def find(value: Any, path: str) -> list[Any]:
    """Every value at `path`; none for a path that leads nowhere or cannot be read."""
    try:
        steps = _steps(path)
    except ValueError:
        return []
    found = [value]
    for step in steps:
        found = [below for node in found for below in _descend(node, step)]
    return [node for node in found if node is not None]


def text(value: Any) -> str:
    """A value that is no string, as a printer column shows it."""
    return orjson.dumps(value).decode()


def _descend(node: Any, step: re.Match[str]) -> list[Any]:
    name = step["quoted"] or (step["name"] or "").replace("\\.", ".")
    if name:
        return [node[name]] if isinstance(node, dict) and name in node else []
    if step["index"]:
        if isinstance(node, list) and -len(node) <= int(step["index"]) < len(node):
            return [node[int(step["index"])]]
        return []
    items = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    if step["all"]:
        return items
    wanted = step["value"].strip("'\"")
    return [item for item in items if (_plain(item, step["field"]) == wanted) == (step["op"] == "==")]


def _plain(item: Any, field: str) -> str | None:
    for name in field.split("."):
        item = item.get(name) if isinstance(item, dict) else None
    if isinstance(item, bool):
        return "true" if item else "false"
    return None if item is None else str(item)
