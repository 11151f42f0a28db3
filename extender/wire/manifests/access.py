"""What our Pods may do at the API server, and how their requests are ranked there.

kube-scheduler and the extender share one Pod and so one ServiceAccount: its rights are the sum of the stock
roles that every kube-scheduler has and of the role below, which holds what the extender's code calls and
nothing else. The services (the admission webhook, the controllers of workloads) have an account of their own, which
may make pods and place none. A new call in the code needs a new line here; the tests refuse wildcards.
"""

from __future__ import annotations

from collections.abc import Sequence

from extender.model import names
from extender.model.names import POD_GROUP_GROUP, RUN_AI_GROUP, WORKLOADS_LEASE
from extender.model.workload import WorkloadKind
from extender.wire.grouping import WORKLOADS
from extender.wire.manifests.definitions import converted
from extender.wire.manifests.names import (
    ADMISSION_SECRET,
    LEASE,
    NAME,
    NAMESPACE,
    SERVICE_ACCOUNT,
    SERVICES,
    WEBHOOKS,
    Json,
    metadata,
)
from extender.wire.reservations import SERVICE_ACCOUNT as RESERVING

_RBAC = "rbac.authorization.k8s.io"
_READ = ("get", "list", "watch")
_EXTENDER = f"{NAME}:extender"
_ADMISSION = f"{NAME}:admission"
_WORKLOADS = f"{NAME}:workloads"


def access() -> list[Json]:
    """The ServiceAccounts, their roles and the bindings between."""
    return [*_scheduler(), *_services(), *_workloads()]


def _scheduler() -> list[Json]:
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(SERVICE_ACCOUNT)},
        _cluster_binding(f"{NAME}:kube-scheduler", "system:kube-scheduler"),
        _cluster_binding(f"{NAME}:volume-scheduler", "system:volume-scheduler"),
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": metadata(_EXTENDER, namespaced=False),
            "rules": [
                # patch: annotations and scheduling gates; delete: pods of no workload at their time limit
                _rule("", ("pods",), (*_READ, "patch", "delete")),
                _rule("", ("pods/binding", "pods/eviction"), ("create",)),
                _rule("policy", ("poddisruptionbudgets",), ("list",)),  # may all go who are to leave for one gang?
                _rule("", ("pods/status",), ("patch",)),  # the node that a pod is nominated for
                _rule("", ("nodes",), _READ),
                # What tells a container its part of a GPU, in the namespace of each pod.
                _rule("", ("configmaps",), (*_READ, "create", "update", "delete")),
                _rule("", ("namespaces",), (*_READ, "create", "patch")),  # the namespace of each project
                _rule("scheduling.k8s.io", ("priorityclasses",), _READ),
                _rule(RUN_AI_GROUP, ("departments", "projects", "topologies"), _READ),
                _rule(RUN_AI_GROUP, ("departments/status", "projects/status"), ("patch",)),
                _rule(POD_GROUP_GROUP, ("podgroups",), (*_READ, "create")),
                _rule(POD_GROUP_GROUP, ("podgroups/status",), ("patch",)),
                _rule("", ("events",), ("create", "patch")),
                # get: what a workload says of its PodGroup; patch: suspend it, or scale it to 0, at its time limit
                *(_rule(group, sorted(resources), ("get", "patch")) for group, resources in sorted(WORKLOADS.items())),
            ],
        },
        _cluster_binding(_EXTENDER, _EXTENDER),
        *_reservations(),
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "Role",
            "metadata": metadata(f"{NAME}:leader-election"),
            "rules": [
                # `create` cannot be narrowed to a name: the name is not known to the authorizer then.
                _rule("coordination.k8s.io", ("leases",), ("create",)),
                # A list or watch counts as one of this name when its field selector says metadata.name=<it>.
                _rule("coordination.k8s.io", ("leases",), (*_READ, "update", "patch"), only=(LEASE,)),
            ],
        },
        _binding(f"{NAME}:leader-election", f"{NAME}:leader-election", NAMESPACE),
        # kube-scheduler reads there whom its own HTTPS endpoints may trust.
        _binding(
            f"{NAME}:authentication-reader",
            "extension-apiserver-authentication-reader",
            "kube-system",
        ),
    ]


def _reservations() -> list[Json]:
    """The extender makes pods that hold GPUs, and those say on themselves which GPU each of them got."""
    reserved, making = names.RESERVATION_NAMESPACE, f"{NAME}:gpu-reservations"
    reporting = f"{NAME}:gpu-reservation"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(RESERVING, namespace=reserved)},
        _role(making, [_rule("", ("pods",), ("create",))], reserved),
        _binding(making, making, reserved),
        _role(reporting, [_rule("", ("pods",), ("patch",))], reserved),
        {
            **_binding(reporting, reporting, reserved),
            "subjects": [{"kind": "ServiceAccount", "name": RESERVING, "namespace": reserved}],
        },
    ]


def _role(name: str, rules: list[Json], namespace: str) -> Json:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": metadata(name, namespace=namespace),
        "rules": rules,
    }


