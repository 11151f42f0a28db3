"""One submission, judged: its values, where they come from, and every reason why it cannot be submitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from extender.model.names import SYSTEM_NAMESPACE
from extender.model.workload import Parameters, ValuesSet, WorkloadKind
from extender.workloads import checks, values
from extender.workloads.specs import in_order

Json = dict[str, Any]

TEMPLATE = "Template"
SUBMIT = "Submit"
_NAMES = frozenset({"name", "namePrefix"})


@dataclass(frozen=True, slots=True)
class Sources:
    """What a workload's values are completed from, as the cluster has it.

    base, policy:  specs of v2alpha1, None where there is none; `…_name` is namespace/name, "" likewise.
    node_types:    those that the project may use for this kind of work; empty for all.
    problems:      why a source cannot be used. warnings: what the submitter should know and nothing is refused for.
    """

    project: str = ""
    base: Json | None = None
    base_name: str = ""
    policy: Json | None = None
    policy_name: str = ""
    node_types: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """violations: sentences `<path>: …`, sorted; empty when it can be submitted."""

    values: ValuesSet
    violations: tuple[str, ...]


def usage(spec: Json) -> str:
    """Submit unless the spec says Template."""
    return TEMPLATE if spec.get("usage") == TEMPLATE else SUBMIT


def base_name(spec: Json) -> str:
    """The name of the base workload, "" for none."""
    named = spec.get("baseWorkload")
    return named if isinstance(named, str) else ""


def judge(kind: WorkloadKind, parameters: Parameters, namespace: str, spec: Json, sources: Sources) -> Judged:
    """The values set of a spec (v2alpha1), held to the policy and to what the kind needs (behaviour.md 12.2).

    Of a template only the form is judged: what it lacks, the workload that is based on it may have.
    """
    if usage(spec) == TEMPLATE:
        composed = values.compose(parameters, spec, None, None, is_template=True)
        wrong = ["baseWorkload: cannot be set on a template"] if base_name(spec) else []
        return Judged(composed.values, in_order([*composed.violations, *wrong]))
    composed = values.compose(parameters, spec, _lent(spec, sources.base), sources.policy)
    job_type = job_type_of(spec, sources)
    wrong = list(checks.problems(kind, composed.values, job_type=job_type, node_types=sources.node_types))
    if namespace == SYSTEM_NAMESPACE:
        wrong.append(
            f"usage: must be {TEMPLATE} in the namespace {SYSTEM_NAMESPACE}; workloads are submitted in the namespace "
            "of a project"
        )
    elif not sources.project:
        wrong.append(
            f"namespace: {namespace} belongs to no project; workloads are submitted in the namespace of a project, "
            "which is called runai-<project> or has the label runai/queue"
        )
    return Judged(composed.values, in_order([*composed.violations, *wrong, *sources.problems]))


def job_type_of(spec: Json, sources: Sources) -> str:
    """What distributed work is run by, as the workload says, else its base; "" when neither does."""
    own, based = spec.get("jobType"), (sources.base or {}).get("jobType")
    return next((one for one in (own, based) if isinstance(one, str) and one), "")


def _lent(spec: Json, base: Json | None) -> Json | None:
    """What a workload takes from its base: a name only when it gives none, and none that the base's own job has."""
    if base is None or not (_NAMES & base.keys()):
        return base
    names_itself = any(spec.get(one) for one in _NAMES)
    own = _NAMES if names_itself else frozenset({"name"}) if usage(base) == SUBMIT else frozenset()
    return {key: value for key, value in base.items() if key not in own}


def type_of(kind: WorkloadKind, plain: Json) -> str:
    """The type that people are shown for the job (behaviour.md 4.4)."""
    match kind:
        case WorkloadKind.INTERACTIVE:
            return "Interactive-Preemptible" if plain.get("preemptible") else "Interactive"
        case WorkloadKind.TRAINING:
            return "Train"
        case WorkloadKind.DISTRIBUTED:
            return "Distributed"
        case _:
            return "Inference"
