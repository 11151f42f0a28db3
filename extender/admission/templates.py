"""Pod templates: what the API server would refuse in them, or their controllers only find out pod by pod."""

from __future__ import annotations

from typing import Any

from extender.admission import defaults, fractions
from extender.admission.pods import Context, check_gpu_request, check_sharing, is_ours

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


def fill(template: Json, context: Context) -> None:
    """What its author left open."""
    defaults.fill(template, context.factors)


def problems(template: Json, context: Context) -> tuple[str, ...]:
    """Why the pods made from it would be refused."""
    checks = (check_gpu_request, check_sharing)
    return tuple(filter(None, (check(template, context) for check in checks)))
