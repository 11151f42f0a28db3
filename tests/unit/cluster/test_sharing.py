"""A device that is reserved: who may have it, from its first share to the end of its reservation."""

from __future__ import annotations

import pytest

from extender.cluster.audit import check
from extender.cluster.picture import Picture
from extender.model.names import NodeName
from tests.builders import free, gpus_held, held, is_sound, node, offer, placement_of, pod, reservation, world

N1 = NodeName("n1")


def shared(*, gpus: int = 2, gpu: str = "GPU-a") -> tuple[Picture, str]:
    """A node with half of device 0 given away and its reservation there; and the group."""
    picture = world(node("n1", gpus=gpus))
    offer(picture, pod("half", fraction="0.5"))
    placement = placement_of(picture, "half")
    assert placement is not None
    ((_, group),) = placement.devices
    picture.upsert_pod(reservation(group, "n1", gpu=gpu))
    return picture, group


def test_a_reservation_holds_its_device_for_the_sharers_and_costs_nobody_a_second_one() -> None:
    picture, _ = shared()
    assert held(picture, "n1") == {0: 500}
    assert free(picture, "n1") == [500, 1000]
    assert gpus_held(picture) == (500, 0)
    assert is_sound(picture)


def test_its_cpu_memory_and_place_count() -> None:
    picture, _ = shared()
    ledger = picture.ledger(N1)
    assert ledger is not None
    assert (ledger.cpu_milli, ledger.memory_mib, len(ledger.pods)) == (1, 96, 2)


def test_another_share_joins() -> None:
    picture, group = shared()
    offer(picture, pod("other", fraction="0.5"))
    placement = placement_of(picture, "other")
    assert placement is not None
    assert placement.devices == ((0, group),)


def test_without_sharers_a_share_may_join_and_a_whole_request_waits_until_it_has_gone() -> None:
    picture, group = shared(gpus=1)
    picture.delete_pod(picture.pods[next(iter(picture.pods))].pod.uid)
    assert picture.sharing.sharers == {}
    assert list(picture.sharing.lingering()) == [N1]
    answer = offer(picture, pod("again", fraction="0.25"))
    assert answer.nodes == ("n1",)
    placement = placement_of(picture, "again")
    assert placement is not None
    assert placement.devices == ((0, group),)
    assert not list(picture.sharing.lingering())


def test_nobody_joins_one_that_is_about_to_be_deleted_whatever_the_api_server_still_says() -> None:
    picture, group = shared(gpus=1)
    picture.delete_pod(picture.pods[next(iter(picture.pods))].pod.uid)
    (uid,) = picture.sharing.reservations[(N1, group)]
    picture.close_reservation(uid, "unused")
    picture.upsert_pod(reservation(group, "n1", gpu="GPU-a", version=7))
    assert not offer(picture, pod("again", fraction="0.25")).nodes
    picture.delete_pod(uid)
    assert offer(picture, pod("again", fraction="0.25")).nodes == ("n1",)
    assert picture.sharing.closing == {}


def test_nobody_joins_a_device_that_is_not_healthy() -> None:
    picture, group = shared()
    picture.upsert_pod(reservation(group, "n1", gpu="GPU-a", version=2, health="Unhealthy"))
    offer(picture, pod("other", fraction="0.5"))
    placement = placement_of(picture, "other")
    assert placement is not None
    assert placement.indices == (1,)


def test_a_device_that_starts_to_be_shared_takes_the_place_of_a_second_pod() -> None:
    picture = world(node("n1", gpus=2))
    for number in range(109):
        picture.upsert_pod(pod(f"p{number}", on="n1"))
    assert not offer(picture, pod("half", fraction="0.5")).nodes
    picture.delete_pod(pod("p0").uid)
    assert offer(picture, pod("half", fraction="0.5")).nodes == ("n1",)


def test_a_spare_holds_a_whole_device_that_nobody_knows_until_it_is_the_only_one() -> None:
    picture, group = shared()
    picture.upsert_pod(reservation(group, "n1", spare=1, gpu="GPU-b"))
    assert free(picture, "n1") == [500, 0]
    assert is_sound(picture)
    picture.delete_pod(reservation(group, "n1").uid)
    assert free(picture, "n1") == [500, 1000]
    assert held(picture, "n1") == {0: 500}
    picture.delete_pod(reservation(group, "n1", spare=1).uid)
    assert free(picture, "n1") == [500, 1000]
    assert is_sound(picture)


def test_an_unhealthy_device_is_not_among_those_that_the_node_still_offers() -> None:
    picture, group = shared(gpus=3)
    picture.upsert_node(node("n1", gpus=2, slots=3))
    assert free(picture, "n1") == [500, 1000, 0], "whichever it is"
    picture.upsert_pod(reservation(group, "n1", gpu="GPU-a", version=2, health="Unhealthy"))
    assert free(picture, "n1") == [500, 1000, 1000], "it is the one that is shared"


def test_one_that_has_failed_holds_nothing_and_is_still_known() -> None:
    picture, group = shared()
    picture.upsert_pod(reservation(group, "n1", version=2, refusal="no room"))
    ledger = picture.ledger(N1)
    assert ledger is not None
    assert len(ledger.pods) == 1
    assert len(picture.sharing.reservations[(N1, group)]) == 1


def test_a_node_that_is_cut_in_slices_shares_no_device_in_another_way() -> None:
    picture = world(node("n1", gpus=2, mig={"1g.5gb": 7}), node("n2", gpus=1))
    assert offer(picture, pod("half", fraction="0.5")).nodes == ("n2",)
    assert not offer(picture, pod("two", fraction="0.5", devices=2)).nodes


def test_where_gpus_are_not_shared_a_new_request_is_none_and_an_old_one_stays() -> None:
    picture = world(node("n1", gpus=2))
    picture.sharing.allowed = False
    picture.upsert_pod(pod("old", fraction="0.5", on="n1", indices=(0,), gpu_groups=("g",)))
    assert held(picture, "n1") == {0: 500}
    answer = offer(picture, pod("new", fraction="0.5"))
    assert answer.verdict is not None
    assert answer.verdict.message == (
        "attempting to create a pod runai-team-a/new with gpu sharing request, while GPU sharing is disabled"
    )


@pytest.mark.parametrize("order", [("aa", "bb"), ("bb", "aa")])
def test_two_groups_reserve_one_number_for_a_while_and_each_keeps_its_own(order: tuple[str, str]) -> None:
    """A device that was given up is opened again before the old reservation has gone: seen after a pause of the API."""
    picture = world(node("n1", gpus=2))
    for group in order:
        picture.upsert_pod(reservation(group, "n1"))
        assert check(picture) == []
    ledger = picture.ledger(NodeName("n1"))
    assert ledger is not None
    assert ledger.group_of(0) == "aa"
    picture.delete_pod(reservation("aa", "n1").uid)
    assert check(picture) == []
    assert ledger.group_of(0) == "bb"
    picture.delete_pod(reservation("bb", "n1").uid)
    assert check(picture) == []
