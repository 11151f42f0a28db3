"""Which pods are one group before, or without, a PodGroup object that says so; and what such a group is called.

Pods of one Job, StatefulSet or training resource belong together; replicas of a Deployment or a DaemonSet serve on
their own, each a group by itself (behaviour.md 6.11).
"""

from __future__ import annotations

from extender.model.pod import Owner, Pod

_EACH_ALONE = frozenset({"ReplicaSet", "ReplicationController", "DaemonSet", "Node"})
_LONGEST_OWNER = 200  # of an object's 253 characters; the uid alone tells groups apart


def group_owner(pod: Pod) -> Owner:
    """The object that the pod's group is named after: its controller where pods of one controller belong together,
    else the pod itself.
    """
    owner = pod.owner
    if owner is not None and owner.uid and owner.kind not in _EACH_ALONE:
        return owner
    return Owner("Pod", pod.name, pod.uid, "v1")


def group_name(owner: Owner) -> str:
    """The name of the PodGroup of an owner's pods: the same for every replica of ours, before and after a restart."""
    return f"pg-{owner.name[:_LONGEST_OWNER]}-{owner.uid}"


def group_name_of(pod: Pod) -> str:
    """The name of the pod's PodGroup, whether the object exists or not: the one that it names, else its owner's."""
    return pod.group or group_name(group_owner(pod))


def group_key_of(pod: Pod) -> str:
    """What tells the pod's group from all others, as `namespace/name`. Equal for pods that belong together."""
    return f"{pod.namespace}/{group_name_of(pod)}"
