"""A trial changes what decisions read, and leaves no trace."""

from __future__ import annotations

import numpy as np

from extender.cluster import audit
from extender.cluster.whatif import WhatIf
from extender.model.names import NodeName
from extender.model.pod import Placement
from tests.builders import node, pod, world

NODE = NodeName("n1")


def test_leaving_and_promises_are_seen_in_the_future_only() -> None:
    picture = world(node("n1", gpus=2))
    picture.upsert_pod(pod("old", gpus=2, on="n1", indices=(0, 1)))
    trial = WhatIf(picture)
    old, new = picture.pods[pod("old").uid].pod, pod("new", gpus=1)
    there = Placement(NODE, ((0, ""), (1, "")))
    trial.evict(old, there)
    mark = trial.mark()
    trial.place(new, Placement(NODE, ((0, ""),)), promised=True)
    trial.flush()
    future, now = trial.ledger(NODE), trial.ledger_now(NODE)
    assert future is not None
    assert now is not None
    assert future.free() == [0, 1000]
    assert now.free() == [0, 0]
    assert set(trial.contended()) == {NODE}
    trial.rollback(mark)
    assert future.free() == [1000, 1000]
    trial.restore(old, there)
    assert future.free() == [0, 0]
    assert not trial.contended()
    trial.rollback()
    assert picture.table.arrays().whole.tolist() == [0]


def test_rollback_restores_every_array() -> None:
    picture = world(node("n1", gpus=4), node("n2", gpus=4))
    before = [column.copy() for column in (picture.table.arrays().free, picture.table.arrays().cpu_free)]
    trial = WhatIf(picture)
    for at in range(4):
        trial.place(pod(f"p{at}", gpus=1, cpu="2"), Placement(NODE, ((at, ""),)), promised=at % 2 == 0)
    trial.flush()
    assert picture.table.arrays().whole.tolist() == [0, 4]
    trial.rollback()
    after = picture.table.arrays()
    assert np.array_equal(after.free, before[0])
    assert np.array_equal(after.cpu_free, before[1])
    assert not trial.contended()


def test_who_leaves_and_is_to_come_back_on_another_device_is_counted_once() -> None:
    picture = world(node(NODE, gpus=2))
    leaver = pod("p", gpus=1, on=NODE, indices=[0])
    picture.upsert_pod(leaver)
    trial = WhatIf(picture)
    assert leaver.placement is not None
    trial.evict(leaver, leaver.placement)
    trial.place(leaver, Placement(NODE, ((1, ""),)), promised=False)
    now = trial.ledger_now(NODE)
    assert now is not None
    assert now.free() == [0, 1000]
    trial.rollback()
    assert audit.check(picture) == []
