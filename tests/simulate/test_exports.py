"""A cluster's own objects, as kubectl writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from extender.errors import ConfigError
from extender.model.gpu import GpuRequest
from extender.packing.strategy import Strategy
from extender.pods.placement import Policy
from extender.simulate import inputs
from extender.simulate.fill import fill
from extender.simulate.workload import Workload
from tests.builders import node_object, pod_object

Json = dict[str, Any]


def listed(kind: str, *objects: Json) -> Json:
    """As the API server writes a list: without kinds inside."""
    return {"kind": f"{kind}List", "apiVersion": "v1", "items": list(objects)}


def load(folder: Path, nodes: object, pods: object) -> tuple[Workload, list[str]]:
    (folder / "nodes.json").write_text(json.dumps(nodes))
    (folder / "pods.json").write_text(json.dumps(pods))
    notes: list[str] = []
    return inputs.load(folder / "nodes.json", folder / "pods.json", notes.append), notes


def test_lists_of_the_api_server(tmp_path: Path) -> None:
    pods = [
        pod_object("half", fraction="0.5", cpu="500m", memory="1Gi"),
        pod_object("runs", gpus=2, on="n1", indices=(0, 1), phase="Running"),
        pod_object("done", gpus=2, phase="Succeeded"),
    ]
    workload, notes = load(tmp_path, listed("Node", node_object("n1", gpus=4)), listed("Pod", *pods))
    assert notes == []
    assert workload.capacity_milli == 4000
    assert [(one.name.split("/")[1], one.gpu) for one in workload.tasks] == [
        ("half", GpuRequest(1, share_milli=500)),
        ("runs", GpuRequest(2)),
    ]
    assert (workload.tasks[0].cpu_milli, workload.tasks[0].memory_mib) == (500, 1024)


def test_many_documents_by_hand_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    node = {"kind": "Node", **node_object("n1", gpus=2)}
    del node["status"]["conditions"]  # nobody writes these
    pod = {"kind": "Pod", **pod_object("p", gpus=1)}
    del pod["metadata"]["uid"]
    path.write_text(yaml.safe_dump_all([{"kind": "Namespace"}, node, None, pod]))
    workload = inputs.load(path, path, print)
    assert ([one.node.name for one in workload.hosts], len(workload.tasks)) == (["n1"], 1)


def test_nodes_and_pods_that_are_left_out_are_named(tmp_path: Path) -> None:
    nodes = listed("Node", node_object("up"), node_object("off", ready=False), node_object("shut", cordoned=True))
    pods = listed("Pod", pod_object("good", gpus=1), pod_object("bad", fraction="1.5"))
    workload, notes = load(tmp_path, nodes, pods)
    assert ([one.node.name for one in workload.hosts], len(workload.tasks)) == (["up"], 1)
    assert [note.split(", ")[2] for note in notes] == [
        "Node off: left out",
        "Node shut: left out",
        "Pod bad: left out",
    ]


def test_what_belongs_to_a_node_stays_and_takes_its_part(tmp_path: Path) -> None:
    agent = pod_object("agent", cpu="2", memory="1Gi", on="n1", owner="DaemonSet")
    workload, _ = load(
        tmp_path,
        listed("Node", node_object("n1", cpu="4", memory="8Gi")),
        listed("Pod", agent, pod_object("p", gpus=1)),
    )
    node = workload.hosts[0].node
    assert (node.cpu_milli, node.memory_mib, node.pods) == (2000, 7168, 109)
    assert len(workload.tasks) == 1


def test_an_unhealthy_device_is_one_less(tmp_path: Path) -> None:
    workload, _ = load(
        tmp_path, listed("Node", node_object("n1", gpus=3, slots=4)), listed("Pod", pod_object("p", gpus=1))
    )
    assert (workload.capacity_milli, workload.hosts[0].node.gpu_slots) == (3000, 3)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_node_selectors_memory_requests_and_slices(tmp_path: Path, strategy: Strategy) -> None:
    east, west = node_object("east", gpus=2), node_object("west", gpus=2, gpu_memory=20_480)
    west["metadata"]["labels"]["zone"] = "west"
    sliced = node_object("mig", gpus=0, mig={"1g.5gb": 7})
    selects = [pod_object(f"w{number}", gpus=1) for number in range(3)]
    for one in selects:
        one["spec"]["nodeSelector"] = {"zone": "west"}
    others = [pod_object("m", gpu_memory=30_000), pod_object("s", mig={"1g.5gb": 2})]
    workload, _ = load(tmp_path, listed("Node", east, west, sliced), listed("Pod", *selects, *others))
    assert workload.capacity_milli == 4000 + 7 * 143
    result = fill(workload, Policy(strategy, strategy), seed=1, inflate=0.9)
    assert result.decisions == 5
    assert result.refused_though_fitting == 0


WRONG = {
    "no such kind": ([{"kind": "Pod"}], "no object of kind Node, but 1 Pod"),
    "nothing": ([], "no object of kind Node, but nothing"),
    "not an object": (["x"], "'x' where an object with kind and metadata is expected"),
    "not a node": ([{"kind": "Node"}], "object 1, Node None: not a Node: KeyError: 'metadata'"),
    "no amount of CPU": (
        [{"kind": "Node", **node_object("n", cpu="many")}],
        "object 1, Node n: status.allocatable.cpu is 'many'; a quantity such as 96 or 95500m is needed",
    ),
    "twice": ([{"kind": "Node", **node_object("n")}] * 2, "node 'n' is there twice"),
}


@pytest.mark.parametrize(("nodes", "sentence"), WRONG.values(), ids=WRONG)
def test_wrong_objects(tmp_path: Path, nodes: object, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, nodes, listed("Pod", pod_object("p", gpus=1)))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("n.json", '{"a":\n ]', "line 2, column 2: not JSON"),
        ("n.yaml", "a: [1\nb: 2", "line 2, column 2: not YAML: did not find expected"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        inputs.load(path, path, print)
    assert sentence in str(caught.value)
