"""One dominant reason for every gang that waits, and the sentences for people (behaviour.md 6.8, 6.14)."""

from __future__ import annotations

from collections.abc import Sequence

from extender.cluster.membership import Confinement
from extender.cluster.picture import Picture
from extender.model import names
from extender.model.amounts import GPU, format_milli
from extender.model.constraint import Constraint
from extender.model.gang import Gang, Member
from extender.model.gpu import GpuRequest
from extender.model.names import PodUID
from extender.model.pod import Pod
from extender.model.verdict import Reason, Verdict, no
from extender.planning.view import Job, View

_OF_THE_QUEUE = frozenset({Reason.OVER_LIMIT, Reason.NON_PREEMPTIBLE_OVER_QUOTA})


def hangs_on_the_queue(verdict: Verdict) -> bool:
    """Whether the reason is what the queue may have, not what the nodes hold."""
    return verdict.reason in _OF_THE_QUEUE


def incomplete(job: Job) -> Verdict:
    """Fewer pods exist than the gang needs."""
    present = len(job.gang.waiting) + len(job.gang.active)
    least = sum(leaf.min_member for leaf in job.gang.tree.leaves())
    return no(
        Reason.GANG_INCOMPLETE,
        f"{job.gang.workload}: the number of pods present, {present}, is below the minimum of {least} that start "
        "together",
    )


def no_project(gang: Gang) -> Verdict:
    return no(Reason.QUEUE_DOES_NOT_EXIST, f"project {gang.queue} of {gang.workload} does not exist")


def no_room(view: View, job: Job, members: Sequence[Member]) -> Verdict:
    """The nodes cannot hold these members together."""
    request = members[0].pod.gpu
    wide = job.gang.topology
    where = f" inside one domain of level {wide.required} of topology {wide.name}" if wide and wide.required else ""
    together = f"{len(members)} pods together{where}, each " if len(members) > 1 or where else ""
    largest = max((one.pod for one in members), key=lambda pod: (pod.gpu.devices, pod.cpu_milli))
    never = never_fits(view.picture, largest, job.gang.confined_to)
    text = shortage(request, len(view.picture.table), together)
    return no(Reason.NOT_ENOUGH_RESOURCES, f"{text}. {never}" if never else text)


def never_fits(picture: Picture, pod: Pod, confined_to: Confinement = ()) -> str:
    """That no node of the pool could hold the pod if it were empty, with the figures; "" where one could."""
    nodes = picture.table.arrays()
    rows = picture.allowed.row(Constraint(confined_to=confined_to))
    needs, cores = pod.gpu.devices, pod.cpu_milli
    gpus = int(nodes.capacity[rows].max(initial=0)) // GPU
    cpu = int(nodes.cpu_capacity[rows].max(initial=0))
    if needs <= gpus and cores <= cpu:
        return ""
    pool = dict(confined_to).get(names.POOL_KEY, (names.DEFAULT_POOL,))[0]
    what, most = ("GPU", str(gpus)) if needs > gpus else ("CPU", format_milli(cpu))
    kind = f"{what} resources"
    limit = (
        f"Max {kind} available in a single node in the {pool} node-pool is topped at {most}"
        if most != "0"
        else f"No node in the {pool} node-pool has {kind}"
    )
    memory_gb = pod.memory_mib * 1_048_576 / 1e9
    return (
        f"The pod {pod.key} requires GPU: {needs}, CPU: {format_milli(cores)} (cores), memory: {memory_gb:.3g} (GB), "
        f"pods: 1. {limit}"
    )


def shortage(request: GpuRequest, nodes: int, together: str = "") -> str:
    """What was looked for and not found. together: how many such pods at once, "" for one."""
    return (
        f"No nodes with enough resources were found: {nodes} node(s) didn't have enough resources: "
        f"{_lacking(request)}. Requested: {together}{asked(request)}"
    )


def too_early(job: Job) -> Verdict:
    """It would need victims, and its preemption delay has not passed."""
    return no(
        Reason.PREEMPTION_DELAY_NOT_ELAPSED,
        f"{job.gang.workload} needs others to make way and its preemption delay has not passed yet",
    )


def in_vain(job: Job) -> Verdict:
    """Others made way for it before, and it could not use their place."""
    return no(
        Reason.PREEMPTION_DELAY_NOT_ELAPSED,
        f"{job.gang.workload} needs others to make way; those that did before did not help it, so for now nobody "
        "has to",
    )


def asked(request: GpuRequest) -> str:
    """A GPU request as people write it: "2 GPUs", "2 X 0.5 GPU", "1 X 4096 MiB of GPU memory"."""
    if request.memory_mib:
        return f"{request.devices} X {request.memory_mib} MiB of GPU memory"
    if request.is_shared:
        return f"{request.devices} X {format_milli(request.share_milli)} GPU"
    if request.mig:
        return ", ".join(f"{count} {name}" for name, count in request.mig)
    return f"{request.devices} GPUs"


def _lacking(request: GpuRequest) -> str:
    if request.memory_mib:
        return "GPU memory"
    if request.mig:
        return f"mig profile: {request.mig[0][0]}"
    return "CPU cores or memory" if request.is_cpu_only else "GPUs"


def eviction(view: View, job: Job, uid: PodUID) -> str:
    """What the owner of an evicted pod is told."""
    pod = job.evicted[uid].member.pod.key
    beneficiary = view.beneficiary(uid)
    if uid in job.seats:
        return f"Pod {pod} was preempted and rescheduled due to bin packing (resource consolidation) procedure"
    if not beneficiary:
        least = sum(leaf.min_member for leaf in job.gang.tree.leaves())
        return f"Workload doesn't meet the minimum required number of pods ({least}), evicting remaining pod: {pod}"
    other = view.jobs[beneficiary]
    if other.gang.queue == job.gang.queue:
        return f"Pod {pod} was preempted by higher priority workload {other.gang.workload}"
    return f"Pod {pod} was preempted by workload {other.gang.workload}. {_uses(job)} {_uses(other)}"


def _uses(job: Job) -> str:
    standing = job.standing
    quota = standing.queue.deserved.gpu_milli
    return (
        f"{standing.queue.name} uses {format_milli(standing.allocated[0])} GPUs "
        f"with a quota of {'unlimited' if quota is None else format_milli(quota)} GPUs, "
        f"fair-share of {format_milli(standing.fair[0])} GPUs and queue priority of {standing.queue.priority}."
    )
