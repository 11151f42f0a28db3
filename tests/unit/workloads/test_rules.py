"""Policy on values: the vectors M1 to M10 of behaviour.md 12.3 and that of 12.4, and what they leave open."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.workload import Parameters, WorkloadKind
from extender.wire import workloads
from extender.workloads.policy import effective
from extender.workloads.policy import problems as policy_problems
from extender.workloads.values import compose
from tests.unit.workloads.specs import PARAMETERS, Json, items, port, scalars

REAL = workloads.parameters(WorkloadKind.TRAINING)

A, B, MINE = port(30100, 8080), port(30101, 8081), port(30222, 8222)


def judged(parameters: Parameters, workload: Json, base: Json | None, policy: Json) -> tuple[Any, tuple[str, ...]]:
    assert policy_problems(parameters, policy) == ()
    composed = compose(parameters, workload, base, policy)
    return composed.values.plain(), composed.violations


def test_m1_policy_base_and_workload_are_merged_by_label() -> None:
    policy = items("ports", **{"admin-port-a": A, "admin-port-b": B})
    base = items("ports", **{"admin-port-a": port(30100, 8100), "team-a-port": port(30111, 8111)})
    workload = items("ports", **{"admin-port-b": None, "my-port": MINE})
    assert judged(REAL, workload, base, policy) == (
        {"ports": {"admin-port-a": port(30100, 8100), "team-a-port": port(30111, 8111), "my-port": MINE}},
        (),
    )
    assert judged(REAL, workload, None, policy) == ({"ports": {"admin-port-a": A, "my-port": MINE}}, ())


def _ports_policy(**rules: Any) -> Json:
    return {
        "ports": {
            "rules": {"canAdd": True, "required": False} | rules,
            "itemRules": {"container": {"min": 30000, "max": 32767}, "external": {"max": 32767}},
            "items": {
                "admin-port-a": {"rules": {"canRemove": False, "canEdit": False}, "value": A},
                "admin-port-b": {"value": B},
            },
        }
    }


@pytest.mark.parametrize(
    ("ports", "rules", "expected"),
    [
        pytest.param({}, {}, {"admin-port-a": A, "admin-port-b": B}, id="M2-1"),
        pytest.param({"my-port": MINE}, {}, {"admin-port-a": A, "admin-port-b": B, "my-port": MINE}, id="M2-2"),
        pytest.param(
            {"my-port": port(8080, 8222)}, {}, "ports.my-port.container: must be no less than 30000", id="M2-3"
        ),
        pytest.param(
            {"my-port": port(30222, 40000)}, {}, "ports.my-port.external: must be no greater than 32767", id="M2-4"
        ),
        pytest.param(
            {"admin-port-a": port(30100, 8100)}, {}, "ports.admin-port-a: cannot be edited", id="M2-5 RUN-9920"
        ),
        pytest.param({"admin-port-a": A}, {}, {"admin-port-a": A, "admin-port-b": B}, id="M2-6"),
        pytest.param({"admin-port-a": None}, {}, "ports.admin-port-a: cannot be removed", id="M2-7"),
        pytest.param({"admin-port-b": None}, {}, {"admin-port-a": A}, id="M2-8"),
        pytest.param(
            {"admin-port-b": {"external": 9000}}, {}, "ports.admin-port-b.container: cannot be blank", id="M2-9"
        ),
        pytest.param({"my-port": MINE}, {"canAdd": False}, "ports.my-port: cannot be added", id="M2-10"),
        pytest.param({"nope": None}, {}, {"admin-port-a": A, "admin-port-b": B}, id="M2-11"),
    ],
)
def test_m2_ports(ports: Json, rules: Json, expected: Any) -> None:
    values, violations = judged(REAL, items("ports", **ports), None, _ports_policy(**rules))
    if isinstance(expected, str):
        assert violations == (expected,)
    else:
        assert (values, violations) == ({"ports": expected}, ())


@pytest.mark.parametrize(
    ("gpu", "base", "expected"),
    [
        pytest.param(None, None, "1", id="M3-unset"),
        pytest.param("4", None, "4", id="M3-4"),
        pytest.param("5", None, "gpu: must be no greater than 4", id="M3-5"),
        pytest.param("0.5", None, "gpu: must be no less than 1", id="M3-0.5"),
        pytest.param(None, "5", "gpu: must be no greater than 4", id="M3-base"),
        pytest.param("2", "5", "2", id="M3-only-the-result-is-bounded"),
    ],
)
def test_m3_gpu(gpu: str | None, base: str | None, expected: str) -> None:
    policy = {"gpu": {"rules": {"required": True, "min": "1", "max": "4"}, "value": "1"}}
    values, violations = judged(REAL, scalars(gpu=gpu), scalars(gpu=base), policy)
    assert violations == ((expected,) if ":" in expected else ())
    assert violations or values == {"gpu": expected}


@pytest.mark.parametrize(
    ("workload", "lines"),
    [
        pytest.param({}, (), id="M4-unset"),
        pytest.param({"runAsUser": True}, (), id="M4-same"),
        pytest.param({"runAsUser": False}, ("runAsUser: cannot be edited",), id="M4-other"),
        pytest.param({"runAsUid": 500}, (), id="M4-500"),
        pytest.param({"runAsUid": 501}, ("runAsUid: cannot be edited",), id="M4-501"),
        pytest.param(
            {"runAsUid": 501, "runAsUser": False},
            ("runAsUid: cannot be edited", "runAsUser: cannot be edited"),
            id="M4-both",
        ),
    ],
)
@pytest.mark.parametrize("written_in", ["workload", "base"])
def test_m4_what_is_fixed(workload: Json, lines: tuple[str, ...], written_in: str) -> None:
    policy = {
        "runAsUser": {"rules": {"required": True, "canEdit": False}, "value": True},
        "runAsUid": {"rules": {"canEdit": False}, "value": 500},
    }
    spec = scalars(**workload)
    arguments = (spec, None) if written_in == "workload" else ({}, spec)
    values, violations = judged(REAL, *arguments, policy)
    assert violations == lines
    assert lines or values == {"runAsUser": True, "runAsUid": 500}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param(
            {"claimName": "c1", "path": "/a"}, {"existingPvc": True, "claimName": "c1", "path": "/a"}, id="M5-filled"
        ),
        pytest.param(
            {"existingPvc": False, "claimName": "c1", "path": "/a"},
            "pvcs.x.existingPvc: cannot be edited",
            id="M5-edited",
        ),
        pytest.param({"path": "/a"}, "pvcs.x.claimName: cannot be blank", id="M5-blank"),
    ],
)
def test_m5_only_claims_that_exist(item: Json, expected: Any) -> None:
    policy = {
        "pvcs": {
            "itemRules": {"existingPvc": {"canEdit": False}, "claimName": {"required": True}},
            "items": {"DEFAULTS": {"value": {"existingPvc": True}}},
        }
    }
    values, violations = judged(REAL, items("pvcs", x=item), None, policy)
    if isinstance(expected, str):
        assert violations == (expected,)
    else:
        assert (values, violations) == ({"pvcs": {"x": expected}}, ())


def test_m6_no_folders_of_nodes() -> None:
    policy = {"volumes": {"itemRules": {"nfsServer": {"required": True}}}}
    folder = {"sourcePath": "/a", "targetPath": "/b"}
    assert judged(REAL, items("volumes", x=folder), None, policy)[1] == ("volumes.x.nfsServer: cannot be blank",)
    assert judged(REAL, items("volumes", x=folder | {"nfsServer": "nfs"}), None, policy)[1] == ()


def test_m7_the_policy_of_a_project_is_not_merged_with_the_global_one() -> None:
    def policy(name: str, namespace: str, spec: Json) -> Json:
        return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}

    everywhere = policy("global", "runai", {"gpu": {"rules": {"max": "1"}}})
    own = policy("own", "runai-team-a", {"memory": {"rules": {"max": "1G"}}})
    chosen = effective([everywhere, own]).policy
    assert chosen is own
    assert judged(REAL, scalars(gpu="8"), None, chosen["spec"])[1] == ()
    assert judged(REAL, scalars(gpu="8"), None, everywhere["spec"])[1] == ("gpu: must be no greater than 1",)


@pytest.mark.parametrize(
    ("low", "high", "step", "accepted"),
    [
        pytest.param("1", "2", "0.2", "1 1.0 1.2 1.4 1.6 1.8 2", id="M8-0.2"),
        pytest.param("1", "7", "2", "1 3 5 7", id="M8-odd"),
        pytest.param(2, 10, 2, "2 4 6 8 10", id="M8-even"),
    ],
)
def test_m8_steps_are_exact(low: Any, high: Any, step: Any, accepted: str) -> None:
    policy = {"gpu": {"rules": {"min": low, "max": high, "step": step}}}
    for tenth in range(int(low) * 10, int(high) * 10 + 1):
        value = f"{tenth / 10:g}"
        lines = judged(REAL, scalars(gpu=value), None, policy)[1]
        expected = () if value in accepted.split() else (f"gpu: must be {low} plus a multiple of {step}",)
        assert lines == expected, value


def test_a_step_without_min_counts_from_nothing() -> None:
    policy = {"memory": {"rules": {"step": "256Mi"}}, "ttlAfterFinish": {"rules": {"step": "15m", "max": "2h"}}}
    assert judged(PARAMETERS, scalars(memory="1Gi", ttlAfterFinish="1h15m"), None, policy)[1] == ()
    assert judged(PARAMETERS, scalars(memory="1G", ttlAfterFinish="2h5m"), None, policy)[1] == (
        "memory: must be a multiple of 256Mi",
        "ttlAfterFinish: must be a multiple of 15m",
        "ttlAfterFinish: must be no greater than 2h",
    )


@pytest.mark.parametrize(
    ("memory", "line"),
    [
        pytest.param("100M", "", id="M9-least"),
        pytest.param("2G", "", id="M9-most"),
        pytest.param("95.4Mi", "", id="M9-95.4Mi"),
        pytest.param("99M", "memory: must be no less than 100M", id="M9-99M"),
        pytest.param("2Gi", "memory: must be no greater than 2G", id="M9-2Gi"),
    ],
)
def test_m9_quantities(memory: str, line: str) -> None:
    policy = {"memory": {"rules": {"min": "100M", "max": "2G"}}}
    assert judged(REAL, scalars(memory=memory), None, policy)[1] == ((line,) if line else ())


def test_m10_environment_is_kept_to_the_letter_run_7435() -> None:
    written = {"MYPASSWORD": "SECRET:my-secret,password", "URL": "http://h:80/?a=b"}
    assert judged(REAL, items("environment", **written), None, {}) == ({"environment": written}, ())


RESOURCES: Json = {
    "extendedResources": {
        "itemRules": {},
        "items": {
            "DEFAULTS": {"value": {"quantity": "3"}},
            "default/cpu": {
                "rules": {"canEdit": False, "canRemove": False},
                "value": {"resource": "default/cpu", "quantity": "5"},
            },
            "default/memory": {"value": {"resource": "default/memory", "quantity": "4M"}},
        },
    }
}


def test_12_4_attributes_locked_and_excluded_instances() -> None:
    requested = {"default/memory": None, "added/cpu": {"resource": "added/cpu"}}
    requested["added/memory"] = {"resource": "added/memory", "quantity": "5M"}
    values, violations = judged(PARAMETERS, items("extendedResources", **requested), None, RESOURCES)
    assert violations == ()
    assert {label: item["quantity"] for label, item in values["extendedResources"].items()} == {
        "default/cpu": "5",
        "added/cpu": "3",
        "added/memory": "5M",
    }
    excluded = judged(PARAMETERS, items("extendedResources", **{"default/cpu": None}), None, RESOURCES)
    assert excluded[1] == ("extendedResources.default/cpu: cannot be removed",)
    changed = items("extendedResources", **{"default/cpu": {"resource": "default/cpu", "quantity": "6"}})
    assert judged(PARAMETERS, changed, None, RESOURCES)[1] == ("extendedResources.default/cpu: cannot be edited",)


@pytest.mark.parametrize(
    ("workload", "expected"),
    [
        pytest.param({"cpuCoreLimit": "8"}, {"cpuCoreLimit": "8", "cpuCoreRequest": "4"}, id="12.4-defaultFrom"),
        ({"cpuCoreLimit": 3}, {"cpuCoreLimit": 3, "cpuCoreRequest": "1.5"}),
        ({"cpuCoreLimit": "0.1"}, {"cpuCoreLimit": "0.1", "cpuCoreRequest": "0.05"}),
        ({"cpuCoreLimit": "8", "cpuCoreRequest": "1"}, {"cpuCoreLimit": "8", "cpuCoreRequest": "1"}),
        ({"memoryLimit": "8Gi"}, {"memoryLimit": "8Gi", "memory": "2Gi"}),
        ({"memoryLimit": "1G"}, {"memoryLimit": "1G", "memory": "0.25G"}),
        ({}, {}),
    ],
)
def test_a_default_computed_from_another_value(workload: Json, expected: Json) -> None:
    policy = {
        "cpuCoreRequest": {"rules": {"defaultFrom": {"field": "cpuCoreLimit", "factor": "0.5"}}},
        "memory": {"rules": {"defaultFrom": {"field": "memoryLimit", "factor": 0.25}}},
    }
    assert judged(PARAMETERS, scalars(**workload), None, policy) == (expected, ())


def test_a_computed_default_may_be_fixed() -> None:
    rules = {"canEdit": False, "defaultFrom": {"field": "cpuCoreLimit", "factor": "0.5"}}
    policy = {"cpuCoreRequest": {"rules": rules}}
    assert judged(PARAMETERS, scalars(cpuCoreLimit="8", cpuCoreRequest="4.0"), None, policy)[1] == ()
    refused = judged(PARAMETERS, scalars(cpuCoreLimit="8", cpuCoreRequest="5"), None, policy)[1]
    assert refused == ("cpuCoreRequest: cannot be edited",)


@pytest.mark.parametrize(
    ("name", "default", "same", "other"),
    [
        ("gpu", "1", [1, "1.0", "01", "1e0", 1.0], ["2", "0.99"]),
        ("memory", "1G", ["1000M", 1000000000, "1e9"], ["1Gi"]),
        ("ttlAfterFinish", "90s", ["1m30s", "1.5m"], ["91s"]),
        ("imagePullPolicy", "Always", ["always", "ALWAYS"], ["Never"]),
        ("image", "a", ["a"], ["A", "a "]),
        ("nodePools", ["a", "b"], [["a", "b"]], [["b", "a"], ["a"]]),
        ("runAsUser", False, [False], [True]),
    ],
)
def test_what_is_fixed_may_be_repeated_in_other_words(
    name: str, default: Any, same: list[Any], other: list[Any]
) -> None:
    policy = {name: {"rules": {"canEdit": False}, "value": default}}
    for value in same:
        assert judged(PARAMETERS, scalars(**{name: value}), None, policy)[1] == (), value
    for value in other:
        assert judged(PARAMETERS, scalars(**{name: value}), None, policy)[1] == (f"{name}: cannot be edited",), value


def test_what_is_fixed_without_a_default_cannot_be_given() -> None:
    policy = {"image": {"rules": {"canEdit": False}}}
    assert judged(PARAMETERS, scalars(image="x"), None, policy)[1] == ("image: cannot be edited",)


def test_members_are_compared_after_filling() -> None:
    policy = {
        "extendedResources": {
            "items": {
                "DEFAULTS": {"value": {"quantity": "1G"}},
                "a": {"rules": {"canEdit": False}, "value": {"resource": "r"}},
            }
        }
    }
    for item in ({"resource": "r"}, {"resource": "r", "quantity": "1000M"}, {"resource": "r", "quantity": None}):
        assert judged(PARAMETERS, items("extendedResources", a=item), None, policy)[1] == ()
    for item in ({"resource": "s"}, {"quantity": "1G"}, {"resource": "r", "quantity": "2G"}):
        refused = judged(PARAMETERS, items("extendedResources", a=item), None, policy)[1]
        assert refused == ("extendedResources.a: cannot be edited",)


def test_a_fixed_member_cannot_be_left_out_either() -> None:
    own = {"value": {"claimName": "c", "path": "/a"}}
    policy = {"pvcs": {"itemRules": {"claimName": {"canEdit": False}}, "items": {"a": own}}}
    refused = ("pvcs.a.claimName: cannot be edited",)
    assert judged(PARAMETERS, items("pvcs", a={"path": "/b"}), None, policy)[1] == refused
    assert judged(PARAMETERS, items("pvcs", a={"path": "/b", "claimName": "c"}), None, policy)[1] == ()


def test_what_the_base_did_counts_though_the_workload_undoes_it() -> None:
    locked = {"rules": {"canRemove": False}, "value": A}
    policy = {"ports": {"rules": {"canAdd": False}, "items": {"a": locked}}}
    base = items("ports", a=None, b=MINE)
    assert judged(PARAMETERS, items("ports", a=A, b=None), base, policy)[1] == (
        "ports.a: cannot be removed",
        "ports.b: cannot be added",
    )


def test_variables_that_cannot_be_removed_run_5822() -> None:
    own = {"rules": {"canRemove": False}, "value": "x"}
    policy = {"environment": {"items": {"A": own, "B": {"rules": {"canEdit": False}, "value": "y"}}}}
    workload = items("environment", A=None, B="z")
    assert judged(REAL, workload, None, policy)[1] == (
        "environment.A: cannot be removed",
        "environment.B: cannot be edited",
    )


@pytest.mark.parametrize("value", [None, ""])
def test_required(value: Any) -> None:
    policy = {"image": {"rules": {"required": True}}, "ports": {"rules": {"required": True}}}
    assert judged(PARAMETERS, scalars(image=value), None, policy)[1] == (
        "image: cannot be blank",
        "ports: cannot be blank",
    )


@pytest.mark.parametrize("options", [["a", "b"], [{"value": "a", "displayed": "The first"}, {"value": "b"}]])
def test_options(options: list[Any]) -> None:
    policy = {"image": {"rules": {"options": options}}}
    assert judged(PARAMETERS, scalars(image="b"), None, policy)[1] == ()
    assert judged(PARAMETERS, scalars(image="c"), None, policy)[1] == ("image: must be a valid value (one of: a, b)",)


def test_options_of_numbers_and_of_choices_are_compared_by_meaning() -> None:
    policy = {"gpu": {"rules": {"options": ["1", 2]}}, "imagePullPolicy": {"rules": {"options": ["always"]}}}
    assert judged(PARAMETERS, scalars(gpu="2.0", imagePullPolicy="ALWAYS"), None, policy)[1] == ()


def test_all_violations_come_at_once_by_path_run_5676() -> None:
    policy = _ports_policy(canAdd=False) | {"gpu": {"rules": {"max": "1"}}, "image": {"rules": {"required": True}}}
    workload = items("ports", **{"admin-port-a": None, "my-port": port(1, 40000)}) | scalars(gpu=4, memory="x")
    assert judged(REAL, workload | {"imgae": {}}, None, policy)[1] == (
        "gpu: must be no greater than 1",
        "image: cannot be blank",
        "imgae: unknown field (did you mean image?)",
        "memory: must be a quantity",
        "ports.admin-port-a: cannot be removed",
        "ports.my-port: cannot be added",
        "ports.my-port.container: must be no less than 30000",
        "ports.my-port.external: must be no greater than 32767",
    )


def test_a_bound_that_cannot_be_read_lets_nothing_through() -> None:
    policy = {"gpu": {"rules": {"max": "many", "step": 0}}}
    assert compose(PARAMETERS, scalars(gpu="1"), None, policy).violations == (
        'gpu: cannot be judged: max of the policy must be a number, not "many"',
        "gpu: cannot be judged: step of the policy must be a number above 0, not 0",
    )


def test_a_master_of_its_own_is_no_way_around_the_rules_of_gpus() -> None:
    parameters = workloads.parameters(WorkloadKind.DISTRIBUTED)
    policy: Json = {"gpu": {"rules": {"min": "1", "max": "4"}}}
    too_many = scalars(gpu="1", masterGpu="8")
    assert judged(parameters, too_many, None, policy)[1] == ("masterGpu: must be no greater than 4",)
    assert judged(parameters, scalars(gpu="1", masterGpu="0"), None, policy)[1] == ()
    assert judged(parameters, too_many, None, policy | {"masterGpu": {"rules": {"max": "8"}}})[1] == ()
    locked = {"gpu": {"rules": {"canEdit": False}, "value": "1"}}
    assert judged(parameters, scalars(masterGpu="2"), None, locked)[1] == ("masterGpu: cannot be edited",)
    assert judged(parameters, scalars(masterGpu="0"), None, locked)[1] == ()
