"""CEL, where a library for it is installed (`common-expression-language`): match conditions and validation rules.

Without the library only comparisons of one field with one text are evaluated (`object.spec.schedulerName == 'x'`),
which is what our own webhook asks for. What cannot be evaluated counts as met (a webhook is called more often than it
asked for, never less), and a validation rule as kept. The library does not read the optional syntax (`a.?b`); such
expressions count the same way.
"""

from __future__ import annotations

import importlib
import logging
import re
from functools import lru_cache
from typing import Any

log = logging.getLogger(__name__)

_COMPARISON = re.compile(r"""\s*([a-zA-Z]\w*(?:\.[a-zA-Z]\w*)+)\s*(==|!=)\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*""")


class ExpressionError(ValueError):
    """The expression failed for these values, e.g. because it reads a field that is not there."""


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        return importlib.import_module("cel")
    except ImportError:
        return None


@lru_cache(maxsize=512)
def _program(text: str) -> Any:
    """The compiled expression, None when it cannot be evaluated here."""
    library = _library()
    if library is None:
        return None
    try:
        return library.compile(text)
    except ValueError as error:
        log.warning("emulator cannot read a CEL expression", extra={"expression": text, "error": str(error)})
        return None


def holds(text: str, variables: dict[str, Any]) -> bool | None:
    """Whether a boolean expression is true; None when it cannot be evaluated here. Raises ExpressionError."""
    program = _program(text)
    if program is None:
        return _compare(text, variables)
    try:
        return bool(program.execute(variables))
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ExpressionError(str(error)) from error


def _compare(text: str, variables: dict[str, Any]) -> bool | None:
    match = _COMPARISON.fullmatch(text)
    if match is None:
        return None
    value: Any = variables
    for key in match[1].split("."):
        if not isinstance(value, dict) or key not in value:
            raise ExpressionError(f"no such key: {key}")
        value = value[key]
    wanted = match[3] if match[3] is not None else match[4]
    return bool(value == wanted) == (match[2] == "==")
