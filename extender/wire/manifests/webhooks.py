"""The webhook configurations: which writes the API server asks us about, and what happens when we do not answer.

We fail closed, so what we are asked about is kept small: new pods that name this scheduler, and new pods in the
namespaces of projects, which may be forced to. While no replica answers, those wait for their controllers to try
again; everything else in the cluster goes on, our own Pods and the control plane first of all.
"""

from __future__ import annotations

from extender.model.names import OWN_NAMESPACES, QUEUE_LABEL
from extender.wire.manifests.names import ADMISSION_SERVICE, NAME, NAMESPACE, WEBHOOKS, Json, metadata

_TIMEOUT_S = 3  # the answer takes a millisecond; a write must not wait long for a replica that is gone
_EXEMPT = ("kube-system", *OWN_NAMESPACES)
_OURS = f"object.spec.schedulerName == '{NAME}'"
_NOT_OURS = f"object.spec.schedulerName != '{NAME}'"


def webhooks() -> list[Json]:
    """The mutating and the validating configuration, without `caBundle`: that is patched in once there is one."""
    ours = [{"name": "ours", "expression": _OURS}]
    others = [{"name": "not-ours-yet", "expression": _NOT_OURS}]
    in_projects = {"key": QUEUE_LABEL, "operator": "Exists"}
    return [
        _configuration(
            "Mutating",
            [
                # Once more when another webhook changed the pod after us; a pod that has everything gets no patch.
                {**_webhook("pods", "mutate", ours), "reinvocationPolicy": "IfNeeded"},
                {**_webhook("enforcement", "mutate", others, in_projects), "reinvocationPolicy": "IfNeeded"},
            ],
        ),
        _configuration("Validating", [_webhook("pods", "validate", ours)]),
    ]


def _configuration(kind: str, entries: list[Json]) -> Json:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": metadata(WEBHOOKS, namespaced=False),
        "webhooks": entries,
    }


def _webhook(name: str, path: str, conditions: list[Json], *selected: Json) -> Json:
    exempt = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(_EXEMPT)}
    return {
        "name": f"{name}.admission.run.ai",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {
            "service": {
                "namespace": NAMESPACE,
                "name": ADMISSION_SERVICE,
                "port": 443,
                "path": f"/admission/{path}",
            }
        },
        # Never UPDATE: taking a gate or a finalizer off must not depend on us.
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["pods"],
                "operations": ["CREATE"],
                "scope": "Namespaced",
            }
        ],
        "namespaceSelector": {"matchExpressions": [exempt, *selected]},
        "matchConditions": [dict(one) for one in conditions],
        "matchPolicy": "Equivalent",
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": _TIMEOUT_S,
    }
