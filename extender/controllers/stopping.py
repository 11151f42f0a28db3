"""How a workload is stopped whose time is up: suspended or scaled to 0 where that can be undone, else deleted."""

from __future__ import annotations

from typing import Any

from extender.controllers.owners import Owners
from extender.errors import ConflictError, NotFoundError
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder, Subject
from extender.model import names
from extender.model.pod import Phase, Pod
from extender.wire.grouping import owner_of, path_of

Json = dict[str, Any]

# How each kind is told to stop: what the patch says of its spec. All can be resumed by undoing it.
_STOP: dict[str, Json] = {
    "Job": {"suspend": True},
    "JobSet": {"suspend": True},
    "RayCluster": {"suspend": True},
    "RunaiJob": {"suspend": True},
    "Deployment": {"replicas": 0},
    "ReplicaSet": {"replicas": 0},
    "StatefulSet": {"replicas": 0},
}
_STOP_TRAINING: Json = {"runPolicy": {"suspend": True}}  # every kind of the training operators


class Stopper:
    """One for all limits."""

    def __init__(self, client: KubeClient, owners: Owners, events: EventRecorder) -> None:
        self._client = client
        self._owners = owners
        self._events = events

    async def stop(self, pod: Pod, reason: str, why: str) -> bool:
        """Stop the workload that the pod is of, and tell its owner. False: it was gone before. Raises ApiError.

        reason, why: of the Event; what was done is added to the sentence.
        """
        chain = await self._owners.chain(pod)
        about = [Subject("Pod", pod.namespace, pod.name, pod.uid)]
        try:
            if chain:
                top = owner_of(chain[-1])
                spec = _STOP.get(top.kind, _STOP_TRAINING)
                metadata = {"uid": top.uid, "annotations": {names.CALCULATED_STATUS_ANNOTATION: names.TIMED_OUT}}
                path = path_of(pod.namespace, top)
                assert path is not None  # it was read from there
                await self._client.patch(path, {"metadata": metadata, "spec": spec})
                about.append(Subject(top.kind, pod.namespace, top.name, top.uid, top.api_version))
                done = f"{top.kind} {top.name} is {'scaled to 0' if 'replicas' in spec else 'suspended'}."
            else:
                path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
                await self._client.delete(path, options={"preconditions": {"uid": pod.uid}})
                done = "the pod is deleted."
        except (NotFoundError, ConflictError):
            return False  # gone meanwhile, or another object by now
        for subject in about:
            self._events.record(subject, "Normal", reason, f"{why}: {done}")
        return True


def workload_of(pod: Pod) -> str:
    """The uid of what is stopped: of the pod's controller, or of the pod where that cannot be told to stop."""
    owner = pod.owner
    return owner.uid if owner is not None and path_of(pod.namespace, owner) is not None else pod.uid


def runs(pod: Pod) -> bool:
    """Whether the pod's time counts: a user's one that the kubelet has started, and that nobody has ended."""
    is_users = pod.scheduler == names.SCHEDULER_NAME and pod.namespace not in names.OWN_NAMESPACES
    return is_users and pod.phase is Phase.RUNNING and bool(pod.started) and not pod.deleting
