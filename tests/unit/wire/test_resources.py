"""The CRDs and the parser come from one model; here are the promises of each, and that they agree."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field

from extender.errors import MalformedError
from extender.model.names import ProjectName
from extender.model.queue import PodGroup, Quota
from extender.wire.manifests.definitions import crds, definition, kinds
from extender.wire.resources import (
    Resource,
    ResourceType,
    SchemaError,
    crd,
    milli,
    parse_department,
    parse_podgroup,
    parse_project,
    structural,
)
from extender.wire.resources.parts import STORED_ONLY, Part

Json = dict[str, Any]

_SHORT = {"interactive": "i", "training": "t", "distributed": "d", "inference": "inf", "deployment": "dep"}
_MODELS = [model for versions in kinds() for model in versions]


def project(spec: Json | None = None, name: str = "team-a") -> Json:
    return {
        "apiVersion": "run.ai/v1",
        "kind": "Project",
        "metadata": {"name": name, "uid": "u1"},
        **({} if spec is None else {"spec": spec}),
    }


# Quotas: exact integers.


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0, 0),
        (1, 1000),
        (0.1, 100),
        (0.3, 300),
        (0.1 + 0.2, 300),  # 0.30000000000000004 as a YAML file could hold it
        (1.001, 1001),  # int(1.001 * 1000) is 1000
        (2.5, 2500),
        (0.0009, 0),
        (0.0019, 1),
        (1e-7, 0),
        (1e9, 10**12),
    ],
)
def test_an_amount_is_its_text_in_thousandths_rounded_down(amount: float, expected: int) -> None:
    assert milli(amount) == expected


@given(st.integers(0, 10**12))
def test_three_decimals_survive_the_float(thousandths: int) -> None:
    assert milli(float(Decimal(thousandths) / 1000)) == thousandths


@given(st.decimals(0, 10**6, allow_nan=False, places=6))
def test_further_decimals_are_cut_off(written: Decimal) -> None:
    assert milli(float(written)) == int((written * 1000).to_integral_value(ROUND_FLOOR))


@pytest.mark.parametrize(
    ("spec", "deserved", "limit"),
    [
        (None, Quota(gpu_milli=0), Quota()),
        ({}, Quota(gpu_milli=0), Quota()),
        ({"deservedGpus": 2.5, "maxAllowedGpus": 4}, Quota(gpu_milli=2500), Quota(gpu_milli=4000)),
        ({"maxAllowedGpus": -1}, Quota(gpu_milli=0), Quota()),
        ({"maxAllowedGpus": 0}, Quota(gpu_milli=0), Quota(gpu_milli=0)),
        pytest.param(
            {
                "deservedGpus": 2,
                "maxAllowedGpus": 3,
                "nodePoolsResources": [
                    {"pool": "a100", "gpu": {"deserved": 9, "maxAllowed": 9}, "cpu": {"maxAllowed": 9}},
                    {
                        "pool": "default",
                        "gpu": {"deserved": 1.5},
                        "cpu": {"deserved": 0.5, "maxAllowed": 10},
                        "memory": {"deserved": 2048, "maxAllowed": 4096.0},
                    },
                ],
            },
            Quota(gpu_milli=1500, cpu_milli=500, memory_mib=2048),
            Quota(gpu_milli=3000, cpu_milli=10_000, memory_mib=4096),
            id="the pool default overrides what it names, other pools nothing",
        ),
        pytest.param(
            {"maxAllowedGpus": 3, "nodePoolsResources": [{"pool": "default", "gpu": {"maxAllowed": -1}}]},
            Quota(gpu_milli=0),
            Quota(),
            id="the pool default lifts the limit",
        ),
        pytest.param(
            {"nodePoolsResources": [{"pool": "default", "cpu": {"deserved": 0}, "memory": {"maxAllowed": 0}}]},
            Quota(gpu_milli=0, cpu_milli=0),
            Quota(memory_mib=0),
            id="zero is a figure, not its absence",
        ),
    ],
)
def test_project_quota(spec: Json | None, deserved: Quota, limit: Quota) -> None:
    parsed = parse_project(project(spec))
    queue = parsed.to_model().queue
    assert (queue.deserved, queue.limit) == (deserved, limit)
    assert parsed.spec.deserved_gpu_milli == deserved.gpu_milli
    assert parsed.spec.max_gpu_milli == limit.gpu_milli


def test_department_quota() -> None:
    parsed = parse_department({"metadata": {"name": "default"}, "spec": {"deservedGpus": 0.3, "maxAllowedGpus": 8}})
    queue = parsed.to_model().queue
    assert (queue.deserved, queue.limit) == (Quota(gpu_milli=300), Quota(gpu_milli=8000))
    silent = parse_department({"metadata": {"name": "x"}}).to_model().queue
    assert (silent.deserved, silent.limit) == (Quota(), Quota())


# Parsing.


def test_a_project_has_defaults_and_ignores_what_a_newer_version_added() -> None:
    parsed = parse_project(project({"somethingNew": {"a": 1}}))
    assert (parsed.name, parsed.metadata.uid, parsed.spec.department) == ("team-a", "u1", "default")


def test_null_counts_as_absent() -> None:
    obj = project({"deservedGpus": None, "nodeAffinityTrain": None})
    obj["metadata"]["creationTimestamp"] = None
    queue = parse_project({**obj, "status": None}).to_model().queue
    assert (queue.deserved, queue.limit) == (Quota(gpu_milli=0), Quota())


def test_the_parsed_object_is_left_alone() -> None:
    obj = project({"nodePoolsResources": [{"pool": "default", "gpu": None}], "deservedGpus": 1})
    before = copy.deepcopy(obj)
    parse_project(obj)
    assert obj == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"deservedGpus": "2.5"}, "Project team-a: spec.deservedGpus should be a valid number, not '2.5'"),
        ({"deservedGpus": True}, "Project team-a: spec.deservedGpus should be a valid number, not True"),
        (
            {"deservedGpus": -1},
            "Project team-a: spec.deservedGpus should be greater than or equal to 0, not -1",
        ),
        (
            {"deservedGpus": float("nan")},
            "Project team-a: spec.deservedGpus should be a finite number, not nan",
        ),
        (
            {"deservedGpus": 1e300},
            "Project team-a: spec.deservedGpus should be less than or equal to 1000000000, not 1e+300",
        ),
        (
            {"maxAllowedGpus": -0.5},
            "Project team-a: spec.maxAllowedGpus must be -1 (unlimited) or at least 0, not -0.5",
        ),
        (
            {"trainingJobTimeLimitSecs": 1.5},
            "Project team-a: spec.trainingJobTimeLimitSecs should be a valid integer, not 1.5",
        ),
        (
            {"nodeAffinityTrain": ["b", "a", "b"]},
            "Project team-a: spec.nodeAffinityTrain named more than once: b, not ['b', 'a', 'b']",
        ),
        (
            {"nodePoolsResources": [{"gpu": {}}]},
            "Project team-a: spec.nodePoolsResources[0].pool is required",
        ),
        (
            {"deservedGpus": "x", "maxAllowedGpus": "y"},
            (
                "Project team-a: spec.deservedGpus should be a valid number, not 'x'; "
                "spec.maxAllowedGpus should be a valid number, not 'y'"
            ),
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_project_is_refused_with_field_and_value(spec: Json, message: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_project(project(spec))
    assert str(caught.value) == message


def test_a_pool_named_twice_is_refused() -> None:
    with pytest.raises(MalformedError, match="named more than once: a"):
        parse_project(project({"nodePoolsResources": [{"pool": "a"}, {"pool": "b"}, {"pool": "a"}]}))


@pytest.mark.parametrize("name", ["a", "team-a", "a" * 57, "t1"])
def test_names_that_make_a_namespace(name: str) -> None:
    assert parse_project(project(name=name)).name == name


@pytest.mark.parametrize("name", ["1a", "A", "a.b", "a_b", "a-", "a" * 58, "a\n"])
def test_names_that_make_none(name: str) -> None:
    with pytest.raises(MalformedError, match=r"metadata\.name"):
        parse_project(project(name=name))


@pytest.mark.parametrize("obj", [None, [], "x", 1, {"spec": []}, {"metadata": 1}, {"metadata": {"name": 1}}])
def test_what_is_no_object_at_all(obj: Any) -> None:
    with pytest.raises(MalformedError, match=r"^Project \(no name\): "):
        parse_project(obj)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "Department"}, "kind is 'Department', not 'Project'"),
        ({"apiVersion": "run.ai/v2"}, "apiVersion is 'run.ai/v2', not 'run.ai/v1'"),
    ],
)
def test_another_kind_or_version_is_refused(change: Json, message: str) -> None:
    with pytest.raises(MalformedError, match=re.escape(message)):
        parse_project({**project(), **change})


def test_items_of_a_list_carry_neither_kind_nor_version() -> None:
    assert parse_project({"metadata": {"name": "p"}}).name == "p"


def test_an_error_stays_short_however_much_is_wrong() -> None:
    pools = [{"pool": "x" * 10_000, "gpu": {"deserved": "y" * 10_000}} for _ in range(60)]
    with pytest.raises(MalformedError) as caught:
        parse_project(project({"nodePoolsResources": pools}))
    assert len(str(caught.value)) < 1000
    assert "and 115 more" in str(caught.value)


def test_the_podgroup_of_the_first_examples() -> None:
    group = parse_podgroup(
        {
            "apiVersion": "scheduling.incubator.k8s.io/v1alpha1",
            "kind": "PodGroup",
            "metadata": {"name": "group-j1", "namespace": "runai-team-a"},
            "labels": {"user": "alice"},
            "spec": {"queue": "team-a"},
        }
    )
    assert group.to_model() == PodGroup("runai-team-a", "group-j1", queue=ProjectName("team-a"), user="alice")


@pytest.mark.parametrize("obj", [{}, {"spec": {}}, {"spec": None}])
def test_a_podgroup_may_say_nothing(obj: Json) -> None:
    group = parse_podgroup({"metadata": {"name": "g", "namespace": "n"}, **obj})
    assert group.to_model() == PodGroup("n", "g")


def test_the_user_may_stand_in_the_metadata() -> None:
    group = parse_podgroup({"metadata": {"name": "g", "namespace": "n", "labels": {"user": "bob"}}})
    assert group.user == "bob"


@pytest.mark.parametrize("members", [-1, 1.5, "2", True, 10**7])
def test_a_minimum_is_a_number_of_pods(members: Any) -> None:
    with pytest.raises(MalformedError, match=r"^PodGroup n/g: spec\.minMember "):
        parse_podgroup({"metadata": {"name": "g", "namespace": "n"}, "spec": {"minMember": members}})


def test_a_whole_number_is_an_integer_however_it_is_written() -> None:
    obj = {"metadata": {"name": "g"}, "spec": {"minMember": 3.0}}
    assert parse_podgroup(obj).spec.min_member == 3


# Schemas, checked by a walk that knows the rules of the API server and nothing of the converter.


def nodes(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


@pytest.mark.parametrize("model", _MODELS, ids=lambda model: f"{model.resource.kind}.{model.resource.version}")
def test_every_node_is_structural(model: type[Resource]) -> None:
    for path, schema in nodes(structural(model), model.resource.kind):
        check_node(path, schema)


def check_node(path: str, schema: Json) -> None:
    allowed = {
        "type", "description", "default", "enum", "format", "pattern", "minimum", "maximum", "minLength",
        "maxLength", "minItems", "maxItems", "items", "properties", "required", "additionalProperties", "maxProperties",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
        "x-kubernetes-preserve-unknown-fields",
    }  # fmt: skip
    if schema.get("x-kubernetes-int-or-string"):
        assert set(schema) <= {"description", "x-kubernetes-int-or-string"}, path
        return
    if path.endswith(("Workload.spec", "Policy.spec")):
        # Unknown parameters are refused by our webhook, which says which one was meant.
        allowed.add("x-kubernetes-preserve-unknown-fields")
    assert set(schema) <= allowed, path
    assert schema["type"] in {"object", "array", "string", "number", "integer", "boolean"}, path
    assert ("items" in schema) == (schema["type"] == "array"), path
    assert not ("properties" in schema and "additionalProperties" in schema), path
    assert set(schema.get("required", [])) <= set(schema.get("properties", {})), path
    if "default" in schema:
        assert schema["default"] is not None, path
        assert schema.get("minimum", schema["default"]) <= schema["default"], path
    for key in schema.get("x-kubernetes-list-map-keys", []):
        assert key in schema["items"]["required"], path
    # A rule on an element of an unbounded list would exceed the API server's budget for rules.
    assert schema["type"] != "array" or "maxItems" in schema, path


@pytest.mark.parametrize("model", _MODELS, ids=lambda model: model.resource.kind)
def test_every_field_explains_itself_in_sentences(model: type[Resource]) -> None:
    schema = structural(model)
    assert len(schema["description"]) > 100
    for path, node in nodes(schema, model.resource.kind):
        if path.endswith("[]") or ".metadata" in path:
            continue
        assert re.fullmatch(r"[A-Z0-9-].*\.", node["description"]), path
        assert "\n" not in node["description"], path


def test_the_fields_that_are_only_stored_say_so_and_no_others_do() -> None:
    marked = {
        path.removeprefix("Project.spec.")
        for model in _MODELS
        for path, node in nodes(structural(model), model.resource.kind)
        if STORED_ONLY in node.get("description", "")
    }
    assert marked == {
        "PodGroup.spec.minRuntime",
        "swapEnabled",
    }


def test_what_is_served() -> None:
    served = {
        one["metadata"]["name"]: (
            one["spec"]["scope"],
            one["spec"]["names"]["shortNames"],
            one["spec"]["versions"][0]["name"],
            [column["name"] for column in one["spec"]["versions"][0]["additionalPrinterColumns"]],
        )
        for one in crds()
    }
    assert served == {
        "departments.run.ai": ("Cluster", ["dep"], "v1", ["Deserved", "Max", "Allocated", "Age"]),
        "podgroups.scheduling.incubator.k8s.io": (
            "Namespaced",
            ["pg"],
            "v1alpha1",
            ["Queue", "Min", "Running", "Phase", "Age"],
        ),
        "projects.run.ai": (
            "Cluster",
            ["rp"],
            "v1",
            ["Department", "Deserved", "Max", "Allocated", "Namespace", "Age"],
        ),
        "runaijobs.run.ai": ("Namespaced", ["rj"], "v1", ["Status", "Completions", "Succeeded", "Active", "Age"]),
        "topologies.run.ai": ("Cluster", ["topo"], "v1", ["Widest", "Age"]),
        **{
            f"{kind}workloads.run.ai": (
                "Namespaced",
                [f"{short}w"],
                "v2alpha1",
                ["Usage", "Status", "Job", "Job status", "Age"],
            )
            for kind, short in _SHORT.items()
        },
        **{
            f"{kind}policies.run.ai": ("Namespaced", [f"{short}p"], "v2alpha1", ["Age"])
            for kind, short in _SHORT.items()
        },
    }


@pytest.mark.parametrize("one", crds(), ids=lambda one: one["metadata"]["name"])
def test_columns_point_at_fields(one: Json) -> None:
    for version in one["spec"]["versions"]:
        assert version["subresources"] == {"status": {}}
        for column in version["additionalPrinterColumns"]:
            if column["jsonPath"] in (".metadata.creationTimestamp", ".metadata.annotations.runai-calculated-status"):
                continue
            node = version["schema"]["openAPIV3Schema"]
            for step in column["jsonPath"].removeprefix(".").split("."):
                name, is_list, _ = step.partition("[0]")
                node = node["properties"][name]["items"] if is_list else node["properties"][name]
            assert node["type"] == column["type"]


def test_a_protected_group_carries_its_reason() -> None:
    by_name = {one["metadata"]["name"]: one["metadata"] for one in crds()}
    approval = by_name["podgroups.scheduling.incubator.k8s.io"]["annotations"]["api-approved.kubernetes.io"]
    assert approval.startswith("unapproved, ")
    assert "annotations" not in by_name["projects.run.ai"]


def test_labels_beside_metadata_are_in_the_schema() -> None:
    podgroups = next(one for one in crds() if one["spec"]["names"]["kind"] == "PodGroup")
    schema = podgroups["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["labels"]["additionalProperties"] == {"type": "string"}


# What a CRD cannot say is refused when it is generated.


class Empty(Part):
    """Nothing."""


class Base(Resource):
    """A resource to be spoilt."""

    resource: ClassVar[ResourceType] = ResourceType("run.ai", "v1", "Base", "bases", (), False, ())


class Union(Base):
    spec: int | str = Field(1, description="D.")


class Undescribed(Base):
    spec: Empty = Field(default_factory=Empty)
    other: int = 1


class Anything(Base):
    spec: Any = Field(None, description="D.")


class Pair(Base):
    spec: tuple[int, str] = Field((1, ""), description="D.")


class Closed(Part):
    """Refuses unknown fields."""

    model_config = ConfigDict(extra="forbid")


class Forbidding(Base):
    spec: Closed = Field(default_factory=Closed, description="D.")


class Tree(Part):
    """Contains itself."""

    children: list[Tree] = Field(default_factory=list, description="D.")


class Recursive(Base):
    spec: Tree = Field(default_factory=Tree, description="D.")


class Unkeyed(Base):
    spec: list[Empty] = Field(
        default_factory=list,
        description="D.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class SetOfObjects(Base):
    spec: list[Empty] = Field(
        default_factory=list, description="D.", json_schema_extra={"x-kubernetes-list-type": "set"}
    )


class UniqueItems(Base):
    spec: set[int] = Field(default_factory=set, description="D.")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Union, "Base.spec: a union of 2 types"),
        (Undescribed, "Base.other: no description"),
        (Anything, "Base.spec: type None"),
        (Pair, "Base.spec: prefixItems cannot be said"),
        (Forbidding, "Base.spec: additionalProperties False"),
        (Recursive, "Base.spec.children[]: a model that contains itself"),
        (Unkeyed, "Base.spec: the key name of a list of type map"),
        (SetOfObjects, "Base.spec: a list of type set holds scalars"),
        (UniqueItems, "Base.spec: uniqueItems cannot be said"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_unsayable_models_are_refused(model: type[Resource], message: str) -> None:
    with pytest.raises(SchemaError, match=re.escape(message)):
        structural(model)


class Bounds(Base):
    """Bounds."""

    spec: float | None = Field(None, gt=0, lt=5, description="One\nline.\n\nTwo.")


def test_exclusive_bounds_take_the_form_of_openapi_3_0() -> None:
    assert structural(Bounds)["properties"]["spec"] == {
        "type": "number",
        "description": "One line.\n\nTwo.",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 5,
        "exclusiveMaximum": True,
    }


class Protected(Base):
    """In a group that is not ours."""

    resource: ClassVar[ResourceType] = ResourceType("x.k8s.io", "v1", "Base", "bases", (), False, ())
    spec: Empty = Field(default_factory=Empty, description="D.")


def test_a_protected_group_without_a_reason_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"the group x\.k8s\.io is protected"):
        crd(Protected)


# Several versions of one kind.


class New(Base):
    """As it is stored."""

    resource: ClassVar[ResourceType] = ResourceType("run.ai", "v2", "Base", "bases", (), False, ())
    spec: Empty = Field(default_factory=Empty, description="The new spec.")


class Old(Base):
    """As it was."""

    resource: ClassVar[ResourceType] = replace(New.resource, version="v1")
    spec: Empty = Field(default_factory=Empty, description="The old spec.")


def test_the_first_version_is_stored_and_the_webhook_makes_the_others() -> None:
    spec = definition(New, Old)["spec"]
    assert [(one["name"], one["served"], one["storage"]) for one in spec["versions"]] == [
        ("v2", True, True),
        ("v1", True, False),
    ]
    specs = [one["schema"]["openAPIV3Schema"]["properties"]["spec"]["description"] for one in spec["versions"]]
    assert specs == ["The new spec.", "The old spec."]
    service = {"namespace": "runai", "name": "runai-scheduler-admission", "port": 443, "path": "/admission/convert"}
    assert spec["conversion"] == {
        "strategy": "Webhook",
        "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"service": service}},
    }


def test_one_version_needs_no_conversion() -> None:
    assert definition(New) == crd(New)
    assert "conversion" not in crd(New)["spec"]


class Elsewhere(Base):
    """Called otherwise."""

    resource: ClassVar[ResourceType] = replace(New.resource, version="v1", short_names=("ba",))


def test_versions_that_are_called_otherwise_are_refused() -> None:
    with pytest.raises(SchemaError, match="Base v1: names, scope and group are those of v2"):
        crd(New, Elsewhere)


def test_a_version_twice_is_refused() -> None:
    with pytest.raises(SchemaError, match="Base: two models of one version"):
        crd(New, New)
