"""PodDisruptionBudgets: whom each protects, and how many of them may go now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extender.model.constraint import Requirement
from extender.model.pod import Pod
from extender.wire.constraints import parse_requirements

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Budget:
    """allowed: how many of the pods with these labels may be evicted now; None while nobody has worked it out."""

    namespace: str
    name: str
    labels: tuple[Requirement, ...]
    allowed: int | None

    def protects(self, pod: Pod) -> bool:
        carried = dict(pod.labels)
        return pod.namespace == self.namespace and all(one.holds(carried) for one in self.labels)


def parse(obj: Json) -> Budget | None:
    """None for a budget without a selector: it protects nobody. Raises TypeError, KeyError or AttributeError."""
    selector = (obj.get("spec") or {}).get("selector")
    if selector is None:
        return None
    allowed = (obj.get("status") or {}).get("disruptionsAllowed")
    metadata = obj["metadata"]
    return Budget(metadata["namespace"], metadata["name"], parse_requirements(selector), allowed)


def protected(victims: Iterable[Pod], budgets: Sequence[Budget]) -> list[tuple[Pod, Budget]]:
    """Who of the victims, going together, would be one too many for a budget, and for which; the first may go."""
    left = {(one.namespace, one.name): one.allowed for one in budgets}
    found = []
    for pod in victims:
        over = None
        for budget in budgets:
            key = (budget.namespace, budget.name)
            allowed = left[key]
            if allowed is None or not budget.protects(pod):
                continue
            left[key] = allowed - 1
            if allowed <= 0:
                over = budget
        if over is not None:
            found.append((pod, over))
    return found
