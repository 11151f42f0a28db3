"""Our verbs over a picture of N nodes × 8 GPUs with P running pods, without an API server behind them.

`python -m perf.ours NODES PODS seat|all`
"""

from __future__ import annotations

import gc
import sys
from typing import cast

from extender.app import run
from extender.cluster.picture import Picture
from extender.controllers.binder import Binder
from extender.controllers.upkeep import Upkeep
from extender.model.gpu import GpuRequest
from extender.model.names import NodeName, PodUID
from extender.model.node import Node
from extender.model.pod import Phase, Placement, Pod
from extender.model.queue import Queue, Quota
from extender.pods.placement import Policy, best_seat
from extender.servers.verbs import Verbs
from perf.echo import serve

# The running mix, by turns: halves, quarters, one whole GPU, two.
_MIX = (GpuRequest(1, share_milli=500), GpuRequest(1, share_milli=250), GpuRequest(1), GpuRequest(2))


def picture(nodes: int, pods: int) -> Picture:
    """N nodes named as the load names them, and P pods placed by our own packer (fewer when they do not fit)."""
    made = Picture()
    made.upsert_project(Queue("team-a", deserved=Quota(gpu_milli=0)))
    made.upsert_namespace("runai-team-a", "team-a")
    names = [NodeName(f"node-{index:05d}") for index in range(nodes)]
    for name in names:
        made.upsert_node(
            Node(name, "", gpus=8, gpu_slots=8, gpu_memory_mib=81920, cpu_milli=128_000, memory_mib=1 << 20, pods=110)
        )
    for index in range(pods):
        pod = Pod(
            PodUID(f"running-{index}"), "runai-team-a", f"running-{index}", index + 1, Phase.RUNNING,
            gpu=_MIX[index % len(_MIX)], cpu_milli=1000, memory_mib=1024,
        )  # fmt: skip
        # Spread over the rows without a search for each: the state matters here, not how it came about.
        seat = best_seat(made, pod, [names[(index * 7919) % nodes]], Policy())
        if seat is not None:
            made.upsert_pod(
                Pod(pod.uid, pod.namespace, pod.name, pod.version, pod.phase, pod.gpu, "", 1000, 1024,
                    placement=Placement(seat.node, seat.devices))
            )  # fmt: skip
    return made


class _Quiet:
    """Stands where binding and waking would be: this load never reaches them."""

    def refused(self, *_: object) -> None: ...


def main() -> None:
    nodes, pods, answer = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    state = picture(nodes, pods)
    verbs = Verbs(
        state,
        Policy(),
        cast("Binder", _Quiet()),
        cast("Upkeep", _Quiet()),
        lambda: "",
        answer_all=answer == "all",
        max_body_bytes=16 * 1024 * 1024,
    )
    gc.collect()
    gc.freeze()
    run(serve(verbs.app()))


if __name__ == "__main__":
    main()
