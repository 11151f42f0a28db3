"""What is due at a shared device, situation by situation."""

from __future__ import annotations

from typing import Any

from extender.cluster.picture import Picture
from extender.model.names import NodeName
from extender.model.pod import Pod
from extender.pods.repair import Evict, Make, Relabel, Remove, Step, Why, review
from tests.builders import node, offer, pod, reservation, world

GROUP = "0123456789abcdef"
DEVICE = (NodeName("n1"), GROUP)
NO_DEVICE = (
    "UnexpectedAdmissionError: Pod was rejected: Allocate failed due to requested number of devices unavailable "
    "for nvidia.com/gpu. Requested: 1, Available: 0, which is unexpected"
)


def sharer(name: str = "half", *, gpu: str = "GPU-a", **given: Any) -> Pod:
    """A pod that runs on device 0, and was told that it is `gpu`."""
    notes = {"runai-gpu-share": "500", **({"runai-gpu-uuid": gpu} if gpu else {})}
    given = {"on": "n1", "phase": "Running", **given}
    return pod(name, fraction="0.5", indices=(0,), gpu_groups=(GROUP,), annotations=notes, **given)


def due(*pods: Pod, gpus: int = 4) -> list[Step]:
    picture = world(node("n1", gpus=gpus))
    for one in pods:
        picture.upsert_pod(one)
    return review(picture, DEVICE)


def held(**given: Any) -> Pod:
    return reservation(GROUP, "n1", **given)


def test_all_is_well() -> None:
    assert due(sharer(), held(gpu="GPU-a")) == []


def test_the_last_sharer_has_gone() -> None:
    assert due(held(gpu="GPU-a")) == [Remove(held(gpu="GPU-a"), Why.UNUSED)]
    assert due(sharer(phase="Succeeded"), held()) == [Remove(held(), Why.UNUSED)]


def test_a_seat_that_is_only_reserved_protects_its_reservation() -> None:
    picture = world(node("n1", gpus=1))
    offer(picture, pod("half", fraction="0.5"))
    ((device, _),) = picture.sharing.sharers.items()
    picture.upsert_pod(reservation(device[1], "n1", gpu="GPU-a"))
    assert review(picture, device) == []


def test_one_that_leaves_already_is_left_alone() -> None:
    assert due(held(deleting=True)) == []


def test_sharers_without_a_reservation_get_one_of_the_groups_name() -> None:
    assert due(sharer()) == [Make(0, 0, Why.MISSING)]
    assert due(sharer(gpu="")) == [Make(0, 0, Why.MISSING)]


def test_a_reservation_that_somebody_deletes_is_waited_for() -> None:
    assert due(sharer(), held(gpu="GPU-a", deleting=True)) == []


def test_one_that_has_not_reported_yet_is_waited_for() -> None:
    assert due(sharer(), held()) == []


def test_another_device_than_the_sharers_have_is_kept_while_the_right_one_is_looked_for() -> None:
    assert due(sharer(), held(gpu="GPU-b")) == [Make(0, 1, Why.LOST)]
    assert due(sharer(), held(gpu="GPU-b"), held(spare=1)) == []
    assert due(sharer(), held(gpu="GPU-b"), held(spare=1, gpu="GPU-c")) == [Make(0, 2, Why.LOST)]


def test_found_again_the_others_go() -> None:
    wrong, right = held(gpu="GPU-b"), held(spare=1, gpu="GPU-a")
    assert due(sharer(), wrong, right) == [Remove(wrong, Why.DUPLICATE)]


def test_what_sharers_were_never_told_any_device_will_do_for() -> None:
    assert due(sharer(gpu=""), held(gpu="GPU-b")) == []


def test_a_duplicate_goes_and_the_one_of_the_groups_name_stays() -> None:
    twin = held(spare=1, gpu="GPU-b")
    assert due(sharer(gpu=""), twin, held(gpu="GPU-a")) == [Remove(twin, Why.DUPLICATE)]


def test_sharers_go_when_it_is_proven_that_their_device_is_somebody_elses() -> None:
    wrong, dead = held(gpu="GPU-b"), held(spare=1, refusal=NO_DEVICE)
    whole = pod("whole", gpus=3, on="n1")
    (step, *rest) = due(sharer(), wrong, dead, whole)
    assert step == Evict((sharer(),), NO_DEVICE)
    assert rest == [Remove(dead, Why.FAILED)], "what we hold stays, until the last sharer has gone"


