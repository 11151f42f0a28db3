"""From a review to its answer: which rules concern the object, and what they make of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from extender.admission import makers, pods, policies, templates
from extender.admission.patch import difference
from extender.admission.pods import Context
from extender.errors import MalformedError, RefusedError
from extender.model import names
from extender.wire.admission import Answer, Review

Json = dict[str, Any]

NOTHING = Answer()


def mutate(review: Review, context: Context) -> Answer:
    """The patch that gives a new pod of ours what it lacks, or a pod template what the API server would refuse.

    Empty for everything else. Raises MalformedError for a pod that is none. The review is left as it is.
    """
    if review.kind in templates.KINDS:
        return _fill_template(review, context)
    pod = _new_pod(review)
    if pod is None or not (pods.is_ours(pod) or pods.becomes_ours(pod, context)):
        return NOTHING
    # One that names another scheduler was judged by nobody, whoever has made it; nor was its template.
    is_forced = not pods.is_ours(pod)
    context = replace(context, maker=makers.maker(review))
    if not is_forced:
        context = _judging(review, context)
    filled = copy.deepcopy(pod)
    try:
        for fill in pods.FILLS:
            fill(filled, context)
        broken = pods.broken_rules(filled, context) if is_forced else ()
    except RefusedError as error:
        return Answer(refusals=(str(error),))
    return Answer(refusals=broken) if broken else Answer(patch=tuple(difference(pod, filled)))


def validate(review: Review, context: Context) -> Answer:
    """Every reason to refuse a new pod of ours, or a new template of some; none for all else. Raises MalformedError."""
    if review.kind in templates.KINDS:
        template = templates.concerned(review.kind, review.obj, context)
        if template is None or _is_old(template, review):
            return NOTHING
        return _refusals(lambda: templates.problems(review.kind, review.obj, template, _judging(review, context)))
    pod = _new_pod(review)
    if pod is None or not pods.is_ours(pod):
        return NOTHING
    context = replace(context, maker=makers.maker(review))
    refusals = tuple(filter(None, (check(pod, context) for check in pods.CHECKS)))
    return _refusals(lambda: (*refusals, *pods.broken_rules(pod, _judging(review, context))))


def asks_for_another_scheduler(review: Review) -> bool:
    """Whether it matters for the answer what the namespace enforces. Raises MalformedError."""
    if review.kind in templates.KINDS:
        template = templates.template_of(review.kind, review.obj)
        return template is not None and not pods.is_ours(template)
    pod = _new_pod(review)
    return pod is not None and not pods.is_ours(pod)


def _fill_template(review: Review, context: Context) -> Answer:
    filled = copy.deepcopy(review.obj)
    template = templates.concerned(review.kind, filled, context)
    if template is None:
        return NOTHING
    try:
        templates.make_valid(template, again=review.operation == "UPDATE")
        # A template that stays as it was is left alone, whatever the settings say by now: of a Job it cannot change,
        # and of a Deployment it would restart every pod.
        if not makers.is_copy(review) and not _is_old(template, review):
            templates.fill(review.kind, filled, template, context)
    except RefusedError as error:
        return Answer(refusals=(str(error),))
    return Answer(patch=tuple(difference(review.obj, filled)))


def _judging(review: Review, context: Context) -> Context:
    """The context without policies for what is only a copy of what was judged."""
    return replace(context, policies=policies.none) if makers.is_copy(review) else context


def _refusals(judge: Callable[[], tuple[str, ...]]) -> Answer:
    try:
        return Answer(refusals=judge())
    except RefusedError as error:
        return Answer(refusals=(str(error),))


def _is_old(template: Json, review: Review) -> bool:
    """Whether the workload has this template already."""
    return template == templates.template_of(review.kind, review.old)


def _new_pod(review: Review) -> Json | None:
    if review.kind != "Pod" or review.operation != "CREATE" or review.namespace in names.OWN_NAMESPACES:
        return None
    pod = review.obj
    if not isinstance(pod.get("metadata"), dict) or not isinstance(pod.get("spec"), dict):
        raise MalformedError("not a Pod: metadata or spec is missing")
    return pod
