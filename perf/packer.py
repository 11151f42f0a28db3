"""The packer's decision alone, in this process: which node, which devices, and holding them. No HTTP, no JSON."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from typing import Any

import orjson

from extender.cluster.picture import HoldState, Picture
from extender.model.queue import Project, Queue, Quota
from extender.pods.placement import Policy, best_seat
from extender.wire import extender as extender_wire
from extender.wire import nodes as node_wire
from extender.wire import pods as pod_wire
from perf import objects, stats

Json = dict[str, Any]


def picture(nodes: int, pods: int) -> Picture:
    """The cluster of `perf.objects`, through the parsers that the watch uses."""
    made = Picture()
    made.upsert_project(Project(Queue(objects.PROJECT, deserved=Quota())))
    made.upsert_namespace(objects.NAMESPACE, objects.PROJECT)
    made.replace_nodes([node_wire.parse(objects.node(index)) for index in range(nodes)])
    seats = objects.Seats(nodes, pods)
    running = [orjson.loads(objects.running_pod(index, *seats.deal(index))) for index in range(pods)]
    made.replace_pods([pod_wire.parse(pod) for pod in running], 1)
    return made


def decisions(nodes: int, pods: int, rounds: int, steps: int, say: Callable[[str], None], *, seed: int = 42) -> Json:
    """Churn: one pod ends, one arrives and is placed. Microseconds of `best_seat` + `reserve`, over all nodes."""
    say(f"packer: {nodes} nodes, {pods} running pods, {rounds} × {steps} decisions")
    state, policy, draw = picture(nodes, pods), Policy(), random.Random(seed)
    living = list(state.pods)
    # The names as a request brings them.
    question = objects.pending_pod("offered", objects.SHAPES[0], version=6_000_000)
    offered = extender_wire.decode_args(objects.filter_body(question, nodes)).names
    wall: list[list[float]] = []
    cpu: list[list[float]] = []
    refused = 0
    gc.collect()
    gc.freeze()
    arrived = 0
    for number in range(rounds + 1):
        took, used = [], []
        for _ in range(steps):
            at = draw.randrange(len(living))
            living[at], living[-1] = living[-1], living[at]
            state.delete_pod(living.pop())
            shape = draw.choice(objects.SHAPES)
            arrived += 1
            pod = pod_wire.parse(objects.pending_pod(f"churn-{arrived}", shape, version=6_000_000 + arrived))
            state.upsert_pod(pod, watched=False)
            now, cpu_now = time.perf_counter(), time.thread_time()
            seat = best_seat(state, pod, offered, policy)
            if seat is not None:
                state.reserve(pod.uid, seat, now=now, expires=None, state=HoldState.RESERVED)
            took.append(1e6 * (time.perf_counter() - now))
            used.append(1e6 * (time.thread_time() - cpu_now))
            if seat is None:
                refused += 1
                state.forget(pod.uid)
            else:
                state.confirm(pod.uid, seat)
                living.append(pod.uid)
        if number:  # the first round fills what is made on demand
            wall.append(took)
            cpu.append(used)
    gc.unfreeze()
    return {
        "nodes": nodes,
        "pods": pods,
        "shapes": len(objects.SHAPES),
        "decisions": rounds * steps,
        "refused": refused,
        **{
            f"{name}_{unit}": stats.spread([stats.percentile(one, share) for one in times]).as_json()
            for unit, times in (("us", wall), ("cpu_us", cpu))
            for name, share in (("p50", 0.5), ("p99", 0.99))
        },
    }
