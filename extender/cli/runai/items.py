"""Items of parameters from what is typed for them: `8080:80`, `NAME=VALUE`, `claimname=c,path=/data,ro`.

An item needs a label. Where the text gives none it is made of what the item is about (the port, the path), in letters
and digits alone, as it becomes part of the names of objects: the same thing typed over a template replaces it there,
and anything else is added.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from extender.errors import MalformedError
from extender.model.workload import Type
from extender.wire.workloads import FlatField, flat_fields
from extender.workloads import parse

Json = dict[str, Any]

# Forms of their own: beside `member=value`, and in its place.
_SHORT: Mapping[str, Callable[[str], Json]] = {"ports": parse.port, "pvcs": parse.claim, "volumes": parse.volume}
_OWN: Mapping[str, Callable[[str], Json]] = {"gitSync": parse.git_sync, "tolerations": parse.toleration}
# Items that are texts, each the value itself and not NAME=VALUE.
_BARE = ("capabilities", "imagePullSecrets")
# NAME=QUANTITY.
_AMOUNTS = ("extendedResources", "masterExtendedResources")
# What earlier command lines call members.
_MEMBERS: Mapping[str, Mapping[str, str]] = {
    "configMapVolumes": {"path": "mountPath"},
    "pvcs": {"pvc": "claimName"},
    "s3": {"key": "accessKeyId"},
    "secretVolumes": {"path": "mountPath"},
    "volumes": {"path": "sourcePath", "mountPath": "targetPath"},
}
_WORDS: Mapping[str, tuple[str, Any]] = {
    "accessmode-rom": ("accessModes", ["ReadOnlyMany"]),
    "accessmode-rwm": ("accessModes", ["ReadWriteMany"]),
    "accessmode-rwo": ("accessModes", ["ReadWriteOnce"]),
    "ephemeral": ("ephemeral", True),
    "ro": ("readOnly", True),
    "rw": ("readOnly", False),
}
# The member that an item is about, and what its label begins with.
_ABOUT: Mapping[str, tuple[str, str]] = {
    "configMapVolumes": ("", "mountPath"),
    "emptyDirVolumes": ("", "path"),
    "exposedUrls": ("url", "container"),
    "gitSync": ("", "source"),
    "ports": ("port", "container"),
    "pvcs": ("", "path"),
    "s3": ("", "target"),
    "secretVolumes": ("", "mountPath"),
    "tolerations": ("", "key"),
    "volumes": ("", "targetPath"),
}
_LABEL = "label"
_FLAGS = {"true": True, "false": False}
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def items(field: FlatField, texts: list[str]) -> dict[str, Any]:
    """Each item by label. Raises MalformedError."""
    found: dict[str, Any] = {}
    if field.name in _BARE:
        texts = [one for text in texts for one in text.split(",") if one]
    for text in texts:
        label, value = _text(field, text) if field.marks.type is Type.TEXT else _object(field, text)
        if label in found and field.marks.type is Type.OBJECT:
            label = next(name for number in count(2) if (name := f"{label}x{number}") not in found)
        found[label] = value
    return found


def slug(text: str) -> str:
    """Letters and digits alone: /mnt/data is mntdata."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _text(field: FlatField, text: str) -> tuple[str, str]:
    if field.name in _BARE:
        return slug(text), text
    try:
        return parse.variable(text)
    except MalformedError as error:
        raise MalformedError(f"{field.name}: {error}") from error


def _object(field: FlatField, text: str) -> tuple[str, Json]:
    label = ""
    if field.name in _OWN:
        members = _OWN[field.name](text)
    elif field.name in _SHORT and not _is_pairs(field, text):
        members = _SHORT[field.name](text)
    elif field.name in _AMOUNTS and not _is_pairs(field, text):
        label, quantity = parse.variable(text)
        members = {"quantity": quantity}  # of the resource that the item is labelled with
    else:
        members, label = _pairs(field, text)
    prefix, about = _ABOUT.get(field.name, ("", ""))
    return label or prefix + slug(str(members.get(about, ""))) or slug(text) or "item", members


def _is_pairs(field: FlatField, text: str) -> bool:
    name, equals, _ = text.partition("=")
    return bool(equals) and (name == _LABEL or _member(field, name) is not None)


def _pairs(field: FlatField, text: str) -> tuple[Json, str]:
    """The members and the label, "" when none is given, of `member=value,member=value`."""
    members: Json = {}
    label = ""
    for part in parse.parts(text):
        name, equals, value = part.partition("=")
        member = _member(field, name)
        if not equals and part in _WORDS and _member(field, _WORDS[part][0]) is not None:
            name, members_value = _WORDS[part]
            members[name] = members_value
        elif name == _LABEL:
            label = value
        elif not equals or member is None:
            known = ", ".join(one.name for one in flat_fields(field.item))
            raise MalformedError(
                f"{field.name}: must be MEMBER=VALUE, not {part!r}; a value with a comma is put in quotes, and the "
                f"members are {known}"
            )
        else:
            members[member.name] = _typed(field, member, parse.unquoted(value))
    return members, label


def _member(field: FlatField, typed: str) -> FlatField | None:
    """The member, its letters in any case and hyphens between its words allowed: claimname, storage-class."""
    known = {member.name.lower(): member for member in flat_fields(field.item)}
    aliases = {name.lower(): of.lower() for name, of in _MEMBERS.get(field.name, {}).items()}
    name = typed.replace("-", "").lower()
    return known.get(name) or known.get(aliases.get(name, ""))


def _typed(field: FlatField, member: FlatField, value: str) -> Any:
    match member.marks.type:
        case Type.BOOLEAN:
            if value.lower() not in _FLAGS:
                raise MalformedError(f"{field.name}: {member.name} must be true or false, not {value!r}")
            return _FLAGS[value.lower()]
        case Type.INTEGER:
            if not _INTEGER.fullmatch(value):
                raise MalformedError(f"{field.name}: {member.name} must be an integer, not {value!r}")
            return int(value)
        case Type.TEXTS:
            return value.split("+")
    return value
