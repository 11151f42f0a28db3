"""Every metric we export, in one place. docs/metrics.md lists them; a test keeps both equal.

Units are in the names, label sets are closed, and no request label carries a pod's name. The gauges of what is
allocated now are read from the picture when they are scraped: decisions pay nothing for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from extender.cluster.picture import HoldState, Picture
from extender.model.amounts import GPU
from extender.model.queue import Work
from extender.model.verdict import Reason
from extender.pods.repair import Why

REGISTRY = CollectorRegistry()

VERBS = ("filter", "prioritize", "bind", "preempt")
_LATENCY = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
)

VERB_SECONDS = Histogram(
    "runai_extender_verb_duration_seconds",
    "Time from the last byte of a verb's request to its answer.",
    ["verb"],
    buckets=_LATENCY,
    registry=REGISTRY,
)
DECISIONS = Counter(
    "runai_extender_decisions_total",
    "Answers by verb and reason; the reason of a yes is `ok`, of a request nobody can judge `error`.",
    ["verb", "reason"],
    registry=REGISTRY,
)
WATCH_EVENTS = Counter("runai_watch_events_total", "Watch events taken in.", ["kind"], registry=REGISTRY)
RELISTS = Counter(
    "runai_watch_relists_total",
    "Times a kind had to be listed again because its resourceVersion was too old.",
    ["kind"],
    registry=REGISTRY,
)
WATCH_SILENT = Gauge(
    "runai_watch_silent_seconds",
    "How long a kind's watch has been down; 0 while it is up.",
    ["kind"],
    registry=REGISTRY,
)
MALFORMED = Counter(
    "runai_malformed_objects_total",
    "API objects that could not be read and were left out.",
    ["kind"],
    registry=REGISTRY,
)
BINDS = Counter(
    "runai_bind_outcomes_total",
    "Bindings by outcome: stored, refused, gone, unknown.",
    ["outcome"],
    registry=REGISTRY,
)
EXPIRED = Counter("runai_reservations_expired_total", "Seats that nobody came to bind in time.", registry=REGISTRY)
WOKEN = Counter("runai_pods_woken_total", "Refused pods that were offered to kube-scheduler again.", registry=REGISTRY)
SEATED = Counter("runai_pods_seated_total", "Pods nominated to the place that the planner holds.", registry=REGISTRY)
EVICTIONS = Counter(
    "runai_evictions_total", "Evictions by decision and outcome.", ["action", "outcome"], registry=REGISTRY
)
GPU_REPAIRS = Counter(
    "runai_gpu_sharing_repairs_total",
    "What was put right about shared devices and their reservations, by reason.",
    ["reason"],
    registry=REGISTRY,
)
ADMISSION_SECONDS = Histogram(
    "runai_admission_duration_seconds",
    "Time from the last byte of an AdmissionReview or ConversionReview to its answer.",
    ["webhook"],
    buckets=_LATENCY,
    registry=REGISTRY,
)
ADMISSIONS = Counter(
    "runai_admission_reviews_total",
    "Reviews by webhook and outcome: allowed, patched, converted, refused, malformed, error.",
    ["webhook", "outcome"],
    registry=REGISTRY,
)
CERTIFICATE_EXPIRY = Gauge(
    "runai_admission_certificate_expiry_timestamp_seconds",
    "When the certificate that the webhook serves with ends, in Unix time; 0 while there is none.",
    registry=REGISTRY,
)
GROUPS_MADE = Counter("runai_podgroups_made_total", "PodGroups made for pods that named none.", registry=REGISTRY)
TIMED_OUT = Counter(
    "runai_workloads_timed_out_total", "Workloads stopped by their project's time limit.", ["work"], registry=REGISTRY
)
IDLED_OUT = Counter(
    "runai_workloads_idled_out_total", "Workloads stopped by their project's idle limit.", ["work"], registry=REGISTRY
)
GPU_METRICS_QUERIES = Counter(
    "runai_gpu_metrics_queries_total",
    "Questions to Prometheus about the use of GPUs by outcome: ok, empty, failed, malformed.",
    ["outcome"],
    registry=REGISTRY,
)
GPU_METRICS_MISSING = Gauge(
    "runai_gpu_metrics_missing_pods",
    "Running pods with an idle limit whose use of GPUs the last answer did not tell: they are not stopped.",
    registry=REGISTRY,
)
EVENTS = Counter(
    "runai_events_total", "Kubernetes Events by fate: written, dropped, failed.", ["fate"], registry=REGISTRY
)

for _verb in VERBS:
    VERB_SECONDS.labels(_verb)
    for _reason in ("ok", "error"):
        DECISIONS.labels(_verb, _reason)
for _known in Reason:
    DECISIONS.labels("filter", _known.value)
for _outcome in ("stored", "refused", "gone", "unknown"):
    BINDS.labels(_outcome)
for _why in Why:
    if _why is not Why.UNUSED:
        GPU_REPAIRS.labels(_why.value)
for _webhook, _good in (("mutate", ("allowed", "patched")), ("validate", ("allowed",)), ("convert", ("converted",))):
    ADMISSION_SECONDS.labels(_webhook)
    for _outcome in (*_good, "refused", "malformed", "error"):
        ADMISSIONS.labels(_webhook, _outcome)
for _work in (Work.INTERACTIVE, Work.TRAINING):
    TIMED_OUT.labels(_work.value)
    IDLED_OUT.labels(_work.value)
for _outcome in ("ok", "empty", "failed", "malformed"):
    GPU_METRICS_QUERIES.labels(_outcome)
for _fate in ("written", "dropped", "failed"):
    EVENTS.labels(_fate)


class PictureCollector(Collector):
    """What is allocated now by node and project, under the names of the product's documentation. Cost: O(nodes)."""

    def __init__(self, picture: Picture, cluster_id: str) -> None:
        self._picture = picture
        self._cluster = cluster_id

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._nodes()
        yield from self._projects()
        yield from self._reservations()

    def _nodes(self) -> Iterator[GaugeMetricFamily]:
        count = _gauge("runai_gpu_count_per_node", "GPUs that the node offers.", "node")
        allocated = _gauge("runai_allocated_gpu_count_per_node", "GPUs, parts included, held on the node.", "node")
        fractional = _gauge("runai_gpu_is_running_fractional_job", "1 while pods share the GPU.", "gpu", "node")
        for node in self._picture.nodes():
            ledger = self._picture.ledger(node.name)
            assert ledger is not None
            count.add_metric([self._cluster, node.name], node.gpus)
            held = GPU * sum(ledger.unindexed.values())
            for index, sharers in ledger.devices.items():
                held += sum(milli for milli, _ in sharers.values())
                shared = any(milli and group for milli, group in sharers.values())
                fractional.add_metric([self._cluster, str(index), node.name], float(shared))
            allocated.add_metric([self._cluster, node.name], held / GPU)
        yield from (count, allocated, fractional)

    def _projects(self) -> Iterator[GaugeMetricFamily]:
        quota = _gauge("runai_project_guaranteed_gpus", "The project's GPU quota.", "project")
        allocated = _gauge("runai_allocated_gpu_count_per_project", "GPUs held by the project's pods.", "project")
        for name, usage in self._picture.quotas.holders():
            allocated.add_metric([self._cluster, name], usage.allocated.gpu_milli / GPU)
            project = self._picture.quotas.projects.get(name)
            if project is not None and project.queue.deserved.gpu_milli is not None:
                quota.add_metric([self._cluster, name], project.queue.deserved.gpu_milli / GPU)
        yield from (quota, allocated)

    def _reservations(self) -> Iterator[GaugeMetricFamily]:
        holds = dict.fromkeys((HoldState.PROMISED, HoldState.RESERVED, HoldState.BINDING, HoldState.UNKNOWN), 0)
        for record in self._picture.provisional():
            if record.hold is not None and record.hold.state in holds:
                holds[record.hold.state] += 1
        reserved = GaugeMetricFamily(
            "runai_reservations", "Seats held that no API object records yet, by state.", labels=["state"]
        )
        for state, number in holds.items():
            reserved.add_metric([state.value], number)
        yield reserved
        sharing = self._picture.sharing
        pods = GaugeMetricFamily(
            "runai_gpu_reservations", "Pods that hold a shared device, by state.", labels=["state"]
        )
        shared = sum(len(uids) for device, uids in sharing.reservations.items() if device in sharing.sharers)
        pods.add_metric(["shared"], shared)
        pods.add_metric(["unshared"], sum(map(len, sharing.reservations.values())) - shared)
        yield pods


