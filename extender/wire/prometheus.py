"""Prometheus' answer to an instant query about the use of GPUs → how much each pod uses its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from extender.errors import MalformedError

# Which labels name the pod. Unless the scrape says `honorLabels`, those of the exporter's own pod come first, and the
# pod that it tells about is in `exported_…`.
_NAMES = (("exported_namespace", "exported_pod"), ("namespace", "pod"))


def default_query(look_back_s: float) -> str:
    """The most that a pod's GPUs were used in the last seconds; nothing for a GPU that is not measured any more."""
    # `and`: a range still holds the samples of a target that has gone, an instant does not.
    metric = "DCGM_FI_DEV_GPU_UTIL"
    labels = ", ".join(label for pair in _NAMES for label in pair)
    return f"max by ({labels}) (max_over_time({metric}[{math.ceil(look_back_s)}s]) and {metric})"


def use_of_pods(body: bytes) -> dict[str, float]:
    """`namespace/name` → the largest value of its series, 0 for no use at all.

    Series that name no pod are left out, and so are pods of which a series has no proper value.
    Raises MalformedError when the answer is not one to an instant query.
    """
    use: dict[str, float] = {}
    unknown: set[str] = set()
    for series in _vector(body):
        try:
            labels, value = series["metric"], _number(series["value"][1])
            pod = _pod_of(labels)
        except (LookupError, TypeError, AttributeError) as error:
            raise MalformedError(f"not a series: {str(series)[:80]}") from error
        if pod is None:
            continue
        if value is None:
            unknown.add(pod)
        else:
            use[pod] = max(value, use.get(pod, 0.0))
    return {pod: value for pod, value in use.items() if pod not in unknown}


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


def _number(text: object) -> float | None:
    """A sample's value; None for one that is no measure of use: NaN, infinite, negative."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
