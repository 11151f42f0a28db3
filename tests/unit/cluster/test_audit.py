"""The audit finds what is wrong; that it is silent when all is well, every other test asserts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from extender.cluster import audit
from extender.cluster.picture import Picture
from extender.cluster.quota import Charge
from extender.model.amounts import Amounts
from extender.model.names import NodeName
from extender.model.pod import Phase
from tests.builders import PROJECT, node, pod, uid, world


def _forget_device(picture: Picture) -> None:
    picture._ledgers[NodeName("n")].devices.clear()


def _forget_cpu(picture: Picture) -> None:
    picture._ledgers[NodeName("n")].cpu_milli = 7


def _stale_row(picture: Picture) -> None:
    picture.table.states().free[picture.table.state_of()[0], 0] = 999


def _lost_charge(picture: Picture) -> None:
    picture.quotas.charge(Charge(PROJECT, Amounts(gpu_milli=1), preemptible=True))


def _finished(picture: Picture) -> None:
    object.__setattr__(picture.pods[uid("p")].pod, "phase", Phase.FAILED)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_forget_device, "node n: the ledger and its pods disagree"),
        (_forget_cpu, "node n: counted resources and its pods disagree"),
        (_stale_row, "node n: its row in the table is not its ledger's"),
        (_lost_charge, "project team-a in pool default: counted"),
        (_finished, "has finished and still holds"),
    ],
)
def test_damage_is_found(damage: Callable[[Picture], None], told: str) -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", gpus=1, on="n", indices=[0]))
    assert audit.check(picture) == []
    damage(picture)
    found = audit.check(picture)
    assert len(found) == 1
    assert told in found[0]
