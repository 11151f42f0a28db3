from __future__ import annotations

import asyncio
import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from extender import metrics
from extender.cluster.picture import Picture
from extender.model.gpu import GpuRequest
from extender.model.names import NodeName, PodUID
from extender.model.node import Node
from extender.model.pod import Placement, Pod
from extender.model.queue import Project, Queue, Quota

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def _export(picture: Picture) -> str:
    registry = CollectorRegistry()
    registry.register(metrics.REGISTRY)
    registry.register(metrics.PictureCollector(picture, "c1"))
    return generate_latest(registry).decode() + asyncio.run(metrics.pod_series(picture, "c1")).decode()


def test_the_documented_list_is_the_exported_one() -> None:
    exported = set(re.findall(r"^# TYPE (\S+?) (?:counter|gauge|histogram)$", _export(Picture()), re.MULTILINE))
    exported = {name for name in exported if not name.endswith("_created")}
    documented = set(re.findall(r"^\| `(\S+)` \|", DOCS.read_text(), re.MULTILINE))
    assert documented == exported


def test_allocated_gpus_by_node_project_and_pod() -> None:
    picture = Picture()
    picture.upsert_project(Project(Queue("a", deserved=Quota(gpu_milli=2500))))
    picture.upsert_node(Node(NodeName("n1"), "", gpus=4, gpu_slots=4))
    half = GpuRequest(1, share_milli=500)
    picture.upsert_pod(Pod(PodUID("u"), "runai-a", "p", gpu=half, placement=Placement(NodeName("n1"), ((2, "g"),))))
    text = _export(picture)
    for line in (
        'runai_gpu_count_per_node{clusterId="c1",node="n1"} 4.0',
        'runai_allocated_gpu_count_per_node{clusterId="c1",node="n1"} 0.5',
        'runai_gpu_is_running_fractional_job{clusterId="c1",gpu="2",node="n1"} 1.0',
        'runai_allocated_gpu_count_per_project{clusterId="c1",project="a"} 0.5',
        'runai_project_guaranteed_gpus{clusterId="c1",project="a"} 2.5',
        'node="n1",pod_name="p",pod_namespace="runai-a",pod_uuid="u"} 0.5',
    ):
        assert line in text


def test_the_series_of_pods_can_be_read_back() -> None:
    picture = Picture()
    picture.upsert_project(Project(Queue("a")))
    picture.upsert_node(Node(NodeName("n1"), "", gpus=4, gpu_slots=4))
    placement = Placement(NodeName("n1"), ((0, ""),))
    held = Pod(PodUID("u"), "runai-a", "p", gpu=GpuRequest(1), cpu_milli=1500, memory_mib=2, placement=placement)
    picture.upsert_pod(held)
    text = asyncio.run(metrics.pod_series(picture, 'a "quoted" \\ cluster')).decode()
    samples = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    assert {name: sample.value for name, sample in samples.items()} == {
        "runai_allocated_gpu_count_per_pod": 1.0,
        "runai_allocated_millicpus_per_pod": 1500.0,
        "runai_allocated_memory_per_pod": 2.0 * 1024 * 1024,
    }
    assert {tuple(sorted(sample.labels.items())) for sample in samples.values()} == {
        (
            ("clusterId", 'a "quoted" \\ cluster'), ("node", "n1"), ("pod_name", "p"), ("pod_namespace", "runai-a"),
            ("pod_uuid", "u"),
        )
    }  # fmt: skip
