"""Packing against every placement there is, on small clusters."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.cluster.picture import Picture
from extender.model.amounts import GPU
from extender.model.gpu import NO_GPU, GpuRequest
from extender.model.names import NodeName
from extender.model.pod import Pod
from extender.packing.devices import choose
from extender.packing.strategy import Strategy
from extender.pods import placement
from extender.pods.placement import Policy
from tests.builders import node, offer, pod, world

frees = st.lists(st.sampled_from([0, 1, 250, 333, 500, 750, 999, 1000]), max_size=5)
requests = st.one_of(
    st.just(NO_GPU),
    st.builds(GpuRequest, devices=st.integers(1, 4)),
    st.builds(GpuRequest, devices=st.integers(1, 3), share_milli=st.sampled_from([1, 250, 333, 500, 751, 1000])),
    st.builds(GpuRequest, devices=st.integers(1, 3), memory_mib=st.sampled_from([1, 2048, 8192, 8193])),
)
strategies = st.sampled_from([Strategy.BINPACK, Strategy.SPREAD])
memories = st.sampled_from([0, 2048, 8192, 16_384])


def need(request: GpuRequest, gpu_memory_mib: int) -> int | None:
    """Milli-GPU that each chosen device must have free; None when no device of this memory will do."""
    if request.is_whole:
        return GPU
    if request.memory_mib:
        if request.memory_mib > gpu_memory_mib:
            return None
        return next(milli for milli in range(1, GPU + 1) if milli * gpu_memory_mib >= request.memory_mib * GPU)
    return request.share_milli


def placements(request: GpuRequest, free: list[int], gpu_memory_mib: int) -> list[tuple[int, ...]]:
    """Every set of devices that has room."""
    if request.devices == 0:
        return [()]
    bound = need(request, gpu_memory_mib)
    if bound is None:
        return []
    return [
        combination
        for combination in combinations(range(len(free)), request.devices)
        if all(free[index] >= bound for index in combination)
    ]


def rank(request: GpuRequest, free: list[int], chosen: tuple[int, ...], strategy: Strategy) -> list[tuple[int, int]]:
    """Smaller is better: the fullest (bin-pack) or emptiest (spread) first, then the lowest index; wholes by index."""
    sign = 0 if request.is_whole else -1 if strategy is Strategy.SPREAD else 1
    return sorted((sign * free[index], index) for index in chosen)


@settings(max_examples=500)
@given(requests, frees, memories, strategies)
def test_devices(request_: GpuRequest, free: list[int], gpu_memory_mib: int, strategy: Strategy) -> None:
    possible = placements(request_, free, gpu_memory_mib)
    best = min(possible, key=lambda chosen: rank(request_, free, chosen, strategy), default=None)
    assert choose(request_, free, gpu_memory_mib, strategy) == best


@dataclass
class Cluster:
    picture: Picture
    names: list[str]


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """Up to seven nodes with some pods on them, placed by our own filter or by others."""
    nodes = [
        node(
            f"n{number}",
            gpus=draw(st.integers(0, 3)),
            slots=3,
            gpu_memory=draw(st.sampled_from([None, 8192, 16_384])),
            cpu=str(draw(st.integers(1, 4))),
            mig={"1g.5gb": draw(st.integers(0, 2))},
        )
        for number in range(draw(st.integers(1, 7)))
    ]
    picture = world(*draw(st.permutations(nodes)))
    for number, given_ in enumerate(draw(st.lists(pods, max_size=6))):
        on = draw(st.sampled_from(nodes)).name
        if draw(st.booleans()):
            picture.upsert_pod(pod(f"foreign{number}", on=on, **given_))
        else:
            offer(picture, pod(f"ours{number}", **given_), on)
    return Cluster(picture, sorted(one.name for one in nodes))


pods = st.one_of(
    st.fixed_dictionaries({"gpus": st.integers(1, 3)}),
    st.fixed_dictionaries(
        {"fraction": st.sampled_from(["0.1", "0.25", "0.5", "0.9"]), "devices": st.sampled_from([1, 1, 1, 2, 3])}
    ),
    st.fixed_dictionaries({"gpu_memory": st.sampled_from([2048, 8192, 16_384]), "devices": st.sampled_from([1, 1, 2])}),
    st.fixed_dictionaries({"mig": st.fixed_dictionaries({"1g.5gb": st.integers(1, 2)})}),
    st.fixed_dictionaries({"cpu": st.sampled_from(["500m", "2"])}),
)


def node_key(picture: Picture, name: str, subject: Pod, strategy: Strategy) -> tuple[Any, ...] | None:
    """The documented order as a tuple, larger is better; None when nothing fits. Read from ledgers, not arrays."""
    ledger = picture.ledger(NodeName(name))
    assert ledger is not None
    assert ledger.node is not None
    request, free = subject.gpu, ledger.free()
    offered = dict(ledger.node.mig)
    if any(offered.get(kind, 0) - ledger.mig.get(kind, 0) < count for kind, count in request.mig):
        return None
    if request.is_shared and ledger.node.is_sliced:
        return None  # slices and shares do not mix
    possible = placements(request, free, ledger.gpu_memory_mib)
    if not possible:
        return None
    sign = -1 if strategy is Strategy.BINPACK else 1
    cpu = sign * max(0, ledger.node.cpu_milli - ledger.cpu_milli)
    if request.is_cpu_only:
        return (not (ledger.node.gpu_slots or ledger.node.mig), cpu)
    total, whole = sum(free), sum(1 for left in free if left == GPU)
    if request.is_shared:
        best = min(possible, key=lambda chosen: rank(request, free, chosen, strategy))
        worst = max(-sign * free[index] for index in best)  # the last device the share would take
        return (-worst, sign * total, cpu)
    return (sign * whole, sign * total, cpu)


@settings(max_examples=250)
@given(clusters(), pods, strategies, st.data())
def test_the_best_seat_of_all(
    cluster: Cluster, given_: dict[str, Any], strategy: Strategy, data: st.DataObject
) -> None:
    picture, subject = cluster.picture, pod("subject", **given_)
    policy = Policy(gpu_strategy=strategy, cpu_strategy=strategy)
    ghosts = ["ghost", "ghost2", "ghost3"]
    offered = data.draw(st.permutations(data.draw(st.lists(st.sampled_from(cluster.names + ghosts), unique=True))))
    keys = {name: node_key(picture, name, subject, strategy) for name in offered if name not in ghosts}
    fitting = {name: key for name, key in keys.items() if key is not None}
    best = min(fitting, key=lambda name: ([-part for part in fitting[name]], name), default=None)

    seat = placement.best_seat(picture, subject, offered, policy)
    assert (seat.node if seat else None) == best
    assert placement.fitting(picture, subject, offered) == [name for name in offered if name in fitting]
    if seat is None:
        return
    ledger = picture.ledger(seat.node)
    assert ledger is not None
    assert seat.indices == min(
        placements(subject.gpu, ledger.free(), ledger.gpu_memory_mib),
        key=lambda chosen: rank(subject.gpu, ledger.free(), chosen, strategy),
    )
    groups = [group for _, group in seat.devices]
    assert all(groups) if subject.gpu.is_shared else not any(groups)


@settings(max_examples=150)
@given(clusters(), pods, strategies)
def test_points_are_0_to_10_and_zero_where_nothing_fits(
    cluster: Cluster, given_: dict[str, Any], strategy: Strategy
) -> None:
    picture, subject = cluster.picture, pod("subject", **given_)
    policy = Policy(gpu_strategy=strategy, cpu_strategy=strategy)
    for name, points in placement.points(picture, subject, cluster.names, policy):
        assert 0 <= points <= 10
        assert points == 0 or placement.seat_on(picture, subject, NodeName(name), policy) is not None


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["0.1", "0.2", "0.25", "0.3334", "0.5", "0.9999"]), max_size=14), st.integers(1, 3))
def test_no_device_is_ever_over_one(fractions: list[str], gpus: int) -> None:
    picture = world(node("n", gpus=gpus))
    for number, fraction in enumerate(fractions):
        offer(picture, pod(f"p{number}", fraction=fraction))
    ledger = picture.ledger(NodeName("n"))
    assert ledger is not None
    assert all(sum(milli for milli, _ in sharers.values()) <= GPU for sharers in ledger.devices.values())
