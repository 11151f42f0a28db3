"""What runs: two Pods, each a kube-scheduler and an extender side by side, and what keeps and shows them.

Two replicas because a lost node must not stop scheduling; kube-scheduler's Lease elects one, and its
neighbour in the Pod is the active extender. The other pair keeps its picture warm by watching.
"""

from __future__ import annotations

from extender.model.names import RESERVATION_NAMESPACE
from extender.wire.manifests.kubescheduler import BIND_TIMEOUT_S, FEATURE_GATES
from extender.wire.manifests.names import (
    CONFIG_FILE,
    CONFIG_MAP,
    EXTENDER_PORT,
    IMAGE,
    KUBE_SCHEDULER_IMAGE,
    KUBE_SCHEDULER_PORT,
    LEASE,
    METRICS_PORT,
    NAME,
    NAMESPACE,
    PART_OF,
    SELECTOR,
    SERVICE_ACCOUNT,
    Json,
    metadata,
)

_REPLICAS = 2
_USER_ID = 65532  # "nonroot" in the usual base images, and the user of our Dockerfile
_CONFIG_DIRECTORY = "/etc/runai-scheduler"


def namespaces() -> list[Json]:
    """That of the system, where policies and templates for all projects live too; and that of reservation pods."""
    return [_namespace(name) for name in (NAMESPACE, RESERVATION_NAMESPACE)]


def _namespace(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                **PART_OF,
                "kubernetes.io/metadata.name": name,
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    }


def workload() -> list[Json]:
    """The Deployment, its disruption budget and the Service that Prometheus finds it by."""
    return [_deployment(), disruption_budget(NAME, SELECTOR), _metrics_service()]


def _deployment() -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": labelled(NAME, SELECTOR),
        "spec": {
            "replicas": _REPLICAS,
            "selector": {"matchLabels": dict(SELECTOR)},
            # A new pair is ready, its picture complete, before an old one leaves.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {
                    "labels": {**PART_OF, **SELECTOR},
                    # The container whose logs `kubectl logs` shows when none is named.
                    "annotations": {"kubectl.kubernetes.io/default-container": "extender"},
                },
                "spec": _pod(),
            },
        },
    }


def _pod() -> Json:
    return {
        **pod_basics(SERVICE_ACCOUNT, SELECTOR),
        # Binds under way are finished before the process ends.
        "terminationGracePeriodSeconds": BIND_TIMEOUT_S + 10,
        # The extender first: kubelets start containers in this order.
        "containers": [_extender(), _kube_scheduler()],
        "volumes": [
            {"name": "configuration", "configMap": {"name": CONFIG_MAP}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }


def pod_basics(service_account: str, selector: Json) -> Json:
    """What every Pod of ours says: whose it is, that it matters, that it runs without rights, on nodes apart."""
    return {
        "serviceAccountName": service_account,
        "priorityClassName": "system-cluster-critical",  # without these Pods no other of ours is placed
        # A Service called runai-… would put variables named RUNAI_… beside our settings.
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER_ID,
            "runAsGroup": _USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                # A preference: a cluster of one node is to work as well.
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(selector)},
            }
        ],
    }


def _extender() -> Json:
    return {
        "name": "extender",
        "image": IMAGE,
        "args": ["serve"],
        "env": [
            {"name": "RUNAI_ROLES", "value": "extender"},
            # Loopback only: whoever can call the verbs can bind pods.
            {"name": "RUNAI_EXTENDER_ADDRESS", "value": f"127.0.0.1:{EXTENDER_PORT}"},
            {"name": "RUNAI_METRICS_ADDRESS", "value": f"0.0.0.0:{METRICS_PORT}"},
            # The holder's identity in it begins with the host name, which is the same for both containers.
            {"name": "RUNAI_LEASE", "value": f"{NAMESPACE}/{LEASE}"},
        ],
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
        "livenessProbe": {**http_probe("/healthz", "metrics"), "periodSeconds": 10, "failureThreshold": 6},
        # Ready means that the first full lists are in; on a large cluster that takes a while.
        "readinessProbe": {**http_probe("/readyz", "metrics"), "periodSeconds": 5, "failureThreshold": 3},
        # No CPU limit: throttling would show as latency in every scheduling cycle.
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": locked_down(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # the root file system is read-only
    }


def _kube_scheduler() -> Json:
    return {
        "name": "kube-scheduler",
        "image": KUBE_SCHEDULER_IMAGE,
        "command": ["kube-scheduler"],
        "args": [
            f"--config={_CONFIG_DIRECTORY}/{CONFIG_FILE}",
            f"--secure-port={KUBE_SCHEDULER_PORT}",
            f"--feature-gates={FEATURE_GATES}",
            "--v=2",
        ],
        "ports": [{"name": "https", "containerPort": KUBE_SCHEDULER_PORT}],
        "livenessProbe": {**http_probe("/healthz", "https", "HTTPS"), "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**http_probe("/healthz", "https", "HTTPS"), "periodSeconds": 5, "failureThreshold": 3},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": locked_down(),
        "volumeMounts": [{"name": "configuration", "mountPath": _CONFIG_DIRECTORY, "readOnly": True}],
    }


def disruption_budget(name: str, selector: Json) -> Json:
    """At least one of the Pods of `selector` stays when nodes are drained."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": labelled(name, selector),
        "spec": {"minAvailable": 1, "selector": {"matchLabels": dict(selector)}},
    }


def _metrics_service() -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": labelled(f"{NAME}-metrics", SELECTOR),
        "spec": {
            "clusterIP": "None",  # each replica is scraped by itself
            "publishNotReadyAddresses": True,  # a replica that does not become ready is the one to look at
            "selector": dict(SELECTOR),
            "ports": [{"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "appProtocol": "http"}],
        },
    }


def labelled(name: str, selector: Json) -> Json:
    """`metadata` of an object that belongs to the Pods of `selector`."""
    found = metadata(name)
    return {**found, "labels": {**found["labels"], **selector}}


def http_probe(path: str, port: str, scheme: str = "HTTP") -> Json:
    return {"httpGet": {"path": path, "port": port, "scheme": scheme}, "timeoutSeconds": 2}


def locked_down() -> Json:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
