"""Pod templates: what the API server would refuse in them, or their controllers only find out pod by pod."""

from __future__ import annotations

from typing import Any

from extender.admission import defaults, fractions, policies
from extender.admission.pods import Context, check_gpu_request, check_sharing, is_ours
from extender.admission.subject import Subject

Json = dict[str, Any]

_AT = {
    "Job.batch": ("spec", "template"),
    "CronJob.batch": ("spec", "jobTemplate", "spec", "template"),
    "StatefulSet.apps": ("spec", "template"),
    "Deployment.apps": ("spec", "template"),
    "ReplicaSet.apps": ("spec", "template"),
    "RunaiJob.run.ai": ("spec", "template"),
}
KINDS = frozenset(_AT)


def template_of(kind: str, obj: Json) -> Json | None:
    """The pod template inside an object of `kind`; None where there is none: the API server says what is missing."""
    found: Any = obj
    for key in _AT[kind]:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) and isinstance(found.get("spec"), dict) else None


def concerned(kind: str, obj: Json, context: Context) -> Json | None:
    """The pod template, if the pods made from it will be ours."""
    template = template_of(kind, obj)
    return template if template is not None and (is_ours(template) or context.enforced) else None


def make_valid(template: Json, *, again: bool) -> None:
    """What the API server would refuse is written so that it does not. again: the workload exists already.

    In place, as is `fill`. Raises RefusedError.
    """
    fractions.unwire(template)
    fractions.take_quantities(template, again=again)


def fill(kind: str, obj: Json, template: Json, context: Context) -> None:
    """What its author left open. template: that inside of `obj`. Raises RefusedError, MalformedError."""
    policies.fill(_subject(kind, obj, template), _maker(kind), context.namespace, context.policies)
    defaults.fill(template, context.factors)


def problems(kind: str, obj: Json, template: Json, context: Context) -> tuple[str, ...]:
    """Why the pods made from it would be refused. Raises RefusedError, MalformedError."""
    checks = (check_gpu_request, check_sharing)
    broken = policies.violations(_subject(kind, obj, template), _maker(kind), context.namespace, context.policies)
    return (*filter(None, (check(template, context) for check in checks)), *broken)


def _subject(kind: str, obj: Json, template: Json) -> Subject:
    workload = obj
    for key in _AT[kind][:-1]:
        workload = workload[key]
    return Subject(template, workload)


def _maker(kind: str) -> str:
    return kind.partition(".")[0]
