"""Inference: minScale … isPrivateServiceUrl of the table of parameters (behaviour.md 2.3)."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.workload import WorkloadKind
from tests.submissions import rendered

Json = dict[str, Any]
INFERENCE = WorkloadKind.INFERENCE
KNATIVE = {"apis": frozenset({"serving.knative.dev/Service"})}
PORTS = {"web": {"container": 8000}, "other": {"container": 8001}}


def test_a_knative_service_where_the_cluster_has_them() -> None:
    found = rendered(INFERENCE, given=KNATIVE, ports=PORTS, gpu="0.5", stdin=True, tty=True)
    assert found.names == ["ConfigMap j", "Service j"]
    assert found.job["apiVersion"] == "serving.knative.dev/v1"
    assert set(found.spec) == {"template"}
    assert found.container["ports"] == [{"containerPort": 8001, "protocol": "TCP"}]
    assert found.annotations == {"gpu-fraction": "0.5"}
    assert found.labels["priorityClassName"] == "inference"
    assert "restartPolicy" not in found.pod
    assert not {"stdin", "tty"} & set(found.container)
    assert not [one for one in found.container["env"] if "valueFrom" in one]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        ({"minScale": 0}, {"min-scale": "0"}),
        ({"minScale": 1, "maxScale": 2}, {"min-scale": "1", "max-scale": "2"}),
        ({"metric": "concurrency", "target": 80}, {"metric": "concurrency", "target": "80"}),
        ({"metric": "throughput", "target": "0.50"}, {"metric": "rps", "target": "0.5"}),
        ({"metric": "cpu-utilization"}, {"metric": "cpu", "class": "hpa.autoscaling.knative.dev"}),
        ({"metric": "gpu-utilization"}, {"metric": "gpu-utilization", "class": "hpa.autoscaling.knative.dev"}),
        ({"metric": "latency", "class": "mine"}, {"metric": "latency", "class": "mine"}),
        (
            {"metric": "concurrency", "metricName": "my-metric"},
            {"metric": "my-metric", "class": "hpa.autoscaling.knative.dev"},
        ),
    ],
)
def test_how_it_scales(values: Json, expected: Json) -> None:
    found = rendered(INFERENCE, given=KNATIVE, ports=PORTS, **values)
    assert found.annotations == {f"autoscaling.knative.dev/{key}": value for key, value in expected.items()}


def test_a_private_url() -> None:
    key = "networking.knative.dev/visibility"
    found = rendered(INFERENCE, given=KNATIVE, ports=PORTS, isPrivateServiceUrl=True)
    assert found.job["metadata"]["labels"][key] == "cluster-local"
    assert key not in rendered(INFERENCE, given=KNATIVE, ports=PORTS).job["metadata"]["labels"]
    plain = rendered(INFERENCE, ports=PORTS, serviceType="LoadBalancer", isPrivateServiceUrl=True)
    assert {one["spec"]["type"] for one in plain.all("Service")} == {"ClusterIP"}


@pytest.mark.parametrize("kind", [WorkloadKind.INFERENCE, WorkloadKind.DEPLOYMENT])
@pytest.mark.parametrize(("values", "replicas"), [({}, 1), ({"minScale": 3}, 3), ({"minScale": 0}, 1)])
def test_a_deployment_elsewhere(kind: WorkloadKind, values: Json, replicas: int) -> None:
    found = rendered(kind, ports=PORTS, **values)
    assert found.names == ["ConfigMap j", "Service j-other", "Service j-web", "Deployment j"]
    assert found.spec["replicas"] == replicas
    assert found.spec["selector"] == {"matchLabels": {"release": "j"}}
    assert found.pod["restartPolicy"] == "Always"
    assert found.pod["priorityClassName"] == "inference"
    assert "POD_INDEX" not in found.environment
