"""Which refused pods would pass now, all of them together? Those are worth kube-scheduler's time."""

from __future__ import annotations

from collections.abc import Iterable

from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.pods import placement
from extender.pods.admit import admit
from extender.pods.placement import Policy


def passing(picture: Picture, waiting: Iterable[PodRecord], policy: Policy, *, most: int) -> list[PodRecord]:
    """The first `most` of the `waiting` pods, by priority and then age, that would get a seat beside each other.

    Each seat is held while the next pod is judged, so one free GPU wakes one pod; the picture is then as before.
    Cost: one seat search per chosen pod and per kind of pod that does not pass, however many wait.
    """
    generation = picture.generation
    chosen: list[PodRecord] = []
    try:
        _choose(picture, waiting, policy, most, chosen)
    finally:
        for record in chosen:
            picture.release(record.pod.uid)
        picture.generation = generation
    return chosen


def _choose(picture: Picture, waiting: Iterable[PodRecord], policy: Policy, most: int, chosen: list[PodRecord]) -> None:
    membership = picture.membership
    offered = picture.schedulable()
    # Seats are only taken during the scan: what did not pass once will not pass for its equals.
    hopeless: set[tuple[object, ...]] = set()
    for record in sorted(waiting, key=lambda one: (-membership.priority_of(one.pod), one.pod.created, one.pod.uid)):
        if len(chosen) == most:
            break
        pod = record.pod
        group = membership.group_of(pod)
        if pod.is_gated or record.hold is not None or (group is not None and group.min_member > 1):
            continue  # whoever starts with others is woken by the planner
        who = (membership.project_of(pod), membership.is_preemptible(pod))
        kind = (*who, pod.gpu, pod.gpu_products, pod.cpu_milli, pod.memory_mib)
        if kind in hopeless:
            continue
        allowed = admit(picture, record) is None
        seat = placement.best_seat(picture, pod, offered, policy) if allowed else None
        if seat is not None:
            picture.reserve(pod.uid, seat, now=0.0, expires=None, state=HoldState.RESERVED)
            chosen.append(record)
        elif not (pod.deleting or pod.gpu_error):
            hopeless.add(kind)
