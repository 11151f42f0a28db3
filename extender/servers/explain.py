"""GET /explain/<namespace>/<name>: why a group (or a single pod) waits, where it stands, and what would make it fit."""

from __future__ import annotations

from collections import Counter
from typing import Any

from extender.cluster.picture import HoldState, Picture
from extender.model.amounts import NOTHING, Amounts, format_milli
from extender.model.gang import Gang
from extender.model.verdict import Reason
from extender.planning.explain import never_fits
from extender.planning.planner import Planner

Json = dict[str, Any]

_SHARES = ("deserved_gpus", "fair_share_gpus", "limit_gpus")


def explain(picture: Picture, planner: Planner, namespace: str, name: str) -> Json | None:
    """All that is known about the group, the pod or the workload of this name; None when there is none.

    Cost: a look at every gang of its queue.
    """
    key = planner.roster.key_named(namespace, name)
    if key is None:
        return None
    gang = planner.roster.gang(key)
    if gang is None:
        return None
    states = Counter(member.state.value for member in gang.members)
    verdict = planner.verdicts.get(key) or next(
        (
            record.verdict
            for record in planner.roster.members(key)
            if record.verdict and (record.hold is None or record.hold.state is HoldState.PROMISED)
        ),
        None,
    )
    promised = sorted(
        record.pod.name
        for record in planner.roster.members(key)
        if record.hold is not None and record.hold.state is HoldState.PROMISED
    )
    pool = planner.roster.pools_of(key)[0]
    return {
        "group": key,
        "queue": gang.queue,
        "priority": gang.priority,
        "preemptible": gang.preemptible,
        "min_member": gang.min_member,
        "members": dict(sorted(states.items())),
        "position": planner.roster.waiting.position(key),
        "reason": None if verdict is None else verdict.reason.value,
        "message": None if verdict is None else verdict.message,
        "promised": promised,
        "would_fit": None if verdict is None else _would_fit(picture, gang, pool, verdict.reason),
        "queue_status": _queue(picture, planner, gang),
    }


def _would_fit(picture: Picture, gang: Gang, pool: str, reason: Reason) -> str:
    """What has to change before the gang can start, in a sentence."""
    asked = NOTHING
    for member in gang.waiting:
        asked += picture.cost(member.pod, picture.gpu_memory_mib(pool)[0])
    match reason:
        case Reason.GANG_INCOMPLETE:
            missing = gang.min_member - len(gang.waiting) - len(gang.active)
            return f"{max(missing, 1)} more pod(s) of the group have to be created"
        case Reason.OVER_LIMIT:
            return f"the limit of {gang.queue} or of its department is raised, or its pods free {_text(asked)}"
        case Reason.NON_PREEMPTIBLE_OVER_QUOTA:
            return f"the quota of {gang.queue} is raised, or the workload becomes preemptible (priority class train)"
        case Reason.QUEUE_DOES_NOT_EXIST:
            return "the Project is created, or the pods name one that exists (label runai/queue)"
        case Reason.PREEMPTION_DELAY_NOT_ELAPSED:
            return "its preemption delay passes"
        case Reason.WAITING_FOR_OTHERS:
            return "the pods that are making way for it have ended"
        case _ if never := [
            one for member in gang.waiting if (one := never_fits(picture, member.pod, gang.confined_to))
        ]:
            return f"a node is added that is large enough for it: {never[0]}"
        case _:
            free = int(picture.table.arrays().total_free.sum())
            most = int(picture.table.arrays().whole.max(initial=0))
            return (
                f"{_text(asked)} come free on nodes that accept it; {format_milli(free)} GPUs are free in all, "
                f"at most {most} whole ones on one node"
            )


def _queue(picture: Picture, planner: Planner, gang: Gang) -> Json:
    pool = planner.roster.pools_of(gang.key)[0]
    usage = picture.quotas.usage(gang.queue, pool)
    shares = planner.accounts.shares(gang.queue, pool)
    return {
        "allocated": _amounts(usage.allocated),
        "allocated_non_preemptible": _amounts(usage.non_preemptible),
        "pool": pool,
        "requested_by_waiting": _amounts(planner.roster.waiting.requested.get((pool, gang.queue), NOTHING)),
        "shares": None if shares is None else dict(zip(_SHARES, map(_gpus, shares), strict=True)),
    }


def _gpus(milli: int | None) -> float | None:
    """None is unlimited."""
    return None if milli is None else milli / 1000


def _amounts(amounts: Amounts) -> Json:
    return {"gpu": amounts.gpu_milli / 1000, "cpu": amounts.cpu_milli / 1000, "memory_mib": amounts.memory_mib}


def _text(amounts: Amounts) -> str:
    parts = [f"{format_milli(amounts.gpu_milli)} GPUs"] if amounts.gpu_milli else []
    parts += [f"{format_milli(amounts.cpu_milli)} CPU cores"] if amounts.cpu_milli else []
    parts += [f"{amounts.memory_mib} MiB of memory"] if amounts.memory_mib else []
    return ", ".join(parts) or "a place for its pods"
