"""The custom resources of workloads and policies, made of the parameters: values wrapped, rules beside them.

Both versions of a kind are made of the same parameters. They differ in one field's name (`jobNamePrefix` of v1alpha1 is
`namePrefix` of v2alpha1) and in how a policy says a scalar's default (`value: {value: X}`, `value: X`); between them
`workloads.conversion` converts.

Fields that nobody knows are kept in a spec and not dropped, so that our own check can say which one was meant.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from extender.model.names import RUN_AI_GROUP
from extender.model.workload import Member, Parameter, Parameters, Type, WorkloadKind
from extender.wire.resources.parts import AGE, Column, Part, Resource, ResourceType
from extender.wire.workloads import parameters as flat
from extender.wire.workloads.status import WorkloadStatus
from extender.wire.workloads.types import Flag, Integer, Is, Mandatory, Number, Quantity, Text

STORED = "v2alpha1"
VERSIONS = (STORED, "v1alpha1")  # the stored one first
MOST_ITEMS = 1000

FLAT: dict[WorkloadKind, type[Part]] = {
    WorkloadKind.INTERACTIVE: flat.Interactive,
    WorkloadKind.TRAINING: flat.Training,
    WorkloadKind.DISTRIBUTED: flat.Distributed,
    WorkloadKind.INFERENCE: flat.Inference,
    WorkloadKind.DEPLOYMENT: flat.Inference,  # what inference was called at first
}
_SHORT = {
    WorkloadKind.INTERACTIVE: "iw",
    WorkloadKind.TRAINING: "tw",
    WorkloadKind.DISTRIBUTED: "dw",
    WorkloadKind.INFERENCE: "infw",
    WorkloadKind.DEPLOYMENT: "depw",
}
_WHAT = {
    WorkloadKind.INTERACTIVE: "interactive work, such as a notebook, which has no end of its own",
    WorkloadKind.TRAINING: "training, which runs to an end",
    WorkloadKind.DISTRIBUTED: "training by several pods that start together: a master, or a launcher, and workers",
    WorkloadKind.INFERENCE: "serving a model",
    WorkloadKind.DEPLOYMENT: "serving a model; the same as an InferenceWorkload under its earlier name",
}
_V1_NAMES = {"namePrefix": "jobNamePrefix"}


@dataclass(frozen=True, slots=True)
class FlatField:
    """One parameter or member as the flat model has it."""

    name: str  # in JSON
    annotation: Any  # without None
    marks: Is
    itemized: bool
    item: Any  # what an item's value is
    mandatory: bool
    description: str


@cache
def parameters(kind: WorkloadKind) -> Parameters:
    """What a kind of workload takes, by name of v2alpha1, for the deciding code. Cost: made once."""
    return {one.name: _parameter(one) for one in flat_fields(FLAT[kind])}


@cache
def workload(kind: WorkloadKind, version: str) -> type[Resource]:
    """The model of `<kind>Workload` in a version."""
    spec = _spec(kind, version)
    return _resource(
        kind.workload,
        kind.workloads,
        version,
        _SHORT[kind],
        (
            Column("Usage", "string", ".spec.usage", "Template, or Submit; blank is Submit."),
            Column("Status", "string", ".status.phase", "Submitted or Failed."),
            Column("Job", "string", ".status.job.name", "The job that was made."),
            Column("Job status", "string", ".status.job.status", "The state of that job."),
            AGE,
        ),
        f"""A {kind.workload} is a submission of {_WHAT[kind]}, or a template for such. The values that it gives, over
        those of its base workload and the defaults of the administrator's {kind.policy}, become a job and all that it
        needs. It lives in the namespace of a project; a template in the namespace runai is for all projects.""",
        spec=(spec, Field(default_factory=spec, description="What is submitted: the values of the parameters.")),
        status=(
            WorkloadStatus,
            Field(
                default_factory=WorkloadStatus,
                description="What became of it. It is written by the scheduler and has no effect when edited.",
            ),
        ),
    )


@cache
def policy(kind: WorkloadKind, version: str) -> type[Resource]:
    """The model of `<kind>Policy` in a version."""
    spec = _policy_spec(kind, version)
    return _resource(
        kind.policy,
        kind.policies,
        version,
        f"{_SHORT[kind].removesuffix('w')}p",
        (AGE,),
        f"""A {kind.policy} gives defaults to the parameters of every {kind.workload} of a project, and rules that they
        keep. It lives in the namespace of the project; one in the namespace runai holds for all projects that have none
        of their own. The two are not combined. Jobs, StatefulSets, Deployments and pods of this kind of work are held
        to it too.""",
        spec=(spec, Field(default_factory=spec, description="Defaults and rules of each parameter.")),
    )


def models() -> tuple[tuple[type[Resource], ...], ...]:
    """For each kind its models, the stored version first."""
    makers = (workload, policy)
    return tuple(tuple(make(kind, version) for version in VERSIONS) for make in makers for kind in WorkloadKind)


def _resource(
    kind: str,
    plural: str,
    version: str,
    short: str,
    columns: tuple[Column, ...],
    description: str,
    **fields: Any,
) -> type[Resource]:
    made: type[Resource] = create_model(kind, __base__=Resource, __doc__=description, **fields)
    made.resource = ResourceType(RUN_AI_GROUP, version, kind, plural, (short,), namespaced=True, columns=columns)
    return made


def _spec(kind: WorkloadKind, version: str) -> type[Part]:
    fields: dict[str, Any] = {
        "usage": (
            # No default in the schema: what is stored is what was written.
            Literal["Submit", "Template"] | None,
            Field(
                None,
                description=(
                    "Submit, the default: a job is made of the values, once. Template: nothing is made; the values are "
                    "defaults of the workloads that name this one as their baseWorkload."
                ),
            ),
        ),
        "base_workload": (
            str,
            Field(
                "",
                description=(
                    f"The {kind.workload} whose values are the defaults of this one: one of the same namespace, else a "
                    "template of all projects. A template has none itself, and one that the base has does not count."
                ),
            ),
        ),
    }
    if kind is WorkloadKind.DISTRIBUTED:
        fields["job_type"] = (
            str,
            Field("", description="What the job is run by: MPI, PyTorch, TF or XGBoost. It must be given."),
        )
    for one in flat_fields(FLAT[kind]):
        fields |= _entry(one, version, _value_of(one) if not one.itemized else _items_of(one))
    return _part(f"{kind.workload}Spec", f"The values of a {kind.workload}.", fields, open_=True)


def _policy_spec(kind: WorkloadKind, version: str) -> type[Part]:
    fields: dict[str, Any] = {}
    for one in flat_fields(FLAT[kind]):
        fields |= _entry(one, version, _ruled_items(one) if one.itemized else _ruled(one, version))
    return _part(f"{kind.policy}Spec", f"The defaults and rules of a {kind.policy}.", fields, open_=True)


def _entry(one: FlatField, version: str, model: Any) -> dict[str, Any]:
    name = _V1_NAMES.get(one.name, one.name) if version == "v1alpha1" else one.name
    # The Python name has no meaning; a parameter may be called `class`.
    return {f"p_{name}": (model | None, Field(None, alias=name, description=one.description))}


def _part(name: str, doc: str, fields: dict[str, Any], *, open_: bool = False) -> type[Part]:
    made: type[Part] = create_model(name, __base__=Part, __doc__=doc, **fields)
    if open_:
        made.model_config = {**made.model_config, "json_schema_extra": {"x-kubernetes-preserve-unknown-fields": True}}
        made.model_rebuild(force=True)
    return made


def _told(one: FlatField) -> str:
    """What an explanation says of a bare value."""
    return f"The value, {one.marks.type}" + (f" such as {one.marks.example}." if one.marks.example else ".")


@cache
def _value_of(one: FlatField) -> type[Part]:
    return _part(
        f"{one.name}Value", one.description, {"value": (one.annotation | None, Field(None, description=_told(one)))}
    )


@cache
def _items_of(one: FlatField) -> type[Part]:
    item = _part(
        f"{one.name}Item",
        "An item.",
        {
            "value": (one.item | None, Field(None, description="The item, with all its members.")),
            "deleted": (
                Flag | None,
                Field(
                    None,
                    description="When true, the item of this label in the base workload or the policy is left out.",
                ),
            ),
        },
    )
    return _part(f"{one.name}Items", one.description, {"items": (_labelled(item), Field(None, description=_LABELLED))})


_LABELLED = "The items, each under a label of its own choice. An item replaces that of the same label as a whole."


def _labelled(item: Any) -> Any:
    return Annotated[dict[str, item], Field(max_length=MOST_ITEMS)] | None


@cache
def _ruled(one: FlatField, version: str) -> type[Part]:
    default: Any = one.annotation
    told = _told(one).replace("The value", "The default", 1)
    if version == "v1alpha1":
        default = _part(f"{one.name}Default", told, {"value": (default | None, Field(None, description=told))})
    return _part(
        f"{one.name}Policy",
        one.description,
        {
            "rules": (_rules(one.marks.type) | None, Field(None, description="What the value must keep.")),
            "value": (default | None, Field(None, description=told)),
        },
    )


@cache
def _ruled_items(one: FlatField) -> type[Part]:
    rules = _part(
        "ItemsRules",
        "What the items as a whole must keep.",
        {
            "can_add": (Flag | None, Field(None, description="Whether workloads may add items; true by default.")),
            "required": (Flag | None, Field(None, description="Whether there must be an item; false by default.")),
        },
    )
    item_rules = _part(
        "ItemRules",
        "What workloads may do with the item.",
        {
            "can_edit": (Flag | None, Field(None, description="Whether workloads may change it; true by default.")),
            "can_remove": (Flag | None, Field(None, description="Whether workloads may delete it; true by default.")),
        },
    )
    item = _part(
        f"{one.name}DefaultItem",
        "A default item.",
        {
            "rules": (item_rules | None, Field(None, description="What workloads may do with the item.")),
            "value": (one.item | None, Field(None, description="The item, with all its members.")),
        },
    )
    fields: dict[str, Any] = {"rules": (rules | None, Field(None, description="What the items as a whole must keep."))}
    if one.marks.type is Type.OBJECT:
        members = {
            f"p_{member.name}": (
                _rules(member.marks.type) | None,
                Field(None, alias=member.name, description=member.description),
            )
            for member in flat_fields(one.item)
        }
        of_members = _part(f"{one.name}ItemRules", "What the members of every item must keep.", members)
        fields["item_rules"] = (of_members | None, Field(None, description="What the members of every item must keep."))
    fields["items"] = (
        _labelled(item),
        Field(
            None,
            description=(
                "The default items, each under its label. Under the label DEFAULTS stand defaults of single members of "
                "all other items."
            ),
        ),
    )
    return _part(f"{one.name}Policy", one.description, fields)


@cache
def _rules(type_: Type) -> type[Part]:
    fields: dict[str, Any] = {
        "required": (Flag | None, Field(None, description="Whether there must be a value; false by default.")),
        "can_edit": (
            Flag | None,
            Field(None, description="When false, a workload may give no value other than the default."),
        ),
    }
    bound: Any = {Type.INTEGER: Integer, Type.NUMBER: Number, Type.QUANTITY: Quantity, Type.DURATION: Text}.get(type_)
    if bound is not None:
        fields |= {
            "min": (bound | None, Field(None, description="The least value.")),
            "max": (bound | None, Field(None, description="The greatest value.")),
        }
        if type_ in (Type.INTEGER, Type.NUMBER, Type.QUANTITY):
            fields["step"] = (bound | None, Field(None, description="The value is min and a multiple of this."))
            factor = _part(
                "DefaultFrom",
                "Another parameter that the default is computed from.",
                {
                    "field": (Text | None, Field(None, description="The name of the other parameter.")),
                    "factor": (Number | None, Field(None, description="What its value is multiplied by.")),
                },
            )
            fields["default_from"] = (
                factor | None,
                Field(None, description="Another parameter that the default is computed from."),
            )
    if type_ is Type.TEXT:
        option = _part(
            "Option",
            "One of the values there are.",
            {
                "value": (Text | None, Field(None, description="The value.")),
                "displayed": (Text | None, Field(None, description="What people are shown for it.")),
            },
        )
        fields["options"] = (
            Annotated[list[option], Field(max_length=MOST_ITEMS)] | None,  # type: ignore[valid-type]
            Field(None, description="The only values there are."),
        )
    return _part(f"{type_.name.title()}Rules", f"What {type_} must keep.", fields)


@cache
def flat_fields(model: type[Part]) -> list[FlatField]:
    """The parameters of a flat model, or the members of one of its parts, in the order of the model."""
    return [_field(info) for info in model.model_fields.values()]


def _field(info: FieldInfo) -> FlatField:
    annotation = _present(info.annotation)
    marks = _marks(annotation)
    itemized = get_origin(annotation) is dict
    item = get_args(annotation)[1] if itemized else None
    if itemized:
        found = Is(Type.TEXT if item is str else Type.OBJECT)
    else:
        found = next((mark for mark in marks if isinstance(mark, Is)), Is(Type.OBJECT))
    return FlatField(
        name=str(info.alias),
        annotation=annotation,
        marks=found,
        itemized=itemized,
        item=Text if item is str else item,
        mandatory=any(isinstance(mark, Mandatory) for mark in (*marks, *info.metadata)),
        description=info.description or "",
    )


def _present(annotation: Any) -> Any:
    """X of `X | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [one for one in get_args(annotation) if one is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return annotation


def _marks(annotation: Any) -> tuple[Any, ...]:
    return tuple(getattr(annotation, "__metadata__", ()))


def _parameter(one: FlatField) -> Parameter:
    members = {}
    if one.itemized and one.marks.type is Type.OBJECT:
        members = {
            member.name: Member(member.name, member.marks.type, member.mandatory, member.marks.options)
            for member in flat_fields(one.item)
        }
    return Parameter(one.name, one.marks.type, one.itemized, members, one.marks.options)
