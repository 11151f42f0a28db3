"""Values as people write them in one text: GPUs, sizes, claims, folders, ports, tolerations, repositories, commands.

The forms are those of the command line (behaviour.md 4.2, 12.7); what comes out has the members that items have in
`extender.wire.workloads.items`, with nothing filled in that was not written. Each raises MalformedError with a text for
whoever wrote the value; those that others match are the texts of behaviour.md 4.3, spelling included.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP
from typing import Any

from extender.errors import MalformedError
from extender.model import durations
from extender.model.amounts import MIB, parse_quantity
from extender.model.workload import Json, Type
from extender.workloads import scalar

LEAST_GPU_MEMORY = 100_000_000  # bytes

BAD_GPU = "must be an integer or a fraction between 0 and 1"
LITTLE_GPU_MEMORY = "gpu memory must be greater than 100Mb"  # exactly that passes
NO_REPOSITORY = "git sync must contain Repository"

_FRACTION_DIGITS = 4  # what the scheduler tells apart
_SECRET = "SECRET:"
_SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)
_LIKE_A_QUANTITY = re.compile(r"[+-]?[0-9.]+[eEinumkKMGTP]*[-+]?[0-9]*", re.ASCII)
_PART = re.compile(r"""(?:"[^"]*"|'[^']*'|[^,])+""")  # between commas that stand outside quotes
_PORTS = range(1, 65536)
_LARGEST_ID = 2**31 - 1

