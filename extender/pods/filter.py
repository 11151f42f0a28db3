"""filter: which of the offered nodes may this pod have? The answer is one seat, reserved in the same call.

Nothing can slip between filter and bind, because the seat is held before the answer leaves; and kube-scheduler,
left with one node, skips scoring. With `answer: all` every fitting node is returned, and the best seat is held
as a placeholder until bind says which node was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.model.constraint import Constraint
from extender.model.pod import Pod
from extender.model.verdict import Reason, Verdict, no
from extender.packing.score import Bools
from extender.planning import explain
from extender.planning.planner import Planner
from extender.pods import placement
from extender.pods.admit import admit, admit_in
from extender.pods.placement import Policy


@dataclass(frozen=True, slots=True)
class FilterAnswer:
    """`nodes` pass; without any, `verdict` says why. The seat that is now held is the first of one, if any."""

    nodes: Sequence[str]
    verdict: Verdict | None = None


def filter_pod(
    picture: Picture,
    pod: Pod,
    offered: Sequence[str],
    policy: Policy,
    *,
    now: float,
    answer_all: bool = False,
    planner: Planner | None = None,
    today: float = 0.0,
) -> FilterAnswer:
    """Decide for `pod`, as kube-scheduler sent it, among `offered` node names; hold the seat it gets.

    A pod that the planner has seated gets that seat. Asking again for any other supersedes its earlier reservation.
    A pod whose Binding is under way keeps that node: the answer names it when it is offered.
    now: monotonic seconds; today: seconds since the epoch, for the planner. Cost: one pass over the node arrays.
    """
    record = picture.upsert_pod(pod, watched=False)
    if record is None:
        return FilterAnswer((), no(Reason.POD_DELETED))
    hold = record.hold
    if hold is not None and hold.state in (HoldState.BINDING, HoldState.UNKNOWN):
        # The Binding may be stored already: another node now could be a second placement.
        if hold.placement.node in offered:
            return FilterAnswer((hold.placement.node,))
        return _rejected(
            picture, record, no(Reason.ALREADY_BOUND, f"a Binding to node {hold.placement.node} is under way")
        )
    if planner is not None:
        answer = _as_planned(picture, record, offered, policy, planner, now, today)
        if answer is not None:
            return answer
    elif hold is not None and hold.state is HoldState.PROMISED:
        picture.release(pod.uid)
    if record.hold is not None and record.hold.state is HoldState.RESERVED:
        picture.release(pod.uid)
    verdict = admit(picture, record)
    if verdict is not None and verdict.reason is Reason.ALREADY_BOUND:
        return FilterAnswer((), verdict)  # the caller is behind: nothing is wrong with the pod
    if verdict is None:
        avoided = planner.avoided(pod.uid, now) if planner is not None else ()
        better = [name for name in offered if name not in avoided] if avoided else offered
        for within in _allowed(picture, record):
            seat = placement.best_seat(picture, record.pod, better, policy, within)
            if seat is None and avoided:
                seat = placement.best_seat(picture, record.pod, offered, policy, within)
            if seat is not None:
                expires = now + policy.ttl_for(record.pod)
                nodes = placement.fitting(picture, record.pod, offered, within) if answer_all else (seat.node,)
                picture.reserve(pod.uid, seat, now=now, expires=expires, state=HoldState.RESERVED)
                picture.judge(record, None)
                return FilterAnswer(nodes)
        verdict = no(Reason.NOT_ENOUGH_RESOURCES, explain.shortage(record.pod.gpu, len(offered)))
    return _rejected(picture, record, verdict)


def _allowed(picture: Picture, record: PodRecord) -> Iterator[Bools | None]:
    """The rows that the pod may have, pool by pool as they are tried; None for all, where nodes are not told apart."""
    pod, membership = record.pod, picture.membership
    name = membership.project_of(pod)
    project = None if name is None else picture.quotas.projects.get(name)
    if name is None or project is None or not picture.is_divided(name):
        yield None
        return
    for pool in membership.pools_of(pod, project):
        if admit_in(picture, record, name, pool) is None:
            yield picture.allowed.row(Constraint(confined_to=membership.confinement(pod, project, pool)))


def _as_planned(
    picture: Picture,
    record: PodRecord,
    offered: Sequence[str],
    policy: Policy,
    planner: Planner,
    now: float,
    today: float,
) -> FilterAnswer | None:
    """The planner's word on the pod; None when it has none, and the pod may look for a node by itself."""
    uid = record.pod.uid
    planner.asked_for(uid, now)
    in_gang = planner.is_gang(record)
    if record.hold is None and (in_gang or planner.is_behind):
        if in_gang and (verdict := admit(picture, record)) is not None and not _is_of_the_gang(verdict):
            return _rejected(picture, record, verdict)
        planner.allocate(today, now)
    hold = record.hold
    if hold is not None and hold.state is HoldState.PROMISED:
        return _rejected(picture, record, record.verdict or no(Reason.WAITING_FOR_OTHERS))
    if hold is not None and hold.state is HoldState.RESERVED and hold.planned:
        node = hold.placement.node
        if node in offered:
            hold.expires = now + policy.ttl_for(record.pod)
            picture.judge(record, None)
            return FilterAnswer((node,))
        if tuple(offered) == (record.pod.nominated,):
            earlier = f"node {offered[0]} was nominated for {record.pod.key} before its gang was planned anew"
            return _rejected(picture, record, no(Reason.NODE_NOT_OFFERED, earlier))  # the other nodes come next
        if record.pod.nominated != node:
            planner.not_yet(uid)
            behind = f"kube-scheduler has yet to see that there is room for {record.pod.key} on node {node}"
            return _rejected(picture, record, no(Reason.WAITING_FOR_OTHERS, behind))
        planner.turned_down(uid, node, now)
        if in_gang:
            turned = f"node {node}, planned for {record.pod.key}, was not offered: it does not accept the pod now"
            return _rejected(picture, record, no(Reason.NODE_NOT_OFFERED, turned))
    if not in_gang:
        return None
    return _rejected(picture, record, planner.verdict_on(record))


def _is_of_the_gang(verdict: Verdict) -> bool:
    """Limits and quotas are compared with what the gang asks for as a whole."""
    return verdict.reason in (Reason.OVER_LIMIT, Reason.NON_PREEMPTIBLE_OVER_QUOTA)


def _rejected(picture: Picture, record: PodRecord, verdict: Verdict) -> FilterAnswer:
    picture.judge(record, verdict)
    return FilterAnswer((), verdict)
