"""What the resources share: their outer form, amounts and limits, conditions, lists without repetition.

Numbers follow the API server: a field of type `number` takes 2 and 2.5 but not "2.5" or true; an `integer`
takes 2 and 2.0. A field whose value is null counts as absent, as `creationTimestamp: null` in generated
manifests asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from extender.errors import MalformedError
from extender.model import durations, timestamps

STORED_ONLY = "This version stores the value but does not enforce it yet."
"""The one sentence that marks a field which is accepted for a later version."""

UNLIMITED = -1

# Bounds far above any cluster; they keep every sum of quotas inside 64 bits once it is in thousandths.
_MAX_COUNT = 1_000_000_000
_MAX_MEMORY_MIB = 1 << 40  # 1 EiB
_MAX_SECONDS = 10 * 366 * 86_400

_SHOWN_ERRORS = 5
_SHOWN_VALUE = 60


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`; `type` is an OpenAPI type or `date`, `priority` 1 needs `-o wide`."""

    name: str
    type: str
    path: str
    description: str
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ResourceType:
    """How the API server serves a model: names, scope and columns."""

    group: str
    version: str
    kind: str
    plural: str
    short_names: tuple[str, ...]
    namespaced: bool
    columns: tuple[Column, ...]
    # Groups under k8s.io are the Kubernetes project's; the API server wants a reason for using one of them.
    protected_group_reason: str = ""

    @property
    def name(self) -> str:
        """The name of the CRD object, `<plural>.<group>`."""
        return f"{self.plural}.{self.group}"

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"


AGE = Column("Age", "date", ".metadata.creationTimestamp", "When the object was created.")


