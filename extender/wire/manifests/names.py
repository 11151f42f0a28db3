"""Names, ports and labels that more than one manifest uses."""

from __future__ import annotations

from typing import Any

from extender import __version__
from extender.model.names import SCHEDULER_NAME, SYSTEM_NAMESPACE

Json = dict[str, Any]

NAME = SCHEDULER_NAME
"""The name in pods' `spec.schedulerName` is also that of every object which has no better one."""

NAMESPACE = SYSTEM_NAMESPACE
SERVICE_ACCOUNT = NAME
LEASE = NAME
"""The Lease that kube-scheduler holds and the extender reads; must differ from the stock `kube-scheduler`."""

CONFIG_MAP = "kube-scheduler-configuration"
CONFIG_FILE = "kube-scheduler.yaml"

SERVICES = f"{NAME}-services"
"""The second Deployment, its ServiceAccount and roles: what is not tied to a kube-scheduler."""
ADMISSION_SERVICE = f"{NAME}-admission"
"""The Service that the API server calls; the serving certificate is made for its name."""
ADMISSION_SECRET = f"{ADMISSION_SERVICE}-tls"
WEBHOOKS = NAME
"""The name of both webhook configurations."""

EXTENDER_PORT = 8888
ADMISSION_PORT = 9443
METRICS_PORT = 9090
KUBE_SCHEDULER_PORT = 10259

# Plain names, without a registry: each cluster has its own, set through kustomize's `images`.
IMAGE = NAME
IMAGE_TAG = __version__
KUBE_SCHEDULER_IMAGE = "kube-scheduler"
KUBE_SCHEDULER_TAG = "v1.36.0"

SELECTOR = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "scheduler"}
SERVICES_SELECTOR = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "services"}
PART_OF = {"app.kubernetes.io/part-of": NAME}


def metadata(name: str, *, namespaced: bool = True, namespace: str = NAMESPACE) -> Json:
    """The metadata of one of our objects, in our namespace unless told otherwise."""
    return {"name": name, **({"namespace": namespace} if namespaced else {}), "labels": dict(PART_OF)}
