"""The seat of one pod on one node: which devices, and the group that the sharers of a device carry."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from extender.cluster.ledger import NodeLedger
from extender.cluster.ranking import Shape
from extender.model.amounts import GPU
from extender.model.names import NodeName
from extender.model.pod import Placement, Pod
from extender.packing import devices, score
from extender.packing.strategy import Strategy


def shape_of(pod: Pod) -> Shape:
    """What the pod's score depends on."""
    return Shape(pod.gpu, pod.cpu_milli, pod.gpu_products)


def seat_in(
    ledger: NodeLedger, pod: Pod, node: NodeName, strategy: Strategy, free: Sequence[int] | None = None
) -> Placement | None:
    """The pod's devices on the node of `ledger`, None when it has not got them; CPU and memory are not looked at.

    free: milli-GPU free per device index, by default the ledger's own.
    """
    if ledger.node is None or (pod.gpu.is_shared and ledger.node.is_sliced):
        return None
    if pod.gpu.mig:
        offered = dict(ledger.node.mig)
        if any(offered.get(name, 0) - ledger.mig.get(name, 0) < count for name, count in pod.gpu.mig):
            return None
    free = ledger.free() if free is None else free
    closed = ledger.closed() if pod.gpu.is_shared else ()
    if closed:
        free = [0 if index in closed else left for index, left in enumerate(free)]
    chosen = devices.choose(pod.gpu, free, ledger.gpu_memory_mib, strategy)
    if chosen is None:
        return None
    if not pod.gpu.is_shared:
        return Placement(node, tuple((index, "") for index in chosen))
    groups = [ledger.group_of(index) for index in chosen]
    opens = groups.count("")
    if opens and 0 < ledger.node.pods < len(ledger.pods) + ledger.opening() + 1 + opens:
        return None  # a device that starts to be shared takes the place of one more pod, which reserves it
    seated = zip(chosen, groups, strict=True)
    return Placement(node, tuple((index, group or new_group(pod, node, index)) for index, group in seated))


def has_room(ledger: NodeLedger, pod: Pod) -> bool:
    """Whether the node of `ledger` has the CPU, the memory and a place for one more pod."""
    node = ledger.node
    return (
        node is not None
        and node.cpu_milli - ledger.cpu_milli >= pod.cpu_milli
        and node.memory_mib - ledger.memory_mib >= pod.memory_mib
        and node.pods > len(ledger.pods)
    )


def is_free(ledger: NodeLedger, pod: Pod, placement: Placement) -> bool:
    """Whether the pod could have this very placement, devices included."""
    if not has_room(ledger, pod) or ledger.node is None:
        return False
    if pod.gpu.mig and seat_in(ledger, pod, placement.node, Strategy.BINPACK) is None:
        return False
    share = pod.gpu.share_on(ledger.gpu_memory_mib)
    free = ledger.free()
    needed = GPU if share is None else share
    if any(index >= len(free) or free[index] < needed for index in placement.indices):
        return False
    if pod.gpu.is_shared and set(ledger.closed()).intersection(placement.indices):
        return False
    # Devices that nobody recorded are any whole ones.
    missing = pod.gpu.devices - len(placement.devices)
    return missing <= 0 or sum(left == GPU for left in free) >= missing + len(placement.devices)


def new_group(pod: Pod, node: NodeName, index: int) -> str:
    """The id of a device that starts to be shared: the same inputs give the same id, another sharer another."""
    return hashlib.sha256(f"{node}/{index}/{pod.uid}".encode()).hexdigest()[:16]


def best_row(values: score.Ints) -> int | None:
    """The row with the largest score, the lowest name among equals: a strict winner."""
    if not values.size:
        return None
    row = int(values.argmax())
    return None if values[row] == score.INFEASIBLE else row
