"""What the bench measures must be what it says: parsed by the service's own parsers."""

from __future__ import annotations

import orjson
import pytest

from extender.wire import extender as extender_wire
from extender.wire import nodes as node_wire
from extender.wire import pods as pod_wire
from perf import objects


@pytest.mark.parametrize(("nodes", "pods"), [(100, 2000), (50, 100)])
def test_running_pods_fit_their_devices(nodes: int, pods: int) -> None:
    seats = objects.Seats(nodes, pods)
    taken: dict[tuple[str, int], int] = {}
    for index in range(pods):
        raw = objects.running_pod(index, *seats.deal(index))
        pod = pod_wire.parse(orjson.loads(raw))
        assert pod.placement is not None
        assert len(pod.placement.devices) == pod.gpu.devices
        assert 2048 <= len(raw) <= 4096
        for device in pod.placement.indices:
            where = (pod.placement.node, device)
            taken[where] = taken.get(where, 0) + (pod.gpu.share_milli or 1000)
    assert max(taken.values()) <= 1000
    # A request for eight GPUs finds a node.
    assert len({node for node, _ in taken}) <= 0.8 * nodes


def test_too_many_running_pods_are_refused() -> None:
    seats = objects.Seats(1, 1000)
    with pytest.raises(ValueError, match="fits nowhere"):
        for index in range(1000):
            seats.deal(index)


def test_a_node_is_ready_and_has_its_gpus() -> None:
    node = node_wire.parse(objects.node(7))
    assert (node.name, node.gpus, node.gpu_memory_mib, node.schedulable) == ("node-00007", 8, 81_920, True)


@pytest.mark.parametrize("shape", objects.SHAPES)
def test_a_request_asks_for_its_shape(shape: objects.Shape) -> None:
    body = objects.filter_body(objects.pending_pod("p", shape, version=1), 3)
    args = extender_wire.decode_args(body)
    assert list(args.names) == ["node-00000", "node-00001", "node-00002"]
    assert args.pod.gpu_error == ""
    assert args.pod.gpu.share_milli == shape.share_milli
    assert args.pod.gpu.devices == (shape.gpus or 1)
    assert (args.pod.cpu_milli, args.pod.memory_mib) == (shape.cpu_milli, shape.memory_mib)
    assert args.pod.placement is None


def test_few_nodes_run_fewer_pods() -> None:
    assert objects.running_pods(100, 20_000) == 2000
    assert objects.running_pods(5000, 20_000) == 20_000
