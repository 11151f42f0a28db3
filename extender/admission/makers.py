"""Who writes an object: somebody, or a controller that only copies a template.

A template is judged when somebody writes it. What the cluster's own controllers make of it later (a Deployment's
ReplicaSets, a CronJob's Jobs, everybody's pods) is as it says, and stays so: a ReplicaSet that differs from its
Deployment's template is none of its ReplicaSets, and another one would be made for ever; and a policy that has changed
must not keep a running workload from replacing its pods. Controllers are known by their accounts, which nobody else can
use; an owner reference proves nothing, everybody may write one.
"""

from __future__ import annotations

from extender.model.names import SYSTEM_NAMESPACE
from extender.wire.admission import Review

_USER = "system:kube-controller-manager"  # where its controllers have no accounts of their own
_GROUPS = frozenset({"system:serviceaccounts:kube-system", f"system:serviceaccounts:{SYSTEM_NAMESPACE}"})


def is_controller(review: Review) -> bool:
    """Whether a controller of Kubernetes or one of ours asks."""
    return review.user == _USER or not _GROUPS.isdisjoint(review.groups)