def _services() -> list[Json]:
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(SERVICES)},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": metadata(_ADMISSION, namespaced=False),
            "rules": [
                _rule("", ("namespaces",), _READ),  # which of them enforce our scheduler's name
                _rule(RUN_AI_GROUP, sorted(kind.policies for kind in WorkloadKind), _READ),
                # The authorities that vouch for the webhook's certificate.
                _rule(
                    "admissionregistration.k8s.io",
                    ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
                    ("get", "patch"),
                    only=(WEBHOOKS,),
                ),
                *_rules_of_definitions(),
            ],
        },
        _cluster_binding(_ADMISSION, _ADMISSION, SERVICES),
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "Role",
            "metadata": metadata(_ADMISSION),
            "rules": [
                # The webhook's certificate, which the replicas share; `create` cannot be narrowed to a name.
                _rule("", ("secrets",), ("create",)),
                _rule("", ("secrets",), ("get", "update"), only=(ADMISSION_SECRET,)),
            ],
        },
        _binding(_ADMISSION, _ADMISSION, NAMESPACE, SERVICES),
    ]


def _rules_of_definitions() -> list[Json]:
    """The same in the definitions of the kinds that the webhook converts."""
    only = converted()
    # A rule without names would be one for every definition.
    return [_rule("apiextensions.k8s.io", ("customresourcedefinitions",), ("get", "patch"), only=only)] if only else []


def _workloads() -> list[Json]:
    """What the controllers of workloads make, follow and delete. Roles of the account that `_services` has made."""
    made = ("get", "list", "watch", "create", "patch", "delete")
    submissions = sorted(kind.workloads for kind in WorkloadKind)
    return [
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": metadata(_WORKLOADS, namespaced=False),
            "rules": [
                _rule("", ("pods",), made),  # of RunaiJobs; patch: the calculated status
                _rule(RUN_AI_GROUP, ("runaijobs",), made),
                _rule(RUN_AI_GROUP, ("runaijobs/status",), ("update",)),
                _rule(RUN_AI_GROUP, submissions, (*_READ, "patch")),
                _rule(RUN_AI_GROUP, [f"{one}/status" for one in submissions], ("patch",)),
                # Who makes objects that block the deletion of their owner must be allowed to hold that up: where the
                # API server asks for it (OwnerReferencesPermissionEnforcement, as on OpenShift).
                _rule(RUN_AI_GROUP, [f"{one}/finalizers" for one in ("runaijobs", *submissions)], ("update",)),
                _rule(RUN_AI_GROUP, sorted(kind.policies for kind in WorkloadKind), _READ),
                _rule(RUN_AI_GROUP, ("projects",), _READ),  # the node types that each of them allows
                # What a submission consists of.
                _rule("", ("configmaps", "persistentvolumeclaims", "services"), made),
                _rule("", ("secrets",), ("create", "patch", "delete")),  # to read them is not ours
                _rule("apps", ("deployments", "statefulsets"), made),
                _rule("batch", ("jobs",), made),
                _rule("kubeflow.org", sorted(WORKLOADS["kubeflow.org"]), made),
                _rule("networking.k8s.io", ("ingresses",), made),
                _rule("serving.knative.dev", ("services",), made),
                _rule(POD_GROUP_GROUP, ("podgroups",), made),
                # A node's address, for people.
                _rule("", ("nodes",), _READ),
                _rule("", ("events",), ("create", "patch")),
            ],
        },
        _cluster_binding(_WORKLOADS, _WORKLOADS, SERVICES),
        _role(
            _WORKLOADS,
            [
                # `create` cannot be narrowed to a name: the name is not known to the authorizer then.
                _rule("coordination.k8s.io", ("leases",), ("create",)),
                _rule("coordination.k8s.io", ("leases",), ("get", "update"), only=(WORKLOADS_LEASE,)),
            ],
            NAMESPACE,
        ),
        _binding(_WORKLOADS, _WORKLOADS, NAMESPACE, SERVICES),
    ]


def flow_schemas() -> list[Json]:
    """Rank our requests above those of ordinary ServiceAccounts, and lease renewals apart from the rest.

    Without these the API server queues our binds with every workload's requests (`workload-low`). Leases have
    a schema of their own so that a burst of binds cannot delay a renewal and cost the leadership.
    """
    return [
        _flow_schema(f"{NAME}-leases", "leader-election", 850, "coordination.k8s.io", ("leases",), (NAMESPACE,)),
        _flow_schema(NAME, "workload-high", 900, "*", ("*",), ("*",)),
    ]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], only: Sequence[str] = ()) -> Json:
    rule: Json = {
        "apiGroups": [group],
        "resources": list(resources),
        "verbs": list(verbs),
    }
    return {**rule, "resourceNames": list(only)} if only else rule


def _subjects(account: str) -> list[Json]:
    return [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]


def _cluster_binding(name: str, role: str, account: str = SERVICE_ACCOUNT) -> Json:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata(name, namespaced=False),
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": _subjects(account),
    }


def _binding(name: str, role: str, namespace: str, account: str = SERVICE_ACCOUNT) -> Json:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata(name, namespace=namespace),
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": role},
        "subjects": _subjects(account),
    }


def _flow_schema(
    name: str, level: str, precedence: int, group: str, resources: Sequence[str], namespaces: Sequence[str]
) -> Json:
    """A FlowSchema over requests of our ServiceAccount; a lower `precedence` is tried first.

    The built-in schemas for ordinary ServiceAccounts stand at 9000, those of the control plane at 100 to 800.
    """
    return {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": metadata(name, namespaced=False),
        "spec": {
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": precedence,
            "rules": [
                {
                    "subjects": [
                        {
                            "kind": "ServiceAccount",
                            "serviceAccount": {"name": SERVICE_ACCOUNT, "namespace": NAMESPACE},
                        }
                    ],
                    "resourceRules": [
                        {
                            "verbs": ["*"],
                            "apiGroups": [group],
                            "resources": list(resources),
                            "clusterScope": namespaces == ("*",),
                            "namespaces": list(namespaces),
                        }
                    ],
                }
            ],
        },
    }
