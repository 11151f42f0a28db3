"""What the administrator's policies say of pods and of the templates of workloads that name this scheduler.

A policy is written for workload resources. Here what a pod says is read as if it were one (`scalars`, `items`), the
values are composed and judged by the same code (`workloads.values`), and what the policy gave is written back where the
pod left it open. A parameter that no pod can say (a name, a port's Service) is no concern of it, whatever the policy
requires.

Judged is the object as it will be stored, so a rule holds whoever filled in what. A locked default (`canEdit: false`)
must then really be there: nothing said is not the same as the default said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from extender.admission.items import ITEMS
from extender.admission.scalars import OF_WORKLOADS, SCALARS
from extender.admission.subject import Subject
from extender.errors import MalformedError, RefusedError
from extender.model import names
from extender.model.workload import Origin, Parameter, Parameters, WorkloadKind
from extender.wire import workloads
from extender.workloads import policy as policies
from extender.workloads import scalar, specs
from extender.workloads.values import Composed, compose

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """A policy of the cluster: the object in v2alpha1, and why nobody can be judged by it ("" when all is well)."""

    obj: Json
    problem: str = ""


# The policies of a kind that are in a namespace, in any order.
Lookup = Callable[[WorkloadKind, str], Sequence[Known]]

_OF_CLASS = {
    "build": (WorkloadKind.INTERACTIVE,),
    "interactive-preemptible": (WorkloadKind.INTERACTIVE,),
    "inference": (WorkloadKind.INFERENCE, WorkloadKind.DEPLOYMENT),
}
_OF_MAKER = {
    "StatefulSet": _OF_CLASS["build"],
    "Deployment": _OF_CLASS["inference"],
    "ReplicaSet": _OF_CLASS["inference"],
    **dict.fromkeys(names.GANG_KINDS, (WorkloadKind.DISTRIBUTED,)),
}


def none(kind: WorkloadKind, namespace: str) -> Sequence[Known]:  # noqa: ARG001  the signature of a Lookup
    """There are no policies."""
    return ()


def read(kind: WorkloadKind, obj: Json) -> Known:
    """A policy object of v2alpha1 with its problems, if it has some. Never raises, whatever JSON it is."""
    spec = obj.get("spec")
    found = policies.problems(workloads.parameters(kind), {} if spec is None else spec)
    return Known(obj, "; ".join(found))


def kinds_of(maker: str, subject: Subject) -> tuple[WorkloadKind, ...]:
    """As which kinds of work pods count, by their priority class, else by the kind of their owner ("" for none).

    Serving has had two names; a policy under either is meant for it.
    """
    return _OF_CLASS.get(subject.priority_class) or _OF_MAKER.get(maker, (WorkloadKind.TRAINING,))


def fill(subject: Subject, maker: str, namespace: str, lookup: Lookup) -> None:
    """Write what the policy gives and the subject leaves open. Raises RefusedError, MalformedError."""
    found = _in_force(subject, maker, namespace, lookup)
    if found is None:
        return
    parameters, policy = found
    try:
        own = _own_items(parameters, policy)
        composed = [compose(parameters, spec, None, policy) for spec, _ in _said(subject, parameters, own, is_new=True)]
        for name, scalar_ in SCALARS.items():
            values = [one.values.scalars[name] for one in composed if name in one.values.scalars]
            given = next((one.value for one in values if one.origin is Origin.POLICY), None)
            if given is not None:
                scalar_.write(subject, given)
        for name, items in ITEMS.items():
            of_all = composed[0].values.items.get(name, {})
            missing = {label: one.value for label, one in of_all.items() if one.origin is Origin.POLICY}
            if missing:
                items.write(subject, missing)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _unreadable(error) from error


def violations(subject: Subject, maker: str, namespace: str, lookup: Lookup) -> tuple[str, ...]:
    """The rules that the subject breaks, a line each, by path. Raises RefusedError, MalformedError."""
    found = _in_force(subject, maker, namespace, lookup)
    if found is None:
        return ()
    parameters, policy = found
    try:
        own = _own_items(parameters, policy)
        said = [(spec, _with_usual(usual, policy)) for spec, usual in _said(subject, parameters, own, is_new=False)]
        judged: list[Composed] = [compose(parameters, spec, None, whole) for spec, whole in said]
        lines = [line for one in judged for line in one.violations]
        lines += [
            f"{name}: cannot be edited"
            for name, parameter in parameters.items()
            if specs.rules_of(policy, name).get("canEdit") is False
            if any(_lacks(spec, parameter, specs.given(whole, name)) for spec, whole in said)
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _unreadable(error) from error
    return specs.in_order(lines)


def _in_force(subject: Subject, maker: str, namespace: str, lookup: Lookup) -> tuple[Parameters, Json] | None:
    """The policy's spec, and those of its parameters that the subject can say. Raises RefusedError."""
    for where in (namespace, names.SYSTEM_NAMESPACE):
        for kind in kinds_of(maker, subject):
            known = {id(one.obj): one for one in lookup(kind, where)}
            chosen = policies.effective(one.obj for one in known.values()).policy
            if chosen is None:
                continue
            problem = known[id(chosen)].problem
            if problem:
                name = (chosen.get("metadata") or {}).get("name")
                raise RefusedError(f"the {kind.policy} {where}/{name} cannot be enforced: {problem}")
            policy = chosen.get("spec") or {}
            return _spoken(workloads.parameters(kind), policy, subject), policy
    return None


