"""Metadata rules that hold for every kind: names, labels, annotations, finalizers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from extender.emulator.resources import JSON, Resource
from extender.emulator.status import Cause, forbidden_field, invalid_value, required

_LABEL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_NAME_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_QUALIFIED_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)

_LABEL_NAMED = frozenset({"namespaces", "services"})
_ANNOTATIONS_BYTES = 256 * 1024


def name_problem(resource: Resource, name: str) -> str | None:
    """What is wrong with an object's name, or None."""
    if resource.group == "rbac.authorization.k8s.io":
        return None if name not in (".", "..") and not re.search(r"[/%]", name) else "may not contain '/' or '%'"
    if not resource.custom and resource.plural in _LABEL_NAMED:
        return label_name_problem(name)
    if len(name) > 253:
        return "must be no more than 253 bytes"
    return None if _SUBDOMAIN.fullmatch(name) else _SUBDOMAIN_RULE


def label_name_problem(name: str) -> str | None:
    """What is wrong with a name that must be a DNS label (containers, namespaces), or None."""
    if len(name) > 63:
        return "must be no more than 63 bytes"
    return None if _LABEL_NAME.fullmatch(name) else _LABEL_NAME_RULE


@lru_cache(maxsize=8192)
def label_value_problem(value: str) -> str | None:
    """What is wrong with a label's value, or None."""
    if len(value) > 63:
        return "must be no more than 63 bytes"
    return None if _LABEL_VALUE.fullmatch(value) else _LABEL_VALUE_RULE


@lru_cache(maxsize=8192)
def qualified_name_problem(name: str) -> str | None:
    """What is wrong with a label key, resource name or condition type, or None."""
    prefix, slash, last = name.rpartition("/")
    if slash and not _SUBDOMAIN.fullmatch(prefix):
        return f"prefix part {_SUBDOMAIN_RULE}"
    if not last:
        return "name part must be non-empty"
    if len(last) > 63:
        return "name part must be no more than 63 bytes"
    return None if _QUALIFIED.fullmatch(last) else _QUALIFIED_RULE


def validate_metadata(resource: Resource, metadata: JSON) -> Iterator[Cause]:
    """The broken rules of an object's metadata, its name set already."""
    name = metadata.get("name")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif problem := name_problem(resource, name):
        yield invalid_value("metadata.name", name, problem)
    yield from validate_labels(metadata.get("labels") or {}, "metadata.labels")
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        if problem := qualified_name_problem(key.lower()):
            yield invalid_value("metadata.annotations", key, problem)
    if sum(len(key) + len(value) for key, value in annotations.items()) > _ANNOTATIONS_BYTES:
        yield Cause(
            "metadata.annotations",
            "FieldValueTooLong",
            f"Too long: may not be more than {_ANNOTATIONS_BYTES} bytes",
        )
    for position, owner in enumerate(metadata.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield invalid_value(f"metadata.ownerReferences[{position}].{field}", "", f"{field} must not be empty")


def validate_labels(labels: JSON, path: str) -> Iterator[Cause]:
    """The broken rules of a label map."""
    for key, value in labels.items():
        if problem := qualified_name_problem(key):
            yield invalid_value(path, key, problem)
        if problem := label_value_problem(value):
            yield invalid_value(path, value, problem)


def validate_metadata_update(new: JSON, old: JSON) -> Iterator[Cause]:
    """Rules between two versions: what is on its way out takes no new finalizers."""
    if old.get("deletionTimestamp"):
        added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if added:
            shown = ", ".join(f'"{finalizer}"' for finalizer in added)
            detail = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{shown}}}"
            )
            yield forbidden_field("metadata.finalizers", detail)
