"""One scheduling cycle: in-tree filters, extender filters, scores, and the node that wins.

nominated node alone ─▶ in-tree filter ─▶ extender filter ─▶ taken
else all nodes       ─▶ in-tree filter ─▶ extender filters, one after another, each sees what the last left
                     ─▶ one left: taken; more: in-tree scores + every extender's prioritize
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from extender import logs
from extender.emulator.scheduler.affinity import named_nodes
from extender.emulator.scheduler.cache import Cache, NodeState, PodView
from extender.emulator.scheduler.config import SchedulerConfig
from extender.emulator.scheduler.extender_client import ExtenderCallError, ExtenderClient
from extender.emulator.scheduler.fit import Rejection, in_tree_scores, reject
from extender.emulator.scheduler.queue import EXTENDER
from extender.emulator.scheduler.reports import fit_message
from extender.errors import RunaiError

log = logs.get("emulator.scheduler")

_NOT_NAMED = Rejection("NodeAffinity", ("node(s) didn't satisfy plugin(s) [NodeAffinity]",))


@dataclass(slots=True)
class Diagnosis:
    """Why nodes fell out: node -> its reasons, and the plugins that said so."""

    reasons: dict[str, tuple[str, ...]] = field(default_factory=dict)
    plugins: set[str] = field(default_factory=set)


class UnschedulableError(RunaiError):
    """No node takes the pod; `message` is the text for its condition, `plugins` what it waits on."""

    def __init__(self, nodes: int, diagnosis: Diagnosis, post_filter: str = "") -> None:
        reasons = (reason for reasons in diagnosis.reasons.values() for reason in reasons)
        self.message = fit_message(nodes, reasons, post_filter)
        self.plugins = frozenset(diagnosis.plugins)
        super().__init__(self.message)


async def choose_node(
    pod: PodView,
    cache: Cache,
    extenders: Sequence[ExtenderClient],
    config: SchedulerConfig,
) -> str:
    """The node for `pod`. Raises UnschedulableError when there is none, ExtenderCallError when one cannot
    say.
    """
    nodes = cache.nodes()
    diagnosis = Diagnosis()
    feasible: list[NodeState] = []
    nominated = cache.node(pod.nominated_node) if pod.nominated_node else None
    if nominated is not None:
        try:
            feasible = await _feasible(pod, [nominated], extenders, config.ignored_resources, Diagnosis())
        except ExtenderCallError as error:
            log.warning("nominated_node_not_evaluated", pod=pod.key, cause=str(error))
    if not feasible:
        feasible = await _feasible(pod, nodes, extenders, config.ignored_resources, diagnosis)
    if not feasible:
        raise UnschedulableError(len(nodes), diagnosis, config.post_filter_message)
    if len(feasible) == 1:
        return feasible[0].name
    scores = in_tree_scores(pod, feasible)
    asked = [e for e in extenders if e.config.prioritize_verb and e.is_interested(pod)]
    answers = await asyncio.gather(*(_prioritize(extender, pod, feasible) for extender in asked))
    for answer in answers:
        for name, score in answer.items():
            if name in scores:
                scores[name] += score
    # The real one draws among equals; by name keeps a run repeatable.
    return min(scores, key=lambda name: (-scores[name], name))


async def _feasible(
    pod: PodView,
    nodes: Sequence[NodeState],
    extenders: Sequence[ExtenderClient],
    ignored_resources: frozenset[str],
    diagnosis: Diagnosis,
) -> list[NodeState]:
    feasible: list[NodeState] = []
    named = named_nodes(pod.spec)
    for node in nodes:
        rejection = _NOT_NAMED if named is not None and node.name not in named else None
        rejection = rejection or reject(pod, node, ignored_resources)
        if rejection is None:
            feasible.append(node)
        else:
            diagnosis.reasons[node.name] = rejection.reasons
            diagnosis.plugins.add(rejection.plugin)
    for extender in extenders:
        if not feasible:
            break
        if not extender.config.filter_verb or not extender.is_interested(pod):
            continue
        try:
            answer = await extender.filter(pod, feasible)
        except ExtenderCallError as error:
            if extender.config.ignorable:
                log.warning("extender_ignored", pod=pod.key, cause=str(error))
                continue
            raise
        by_name = {node.name: node for node in feasible}
        left = [by_name[name] for name in answer.node_names]
        if len(left) < len(feasible):
            diagnosis.plugins.add(EXTENDER)
        # A node that is in no map fell out without a text; one that is in both counts as unresolvable.
        for name, reason in {**answer.failed, **answer.unresolvable}.items():
            diagnosis.reasons[name] = (reason,)
        feasible = left
    return feasible


async def _prioritize(extender: ExtenderClient, pod: PodView, nodes: Sequence[NodeState]) -> dict[str, int]:
    try:
        return await extender.prioritize(pod, nodes)
    except ExtenderCallError as error:
        log.warning("scores_ignored", pod=pod.key, cause=str(error))
        return {}
