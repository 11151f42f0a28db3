"""Scenario files: YAML documents, one a case, read with the line that each begins on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from extender.errors import ConfigError

KINDS = ("schedule", "division", "predicate", "order", "admission", "lifecycle", "grouping", "e2e")


@dataclass(frozen=True, slots=True)
class Case:
    """One document. `file` and `line` say where it begins, for messages."""

    id: str
    kind: str
    mode: str
    body: dict[str, Any]
    file: Path
    line: int


def read(path: Path, wanted: str | None = None) -> list[Case]:
    """The cases of a file, or the one with id `wanted`. Raises ConfigError with the line, OSError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file: {error.reason} at byte {error.start}") from error
    cases: list[Case] = []
    try:
        loader = yaml.CSafeLoader(text) if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader(text)
        try:
            while loader.check_node():
                node = loader.get_node()
                body = loader.construct_document(node)
                if node is not None and body is not None:
                    cases.append(_case(path, node.start_mark.line + 1, body))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        line = at.line + 1 if at else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {str(error)[:200]}") from error
    if not cases:
        raise ConfigError(f"{path}:1: no case in it")
    if wanted is None:
        return cases
    chosen = [case for case in cases if case.id == wanted]
    if not chosen:
        raise ConfigError(f"{path}: no case with id {wanted}; it has {', '.join(case.id for case in cases)[:400]}")
    return chosen


def _case(path: Path, line: int, body: object) -> Case:
    if not isinstance(body, dict):
        raise ConfigError(f"{path}:{line}: a case must be a mapping, not {type(body).__name__}")
    name = body.get("id")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{path}:{line}: the case has no id")
    kind = body.get("kind", "schedule")
    if kind not in KINDS:
        raise ConfigError(f"{path}:{line}: {name}: kind {kind!r} is not one of {', '.join(KINDS[1:])}")
    mode = body.get("mode", "")
    if kind == "schedule" and not isinstance(mode, str):
        raise ConfigError(f"{path}:{line}: {name}: mode must be a text")
    return Case(name, kind, str(mode), body, path, line)
