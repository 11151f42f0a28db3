"""Names of jobs, of the resources that submit them, and of what is made for them (behaviour.md 2.8, 12.9)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container
from itertools import count

DEFAULT_BASE = "job"  # of a job that got neither a name nor a prefix
LONGEST_NAME = 49  # leaves room, in the 63 of a label, for what is added to names of pods and services
LONGEST_LABEL = 63

_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_FIT = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_UNFIT = re.compile(r"[^a-z0-9]+", re.ASCII)
_HASH_DIGITS = 8


def name_problem(name: str) -> str:
    """Why a job cannot be called so; "" when it can. The texts are those of the CLI, "(e.g. …,  or" included."""
    if len(name) > LONGEST_NAME:
        return f"The len {len(name)} of name {name} is too long, it should be less than {LONGEST_NAME}"
    if not _DNS_1035.fullmatch(name):
        return (
            "Job names must consist of lower case alphanumeric characters or '-' and start with an alphabetic "
            "character (e.g. 'my-name',  or 'abc-123')"
        )
    return ""


def next_name(base: str, taken: Container[str]) -> str:
    """The name of the next job of `base`: `<base>-0` when it is free, else with the smallest free number from 1.

    taken: the names of all jobs of the namespace, those that were given as such among them.
    """
    return next(name for number in count() if (name := f"{base}-{number}") not in taken)


def timestamped(job: str, stamp: str) -> str:
    """The name of the resource that submits `job` for somebody, `job-0-2022-05-02t08-50-57`.

    stamp: the second in UTC as RFC 3339 writes it, `2022-05-02T08:50:57Z`.
    """
    return f"{job}-{stamp.removesuffix('Z').lower().replace(':', '-')}"


def child_name(job: str, label: str, longest: int = LONGEST_LABEL) -> str:
    """The name of an object that is made for `job` because of the item `label`: `<job>-<label>` where that is possible.

    A DNS-1035 label, the same for the same two, and another one for any other label of the job (regression RUN-21948):
    a label with letters that names do not have, or too long for them, gets a hash. Of two jobs that are called alike
    but for a part of the label, `a` with `b-c` and `a-b` with `c`, the second is refused: what is another's is never
    taken over.
    `job` must be a name that `name_problem` accepts.
    """
    plain = f"{job}-{label}"
    if _FIT.fullmatch(label) and len(plain) <= longest:
        return plain
    # The zero byte is in neither of the two.
    digest = hashlib.sha256(f"{job}\0{label}".encode()).hexdigest()[:_HASH_DIGITS]
    readable = _UNFIT.sub("-", plain.lower())[: longest - _HASH_DIGITS - 1].strip("-")
    return f"{readable}-{digest}"
