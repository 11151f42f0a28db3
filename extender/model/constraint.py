"""Which nodes a pod accepts: selector, required affinity, tolerations, and the labels that its project demands.

kube-scheduler applies these itself to the pod it asks about; planning needs them for the pods it has not asked about
yet. Rules of the Kubernetes API reference, required ones only: preferences are kube-scheduler's to weigh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

_BLOCKING = frozenset({"NoSchedule", "NoExecute"})


@dataclass(frozen=True, slots=True)
class Requirement:
    """One expression on a label: operator is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        judge = _OPERATORS.get(self.operator)
        return judge is not None and judge(labels.get(self.key), self.values)


@dataclass(frozen=True, slots=True)
class Term:
    """Expressions on labels and on the node's name that must all hold; an empty term accepts nothing."""

    labels: tuple[Requirement, ...] = ()
    names: tuple[Requirement, ...] = ()

    def holds(self, name: str, labels: Mapping[str, str]) -> bool:
        if not self.labels and not self.names:
            return False
        named = {"metadata.name": name}
        return all(one.holds(labels) for one in self.labels) and all(one.holds(named) for one in self.names)


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class Toleration:
    """An empty key with Exists tolerates every taint; an empty effect every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def covers(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if not self.key:
            return self.operator == "Exists"
        return self.key == taint.key and (self.operator == "Exists" or self.value == taint.value)


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a pod demands of its node. Equal constraints are one class: judged once a node, however many pods.

    selector:    (label, value) pairs, all of them, sorted.
    terms:       alternatives of required node affinity; None without any, () accepts nothing.
    confined_to: (label, allowed values) pairs from outside the pod: node pool and node types of its project.
    """

    selector: tuple[tuple[str, str], ...] = ()
    terms: tuple[Term, ...] | None = None
    tolerations: tuple[Toleration, ...] = ()
    confined_to: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def accepts(self, name: str, labels: Mapping[str, str], taints: tuple[Taint, ...]) -> bool:
        """Whether a node of this name with these labels and taints may run the pod."""
        if any(labels.get(key) != value for key, value in self.selector):
            return False
        if any(labels.get(key) not in values for key, values in self.confined_to):
            return False
        if self.terms is not None and not any(term.holds(name, labels) for term in self.terms):
            return False
        return all(
            any(toleration.covers(taint) for toleration in self.tolerations)
            for taint in taints
            if taint.effect in _BLOCKING
        )


ANYWHERE = Constraint()


def _compare(value: str | None, values: tuple[str, ...], larger: bool) -> bool:
    try:
        return value is not None and (int(value) > int(values[0])) is larger and int(value) != int(values[0])
    except (ValueError, IndexError):
        return False


_OPERATORS: dict[str, Callable[[str | None, tuple[str, ...]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: _compare(value, values, larger=True),
    "Lt": lambda value, values: _compare(value, values, larger=False),
}
