"""What people are told: who made way for whom and why, and the one reason for which a gang waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from extender.model.verdict import Reason
from extender.planning.plan import Action, Plan, plan
from extender.planning.settings import Settings
from extender.simulate import scenario_file
from extender.simulate.scenario_world import NOW, World

SITUATIONS = Path(__file__).parents[2] / "simulate" / "situations"


def decide(case: str, *actions: Action, file: str = "documented.yaml") -> Plan:
    world = World(scenario_file.read(SITUATIONS / file, case)[0].body)
    gangs = world.gangs()
    return plan(world.picture(), world.tree(gangs), gangs, Settings(), NOW, actions or tuple(Action))


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (
            "s01-over-quota",
            (
                "Pod scenario/a1-0 was preempted by workload scenario/b2. team-a uses 2 GPUs with a quota "
                "of 2 GPUs, fair-share of 2 GPUs and queue priority of 100."
            ),
        ),
        ("s04-same-project", "Pod scenario/t1-0 was preempted by higher priority workload scenario/i1"),
        (
            "s02-consolidation",
            "Pod scenario/b2-0 was preempted and rescheduled due to bin packing (resource consolidation) procedure",
        ),
        (
            "s10-gang-that-lost-a-member",
            "Workload doesn't meet the minimum required number of pods (4), evicting remaining pod: scenario/g-0",
        ),
    ],
)
def test_eviction(case: str, text: str) -> None:
    messages = [eviction.message for eviction in decide(case).evictions]
    assert any(message.startswith(text) for message in messages), messages


@pytest.mark.parametrize(
    ("case", "file", "reason", "text"),
    [
        (
            "s05-non-preemptible-cap",
            "documented.yaml",
            Reason.NON_PREEMPTIBLE_OVER_QUOTA,
            (
                "Non-preemptible workload is over quota. Workload requested 1 GPUs, but team-a quota is 2 GPUs, while "
                "1.5 GPUs are already allocated for non-preemptible pods. Use a preemptible workload to go over quota."
            ),
        ),
        (
            "s06-limit",
            "documented.yaml",
            Reason.OVER_LIMIT,
            (
                "team-a quota has reached the allowable limit of GPUs. Limit is 4 GPUs, currently 3.5 GPUs allocated "
                "and workload requested 1 GPUs"
            ),
        ),
        ("s10-gang-waits", "documented.yaml", Reason.NOT_ENOUGH_RESOURCES, "Requested: 4 pods together, each 1 GPUs"),
        ("s16-no-project", "documented.yaml", Reason.QUEUE_DOES_NOT_EXIST, "project nobody"),
        ("delay-holds-back", "ours.yaml", Reason.PREEMPTION_DELAY_NOT_ELAPSED, "preemption delay has not passed"),
        ("no-rack-is-large-enough", "ours.yaml", Reason.NOT_ENOUGH_RESOURCES, "level rack of topology t"),
    ],
)
def test_explanation(case: str, file: str, reason: Reason, text: str) -> None:
    explained = decide(case, file=file).explanations
    verdicts = [one.verdict for one in explained if one.verdict.reason is reason]
    assert verdicts, explained
    assert text in verdicts[0].message


def test_places_in_the_order_of_the_queue() -> None:
    explained = decide("s03-queue-fairness", Action.ALLOCATE).explanations
    assert [(one.gang, one.position) for one in explained] == [
        ("scenario/b1", 1),
        ("scenario/b2", 2),
        ("scenario/b3", 3),
    ]
