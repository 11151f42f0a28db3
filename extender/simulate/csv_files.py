"""Trace CSVs → hosts and tasks: the columns of the Alibaba "openb" GPU traces of 2023.

Nodes: sn, cpu_milli, memory_mib, gpu, model. Pods: name, cpu_milli, memory_mib, num_gpu, gpu_milli and, if any pod
accepts only some models, gpu_spec (models joined by "|", empty: any). Other columns are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from extender.errors import ConfigError
from extender.model.amounts import GPU
from extender.model.gpu import NO_GPU, GpuRequest
from extender.model.names import NodeName
from extender.model.node import Node
from extender.simulate.workload import Accepts, Host, Task

NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")

_PODS_OF_A_NODE = 1001  # as the published benchmark: never what decides
_MOST_DEVICES = 256  # as for Node objects
_LARGEST = 2**40  # of anything else; far beyond any machine, and sums stay within 64 bits


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a file, for reading cells with errors that say where."""

    path: Path
    line: int
    cells: dict[str, str]

    def text(self, column: str) -> str:
        return self.cells.get(column, "").strip()

    def whole(self, column: str, *, least: int = 0, most: int = _LARGEST) -> int:
        """The cell as a whole number from `least` to `most`. Raises ConfigError."""
        text = self.text(column)
        if text.isascii() and text.isdigit() and len(text) <= 15 and least <= int(text) <= most:
            return int(text)
        limits = f"a whole number from {least} to {most}" if most != _LARGEST else f"a whole number, {least} or more"
        raise self.error(column, f"{text!r} is not {limits}")

    def error(self, column: str, sentence: str) -> ConfigError:
        return ConfigError(f"{self.path}, line {self.line}, column {column}: {sentence}")


def read_nodes(path: Path) -> list[Host]:
    """The nodes of a CSV. Raises ConfigError naming the line, column, value and what would be right."""
    hosts: list[Host] = []
    first_line: dict[str, int] = {}
    for row in _rows(path, NODE_COLUMNS, "nodes", mistaken=POD_COLUMNS):
        name = _name(row, "sn")
        if name in first_line:
            raise row.error("sn", f"node {name!r} is on line {first_line[name]} already; names must differ")
        first_line[name] = row.line
        gpus = row.whole("gpu", most=_MOST_DEVICES)
        node = Node(
            name=NodeName(name),
            uid=name,
            gpus=gpus,
            gpu_slots=gpus,
            gpu_product=row.text("model"),
            cpu_milli=row.whole("cpu_milli"),
            memory_mib=row.whole("memory_mib"),
            pods=_PODS_OF_A_NODE,
        )
        hosts.append(Host(node))
    return hosts


def read_pods(path: Path) -> list[Task]:
    """The pods of a CSV. Raises ConfigError naming the line, column, value and what would be right."""
    return [
        Task(
            name=_name(row, "name"),
            gpu=_request(row),
            cpu_milli=row.whole("cpu_milli"),
            memory_mib=row.whole("memory_mib"),
            accepts=Accepts(frozenset(filter(None, (model.strip() for model in row.text("gpu_spec").split("|"))))),
        )
        for row in _rows(path, POD_COLUMNS, "pods", mistaken=NODE_COLUMNS)
    ]


def _name(row: _Row, column: str) -> str:
    name = row.text(column)
    if not name:
        raise row.error(column, "is empty; a name is needed")
    return name


def _request(row: _Row) -> GpuRequest:
    devices = row.whole("num_gpu", most=_MOST_DEVICES)
    if not devices:
        milli = row.whole("gpu_milli")
        if milli:
            raise row.error("gpu_milli", f"{milli} of no GPU; must be 0 when num_gpu is 0")
        return NO_GPU
    milli = row.whole("gpu_milli", least=1, most=GPU)
    return GpuRequest(devices) if milli == GPU else GpuRequest(devices, share_milli=milli)


def _rows(path: Path, columns: tuple[str, ...], what: str, *, mistaken: tuple[str, ...]) -> Iterator[_Row]:
    try:
        # utf-8-sig: spreadsheets write a byte order mark, which would hide the first column.
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(lines, [])]
            _check_header(path, header, columns, what, mistaken)
            empty = True
            for cells in lines:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise ConfigError(
                        f"{path}, line {lines.line_num}: {len(cells)} cells under {len(header)} columns; "
                        f"as many cells as columns are needed"
                    )
                empty = False
                yield _Row(path, lines.line_num, dict(zip(header, cells, strict=True)))
            if empty:
                raise ConfigError(f"{path}: no {what} below the header; at least one line is needed")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; a CSV in UTF-8 is needed") from error
    except csv.Error as error:
        raise ConfigError(f"{path}: not a CSV: {error}") from error


def _check_header(
    path: Path, header: list[str], columns: tuple[str, ...], what: str, mistaken: tuple[str, ...]
) -> None:
    missing = [column for column in columns if column not in header]
    if not missing:
        return
    if all(column in header for column in mistaken):
        raise ConfigError(f"{path}: has the columns of the other file; are --nodes and --pods swapped?")
    raise ConfigError(
        f"{path}, line 1: no column {', '.join(missing)}; a CSV of {what} has the columns {','.join(columns)}"
    )
