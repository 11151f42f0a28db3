"""What a pod asks of a node as Kubernetes counts it; the scheduler's fit and the kubelet's admission share
it.

Amounts are integers: CPU in milli-CPU, everything else in its base unit (bytes, devices).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

from extender.model.amounts import parse_quantity

Json = dict[str, Any]

PODS = "pods"  # every pod takes one


def amount_of(resource: str, quantity: str | int | float) -> int:
    """A quantity as an integer, rounded up; a text that is not a quantity counts as nothing."""
    try:
        value = parse_quantity(quantity)
    except ValueError:
        return 0
    if resource == "cpu":
        value *= Decimal(1000)
    return int(value.to_integral_value(rounding=ROUND_CEILING))


def amounts_of(quantities: Mapping[str, Any] | None) -> dict[str, int]:
    """A ResourceList as integers."""
    return {name: amount_of(name, quantity) for name, quantity in (quantities or {}).items()}


def pod_requests(pod: Json) -> dict[str, int]:
    """The effective request of a pod, `pods: 1` included.

    Containers add up; side-cars (init containers that restart always) add to everything after them; other
    init containers run one at a time, so the largest counts; overhead is added; a pod-level request replaces
    the sum. A limit without a request is the request, as the API server's defaulting has it.
    """
    spec = pod.get("spec") or {}
    running: Counter[str] = Counter()
    largest: Counter[str] = Counter()
    for container in spec.get("initContainers") or ():
        request = _container_request(container)
        if container.get("restartPolicy") == "Always":
            running.update(request)
            largest |= running
        else:
            largest |= running + Counter(request)
    running.update(_total(_container_request(container) for container in spec.get("containers") or ()))
    total = Counter(running | largest)
    for name, amount in _container_request(spec).items():  # spec.resources, the pod's own
        total[name] = amount
    total.update(amounts_of(spec.get("overhead")))
    total[PODS] = 1
    return {name: amount for name, amount in total.items() if amount > 0}


def host_ports(pod: Json) -> frozenset[tuple[str, str, int]]:
    """(host IP, protocol, port) of every port that a pod takes on its node."""
    spec = pod.get("spec") or {}
    return frozenset(
        (port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", int(port["hostPort"]))
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def is_extended(resource: str) -> bool:
    """Whether a resource is a device plugin's, like `nvidia.com/gpu` or `nvidia.com/mig-1g.5gb`."""
    return "/" in resource and not resource.startswith("kubernetes.io/")


def is_terminal(pod: Json) -> bool:
    """Whether a pod has finished and so takes nothing any more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _container_request(container: Json) -> dict[str, int]:
    resources = container.get("resources") or {}
    return amounts_of({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _total(requests: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for request in requests:
        total.update(request)
    return total
