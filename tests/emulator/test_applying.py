"""Applying manifests: any kind by discovery, in any order, with errors that name the document."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from extender.emulator.applying import parse_documents
from extender.emulator.cluster import EmbeddedCluster
from extender.errors import ConfigError

Json = dict[str, Any]


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(nodes=0) as cluster:
        yield cluster


def config_map(namespace: str = "default", **data: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": namespace},
        "data": data,
    }


async def test_objects_are_created_and_then_merged_into(cluster: EmbeddedCluster) -> None:
    await cluster.apply([config_map(a="1")])
    await cluster.apply([config_map(b="2")])
    found = await cluster.client.get("/api/v1/namespaces/default/configmaps/c")
    assert found["data"] == {"a": "1", "b": "2"}


async def test_a_namespace_may_come_later_in_the_same_call(cluster: EmbeddedCluster) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "late"}}
    await cluster.apply([config_map("late"), namespace])
    assert await cluster.client.get("/api/v1/namespaces/late/configmaps/c")


async def test_a_namespace_may_come_from_somebody_else(cluster: EmbeddedCluster) -> None:
    applying = asyncio.create_task(cluster.apply([config_map("later")]))
    await asyncio.sleep(0.2)
    await cluster.client.create(
        "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}}
    )
    await applying


async def test_custom_resources_are_found(cluster: EmbeddedCluster) -> None:
    project = {"apiVersion": "run.ai/v1", "kind": "Project", "metadata": {"name": "p"}, "spec": {"deservedGpus": 1}}
    await cluster.apply([project])
    assert (await cluster.client.get("/apis/run.ai/v1/projects/p"))["spec"]["deservedGpus"] == 1


async def test_what_never_becomes_possible_is_named(cluster: EmbeddedCluster) -> None:
    with pytest.raises(ConfigError, match=r"document 2 \(ConfigMap nowhere/c\): .*namespaces .nowhere. not found"):
        await cluster.apply([config_map(), config_map("nowhere")], timeout_s=0.2)


async def test_a_refusal_is_not_tried_again(cluster: EmbeddedCluster) -> None:
    bad = {"apiVersion": "run.ai/v1", "kind": "Project", "metadata": {"name": "p"}, "spec": {"deservedGpu": 1}}
    with pytest.raises(ConfigError, match=r"document 1 \(Project p\): .*deservedGpu"):
        await cluster.apply([bad], timeout_s=60)


def test_lists_are_taken_apart_and_empty_documents_are_skipped() -> None:
    text = "---\n# nothing\n---\nkind: List\napiVersion: v1\nitems:\n" + "\n".join(
        f"- {{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}}}" for name in "ab"
    )
    documents = parse_documents(text, "f")
    assert [str(document) for document in documents] == [
        "f, document 2, item 1 (Pod a)",
        "f, document 2, item 2 (Pod b)",
    ]
