"""Reservations that nobody came for: released when they expire, so that a crashed scheduler leaks nothing."""

from __future__ import annotations

from extender.cluster.picture import Hold, HoldState, Picture
from extender.model.names import PodUID


def expire(picture: Picture, *, now: float) -> dict[PodUID, Hold]:
    """Release every reservation whose time is up; returns the pods that lost theirs, with what it was."""
    due = {
        record.pod.uid: record.hold
        for record in picture.provisional()
        if record.hold is not None
        and record.hold.state in (HoldState.RESERVED, HoldState.PROMISED)
        and record.hold.expires is not None
        and record.hold.expires <= now
    }
    for uid in due:
        picture.release(uid)
        record = picture.pods[uid]
        if not record.watched:
            # Only a scheduler's request ever showed it: nothing else would forget it.
            picture.forget(uid)
    return due


def unknown(picture: Picture) -> list[PodUID]:
    """Pods whose Binding's outcome must be read back."""
    return [
        record.pod.uid
        for record in picture.provisional()
        if record.hold is not None and record.hold.state is HoldState.UNKNOWN
    ]
