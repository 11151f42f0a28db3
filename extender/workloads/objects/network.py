"""How the container is reached: its ports, a Service for each, and one Ingress for what has a URL.

A port's Service is `<job>-<label>`. Services lead to the master where there are several roles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from extender.workloads.naming import child_name
from extender.workloads.objects import metadata
from extender.workloads.objects.draft import Draft
from extender.workloads.objects.parts import items
from extender.workloads.objects.submission import INGRESS, Submission

Json = dict[str, Any]

ROLE_LABEL = "run.ai/role"
_INGRESS_CLASS = "nginx"
_TYPES = {"nodeport": "NodePort", "loadbalancer": "LoadBalancer"}  # all others are ClusterIP
_CLUSTER_IP = "ClusterIP"


@dataclass(frozen=True, slots=True)
class _Url:
    """A rule of the Ingress. url: "" for a path at the cluster's own host."""

    service: str
    port: int
    url: str = ""


def add_ports(draft: Draft) -> None:
    """ports, exposedUrls, hostNetwork: the pod's side of them. On the node's network, names of the cluster resolve."""
    numbers = dict.fromkeys(int(item["container"]) for _, _, item in _exposed(draft.values))
    draft.container["ports"] = [{"containerPort": number, "protocol": "TCP"} for number in numbers]
    if draft.values.get("hostNetwork"):
        draft.spec |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}


def access(submission: Submission, values: Json, *, role: str = "", taken: tuple[str, ...] = ()) -> list[Json]:
    """ports, serviceType, exposedUrls, ingressUrl, isPrivateServiceUrl: Services, then the Ingress if there is one.

    role:  which pods are meant, "" for all of them. taken: names of Services that are in use.
    The type ClusterIP is also called portforward; ingress is ClusterIP and a path at the cluster's ingress.
    """
    selector = {metadata.RELEASE_LABEL: submission.job} | ({ROLE_LABEL: role} if role else {})
    services: dict[str, Json] = {}
    urls: list[_Url] = []
    by_port: dict[int, tuple[str, int]] = {}
    for _, label, item in items(values, "ports"):
        kind = str(item.get("serviceType") or values.get("serviceType") or "").lower()
        name = _free_name(submission.job, label, {*services, *taken})
        port = _service_port(item, kind)
        type_ = _CLUSTER_IP if values.get("isPrivateServiceUrl") else _TYPES.get(kind, _CLUSTER_IP)
        services[name] = _service(submission, name, type_, selector, port, item)
        by_port.setdefault(int(item["container"]), (name, port["port"]))
        if kind == INGRESS:
            urls.append(_Url(name, port["port"]))
    for _, label, item in items(values, "exposedUrls"):
        number = int(item["container"])
        if number not in by_port:
            name = _free_name(submission.job, label, {*services, *taken})
            services[name] = _service(submission, name, _CLUSTER_IP, selector, _service_port(item, ""), item)
            by_port[number] = (name, number)
        urls.append(_Url(*by_port[number], str(item.get("url") or "")))
    made = list(services.values())
    return [*made, _ingress(submission, str(values.get("ingressUrl") or ""), urls)] if urls else made


def _exposed(values: Json) -> Iterator[tuple[int, str, Json]]:
    yield from items(values, "ports")
    yield from items(values, "exposedUrls")


def _service_port(item: Json, kind: str) -> Json:
    """Of a node, `external` is the port unless one is to be generated; of a Service it always is."""
    container = int(item["container"])
    external = item.get("external")
    port: Json = {
        "name": f"{container}-port",
        "protocol": "TCP",
        "port": int(external or container),
        "targetPort": container,
    }
    if kind == "nodeport" and external and not item.get("autoGenerate"):
        port["nodePort"] = int(external)
    return port


def _service(submission: Submission, name: str, type_: str, selector: Json, port: Json, item: Json) -> Json:
    service = metadata.make(
        submission, "v1", "Service", name, spec={"type": type_, "selector": dict(selector), "ports": [port]}
    )
    tools = {"run.ai/tool-type": item.get("toolType"), "run.ai/tool-name": item.get("toolName")}
    shown = {key: str(value) for key, value in tools.items() if value}
    if shown:
        service["metadata"].setdefault("annotations", {}).update(shown)
    return service


def _ingress(submission: Submission, host: str, urls: list[_Url]) -> Json:
    """The rules by host. A path of the cluster's own host is /<project>-<job>, with the port when there are several."""
    plain = sum(1 for one in urls if not one.url)
    rules: dict[str, list[Json]] = {}
    for one in urls:
        at, path = _host_and_path(one.url or host)
        if not one.url:
            path = path.rstrip("/") + submission.path + (f"-{one.port}" if plain > 1 else "")
        backend = {"service": {"name": one.service, "port": {"number": one.port}}}
        rules.setdefault(at, []).append({"path": path, "pathType": "Prefix", "backend": backend})
    return metadata.make(
        submission,
        "networking.k8s.io/v1",
        "Ingress",
        submission.job,
        spec={
            "ingressClassName": _INGRESS_CLASS,
            "rules": [({"host": at} if at else {}) | {"http": {"paths": paths}} for at, paths in rules.items()],
        },
    )


def _host_and_path(url: str) -> tuple[str, str]:
    """Of "https://a.example.com:8443/me": the host, "" for any, and the path, "/" for none."""
    rest = url.partition("://")[2] if "://" in url else url
    host, slash, path = rest.partition("/")
    return host.partition(":")[0].lower(), slash + path or "/"


def _free_name(job: str, label: str, taken: set[str]) -> str:
    """Two labels never share a Service (RUN-21948): a port and a URL may have the same one."""
    name, number = child_name(job, label), 1
    while name in taken:
        number += 1
        name = child_name(job, f"{label}-{number}")
    return name
