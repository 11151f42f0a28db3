"""Serving: a Knative Service where the cluster has Knative, else a Deployment with Services.

Knative takes what we put into its pods only with its feature flags for that: `kubernetes.podspec-schedulername`
always, those for node selectors, tolerations, affinity, priority classes, security contexts, init containers and
claims as they are used. It has no terminals, NFS volumes and block devices: stdin and tty are left out, the rest it
refuses. It gives each Service its URL, so ports have no Services of ours and only the first one, by label, is served;
and pods have no variables that are taken from their own fields. A Deployment does not scale by itself: it has minScale
replicas, at least one, as nobody would wake it up.
"""

from __future__ import annotations

from typing import Any

from extender.workloads.objects import metadata, network, pods
from extender.workloads.objects.draft import Host
from extender.workloads.objects.parts import decimal_text, without_empty
from extender.workloads.objects.submission import Submission

Json = dict[str, Any]

KNATIVE = "serving.knative.dev/Service"
_AUTOSCALING = "autoscaling.knative.dev/"
_VISIBILITY = "networking.knative.dev/visibility"
_HPA = "hpa.autoscaling.knative.dev"
# What Knative calls them; what it does not know goes by its own name, for the class that does.
_METRICS = {"cpu-utilization": "cpu", "throughput": "rps", "concurrency": "concurrency"}
_OF_REQUESTS = frozenset({"rps", "concurrency"})  # what Knative's own autoscaler counts


def serving(submission: Submission, values: Json) -> list[Json]:
    """minScale, maxScale, metric, metricName, target, class, isPrivateServiceUrl."""
    if KNATIVE in submission.apis:
        return _knative(submission, values)
    pod = pods.draft(submission, values, Host(restart="Always"))
    spec = {
        "replicas": max(1, int(values.get("minScale") or 1)),
        "selector": {"matchLabels": {metadata.RELEASE_LABEL: submission.job}},
        "template": pod.template(),
    }
    job = metadata.make_job(submission, "apps/v1", "Deployment", submission.job, spec)
    return [*pod.objects, *network.access(submission, values), job]


def _knative(submission: Submission, values: Json) -> list[Json]:
    pod = pods.draft(submission, values, Host(restart="", fields=False))
    pod.container |= {"ports": pod.container["ports"][:1], "stdin": None, "tty": None}
    pod.annotations |= _autoscaling(values)
    labels = {_VISIBILITY: "cluster-local"} if values.get("isPrivateServiceUrl") else {}
    job = metadata.make_job(
        submission, "serving.knative.dev/v1", "Service", submission.job, {"template": pod.template()}, labels=labels
    )
    return [*pod.objects, job]


def _autoscaling(values: Json) -> dict[str, str]:
    metric = str(values.get("metricName") or "")
    if not metric and values.get("metric"):
        known = str(values["metric"]).lower()
        metric = _METRICS.get(known, known)
    # Knative's own autoscaler knows requests only; everything else is measured by Kubernetes' one.
    class_ = values.get("class") or (_HPA if metric and metric not in _OF_REQUESTS else "")
    given = {
        "min-scale": _text(values.get("minScale")),
        "max-scale": _text(values.get("maxScale")),
        "class": class_,
        "metric": metric,
        "target": "" if values.get("target") is None else decimal_text(values["target"]),
    }
    return {_AUTOSCALING + key: str(value) for key, value in without_empty(given).items()}


def _text(value: Any) -> str:
    return "" if value is None else str(value)
