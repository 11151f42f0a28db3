from __future__ import annotations

from extender.pods.preempt import keep_possible
from tests.builders import node, pod, uid, world


def test_only_candidates_whose_victims_are_there() -> None:
    picture = world(node("a"), node("b"), node("c"))
    picture.upsert_pod(pod("x", gpus=1, on="a", indices=[0]))
    picture.upsert_pod(pod("y", gpus=1, on="a", indices=[1]))
    picture.upsert_pod(pod("z", gpus=1, on="b", indices=[0], phase="Succeeded"))
    kept = keep_possible(
        picture,
        {
            "a": ([uid("y"), uid("x")], 1),
            "b": ([uid("z")], 0),  # finished: nothing to evict
            "c": ([], 0),  # newer kube-schedulers ask so; we would have to guess
            "ghost": ([uid("x")], 0),
        },
    )
    assert kept == {"a": ([uid("y"), uid("x")], 1)}


def test_one_victim_we_do_not_know_drops_the_node() -> None:
    picture = world(node("a"))
    picture.upsert_pod(pod("x", on="a"))
    assert keep_possible(picture, {"a": ([uid("x"), uid("nobody")], 0)}) == {}