_VOLUME_FORM = "the -v parameter must be given in the form of <host_path>:<container_path>:<access_mode>[optional]"
_CLAIM_FORM = (
    "the --pvc parameter can be given in either of the forms: "
    "<storage_class>[optional]:<size>:<container_mount_path>:<access_mode>[optional] or "
    "<existing_pvc_name>:<container_mount_path>:<access_mode>[optional]"
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """What `gpu` asks for: whole devices, or a fraction of one in its shortest form ("0.5"), or nothing."""

    whole: int = 0
    fraction: str = ""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key of a Secret of the namespace."""

    name: str
    key: str


def gpu(value: Any, name: str = "gpu") -> Gpu:
    """`gpu` as a text or a number; None is nothing. name: of the parameter, for the error."""
    if value is None:
        return Gpu()
    amount = scalar.amount(value, Type.NUMBER)
    if amount is None or amount < 0 or (amount > 1 and amount.denominator != 1):
        raise MalformedError(f"{name}: {BAD_GPU}")
    if amount.denominator == 1:
        return Gpu(whole=int(amount))
    if (amount * 10**_FRACTION_DIGITS).denominator != 1:
        raise MalformedError(f"{name}: a fraction may have {_FRACTION_DIGITS} decimals, {value} has more")
    return Gpu(fraction=f"{parse_quantity(value).normalize():f}")


def gpu_memory_mib(value: Any, least: int = LEAST_GPU_MEMORY) -> int:
    """MiB of `gpuMemory`, rounded down, as the scheduler reads them. least: bytes that it must at least be."""
    amount = scalar.amount(value, Type.QUANTITY)
    if amount is None:
        raise MalformedError(f"gpuMemory: must be {Type.QUANTITY}")
    if amount < least:
        raise MalformedError(LITTLE_GPU_MEMORY)
    return int(amount // MIB)


def seconds(text: str) -> int:
    """Whole seconds of a duration such as "90s" or "1h30m", rounded."""
    try:
        exact = durations.exact_seconds(text)
    except ValueError as error:
        raise MalformedError(f'must be a duration such as "90s" or "1h30m", not {scalar.shown(text)}') from error
    if exact < 0:
        raise MalformedError(f"must not be below 0, as {text} is")
    return int(exact.to_integral_value(ROUND_HALF_UP))


def words(command: str | list[str]) -> list[str]:
    """A command or its arguments, split as a shell does it, quotes included; nothing is expanded. A list stays one."""
    if isinstance(command, list):
        return command
    try:
        return shlex.split(command)
    except ValueError as error:
        raise MalformedError(f"must be words with their quotes closed, not {scalar.shown(command)}") from error


def secret(text: str) -> SecretKey | None:
    """What `SECRET:<name>,<key>` names; None for any other text, `SECRET:` further on in it included (RUN-7435)."""
    if not text.startswith(_SECRET):
        return None
    name, _, key = text.removeprefix(_SECRET).partition(",")
    if not _SECRET_NAME.fullmatch(name) or not _SECRET_KEY.fullmatch(key):
        raise MalformedError("must be SECRET:<name>,<key>, the name of a Secret and a key in it")
    return SecretKey(name, key)


def variable(text: str) -> tuple[str, str]:
    """`NAME=VALUE`, apart at the first "=" (RUN-7435)."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise MalformedError(f"must be NAME=VALUE, not {scalar.shown(text)}")
    return name, value


def supplemental_groups(text: str) -> list[int]:
    """Ids of groups, separated by ";"."""
    ids = [one.strip() for one in text.split(";") if one.strip()]
    if not all(one.isascii() and one.isdigit() and len(one) <= 10 and int(one) <= _LARGEST_ID for one in ids):
        raise MalformedError(f'must be ids of groups separated by ";", not {scalar.shown(text)}')
    return [int(one) for one in ids]


def port(text: str) -> Json:
    """`<external>:<container>`, or one number for both."""
    external, _, container = text.rpartition(":")
    numbers = [one for one in (external or container, container) if one.isascii() and one.isdigit() and len(one) <= 5]
    if len(numbers) != 2 or text.startswith(":") or not all(int(one) in _PORTS for one in numbers):
        raise MalformedError(
            f"a port must be <external>:<container>, or one number for both, each 1 to 65535, not {scalar.shown(text)}"
        )
    return {"container": int(numbers[1]), "external": int(numbers[0])}


def volume(text: str) -> Json:
    """`<source>:<target>[:ro|rw][:<NFS server>]`."""
    source, target, mode, server = (*text.split(":"), None, None, None)[:4]
    if text.count(":") > 3 or not source or not target or server == "":
        raise MalformedError(_VOLUME_FORM)
    return {
        "sourcePath": source,
        "targetPath": target,
        "readOnly": _is_read_only(mode),
        **({"nfsServer": server} if server else {}),
    }


def claim(text: str) -> Json:
    """`<claim>:<path>[:ro|rw]` of one that exists, `[<class>]:<size>:<path>[:ro|rw]` of one that is to be made.

    Of three parts, the first two decide: without a first one, or with a size as the second, it is to be made.
    """
    parts = text.split(":")
    if not 2 <= len(parts) <= 4:
        raise MalformedError(_CLAIM_FORM)
    is_new = len(parts) == 4 or (len(parts) == 3 and (not parts[0] or _LIKE_A_QUANTITY.fullmatch(parts[1]) is not None))
    return _new_claim(*parts) if is_new else _existing_claim(*parts)


def toleration(text: str) -> Json:
    """`operator=Equal,key=k,value=v,effect=NoSchedule,seconds=30`."""
    known = ("name", "operator", "key", "value", "effect", "seconds")
    found: Json = dict(pairs(text))
    unknown = sorted(found.keys() - set(known))
    if not found or unknown:
        raise MalformedError(f"a toleration has {', '.join(known)}, each as {known[0]}=…, not {scalar.shown(text)}")
    if "seconds" in found:
        if not re.fullmatch(r"\d{1,10}", found["seconds"], re.ASCII):
            raise MalformedError(f"seconds of a toleration must be an integer, not {scalar.shown(found['seconds'])}")
        found["seconds"] = int(found["seconds"])
    return found


def git_sync(text: str) -> Json:
    """`source=URL,branch=b,rev=r,username=u,password=p,target=t,image=i`."""
    names = {"repo": "source", "rev": "revision"}
    found: Json = {names.get(name, name): value for name, value in pairs(text).items()}
    if not found.get("source"):
        raise MalformedError(NO_REPOSITORY)
    return found


def pairs(text: str) -> Mapping[str, str]:
    """`name=value` between commas; quotes around a value are taken off, a part that is no pair is left out.

    The first "=" of a part separates, so that a value may have some itself; a comma in quotes separates nothing.
    """
    split = (part.partition("=") for part in parts(text))
    return {name.strip(): unquoted(value.strip()) for name, equals, value in split if equals and name.strip()}


def parts(text: str) -> list[str]:
    """What stands between commas; a comma in quotes separates nothing. Quotes stay."""
    found: list[str] = _PART.findall(text)
    return found


def unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _existing_claim(name: str, path: str, mode: str | None = None) -> Json:
    if not name:
        raise MalformedError("persistent volume claim name must be specified")
    if not path:
        raise MalformedError("container mount path must be specified")
    return {"claimName": name, "existingPvc": True, "path": path, "readOnly": _is_read_only(mode)}


def _new_claim(storage_class: str, size: str, path: str, mode: str | None = None) -> Json:
    if not size:
        raise MalformedError("persistent volume size must be specified")
    amount = scalar.amount(size, Type.QUANTITY)
    if amount is None or amount <= 0:
        raise MalformedError(
            "Badly formatted resource request for volume size requierment. "
            f"It must be a quantity such as 10Gi, not {scalar.shown(size)}"
        )
    if not path:
        raise MalformedError("container mount path must be specified")
    of_class = {"storageClass": storage_class} if storage_class else {}
    return {"existingPvc": False, "path": path, "readOnly": _is_read_only(mode), "size": size, **of_class}


def _is_read_only(mode: str | None) -> bool:
    if mode not in (None, "", "ro", "rw"):
        raise MalformedError(
            f"invalid readonly parameter given: '{mode}'. this parameter may either be empty, ':ro' or ':rw'"
        )
    return mode == "ro"
