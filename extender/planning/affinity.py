"""Which nodes inter-pod affinity leaves for a pod, given where everybody will be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from extender.model.affinity import AffinityTerm
from extender.model.pod import Pod
from extender.packing.score import Bools
from extender.planning.topology import NOT_IN_ANY
from extender.planning.view import View


def acceptable(view: View, pod: Pod) -> Bools | None:
    """Rows that affinity of the pod, and of those that are there, allows; None for all.

    Cost: nothing unless some gang has affinity at all, then a look at every placed pod of the namespace.
    """
    if not view.has_affinity:
        return None
    own = dict(pod.labels)
    rows = np.ones(len(view.picture.table.name_of), dtype=np.bool_)
    for term in pod.affinity.near if pod.affinity else ():
        homes = _domains(view, pod, term.key, partial(_carries, term))
        numbers = view.domains.level((term.key,), term.key).number
        if homes:
            rows &= np.isin(numbers, sorted(homes))
        elif term.matches(own):
            rows &= numbers != NOT_IN_ANY  # the first of its kind may go anywhere
        else:
            rows[:] = False
    for term in pod.affinity.apart if pod.affinity else ():
        homes = _domains(view, pod, term.key, partial(_carries, term))
        rows &= ~np.isin(view.domains.level((term.key,), term.key).number, sorted(homes))
    for key in _keys_of_dislike(view, pod, own):
        homes = _domains(view, pod, key, partial(_dislikes, own, key))
        rows &= ~np.isin(view.domains.level((key,), key).number, sorted(homes))
    return rows


def _carries(term: AffinityTerm, other: Pod) -> bool:
    return term.matches(dict(other.labels))


def _dislikes(own: Mapping[str, str], key: str, other: Pod) -> bool:
    return other.affinity is not None and any(term.key == key and term.matches(own) for term in other.affinity.apart)


def _domains(view: View, pod: Pod, key: str, is_meant: Callable[[Pod], bool]) -> set[int]:
    """Domains of `key` where a pod of the same namespace that `is_meant` will be."""
    numbers = view.domains.level((key,), key).number
    found: set[int] = set()
    for name, row in view.picture.table.row_of.items():
        ledger = view.whatif.ledger(name)
        if ledger is not None and any(
            other.uid != pod.uid and other.namespace == pod.namespace and is_meant(other)
            for other, _ in ledger.pods.values()
        ):
            found.add(int(numbers[row]))
    return found - {NOT_IN_ANY}


def _keys_of_dislike(view: View, pod: Pod, own: Mapping[str, str]) -> list[str]:
    """Node labels by which somebody wants to be apart from pods like this one."""
    return sorted(
        {
            term.key
            for ledger in map(view.whatif.ledger, view.picture.table.row_of)
            for other, _ in (ledger.pods.values() if ledger is not None else ())
            if other.affinity is not None and other.namespace == pod.namespace
            for term in other.affinity.apart
            if term.matches(own)
        }
    )
