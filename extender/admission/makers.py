"""Who writes an object: somebody, or a controller that only copies a template.

A template is judged when somebody writes it. What the cluster's own controllers make of it later (a Deployment's
ReplicaSets, a CronJob's Jobs, everybody's pods) is as it says, and stays so: a ReplicaSet that differs from its
Deployment's template is none of its ReplicaSets, and another one would be made for ever; and a policy that has changed
must not keep a running workload from replacing its pods. Controllers are known by their accounts, which nobody else can
use; an owner reference alone proves nothing, everybody may write one. In the hands of a controller it is true, and says
whether a template was judged at all: that of a DaemonSet was not. So it is in the hands of the training operators,
whose templates nobody judges: it says only which policy their pods are held to.
"""

from __future__ import annotations

from typing import Any

from extender.admission import templates
from extender.model.names import RUN_AI_GROUP, SYSTEM_NAMESPACE
from extender.model.workload import WorkloadKind
from extender.wire.admission import Review

Json = dict[str, Any]

_USER = "system:kube-controller-manager"  # where its controllers have no accounts of their own
_GROUPS = frozenset({"system:serviceaccounts:kube-system", f"system:serviceaccounts:{SYSTEM_NAMESPACE}"})
# Where the training operators live that their projects publish. No project's people have accounts there.
_OPERATORS = frozenset(f"system:serviceaccounts:{name}" for name in ("kubeflow", "kubeflow-system", "mpi-operator"))
# Who may do everything could take the policy away as well. Where controllers run as such (the demo), the owner says
# what is a copy.
_ADMINISTRATORS = "system:masters"
_WORKLOADS = frozenset(f"{kind.workload}.{RUN_AI_GROUP}" for kind in WorkloadKind)


def is_copy(review: Review) -> bool:
    """Whether a controller of Kubernetes, or one of ours, writes what a template says that was judged."""
    owner = _owner(review.obj)
    if _is_controller(review):
        return review.kind != "Pod" or owner in templates.KINDS
    return _ADMINISTRATORS in review.groups and owner in templates.KINDS | _WORKLOADS


def maker(review: Review) -> str:
    """The kind of the controller that has made the object; "" where somebody only says so, or there is none."""
    is_believed = _is_controller(review) or not (_OPERATORS | {_ADMINISTRATORS}).isdisjoint(review.groups)
    return _owner(review.obj).partition(".")[0] if is_believed else ""


def _is_controller(review: Review) -> bool:
    return review.user == _USER or not _GROUPS.isdisjoint(review.groups)


def _owner(obj: Json) -> str:
    """The kind of its controller with the group, as in `Job.batch`."""
    for owner in (obj.get("metadata") or {}).get("ownerReferences") or ():
        if owner.get("controller"):
            return f"{owner.get('kind')}.{str(owner.get('apiVersion')).partition('/')[0]}"
    return ""
