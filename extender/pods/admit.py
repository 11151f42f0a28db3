"""The checks that no node can change: is it schedulable at all, who pays, and may they pay this much more?"""

from __future__ import annotations

from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.fairshare import capacity
from extender.model.names import ProjectName
from extender.model.verdict import Reason, Verdict, no


def admit(picture: Picture, record: PodRecord) -> Verdict | None:
    """None when the pod may look for a node, in one of its node pools at least.

    What it holds itself must have been released before.
    """
    pod = record.pod
    if record.hold is not None and record.hold.state is HoldState.BOUND:
        return no(Reason.ALREADY_BOUND, f"the pod is already bound to node {record.hold.placement.node}")
    if pod.deleting:
        return no(Reason.POD_DELETED, "the pod is being deleted")
    if pod.is_finished:
        return no(Reason.POD_FINISHED, f"the pod has finished: {pod.phase}")
    if pod.gpu_error:
        return no(Reason.INVALID_GPU_REQUEST, pod.gpu_error)
    project = picture.membership.project_of(pod)
    if project is None:
        return no(
            Reason.QUEUE_DOES_NOT_EXIST,
            f"pod {pod.key} belongs to no project: its PodGroup names none, it has no label runai/queue, "
            f"and its namespace {pod.namespace} has neither that label nor a name that starts with runai-",
        )
    known = picture.quotas.projects.get(project)
    if known is None:
        return no(Reason.QUEUE_DOES_NOT_EXIST, f"project {project} of pod {pod.key} does not exist")
    refusal: Verdict | None = None
    for pool in picture.membership.pools_of(pod, known):
        verdict = admit_in(picture, record, project, pool)
        if verdict is None:
            return None
        refusal = refusal or verdict  # of the pool that is tried first
    return refusal


def admit_in(picture: Picture, record: PodRecord, project: ProjectName, pool: str) -> Verdict | None:
    """None when the project may take the pod in this pool."""
    pod = record.pod
    # By memory the share depends on the node: before one is chosen, the smallest GPU of the pool decides.
    cost = picture.cost(pod, picture.gpu_memory_mib(pool)[0] if pod.gpu.memory_mib else 0)
    preemptible = picture.membership.is_preemptible(pod)
    return capacity.check(picture.quotas.path(project, pool), cost, preemptible=preemptible)
