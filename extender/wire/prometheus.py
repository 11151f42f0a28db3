"""Prometheus' answer to an instant query about the use of GPUs → how much each pod, and each device, was used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from extender.errors import MalformedError
from extender.pods.idleness import Use

# Which labels name the pod. Unless the scrape says `honorLabels`, those of the exporter's own pod come first, and the
# pod that it tells about is in `exported_…`.
_NAMES = (("exported_namespace", "exported_pod"), ("namespace", "pod"))
_UUID = "UUID"  # of the device; pods that share one are found by it


def default_query(look_back_s: float) -> str:
    """The most that each GPU of a pod was used in the last seconds; nothing for one that is not measured any more."""
    # `and`: a range still holds the samples of a target that has gone, an instant does not.
    metric = "DCGM_FI_DEV_GPU_UTIL"
    labels = ", ".join((*(label for pair in _NAMES for label in pair), _UUID))
    return f"max by ({labels}) (max_over_time({metric}[{math.ceil(look_back_s)}s]) and {metric})"


def read_use(body: bytes) -> Use:
    """The largest value of the series of each pod and of each device.

    Series that name neither are left out, and so is whoever has a series without a proper value.
    Raises MalformedError when the answer is not one to an instant query.
    """
    pods: dict[str, float] = {}
    devices: dict[str, float] = {}
    for series in _vector(body):
        try:
            labels, value = series["metric"], _number(series["value"][1])
            for found, name in ((pods, _pod_of(labels)), (devices, labels.get(_UUID))):
                if name:
                    found[name] = max(value, found.get(name, 0.0))
        except (LookupError, TypeError, AttributeError) as error:
            raise MalformedError(f"not a series: {str(series)[:80]}") from error
    return Use(_known(pods), _known(devices))


def why_not(body: bytes) -> str:
    """What Prometheus says about a query that it refused; "" when that cannot be read."""
    try:
        said = orjson.loads(body).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        return ""
    return str(said or "")[:200]


def _vector(body: bytes) -> list[Any]:
    try:
        answer = orjson.loads(body)
        data = answer["data"]
        if answer["status"] == "success" and data["resultType"] == "vector" and isinstance(data["result"], list):
            return list(data["result"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        pass
    raise MalformedError(f"not a vector of samples: {body[:80]!r}")


def _pod_of(labels: Mapping[str, Any]) -> str | None:
    for namespace, pod in _NAMES:
        if labels.get(namespace) and labels.get(pod):
            return f"{labels[namespace]}/{labels[pod]}"
    return None


def _number(text: object) -> float:
    """A sample's value; infinite for one that is no measure of use: NaN, negative, no number."""
    try:
        value = float(str(text))
    except ValueError:
        return math.inf
    return value if value >= 0 else math.inf


def _known(use: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in use.items() if math.isfinite(value)}
