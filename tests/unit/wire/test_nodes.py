from __future__ import annotations

from typing import Any

import pytest

from extender.errors import MalformedError
from extender.wire import nodes
from tests.builders import node, node_object

Json = dict[str, Any]


def test_everything_that_is_read() -> None:
    read = node("n", gpus=6, slots=8, gpu_memory=40_960, cpu="63500m", memory="250Gi", mig={"1g.5gb": 7})
    assert (read.name, read.uid, read.gpus, read.gpu_slots, read.gpu_memory_mib) == ("n", "n-uid", 6, 8, 40_960)
    assert (read.cpu_milli, read.memory_mib, read.pods) == (63_500, 256_000, 110)
    assert read.mig == (("nvidia.com/mig-1g.5gb", 7),)
    assert read.gpu_product == "NVIDIA-A100-SXM4-40GB"
    assert read.schedulable


def test_the_least_that_is_a_node() -> None:
    read = nodes.parse({"metadata": {"name": "n"}})
    assert (read.gpus, read.gpu_slots, read.gpu_memory_mib, read.cpu_milli, read.schedulable) == (0, 0, 0, 0, False)


@pytest.mark.parametrize(
    ("memory", "read"),
    [
        (None, 0),
        ("", 0),
        ("abc", 0),
        ("-1", 0),
        ("1e309", 0),
        ("½", 0),
        ("NaN", 0),
        ("99999999999", 0),
        ("81920", 81_920),
    ],
)
def test_an_absurd_gpu_memory_is_none(memory: str | None, read: int) -> None:
    assert node("n", gpu_memory=memory).gpu_memory_mib == read


@pytest.mark.parametrize(
    ("gpus", "slots", "read"),
    [
        ("8", None, (8, 8)),
        ("0", "8", (0, 8)),
        ("9", "8", (9, 9)),
        (None, None, (0, 0)),
        ("x", "8", (0, 8)),
        ("-4", "8", (0, 8)),
        ("1e9", None, (256, 256)),
        ("0.5", "1", (0, 1)),
    ],
)
def test_gpu_counts(gpus: str | None, slots: str | None, read: tuple[int, int]) -> None:
    one = node("n", gpus=gpus, slots=slots)
    assert (one.gpus, one.gpu_slots) == read


@pytest.mark.parametrize(
    ("given", "schedulable"),
    [({}, True), ({"ready": False}, False), ({"cordoned": True}, False)],
)
def test_schedulable(given: dict[str, bool], schedulable: bool) -> None:
    assert node("n", **given).schedulable == schedulable


def test_capacities_round_down() -> None:
    read = node("n", cpu="1500u", memory="1048577")
    assert (read.cpu_milli, read.memory_mib) == (1, 1)


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"metadata": None},
        {"metadata": {}},
        {"metadata": {"name": "n", "labels": [1]}},
        {"metadata": {"name": "n"}, "status": {"allocatable": [1]}},
        {"metadata": {"name": "n"}, "status": {"conditions": 3}},
        {"metadata": {"name": "n"}, "status": {"conditions": ["Ready"]}},
        {"metadata": {"name": "n"}, "spec": 7},
    ],
)
def test_what_is_no_node(obj: Json) -> None:
    with pytest.raises(MalformedError, match="not a Node: "):
        nodes.parse(obj)


@pytest.mark.parametrize("name", [5, ["n"], {"n": 1}, "", None])
def test_a_name_is_a_text(name: Any) -> None:
    obj = node_object("n")
    obj["metadata"]["name"] = name
    with pytest.raises(MalformedError):
        nodes.parse(obj)