@dataclass(frozen=True, eq=False)  # typing hashes annotations; a dict has no hash, identity has
class Keywords:
    """Adds schema keywords that pydantic does not know, such as `x-kubernetes-list-type`."""

    values: Mapping[str, Any]

    def __get_pydantic_json_schema__(
        self, core_schema: Any, handler: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        return {**handler(core_schema), **self.values}


def whole(value: Any) -> Any:
    """Make 3.0 an integer: JSON has one type of number, the API server takes 3.0 for an integer, so we do."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _limit(value: float) -> float:
    if UNLIMITED < value < 0:
        raise ValueError("must be -1 (unlimited) or at least 0")
    return value


Item = TypeVar("Item")


def unique_by(attribute: str, alias: str) -> tuple[AfterValidator, Keywords]:
    """Annotations for a list whose items are keyed: no two may share `attribute` (called `alias` in JSON)."""

    def check(items: list[Item]) -> list[Item]:
        _refuse_repeated([getattr(item, attribute) for item in items])
        return items

    return AfterValidator(check), Keywords({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [alias]})


def _unique(items: list[str]) -> list[str]:
    _refuse_repeated(items)
    return items


def _refuse_repeated(keys: list[str]) -> None:
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:
        raise ValueError(f"named more than once: {', '.join(repeated)}")


Count = Annotated[float, Field(ge=0, le=_MAX_COUNT)]
"""GPUs, CPU cores or a weight: at least 0, three decimals count."""

Limit = Annotated[
    float,
    Field(ge=UNLIMITED, le=_MAX_COUNT),
    AfterValidator(_limit),
    # `minimum` alone would let -0.5 through.
    Keywords(
        {
            "x-kubernetes-validations": [
                {"rule": "self == -1.0 || self >= 0.0", "message": "must be -1 (unlimited) or at least 0"}
            ]
        }
    ),
]
"""As `Count`, or -1 for unlimited."""

MemoryLimit = Annotated[int, Field(ge=UNLIMITED, le=_MAX_MEMORY_MIB), BeforeValidator(whole)]
"""MiB, or -1 for unlimited."""

Memory = Annotated[int, Field(ge=0, le=_MAX_MEMORY_MIB), BeforeValidator(whole)]
"""MiB."""

Seconds = Annotated[int, Field(ge=0, le=_MAX_SECONDS), BeforeValidator(whole)]

Members = Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(whole)]
"""A number of pods."""

Weight = Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(whole)]
"""A part of what siblings share, relative to theirs."""

Priority = Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000), BeforeValidator(whole)]

Duration = Annotated[str, Field(max_length=64, pattern=durations.NOT_NEGATIVE)]
"""As in "30s" or "1h30m"; never negative."""

SignedDuration = Annotated[str, Field(max_length=64, pattern=durations.ANY)]

Name = Annotated[str, Field(max_length=253)]

NameSet = Annotated[
    list[Name], Field(max_length=256), AfterValidator(_unique), Keywords({"x-kubernetes-list-type": "set"})
]
"""Names in no order, each once."""

NameList = Annotated[
    list[Name], Field(max_length=256), AfterValidator(_unique), Keywords({"x-kubernetes-list-type": "atomic"})
]
"""Names in order of preference, each once."""


def milli(amount: float) -> int:
    """Turn an amount into thousandths, exactly as it was written; what is beyond three decimals is dropped.

    0.1 is 100 and 0.3 is 300 although neither is a binary fraction: the shortest decimal that reads back as
    the same float is what the author wrote. Rounding down means that a quota is never larger than its text.
    """
    return int((Decimal(str(amount)) * 1000).to_integral_value(ROUND_FLOOR))


def milli_or_unlimited(amount: float) -> int | None:
    """As `milli`; None for -1, unlimited."""
    return None if amount == UNLIMITED else milli(amount)


def mib_or_unlimited(amount: int) -> int | None:
    """The amount as it is; None for -1, unlimited."""
    return None if amount == UNLIMITED else amount


class Part(BaseModel):
    """A piece of a resource: JSON names in camelCase, unknown fields ignored, never changed after parsing."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: item for key, item in value.items() if item is not None}
        return value


class Metadata(Part):
    """The parts of metadata.v1 that are read here; the API server itself checks the rest."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @property
    def created(self) -> float:
        """When the object was created, in seconds since the epoch; 0.0 when that is not known."""
        return timestamps.seconds(self.creation_timestamp)


class Amounts(Part):
    """The resources that a set of pods holds."""

    gpu: Count = Field(0, description="The number of GPUs, with fractions added up: two halves of a GPU count as 1.")
    cpu: Count = Field(0, description="The CPU that the pods request in total, in cores.")
    memory: Memory = Field(
        0, description="The main memory that the pods request in total, in MiB (2^20 bytes), rounded up."
    )


class Condition(Part):
    """One aspect of the state of an object, as in other Kubernetes objects."""

    type: str = Field(
        max_length=316,
        description="What the condition is about, as one CamelCase word that is unique in the list.",
    )
    status: Literal["True", "False", "Unknown"] = Field(
        description="Whether the condition holds: True, False, or Unknown when it could not be found out."
    )
    reason: str = Field(
        "",
        max_length=1024,
        description="Why the condition has this status, as one CamelCase word that programs may compare.",
    )
    message: str = Field(
        "",
        max_length=32768,
        description="Why the condition has this status, as a sentence for people, with the numbers compared.",
    )
    last_transition_time: str = Field(
        "",
        description="When the status last changed from one value to another, as an RFC 3339 time in UTC.",
        json_schema_extra={"format": "date-time"},
    )


Conditions = Annotated[list[Condition], Field(max_length=64), *unique_by("type", "type")]


class Resource(Part):
    """A whole object as the API server stores it. Subclasses set `resource` and add spec and status."""

    resource: ClassVar[ResourceType]

    api_version: str = ""
    kind: str = ""
    metadata: Metadata = Field(default_factory=Metadata)

    @property
    def name(self) -> str:
        return self.metadata.name

    @classmethod
    def parse(cls, obj: Mapping[str, Any]) -> Self:
        """Read one decoded JSON object, and check it as its CRD does.

        `obj` is not kept and not changed. Fields that the model does not know are ignored, so an object
        written for a newer version can be read. Raises MalformedError naming the object, each wrong field and
        its value (the first five).
        """
        try:
            parsed = cls.model_validate(obj)
        except ValidationError as error:
            raise MalformedError(f"{_called(cls, obj)}: {_explain(error)}") from error
        for key, found, wanted in (
            ("apiVersion", parsed.api_version, cls.resource.api_version),
            ("kind", parsed.kind, cls.resource.kind),
        ):
            # Both are absent from the items of a list; where they are given they must be ours.
            if found not in ("", wanted):
                raise MalformedError(f"{_called(cls, obj)}: {key} is {found[:_SHOWN_VALUE]!r}, not {wanted!r}")
        return parsed


def _called(model: type[Resource], obj: object) -> str:
    """The object's kind and name for a message, whatever its form."""
    metadata = obj.get("metadata") if isinstance(obj, Mapping) else None
    known = cast("Mapping[str, Any]", metadata) if isinstance(metadata, Mapping) else {}
    names = [value for value in (known.get("namespace"), known.get("name")) if isinstance(value, str) and value]
    return f"{model.resource.kind} {'/'.join(names)[: _SHOWN_VALUE * 5] or '(no name)'}"


def _explain(error: ValidationError) -> str:
    """One clause for each wrong field: where, what is asked for, what was found."""
    clauses = []
    problems = error.errors(include_url=False, include_context=False)
    for problem in problems[:_SHOWN_ERRORS]:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem["loc"]).lstrip(".")
        found = repr(problem["input"])
        found = found if len(found) <= _SHOWN_VALUE else found[:_SHOWN_VALUE] + "…"
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        clauses.append(
            f"{path} is required" if problem["type"] == "missing" else f"{path or 'object'} {message}, not {found}"
        )
    if len(problems) > _SHOWN_ERRORS:
        clauses.append(f"and {len(problems) - _SHOWN_ERRORS} more")
    return "; ".join(clauses)
