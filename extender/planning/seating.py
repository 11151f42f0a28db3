"""The best seat for one member of a gang, on arrays: kept scores, masks for everything else, an argmax."""

from __future__ import annotations

from enum import Enum, auto

import numpy as np

from extender.cluster import seats
from extender.model.amounts import GPU
from extender.model.gang import Member
from extender.model.names import NodeName
from extender.model.pod import Placement, Pod
from extender.packing import score
from extender.packing.score import Ints, NodeArrays
from extender.packing.strategy import Strategy
from extender.planning.affinity import acceptable
from extender.planning.topology import NOT_IN_ANY, Area
from extender.planning.view import Job, View


class Look(Enum):
    """How much it matters that a seat is free now.

    EXACT nodes where somebody leaves or is promised a place are looked at closely; CALM_FIRST such nodes come last;
    FUTURE only what will be free counts.
    """

    EXACT = auto()
    CALM_FIRST = auto()
    FUTURE = auto()


def find_seat(view: View, job: Job, member: Member, area: Area, look: Look) -> tuple[Placement, bool] | None:
    """Where the member goes best, and whether it could go there now; None when nothing fits even in the future.

    Free seats come before promised ones, except that a share rather waits to join a device that is shared already,
    and any member for a place in the domain where it is wanted most.
    """
    pod = member.pod
    view.whatif.flush()
    table = view.picture.table
    strategy = view.settings.strategy_for(pod)
    values = view.picture.ranking.values(seats.shape_of(pod), strategy)
    fitting = table.has_room(pod)
    fitting &= view.picture.allowed.row(view.constraint_of(job, pod))
    if area.rows is not None:
        fitting &= area.rows
    neighbours = acceptable(view, pod)
    if neighbours is not None:
        fitting &= neighbours
    if pod.gpu.memory_mib:
        # By memory the price depends on the node: where the queue cannot pay it, the pod does not fit.
        fitting &= score.shares(pod.gpu, table.arrays()) * pod.gpu.devices <= view.gpu_headroom(job)
    cooling = view.settings.cooling(pod)
    if cooling:
        fitting[[table.row_of[name] for name in cooling if name in table.row_of]] = False
    merit = np.where(fitting, values, score.INFEASIBLE)
    if area.rank is not None:
        ranks = np.where(merit == score.INFEASIBLE, NOT_IN_ANY, area.rank)
        merit[ranks < ranks.max(initial=NOT_IN_ANY)] = score.INFEASIBLE
    contended = [table.row_of[name] for name in view.whatif.contended() if name in table.row_of]
    if not contended or look is Look.FUTURE:
        return _take(view, pod, seats.best_row(merit), now=not contended)
    if strategy is Strategy.BINPACK and pod.gpu.is_shared:
        merit = _joining_first(pod, table.arrays(), merit)
    calm = merit.copy()
    calm[contended] = score.INFEASIBLE
    best = seats.best_row(calm)
    if look is Look.EXACT:
        least = score.INFEASIBLE if best is None else int(calm[best])
        for row in sorted(contended, key=lambda row: (-merit[row], row)):
            if merit[row] < least or merit[row] == score.INFEASIBLE:
                break
            if best is not None and merit[row] == least and row > best:
                continue
            found = _take(view, pod, row, now=True)
            if found is not None:
                return found
    if best is not None:
        return _take(view, pod, best, now=True)
    return _take(view, pod, seats.best_row(merit), now=False)


def seat_at(view: View, pod: Pod, node: NodeName) -> Placement | None:
    """A seat on this very node in the future, None without room."""
    ledger = view.whatif.ledger(node)
    if ledger is None or not seats.has_room(ledger, pod):
        return None
    return seats.seat_in(ledger, pod, node, view.settings.device_strategy_for(pod))


def _take(view: View, pod: Pod, row: int | None, *, now: bool) -> tuple[Placement, bool] | None:
    name = None if row is None else view.picture.table.name_of[row]
    ledger = None if name is None else view.whatif.ledger(name)
    if name is None or ledger is None:
        return None
    strategy = view.settings.device_strategy_for(pod)
    if not now or name not in view.whatif.contended():
        found = seats.seat_in(ledger, pod, name, strategy)
        return None if found is None else (found, now)
    current = view.whatif.ledger_now(name)
    if current is None or pod.uid in current.pods or not seats.has_room(current, pod):
        return None  # one that is moved cannot sit beside itself before it has left
    if pod.gpu.mig and seats.seat_in(current, pod, name, strategy) is None:
        return None
    free = [min(both) for both in zip(ledger.free(), current.free(), strict=True)]
    found = seats.seat_in(ledger, pod, name, strategy, free)
    if found is None or any(index in ledger.devices and index not in current.devices for index in found.indices):
        return None  # whom it would share the device with does not sit there yet
    if pod.gpu.is_shared and strategy is Strategy.BINPACK and any(one not in ledger.devices for one in found.indices):
        ahead = seats.seat_in(ledger, pod, name, strategy)
        if ahead is not None and all(index in ledger.devices for index in ahead.indices):
            return ahead, False  # it rather waits for somebody to leave than opens a device
    return found, True


def _joining_first(pod: Pod, nodes: NodeArrays, merit: Ints) -> Ints:
    """Only the nodes where the share joins devices that are shared, when there are any."""
    share = score.shares(pod.gpu, nodes)
    bound = share if isinstance(share, int) else share[:, None]
    joins = ((nodes.free >= bound) & (nodes.free < GPU)).sum(axis=1) >= pod.gpu.devices
    joining = np.where(joins, merit, score.INFEASIBLE)
    return joining if joining.max(initial=score.INFEASIBLE) > score.INFEASIBLE else merit
