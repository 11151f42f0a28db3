"""The two files of a simulation, whatever their kind: trace CSVs, or a cluster's objects as YAML or JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from extender.errors import ConfigError
from extender.simulate import csv_files, exports, workload
from extender.simulate.workload import Workload

_OBJECTS = (".json", ".yaml", ".yml")


def load(nodes: Path, pods: Path, note: Callable[[str], None]) -> Workload:
    """Read both files; `note` hears, in a sentence each, what is left out.

    Raises ConfigError naming file, line or object, value and what would be right.
    """
    hosts = exports.read_nodes(nodes, note) if _holds_objects(nodes) else csv_files.read_nodes(nodes)
    if not _holds_objects(pods):
        return workload.build(hosts, csv_files.read_pods(pods))
    tasks, staying = exports.read_pods(pods, note)
    return workload.build(exports.take_off(hosts, staying), tasks)


def _holds_objects(path: Path) -> bool:
    if path.suffix in _OBJECTS:
        return True
    if path.suffix == ".csv":
        return False
    raise ConfigError(f"{path}: a file of kind {path.suffix!r}; .csv, {', '.join(_OBJECTS)} can be read")
