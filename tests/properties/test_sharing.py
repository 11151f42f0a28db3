"""Sharers and reservations in any order, seen twice or edited: the books add up, and are those of a fresh start.

And whatever the situation at a device, carrying out what is due comes to an end at which nothing is due.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.cluster import audit
from extender.cluster.picture import Picture
from extender.cluster.sharing import Device
from extender.model.amounts import GPU
from extender.model.names import NodeName
from extender.model.pod import Pod
from extender.pods.repair import Evict, Make, Relabel, Remove, Step, review
from tests.builders import node, pod, reservation, world

DEVICES = 3
GROUPS = ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"]
UUIDS = [f"GPU-{index}" for index in range(DEVICES)]
NO_DEVICE = "UnexpectedAdmissionError: no nvidia.com/gpu. Requested: 1, Available: 0"

# Group 0 is on device 0 and group 1 on device 1: that is how our filter gives them.
sharers = st.builds(
    lambda name, group, uuid, phase, deleting, version: sharer(
        name, group, gpu=uuid, phase=phase, deleting=deleting, version=version
    ),
    st.sampled_from(["p", "q", "r"]),
    st.integers(0, 1),
    st.sampled_from(["", *UUIDS]),
    st.sampled_from(["Running", "Running", "Succeeded"]),
    st.booleans(),
    st.integers(1, 3),
)
holders = st.builds(
    lambda group, spare, uuid, health, refusal, deleting, version: reservation(
        GROUPS[group],
        "n1",
        device=group,
        spare=spare,
        gpu=uuid,
        health=health,
        refusal=refusal,
        deleting=deleting,
        version=version,
    ),
    st.integers(0, 1),
    st.integers(0, 2),
    st.sampled_from(["", *UUIDS]),
    st.sampled_from(["Healthy", "Healthy", "Unhealthy"]),
    st.sampled_from(["", "", "", NO_DEVICE, "OutOfpods"]),
    st.sampled_from([False, False, True]),
    st.integers(1, 3),
)
whole = st.builds(lambda name, gpus: pod(name, gpus=gpus, on="n1"), st.sampled_from(["w"]), st.integers(1, 2))
# As we tell them: the device that each group got, or one that was never told.
told = st.builds(
    lambda name, group, phase, deleting: sharer(name, group, gpu=UUIDS[group], phase=phase, deleting=deleting),
    st.sampled_from(["p", "q", "r"]),
    st.integers(0, 1),
    st.sampled_from(["Running", "Running", "Succeeded"]),
    st.booleans(),
)
told_events = st.lists(st.tuples(st.one_of(told, holders, holders, whole), st.sampled_from("+++-")), max_size=20)
events = st.lists(st.tuples(st.one_of(sharers, holders, holders, whole), st.sampled_from("+++-")), max_size=20)


def sharer(name: str, group: int, *, gpu: str, **given_: Any) -> Pod:
    notes = {"runai-gpu-share": "300", **({"runai-gpu-uuid": gpu} if gpu else {})}
    return pod(
        f"{name}{group}",
        fraction="0.3",
        on="n1",
        indices=(group,),
        gpu_groups=(GROUPS[group],),
        annotations=notes,
        **given_,
    )


def played(history: list[tuple[Pod, str]]) -> Picture:
    picture = world(node("n1", gpus=DEVICES))
    picture.sharing.is_followed = True
    for one, what in history:
        if what == "+":
            picture.upsert_pod(one)
        else:
            picture.delete_pod(one.uid)
        assert audit.check(picture) == []
    return picture


@settings(max_examples=300)
@given(events)
def test_any_history_leaves_the_books_of_a_fresh_start(history: list[tuple[Pod, str]]) -> None:
    picture = played(history)
    fresh = world(node("n1", gpus=DEVICES))
    for record in reversed(list(picture.pods.values())):
        fresh.upsert_pod(record.pod)
    assert fresh.sharing.sharers == picture.sharing.sharers
    assert fresh.sharing.reservations == picture.sharing.reservations
    assert sorted(fresh.sharing.lingering()) == sorted(picture.sharing.lingering())
    ours, theirs = picture.ledger(NodeName("n1")), fresh.ledger(NodeName("n1"))
    assert ours is not None
    assert theirs is not None
    assert ours.free() == theirs.free()
    assert ours.closed() == theirs.closed()
    assert sum(ours.unindexed.values()) == sum(theirs.unindexed.values())
    assert all(0 <= left <= GPU for left in ours.free())
    assert sum(left == GPU for left in ours.free()) <= DEVICES - len(ours.unindexed)


@settings(max_examples=300)
@given(told_events, st.permutations(UUIDS))
def test_what_is_due_comes_to_an_end(history: list[tuple[Pod, str]], free: list[str]) -> None:
    """A plain kubelet carries it out: it gives devices in some order, refuses when there is none, deletes at once."""
    picture = played(history)
    for _ in range(60):
        steps = [(device, step) for device in known(picture) for step in review(picture, device)]
        acted = [carry_out(picture, device, step, free) for device, step in steps]
        acted.append(report(picture, free))
        if not any(acted):
            break
    else:
        raise AssertionError(f"it goes on: {steps}")
    for device in known(picture):
        assert review(picture, device) == []


def known(picture: Picture) -> list[Device]:
    return sorted(picture.sharing.sharers.keys() | picture.sharing.reservations.keys())


def carry_out(picture: Picture, device: Device, step: Step, free: list[str]) -> bool:
    node_name, group = device
    match step:
        case Remove(one, why):
            picture.close_reservation(one.uid, why)
            picture.delete_pod(one.uid)
        case Make(index, spare, _):
            made = reservation(group, node_name, device=index, spare=spare, version=9)
            taken = {other.pod.reserves.uuid for other in picture.pods.values() if holds(other.pod)}
            given_ = sum(
                other.pod.gpu.devices
                for other in picture.pods.values()
                if other.pod.gpu.is_whole and not holds(other.pod)
            )
            left = [uuid for uuid in free if uuid not in taken]
            refusal = "" if len(left) > given_ else NO_DEVICE
            picture._tombstones.clear()  # a name may come again with the same uid here
            gpu = left[0] if not refusal else ""
            picture.upsert_pod(
                reservation(group, node_name, device=index, spare=spare, version=made.version, gpu=gpu, refusal=refusal)
            )
        case Relabel():
            raise AssertionError("nobody edited a label")
        case Evict(going, _):
            for one in going:
                picture.delete_pod(one.uid)
    return True


def holds(one: Pod) -> bool:
    return one.reserves is not None and not one.is_finished and bool(one.reserves.uuid)


def report(picture: Picture, free: list[str]) -> bool:
    """Time passes: pods that are being deleted go, and reservations that have not reported do."""
    for record in list(picture.pods.values()):
        one = record.pod
        if one.deleting:
            picture.delete_pod(one.uid)
            return True
        if one.reserves is not None and not one.is_finished and not one.reserves.uuid:
            taken = {other.pod.reserves.uuid for other in picture.pods.values() if holds(other.pod)}
            left = [uuid for uuid in free if uuid not in taken]
            spare = int(one.name.rpartition("-")[2]) if len(one.name) > len("gpu-reservation-") + 16 else 0
            picture.upsert_pod(
                reservation(
                    one.reserves.group,
                    "n1",
                    device=one.reserves.device,
                    spare=spare,
                    version=10,
                    gpu=left[0] if left else "",
                    refusal="" if left else NO_DEVICE,
                )
            )
            return True
    return False
