"""Server-side printing: the Tables that `kubectl get` shows.

Built-in kinds print as `printers` says, custom resources by their additionalPrinterColumns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from extender.emulator import convert, jsonpath
from extender.emulator.printers import DEFAULT, PRINTERS, Cells
from extender.emulator.resources import JSON, Resource
from extender.emulator.store import Record
from extender.emulator.times import age_s, duration


def table(resource: Resource, records: Iterable[Record], metadata: JSON, include: str, headers: bool = True) -> JSON:
    """A Table of records. include: what each row carries, "Metadata" (default), "Object" or "None"."""
    columns, cells = printer_of(resource)
    result: JSON = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    result["columnDefinitions"] = columns if headers else None
    result["rows"] = [
        {"cells": cells(record.obj), "object": _row_object(resource, record, include)} for record in records
    ]
    return result


def _row_object(resource: Resource, record: Record, include: str) -> JSON | None:
    if include == "None":
        return None
    if include == "Object":
        served = convert.to_served(resource, record.obj)
        return {"kind": resource.kind, "apiVersion": resource.api_version, **served}
    return partial_metadata(record)


def partial_metadata(record: Record) -> JSON:
    """An object reduced to its metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": record.obj["metadata"]}


def printer_of(resource: Resource) -> tuple[list[JSON], Cells]:
    """The column definitions of a resource and the function that makes an object's cells."""
    if resource.custom:
        return _custom_printer(resource)
    line, cells = PRINTERS.get(resource.storage, DEFAULT)
    return list(_columns(line)), cells


def _columns(line: str) -> Iterator[JSON]:
    for word in line.split():
        title = word.rstrip("+").replace("_", " ")
        yield {
            "name": title,
            "type": "integer" if title in _INTEGERS else "string",
            "format": "name" if title == "Name" else "",
            "description": title,
            "priority": 1 if word.endswith("+") else 0,
        }


_INTEGERS = frozenset(
    {"Up-to-date", "Available", "Desired", "Current", "Data", "Value", "Count", "Webhooks", "Secrets"}
)


def _custom_printer(resource: Resource) -> tuple[list[JSON], Cells]:
    columns = [_column("Name", "string", "name")]
    paths: list[tuple[str, str]] = []
    for column in resource.columns:
        columns.append(
            {
                "name": column["name"],
                "type": column["type"],
                "format": column.get("format", ""),
                "description": column.get("description", ""),
                "priority": column.get("priority", 0),
            }
        )
        paths.append((column["jsonPath"], column["type"]))
    if not resource.columns:
        columns.append(_column("Age", "date"))
        paths.append((".metadata.creationTimestamp", "date"))

    def cells(obj: JSON) -> list[Any]:
        return [obj["metadata"]["name"], *(_custom_cell(obj, path, type_) for path, type_ in paths)]

    return columns, cells


def _column(name: str, type_: str, format_: str = "") -> JSON:
    return {"name": name, "type": type_, "format": format_, "description": name, "priority": 0}


def _custom_cell(obj: JSON, path: str, type_: str) -> Any:
    found = jsonpath.find(obj, path)
    if not found:
        return None
    value = found[0]
    if type_ == "date":
        return duration(age_s(value))
    if type_ == "string":
        if isinstance(value, bool):
            return "true" if value else "false"
        return value if isinstance(value, str) else jsonpath.text(value if len(found) == 1 else found)
    return value