def _spoken(parameters: Parameters, policy: Json, subject: Subject) -> Parameters:
    """The parameters that the policy mentions, or computes a default from, and that the subject can say."""
    sources = {specs.mapping(specs.rules_of(policy, name).get("defaultFrom")).get("field") for name in policy}
    return {
        name: parameter
        for name, parameter in parameters.items()
        if name in policy or name in sources
        if name in ITEMS or (name in SCALARS and (subject.workload or name not in OF_WORKLOADS))
    }


def _own_items(parameters: Parameters, policy: Json) -> dict[str, Json]:
    """The policy's items, as they are where nobody says anything."""
    found = compose(parameters, {}, None, policy).values.items
    return {name: {label: one.value for label, one in items.items()} for name, items in found.items()}


def _said(subject: Subject, parameters: Parameters, own: dict[str, Json], *, is_new: bool) -> list[tuple[Json, Json]]:
    """What the subject says, as specs of a workload: several where its containers differ. And what is usual for each.

    is_new: what the API server would have filled in counts as left open, for nobody can tell who wrote it.
    """
    read = {name: SCALARS[name].read(subject) for name in parameters.keys() & SCALARS.keys()}
    usual = {name: SCALARS[name].usual(subject) for name in read}
    items = {
        name: {
            "items": {label: {"value": value} for label, value in ITEMS[name].read(subject, own.get(name, {})).items()}
        }
        for name in parameters.keys() & ITEMS.keys()
    }
    found = []
    for number in range(max(map(len, read.values()), default=1)):
        here = {name: _entry(values, number) for name, values in usual.items()}
        said = {name: _entry(values, number) for name, values in read.items()}
        given = {
            name: {"value": value}
            for name, value in said.items()
            if value is not None and not (is_new and value == here[name])
        }
        found.append(({**given, **items}, here))
    return found


def _entry(values: list[Any], number: int) -> Any:
    """The last one stands for all that follow."""
    return values[min(number, len(values) - 1)]


def _with_usual(usual: Json, policy: Json) -> Json:
    """Where a policy has no default of what the API server fills in, that is it: else nobody could keep the rule."""
    added = {
        name: {**policy[name], "value": value}
        for name, value in usual.items()
        if value is not None and name in policy and specs.given(policy, name) is None
    }
    return policy | added


def _lacks(said: Json, parameter: Parameter, locked: Any) -> bool:
    """Whether a locked default was never written. False, 0 and "" mostly are by saying nothing."""
    if parameter.itemized or parameter.name in said or scalar.is_blank(locked):
        return False
    if locked is False:
        return SCALARS[parameter.name].is_permissive
    return scalar.amount(locked, parameter.type) != 0


def _unreadable(error: Exception) -> MalformedError:
    return MalformedError(f"not a Pod: {type(error).__name__}: {str(error)[:80]}")
