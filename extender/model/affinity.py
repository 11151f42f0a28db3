"""Inter-pod affinity in the form that planning needs: near, or apart from, pods that carry certain labels.

Required terms with plain label equality in the pod's own namespace. Whatever else a pod says, kube-scheduler judges
when its turn comes: a seat that it refuses is given back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AffinityTerm:
    """Pods that carry all of `labels`; `key` is the node label whose value makes two nodes neighbours."""

    labels: tuple[tuple[str, str], ...]
    key: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(name) == value for name, value in self.labels)


@dataclass(frozen=True, slots=True)
class PodAffinity:
    """near: each term needs such a pod in the same domain; apart: none may be there."""

    near: tuple[AffinityTerm, ...] = ()
    apart: tuple[AffinityTerm, ...] = ()
