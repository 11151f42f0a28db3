"""Structured logs: one JSON object a line on stderr, a constant event name, keys as keyword arguments.

    log = logs.get("binder"); log.info("bound", pod="ns/p", node="n1", ms=3.2)

Keys in use: pod, node, project, kind, verb, reason, cause, ms, seconds, objects, address.
INFO is changed state, WARNING what needs no action yet, ERROR what a person should look at, DEBUG reasoning.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import orjson


class Logger:
    """A named logger; a line below the level costs one comparison."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"runai.{name}")
        self._name = name

    def debug(self, event: str, **keys: Any) -> None:
        self._write(logging.DEBUG, event, keys)

    def info(self, event: str, **keys: Any) -> None:
        self._write(logging.INFO, event, keys)

    def warning(self, event: str, **keys: Any) -> None:
        self._write(logging.WARNING, event, keys)

    def error(self, event: str, **keys: Any) -> None:
        self._write(logging.ERROR, event, keys)

    def exception(self, event: str, **keys: Any) -> None:
        """An error with its traceback: for loops and requests that must survive."""
        self._logger.error(event, extra={"runai": (self._name, keys)}, exc_info=True)  # noqa: LOG014  our callers are the handlers

    def _write(self, level: int, event: str, keys: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"runai": (self._name, keys)})


def get(name: str) -> Logger:
    return Logger(name)


def configure(level: str) -> None:
    """Send our logs to stderr at `level` (debug, info, warning, error). Call once, from a command."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    root = logging.getLogger("runai")
    root.handlers = [handler]
    root.setLevel(level.upper())
    root.propagate = False


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        name, keys = getattr(record, "runai", (record.name, {}))
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": name,
            "event": record.getMessage(),
            **keys,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()