def test_a_kubelet_that_refuses_while_the_api_server_knows_free_devices_proves_nothing() -> None:
    dead = held(spare=1, refusal=NO_DEVICE)
    assert due(sharer(), held(gpu="GPU-b"), dead) == [Remove(dead, Why.FAILED)]


def test_nor_does_an_unhealthy_device_that_is_not_allocatable_any_more() -> None:
    picture = world(node("n1", gpus=1, slots=2))
    dead = held(refusal=NO_DEVICE)
    for one in (sharer(), dead, pod("whole", gpus=1, on="n1")):
        picture.upsert_pod(one)
    assert review(picture, DEVICE) == [Remove(dead, Why.FAILED)]
    sick = held(refusal="UnexpectedAdmissionError: cannot allocate unhealthy devices nvidia.com/gpu")
    assert due(sharer(), sick, pod("whole", gpus=4, on="n1")) == [Remove(sick, Why.FAILED)]


def test_sharers_that_were_never_told_their_device_are_never_evicted_for_it() -> None:
    dead = held(refusal=NO_DEVICE)
    assert due(sharer(gpu=""), dead, pod("whole", gpus=4, on="n1")) == [Remove(dead, Why.FAILED)]


def test_two_groups_that_hold_each_others_device_evict_nobody() -> None:
    other = "fedcba9876543210"
    theirs = pod(
        "other",
        fraction="0.5",
        on="n1",
        phase="Running",
        indices=(1,),
        gpu_groups=(other,),
        annotations={"runai-gpu-share": "500", "runai-gpu-uuid": "GPU-b"},
    )
    swapped = reservation(other, "n1", device=1, gpu="GPU-a")
    dead, late = held(spare=1, refusal=NO_DEVICE), reservation(other, "n1", device=1, spare=1, refusal=NO_DEVICE)
    picture = world(node("n1", gpus=2))
    for one in (sharer(), held(gpu="GPU-b"), dead, theirs, swapped, late):
        picture.upsert_pod(one)
    assert review(picture, DEVICE) == [Remove(swapped, Why.LOST), Remove(dead, Why.FAILED)]
    assert review(picture, (NodeName("n1"), other)) == [Remove(late, Why.FAILED)], "it waits for the first"


def test_nor_does_one_that_refuses_for_another_reason() -> None:
    dead = held(refusal="OutOfpods: Node didn't have enough resource: pods")
    assert due(sharer(), dead, pod("whole", gpus=4, on="n1")) == [Remove(dead, Why.FAILED)]


def test_sharers_that_leave_need_no_reservation_any_more() -> None:
    assert due(sharer(deleting=True)) == []


def test_a_reservation_that_ended_goes_while_a_bind_is_under_way() -> None:
    picture = world(node("n1", gpus=1))
    offer(picture, pod("half", fraction="0.5"))
    ((device, _),) = picture.sharing.sharers.items()
    dead = reservation(device[1], "n1", refusal="no")
    picture.upsert_pod(dead)
    assert review(picture, device) == [Remove(dead, Why.FAILED)]


def test_an_edited_label_is_written_again() -> None:
    edited = held(gpu="GPU-a", label="mine")
    assert due(sharer(), edited) == [Relabel(edited)]


def test_a_reservation_on_a_node_that_has_gone() -> None:
    picture = Picture()
    picture.upsert_pod(held(gpu="GPU-a"))
    picture.upsert_pod(sharer())
    assert review(picture, DEVICE) == [Remove(held(gpu="GPU-a"), Why.NODE_GONE)]


def test_a_deletion_that_was_decided_is_due_until_the_api_server_says_so() -> None:
    picture = world(node("n1"))
    given = held(gpu="GPU-a")
    picture.upsert_pod(given)
    picture.close_reservation(given.uid, Why.UNUSED)
    (step,) = review(picture, DEVICE)
    assert isinstance(step, Remove)
    assert step.why is Why.UNUSED
    picture.upsert_pod(held(gpu="GPU-a", version=2, deleting=True))
    assert review(picture, DEVICE) == []
