"""The rows "Network" of the table of parameters (behaviour.md 2.3), Service and Ingress of 2.4."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.workload import WorkloadKind
from tests.submissions import rendered

Json = dict[str, Any]
INTERACTIVE = WorkloadKind.INTERACTIVE


@pytest.mark.parametrize(
    ("item", "values", "type_", "port"),
    [
        ({"container": 22}, {}, "ClusterIP", {"port": 22, "targetPort": 22}),
        ({"container": 22, "external": 30022}, {}, "ClusterIP", {"port": 30022, "targetPort": 22}),
        ({"container": 22}, {"serviceType": "portforward"}, "ClusterIP", {"port": 22, "targetPort": 22}),
        ({"container": 22}, {"serviceType": "LoadBalancer"}, "LoadBalancer", {"port": 22, "targetPort": 22}),
        ({"container": 22}, {"serviceType": "loadbalancer"}, "LoadBalancer", {"port": 22, "targetPort": 22}),
        ({"container": 22}, {"serviceType": "NodePort"}, "NodePort", {"port": 22, "targetPort": 22}),
        (
            {"container": 22, "external": 30022},
            {"serviceType": "NodePort"},
            "NodePort",
            {"port": 30022, "targetPort": 22, "nodePort": 30022},
        ),
        (
            {"container": 22, "external": 8022, "autoGenerate": True},
            {"serviceType": "NodePort"},
            "NodePort",
            {"port": 8022, "targetPort": 22},
        ),
        (
            {"container": 22, "serviceType": "LoadBalancer"},
            {"serviceType": "NodePort"},
            "LoadBalancer",
            {"port": 22, "targetPort": 22},
        ),
    ],
)
def test_a_port_has_a_service(item: Json, values: Json, type_: str, port: Json) -> None:
    found = rendered(ports={"ssh": item}, **values)
    assert found.names == ["ConfigMap j", "Service j-ssh", "RunaiJob j"]
    assert found.container["ports"] == [{"containerPort": 22, "protocol": "TCP"}]
    assert found.one("Service")["spec"] == {
        "type": type_,
        "selector": {"release": "j"},
        "ports": [{"name": "22-port", "protocol": "TCP", **port}],
    }
    assert found.labels["release"] == "j"


def test_the_tools_of_a_port_are_shown() -> None:
    item = {"container": 8888, "toolType": "jupyter", "toolName": "My notebook"}
    found = rendered(ports={"web": item}).one("Service")["metadata"]["annotations"]
    assert found == {"run.ai/tool-type": "jupyter", "run.ai/tool-name": "My notebook"}


def test_names_of_services_never_collide_run_21948() -> None:
    found = rendered(
        ports={
            "web": {"container": 80},
            "Web": {"container": 81},
            "web_": {"container": 82},
            "w" * 70: {"container": 83},
        },
        exposedUrls={"web": {"container": 84}},
    )
    names = [one["metadata"]["name"] for one in found.all("Service")]
    assert len(set(names)) == 5
    assert all(len(name) <= 63 and name == name.lower() for name in names)
    assert "j-web" in names


def test_one_port_of_an_ingress_is_the_job_s_path() -> None:
    found = rendered(INTERACTIVE, ports={"web": {"container": 80}}, serviceType="ingress")
    assert found.names == ["ConfigMap j", "Service j-web", "Ingress j", "RunaiJob j"]
    assert found.one("Service")["spec"]["type"] == "ClusterIP"
    assert found.one("Ingress")["spec"] == {
        "ingressClassName": "nginx",
        "rules": [{"http": {"paths": [path("/team-a-j", "j-web", 80)]}}],
    }


def test_several_ports_of_an_ingress_have_their_number_in_the_path() -> None:
    ports = {"b": {"container": 81, "external": 8081}, "a": {"container": 80}}
    found = rendered(INTERACTIVE, ports=ports, serviceType="ingress", ingressUrl="https://gpus.example.com/run")
    assert found.one("Ingress")["spec"]["rules"] == [
        {
            "host": "gpus.example.com",
            "http": {"paths": [path("/run/team-a-j-80", "j-a", 80), path("/run/team-a-j-8081", "j-b", 8081)]},
        }
    ]


def test_exposed_urls_have_an_ingress_and_share_the_service_of_their_port() -> None:
    found = rendered(
        ports={"web": {"container": 80, "external": 8080}},
        exposedUrls={
            "one": {"container": 80, "url": "https://One.example.com:8443/me"},
            "two": {"container": 81, "url": "two.example.com"},
            "three": {"container": 81},
        },
    )
    assert found.names == ["ConfigMap j", "Service j-web", "Service j-three", "Ingress j", "RunaiJob j"]
    assert [one["containerPort"] for one in found.container["ports"]] == [80, 81]
    assert found.one("Ingress")["spec"]["rules"] == [
        {"host": "one.example.com", "http": {"paths": [path("/me", "j-web", 8080)]}},
        {"http": {"paths": [path("/team-a-j", "j-three", 81)]}},
        {"host": "two.example.com", "http": {"paths": [path("/", "j-three", 81)]}},
    ]


def test_host_network() -> None:
    pod = rendered(hostNetwork=True).pod
    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")


@pytest.mark.parametrize(
    ("values", "image", "command", "args"),
    [
        ({}, "jupyter/scipy-notebook", None, None),
        ({"image": "mine"}, "mine", None, None),
        (
            {"serviceType": "ingress"},
            "jupyter/scipy-notebook",
            ["start-notebook.sh"],
            ["--NotebookApp.base_url=/team-a-j"],
        ),
        ({"serviceType": "ingress", "arguments": "-x"}, "jupyter/scipy-notebook", ["start-notebook.sh"], ["-x"]),
        ({"serviceType": "ingress", "command": "jupyter lab"}, "jupyter/scipy-notebook", ["jupyter", "lab"], None),
    ],
)
def test_jupyter(values: Json, image: str, command: list[str] | None, args: list[str] | None) -> None:
    """behaviour.md 2.7"""
    found = rendered(INTERACTIVE, jupyter=True, **({"image": ""} | values))
    assert found.container["image"] == image
    assert (found.container.get("command"), found.container.get("args")) == (command, args)
    (service,) = found.all("Service")
    assert service["metadata"]["name"] == "j-jupyter"
    assert service["spec"]["ports"][0]["targetPort"] == 8888


def test_jupyter_with_ports_of_ones_own_has_those() -> None:
    found = rendered(INTERACTIVE, jupyter=True, ports={"lab": {"container": 9999}})
    assert [one["metadata"]["name"] for one in found.all("Service")] == ["j-lab"]


def test_the_token_of_a_notebook() -> None:
    found = rendered(INTERACTIVE, jupyter=True, notebookToken="SECRET:s,token")
    assert found.environment["JUPYTER_TOKEN"] == {"secretKeyRef": {"name": "s", "key": "token"}}


def test_tensorboard_runs_beside_the_workload_and_ends_with_it() -> None:
    found = rendered(
        INTERACTIVE,
        tensorboard=True,
        tensorboardLogdir="/runs",
        pvcs={"a": {"claimName": "c", "path": "/runs"}},
        gpu="1",
    )
    (sidecar,) = found.pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["command"] == ["tensorboard", "--bind_all", "--port=6006", "--logdir=/runs"]
    assert sidecar["image"] == "busybox"
    assert sidecar["volumeMounts"] == [{"name": "pvc-volume-0", "mountPath": "/runs"}]
    assert "resources" not in sidecar
    assert found.one("Service", "j-tensorboard")["spec"]["ports"][0]["port"] == 6006


def path(at: str, service: str, port: int) -> Json:
    return {"path": at, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": port}}}}
