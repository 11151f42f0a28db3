"""CEL, where a library for it is installed (`common-expression-language`): match conditions and validation rules.

Without the library nothing is evaluated: a match condition counts as met (a webhook is called more often than it asked
for, never less) and a validation rule as kept. The library does not read the optional syntax (`a.?b`); such expressions
count the same way.
"""

from __future__ import annotations

import importlib
import logging
from functools import lru_cache
from typing import Any

log = logging.getLogger(__name__)


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
        return None
    try:
        return bool(program.execute(variables))
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ExpressionError(str(error)) from error
