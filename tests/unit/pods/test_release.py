from __future__ import annotations

from extender.cluster.picture import HoldState
from extender.pods import release
from tests.builders import gpus_held, held, node, offer, pod, seat_of, state_of, uid, world


def test_seats_expire_on_time() -> None:
    picture = world(node("n"))
    offer(picture, pod("p", gpus=1), now=100.0)
    assert release.expire(picture, now=219.9) == {}
    before = picture.generation
    assert list(release.expire(picture, now=220.0)) == [uid("p")]
    assert (held(picture, "n"), gpus_held(picture)) == ({}, (0, 0))
    assert picture.generation > before
    assert release.expire(picture, now=999.0) == {}


def test_volumes_take_time() -> None:
    picture = world(node("n"))
    offer(picture, pod("p", gpus=1, claim=True), now=0.0)
    assert release.expire(picture, now=899.0) == {}
    assert list(release.expire(picture, now=900.0)) == [uid("p")]


def test_asking_again_starts_anew() -> None:
    picture = world(node("n"))
    offer(picture, pod("p", gpus=1), now=0.0)
    offer(picture, pod("p", gpus=1), now=100.0)
    assert release.expire(picture, now=150.0) == {}


def test_only_seats_expire() -> None:
    picture = world(node("n"))
    for name, state in (("a", HoldState.BINDING), ("b", HoldState.UNKNOWN)):
        offer(picture, pod(name, gpus=1))
        picture.set_state(uid(name), state)
    offer(picture, pod("c", gpus=1))
    picture.confirm(uid("c"), seat_of(picture, uid("c")))
    assert release.expire(picture, now=1e9) == {}
    assert release.unknown(picture) == [uid("b")]


def test_a_pod_only_a_scheduler_named_is_forgotten_and_may_come_back() -> None:
    picture = world(node("n"))
    offer(picture, pod("p", gpus=1))
    release.expire(picture, now=1e9)
    assert picture.pods == {}
    # The watch was late, or broken for a while: the pod is real.
    picture.upsert_pod(pod("p", gpus=1))
    assert offer(picture, pod("p", gpus=1)).nodes == ("n",)


def test_a_watched_pod_stays_known() -> None:
    picture = world(node("n"))
    picture.upsert_pod(pod("p", gpus=1))
    offer(picture, pod("p", gpus=1))
    release.expire(picture, now=1e9)
    assert state_of(picture, "p") is None
    assert uid("p") in picture.pods
