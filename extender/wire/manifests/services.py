"""What runs beside the scheduler: two replicas of the services that hold no seat: the admission webhook on both, and
the controllers of workloads on the one that holds their Lease.

Apart from the scheduler's Pods because every replica serves, not only the one beside the elected kube-scheduler, and
because these Pods need other rights: they may place nothing.
"""

from __future__ import annotations

from extender.wire.manifests.names import (
    ADMISSION_PORT,
    ADMISSION_SERVICE,
    IMAGE,
    METRICS_PORT,
    PART_OF,
    SERVICES,
    SERVICES_SELECTOR,
    Json,
)
from extender.wire.manifests.workload import disruption_budget, http_probe, labelled, locked_down, pod_basics

_REPLICAS = 2
_LEAVE_S = 5  # from the end of a Pod's endpoint to the last API server that has heard of it


def services() -> list[Json]:
    """The Deployment, its disruption budget, and the Services for the API server and for Prometheus."""
    return [
        _deployment(),
        disruption_budget(SERVICES, SERVICES_SELECTOR),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": labelled(ADMISSION_SERVICE, SERVICES_SELECTOR),
            "spec": {
                "selector": dict(SERVICES_SELECTOR),
                "ports": [{"name": "https", "port": 443, "targetPort": "admission", "appProtocol": "https"}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": labelled(f"{SERVICES}-metrics", SERVICES_SELECTOR),
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
                "selector": dict(SERVICES_SELECTOR),
                "ports": [{"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "appProtocol": "http"}],
            },
        },
    ]


def _deployment() -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": labelled(SERVICES, SERVICES_SELECTOR),
        "spec": {
            "replicas": _REPLICAS,
            "selector": {"matchLabels": dict(SERVICES_SELECTOR)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {**PART_OF, **SERVICES_SELECTOR}},
                "spec": {
                    **pod_basics(SERVICES, SERVICES_SELECTOR),
                    "terminationGracePeriodSeconds": 30,
                    "containers": [_container()],
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
                },
            },
        },
    }


def _container() -> Json:
    return {
        "name": "services",
        "image": IMAGE,
        "args": ["serve"],
        "env": [
            {"name": "RUNAI_ROLES", "value": "admission,workloads"},
            {"name": "RUNAI_ADMISSION_ADDRESS", "value": f"0.0.0.0:{ADMISSION_PORT}"},
            {"name": "RUNAI_METRICS_ADDRESS", "value": f"0.0.0.0:{METRICS_PORT}"},
            # Of our Secret and our Lease, and of the Service whose name the certificate carries.
            {"name": "RUNAI_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "ports": [
            {"name": "admission", "containerPort": ADMISSION_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "livenessProbe": {**http_probe("/healthz", "metrics"), "periodSeconds": 10, "failureThreshold": 6},
        # Ready means that there is a certificate to serve with, and that the first lists are in.
        "readinessProbe": {**http_probe("/readyz", "metrics"), "periodSeconds": 5, "failureThreshold": 3},
        # API servers go on calling for a moment after the endpoint is gone.
        "lifecycle": {"preStop": {"sleep": {"seconds": _LEAVE_S}}},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": locked_down(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # the root file system is read-only
    }
