"""preempt: kube-scheduler's candidates, less what we know to be impossible. Never asked in the profile we ship.

In-tree preemption cannot see what only we account for; evicting is our reclaimer's work. For those who enable
it anyway, the answer is conformant: a subset of the nodes, with victims that are really there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from extender.cluster.picture import Picture
from extender.model.names import NodeName, PodUID


def keep_possible(
    picture: Picture, candidates: Mapping[str, tuple[Sequence[PodUID], int]]
) -> dict[str, tuple[list[PodUID], int]]:
    """By node, (victims, PDB violations) for the candidates whose victims, at least one, all hold that node."""
    kept: dict[str, tuple[list[PodUID], int]] = {}
    for node, (victims, violations) in candidates.items():
        ledger = picture.ledger(NodeName(node))
        if ledger is not None and victims and all(uid in ledger.pods for uid in victims):
            kept[node] = (list(victims), violations)
    return kept