_POD_SERIES = (
    ("runai_allocated_gpu_count_per_pod", "GPUs held by the pod."),
    ("runai_allocated_millicpus_per_pod", "Milli-CPU requested by the placed pod."),
    ("runai_allocated_memory_per_pod", "Bytes of memory requested by the placed pod."),
)
_PODS_AT_ONCE = 500  # a millisecond's work: a scrape must not keep kube-scheduler waiting


async def pod_series(picture: Picture, cluster_id: str) -> bytes:
    """What every placed pod holds, in the text format. The library would take half a second for 20,000 pods at one
    go; this is a tenth of that, in slices between which requests are answered.
    """
    cluster = cluster_id.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    series: list[list[str]] = [[f"# HELP {name} {text}", f"# TYPE {name} gauge"] for name, text in _POD_SERIES]
    for number, record in enumerate(list(picture.pods.values())):
        if number % _PODS_AT_ONCE == 0:
            await asyncio.sleep(0)
        hold, pod = record.hold, record.pod
        if hold is None or hold.charge is None:
            continue
        labels = (
            f'{{clusterId="{cluster}",node="{hold.placement.node}",pod_name="{pod.name}",'
            f'pod_namespace="{pod.namespace}",pod_uuid="{pod.uid}"}}'
        )
        values = (hold.charge.amounts.gpu_milli / GPU, float(pod.cpu_milli), float(pod.memory_mib * 1024 * 1024))
        for (name, _), lines, value in zip(_POD_SERIES, series, values, strict=True):
            lines.append(f"{name}{labels} {value!r}")
    return "".join(f"{line}\n" for lines in series for line in lines).encode()


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["clusterId", *labels])
