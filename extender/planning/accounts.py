"""The quota tree of a node pool as a plan needs it, from what the picture holds and the roster knows."""

from __future__ import annotations

from dataclasses import replace

from extender.cluster.picture import HoldState, Picture
from extender.fairshare.tree import QuotaTree
from extender.model.amounts import GPU, NOTHING, Amounts
from extender.model.names import ProjectName
from extender.planning.plan import Plan
from extender.planning.roster import Roster


class Accounts:
    """One per planner."""

    def __init__(self, picture: Picture, roster: Roster) -> None:
        self._picture = picture
        self._roster = roster
        self._trees: dict[str, QuotaTree] = {}  # by pool, as of the last plan
        self._totals: tuple[int, dict[str, Amounts]] = (-1, {})

    def tree(self, pool: str) -> QuotaTree:
        """Who holds what when those on their way out have gone, and what waits beside it."""
        tree = self._trees[pool] = self.tree_now(pool)
        for charge in self._roster.releasing.values():
            standing = tree.projects.get(charge.project)
            if charge.pool == pool and standing is not None:
                tree.release(standing, charge.amounts, preemptible=charge.preemptible)
                tree.withdraw(standing, charge.amounts)
        for (asked_in, name), amounts in self._roster.waiting.requested.items():
            standing = tree.projects.get(name)
            if asked_in == pool and standing is not None and amounts != NOTHING:
                tree.request(standing, amounts)
        return tree

    def tree_now(self, pool: str) -> QuotaTree:
        """Who holds what, those on their way out included."""
        return self._picture.quotas.quota_tree(pool, self._capacity(pool))

    def await_payment(self, pool: str, made: Plan) -> Plan:
        """The plan with seats promised only whose queue may hold them when others on their way out have gone.

        A plan counts with what will be; limits and quotas hold at every moment. Promised places are set aside.
        """
        if not made.seats or not (made.evictions or self._roster.releasing):
            return made
        tree = self.tree_now(pool)
        for eviction in made.evictions:
            hold = self._picture.pods[eviction.uid].hold
            if hold is not None and hold.state is HoldState.RESERVED and hold.charge is not None:
                # It has not even started: it gives its seat back at once.
                standing = tree.projects[hold.charge.project]
                tree.release(standing, hold.charge.amounts, preemptible=hold.charge.preemptible)
        costs: dict[str, Amounts] = {}
        for seat in made.seats:
            record = self._picture.pods[seat.uid]
            if seat.bindable and (record.hold is None or record.hold.state is HoldState.PROMISED):
                ledger = self._picture.ledger(seat.placement.node)
                cost = self._picture.cost(record.pod, 0 if ledger is None else ledger.gpu_memory_mib)
                costs[seat.gang] = costs.get(seat.gang, NOTHING) + cost
        waiting = set()
        for key, cost in costs.items():
            gang = self._roster.gang(key)
            if gang is None:
                continue
            standing = tree.projects[gang.queue]
            if standing.admits(cost, preemptible=gang.preemptible):
                tree.allocate(standing, cost, preemptible=gang.preemptible)
            else:
                waiting.add(key)
        if not waiting:
            return made
        return replace(
            made, seats=tuple(replace(one, bindable=False) if one.gang in waiting else one for one in made.seats)
        )

    def path(self, tree: QuotaTree, queue: ProjectName) -> object:
        """What a queue and those above it hold and may hold, and what a request by memory may cost there."""
        standing = tree.projects.get(queue)
        above = () if standing is None else tuple(standing.path())
        usage = tuple((*one.allocated, *one.non_preemptible, *one.limit, *one.quota) for one in above)
        return (usage, self._picture.node_version)

    def shares(self, queue: ProjectName, pool: str) -> tuple[int | None, int, int | None] | None:
        """Milli-GPU that a queue deserves in a pool, its fair share and its limit there; None: nothing planned yet."""
        tree = self._trees.get(pool)
        standing = None if tree is None else tree.projects.get(queue)
        if standing is None:
            return None
        return standing.queue.deserved.gpu_milli, standing.fair[0], standing.queue.limit.gpu_milli

    def _capacity(self, pool: str) -> Amounts:
        version, totals = self._totals
        if version != self._picture.node_version:
            totals = {}
            for node in self._picture.nodes():
                if node.schedulable:
                    offered = Amounts(node.gpus * GPU, node.cpu_milli, node.memory_mib)
                    totals[node.pool] = totals.get(node.pool, NOTHING) + offered
            self._totals = (self._picture.node_version, totals)
        return totals.get(pool, NOTHING)
