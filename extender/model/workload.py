"""Workloads as values: the kinds there are, the parameters that each takes, and the set of values of one submission.

What parameters exist is written once, as the pydantic models of `wire/workloads`; this is the form in which the
deciding code knows them. A spec is the decoded `spec` of version v2alpha1:

    scalar                {"gpu": {"value": "1"}}
    itemized              {"ports": {"items": {"web": {"value": {"container": 80}}, "old": {"deleted": true}}}}
    itemized of texts     {"environment": {"items": {"A": {"value": "b"}}}}
    plain text            {"usage": "Submit", "baseWorkload": "t1", "jobType": "MPI"}

and the same in a policy, with rules:

    scalar                {"gpu": {"rules": {"required": true, "min": "1"}, "value": "1"}}
    itemized              {"ports": {"rules": {"canAdd": false}, "itemRules": {"container": {"min": 30000}},
                                     "items": {"web": {"rules": {"canEdit": false}, "value": {"container": 80}}}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class WorkloadKind(StrEnum):
    """`<value>Workload` and `<value>Policy` are the kinds of the API."""

    INTERACTIVE = "Interactive"
    TRAINING = "Training"
    DISTRIBUTED = "Distributed"
    INFERENCE = "Inference"
    DEPLOYMENT = "Deployment"

    @property
    def workload(self) -> str:
        return f"{self}Workload"

    @property
    def policy(self) -> str:
        return f"{self}Policy"

    @property
    def workloads(self) -> str:
        """The plural of the API."""
        return f"{self.lower()}workloads"

    @property
    def policies(self) -> str:
        return f"{self.lower()}policies"


class Type(StrEnum):
    """What a value is. The text completes "must be …" in a violation."""

    TEXT = "a text"
    BOOLEAN = "a boolean"
    INTEGER = "an integer"
    NUMBER = "a number"  # decimal; a text or an integer in JSON: "0.5", 2
    QUANTITY = "a quantity"  # of Kubernetes; a text or an integer in JSON
    DURATION = "a duration"  # "90s", "2m", "1h30m"
    TEXTS = "a list of texts"  # ordered
    OBJECT = "an object"  # with members that no rule reaches


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the items of an itemized parameter."""

    name: str
    type: Type
    required: bool = False  # must be there in every item of the result
    options: tuple[str, ...] = ()  # the only values there are, in their canonical spelling


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a kind of workload.

    name:    the field in `spec`, of v2alpha1.
    type:    of a scalar's value; of an itemized parameter TEXT when its items are texts, else OBJECT with `members`.
    options: the only values of a scalar, in their canonical spelling; letters count alike in any case.
    """

    name: str
    type: Type
    itemized: bool = False
    members: Mapping[str, Member] = field(default_factory=dict)
    options: tuple[str, ...] = ()


Parameters = Mapping[str, Parameter]  # of one kind, by name


class Origin(StrEnum):
    """Where a value comes from."""

    WORKLOAD = "workload"
    BASE = "base"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Value:
    """A value as its author wrote it, and whose it is.

    filled: the members of an item that the policy's DEFAULTS gave it.
    """

    value: Any
    origin: Origin
    filled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ValuesSet:
    """All the values of one submission: by parameter, and for itemized ones by parameter and item label."""

    scalars: Mapping[str, Value] = field(default_factory=dict)
    items: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    def plain(self) -> Json:
        """Without origins: {"gpu": "1", "ports": {"web": {"container": 80}}}. Shares the values."""
        scalars = {name: one.value for name, one in self.scalars.items()}
        items = {name: {label: one.value for label, one in labels.items()} for name, labels in self.items.items()}
        return {**scalars, **items}
