from __future__ import annotations

from extender.packing.strategy import Strategy
from extender.pods.placement import Policy
from extender.pods.prioritize import prioritize_pod
from tests.builders import POLICY, held, is_sound, node, offer, pod, state_of, world


def test_the_pods_own_placeholder_does_not_count() -> None:
    picture = world(node("a", gpus=4), node("b", gpus=4))
    subject = pod("p", gpus=4)
    alone = prioritize_pod(picture, subject, ["a", "b"], POLICY)
    offer(picture, subject, answer_all=True)
    generation, before = picture.generation, held(picture, "a")
    assert prioritize_pod(picture, subject, ["a", "b"], POLICY) == alone == [("a", 9), ("b", 9)]
    assert (picture.generation, held(picture, "a")) == (generation, before)
    assert state_of(picture, "p") == "reserved"
    assert is_sound(picture)


def test_others_seats_count() -> None:
    picture = world(node("a", gpus=4), node("b", gpus=4), node("c", gpus=4))
    offer(picture, pod("x", gpus=3), "b")
    offer(picture, pod("y", gpus=1), "c")
    assert prioritize_pod(picture, pod("p", gpus=1), ["c", "b", "a"], POLICY) == [("c", 3), ("b", 9), ("a", 0)]
    spread = Policy(gpu_strategy=Strategy.SPREAD)
    assert prioritize_pod(picture, pod("p", gpus=1), ["c", "b", "a"], spread) == [("c", 8), ("b", 3), ("a", 10)]


def test_every_offered_node_gets_a_number() -> None:
    picture = world(node("a", gpus=1))
    assert prioritize_pod(picture, pod("p", gpus=2), ["a", "ghost"], POLICY) == [("a", 0), ("ghost", 0)]
    assert prioritize_pod(picture, pod("p"), [], POLICY) == []


def test_a_pod_that_is_bound_is_scored_like_any_other() -> None:
    picture = world(node("a", gpus=2), node("b", gpus=2))
    bound = pod("p", gpus=1, on="a", indices=[0])
    picture.upsert_pod(bound)
    assert prioritize_pod(picture, bound, ["a", "b"], POLICY) == [("a", 9), ("b", 0)]
    assert state_of(picture, "p") == "bound"
