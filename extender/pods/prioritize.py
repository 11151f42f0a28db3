"""prioritize: how good is each node that passed? Only asked when filter left more than one."""

from __future__ import annotations

from collections.abc import Sequence

from extender.cluster.picture import HoldState, Picture
from extender.model.pod import Pod
from extender.pods import placement
from extender.pods.placement import Policy


def prioritize_pod(picture: Picture, pod: Pod, offered: Sequence[str], policy: Policy) -> list[tuple[str, int]]:
    """(node, 0..10) for each offered node, in the order offered; the pod's own placeholder does not count."""
    record = picture.pods.get(pod.uid)
    hold = record.hold if record is not None else None
    if hold is None or hold.state is not HoldState.RESERVED:
        return placement.points(picture, pod, offered, policy)
    generation = picture.generation
    picture.release(pod.uid)
    values = placement.points(picture, pod, offered, policy)
    picture.reserve(pod.uid, hold.placement, now=hold.since, expires=hold.expires, state=hold.state)
    picture.generation = generation  # put back as it was: nobody's "no" has become a "yes"
    return values
