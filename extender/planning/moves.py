"""Pods that are moved: their new places are held until their owners have made them again.

A pod cannot be moved, only evicted, and what comes in its stead is another pod. It is known by its owner and by what it
asks for. Until it comes, its place is held by a stand-in that only the picture knows: a record without a scheduler,
which no plan looks at and which expires like any promise.
"""

from __future__ import annotations

from dataclasses import dataclass

from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.model import names
from extender.model.names import PodUID
from extender.model.pod import Placement, Pod


@dataclass(frozen=True, slots=True)
class _Move:
    pod: Pod
    placement: Placement
    stand_in: PodUID


class Moves:
    """Times are the planner's monotonic seconds.

    hold_s: how long a place is held once its pod has gone; promise_ttl_s: and then for its successor.
    """

    def __init__(self, picture: Picture, *, hold_s: float, promise_ttl_s: float) -> None:
        self._picture = picture
        self._hold_s = hold_s
        self._promise_ttl_s = promise_ttl_s
        self._moves: dict[PodUID, _Move] = {}

    def begin(self, record: PodRecord, placement: Placement, clock: float) -> None:
        """A pod is to be evicted and to go to `placement` when it is made again."""
        pod = record.pod
        if pod.owner is None or not pod.owner.uid:
            return  # nobody could tell its successor
        self.end(pod.uid)
        project = self._picture.membership.project_of(pod)
        stand_in = Pod(
            PodUID(f"{pod.uid}/moved"),
            pod.namespace,
            f"{pod.name}/moved",
            gpu=pod.gpu,
            cpu_milli=pod.cpu_milli,
            memory_mib=pod.memory_mib,
            queue_label=project or "",
        )
        if self._picture.upsert_pod(stand_in, watched=False) is None:
            return  # it was moved before, and stayed
        self._hold(stand_in.uid, placement, clock, self._hold_s)
        self._moves[pod.uid] = _Move(pod, placement, stand_in.uid)

    def end(self, uid: PodUID) -> None:
        """The pod stays where it is, or its place is no longer held."""
        move = self._moves.pop(uid, None)
        if move is not None:
            self._picture.forget(move.stand_in)

    def hand_over(self, clock: float) -> None:
        """Promise the places to the successors that have come. Cost: the pods of their namespaces."""
        for uid, move in list(self._moves.items()):
            stand_in = self._picture.pods.get(move.stand_in)
            if stand_in is None or stand_in.hold is None or self._picture.ledger(move.placement.node) is None:
                self.end(uid)
                continue
            if uid in self._picture.pods:
                stand_in.hold.expires = clock + self._hold_s
            successors = [one for one in self._picture.pods_in(move.pod.namespace) if _succeeds(one, move.pod)]
            if successors:
                first = min(successors, key=lambda one: (one.pod.created, one.pod.uid))
                self.end(uid)
                self._hold(first.pod.uid, move.placement, clock, self._promise_ttl_s)

    def _hold(self, uid: PodUID, placement: Placement, clock: float, for_s: float) -> None:
        state = HoldState.PROMISED
        self._picture.reserve(uid, placement, now=clock, expires=clock + for_s, state=state, planned=True)


def _succeeds(record: PodRecord, moved: Pod) -> bool:
    """Whether this pod waits, and is what the owner of `moved` made in its stead, or would have been content with."""
    pod = record.pod
    return (
        record.hold is None
        and pod.uid != moved.uid
        and pod.scheduler == names.SCHEDULER_NAME
        and pod.owner is not None
        and moved.owner is not None
        and pod.owner.uid == moved.owner.uid
        and not (pod.deleting or pod.is_finished or pod.is_gated_by_others)
        and (pod.gpu, pod.cpu_milli, pod.memory_mib, pod.constraint, pod.subgroup)
        == (moved.gpu, moved.cpu_milli, moved.memory_mib, moved.constraint, moved.subgroup)
    )
