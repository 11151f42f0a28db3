"""A kustomize component for clusters with cert-manager: it makes the webhook's certificate, we only read the files.

cert-manager renews the Secret, the kubelet swaps the mounted files, and the webhook loads them without a restart; its
CA injector keeps `caBundle` of both configurations and of the definitions that we convert for. Our own Secret and its
renewal are then unused.
"""

from __future__ import annotations

from extender.wire.manifests.definitions import converted
from extender.wire.manifests.names import (
    ADMISSION_SECRET,
    ADMISSION_SERVICE,
    NAMESPACE,
    SERVICES,
    WEBHOOKS,
    Json,
    metadata,
)

_DIRECTORY = "/etc/runai-admission-tls"
_ISSUER = f"{ADMISSION_SERVICE}-selfsigned"
# Not the Secret of our own making: the two must never renew each other's.
_SECRET = f"{ADMISSION_SECRET}-cert-manager"


def certificate() -> list[Json]:
    """The Issuer and the Certificate."""
    service = f"{ADMISSION_SERVICE}.{NAMESPACE}"
    return [
        {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Issuer",
            "metadata": metadata(_ISSUER),
            "spec": {"selfSigned": {}},
        },
        {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": metadata(ADMISSION_SERVICE),
            "spec": {
                "secretName": _SECRET,
                "dnsNames": [f"{service}.svc", f"{service}.svc.cluster.local"],
                "issuerRef": {"kind": "Issuer", "name": _ISSUER},
                "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            },
        },
    ]


def patches() -> list[Json]:
    """What changes in the base: where the certificate comes from, and who fills in `caBundle`."""
    injected = {"cert-manager.io/inject-ca-from": f"{NAMESPACE}/{ADMISSION_SERVICE}"}
    configurations = [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": WEBHOOKS, "annotations": dict(injected)},
        }
        for kind in ("Mutating", "Validating")
    ]
    definitions = [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name, "annotations": dict(injected)},
        }
        for name in converted()
    ]
    container = {
        "name": "services",
        "env": [
            {"name": "RUNAI_TLS_CERT", "value": f"{_DIRECTORY}/tls.crt"},
            {"name": "RUNAI_TLS_KEY", "value": f"{_DIRECTORY}/tls.key"},
        ],
        "volumeMounts": [{"name": "tls", "mountPath": _DIRECTORY, "readOnly": True}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": SERVICES, "namespace": NAMESPACE},
        "spec": {
            "template": {
                "spec": {
                    "containers": [container],
                    "volumes": [{"name": "tls", "secret": {"secretName": _SECRET}}],
                }
            }
        },
    }
    return [*configurations, *definitions, deployment]
