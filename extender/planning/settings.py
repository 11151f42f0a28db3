"""What an administrator and the service decide about planning. Times in seconds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction

from extender.fairshare.reclaim import RuntimeScope
from extender.model.names import NodeName
from extender.model.pod import Pod
from extender.packing.strategy import Strategy


def _always(_: object) -> bool:
    return True


def _nowhere(_: Pod) -> Collection[NodeName]:
    return ()


@dataclass(frozen=True, slots=True)
class Settings:
    """How gangs are placed and how many may be moved or evicted for them.

    pool:             the node pool that is planned, "" for all nodes at once.
    device_strategy:  which device of a node a share takes, apart from which node; None: as the node is chosen.
    most_evictions:   members evicted for one gang, None for any number.
    most_moves:       members moved by one consolidation, None for any number; consolidation is off with spread.
    most_seats:       members seated without an eviction in one plan, about; None for any number.
    stale_after_s:    grace of a gang below its minimum, unless it has its own; below 0: never evicted.
    saturation_multiplier: how much less saturated than its siblings an over-saturated reclaimer must stay.
    may_evict:        whether a pod may be evicted now, by its disruption budget.
    may_move:         whether somebody will make a pod again that is evicted to be placed elsewhere.
    may_disrupt:      whether the gang of this key may make others give way now.
    cooling:          nodes that a pod is not to be sent to for now, after a bind there failed.
    """

    gpu_strategy: Strategy = Strategy.FRAGMENTATION
    cpu_strategy: Strategy = Strategy.FRAGMENTATION
    pool: str = ""
    device_strategy: Strategy | None = None
    most_evictions: int | None = None
    most_moves: int | None = 16
    most_seats: int | None = None
    stale_after_s: float = 60.0
    saturation_multiplier: Fraction = Fraction(1)
    runtime_scope: RuntimeScope = RuntimeScope.LCA
    may_evict: Callable[[Pod], bool] = _always
    may_move: Callable[[Pod], bool] = _always
    may_disrupt: Callable[[str], bool] = _always
    cooling: Callable[[Pod], Collection[NodeName]] = _nowhere

    def strategy_for(self, pod: Pod) -> Strategy:
        """How the node of `pod` is chosen."""
        return self.cpu_strategy if pod.gpu.is_cpu_only else self.gpu_strategy

    def device_strategy_for(self, pod: Pod) -> Strategy:
        """How its devices on that node are chosen."""
        return self.device_strategy or self.strategy_for(pod)
