"""`make bench`: latency of our verbs as a ratio to the echo extender's, measured in turns in one run.

    python -m perf [--nodes 1000,5000] [--pods 0,20000] [--calls 400] [--json FILE]

Absolute times are this machine's; the ratios are the result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from rich.console import Console
from rich.table import Table

ROUNDS = 8


@contextmanager
def _server(*module: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", *module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


def _body(nodes: int, call: int) -> bytes:
    """A request as kube-scheduler sends it: one pod of about 1 KB, another uid each time, and every name."""
    annotations = {"gpu-fraction": "0.5"} if call % 2 else {}
    limits = {} if call % 2 else {"nvidia.com/gpu": "1"}
    pod = {
        "metadata": {
            "name": f"bench-{call}", "namespace": "runai-team-a", "uid": f"bench-{call % 64}",
            "resourceVersion": str(10_000_000 + call), "annotations": annotations,
            "labels": {"app": "bench", "runai/queue": "team-a"},
        },
        "spec": {
            "schedulerName": "runai-scheduler", "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "image", "resources": {"limits": limits},
                            "env": [{"name": f"VARIABLE_{n}", "value": "x" * 20} for n in range(12)]}],
        },
        "status": {"phase": "Pending"},
    }  # fmt: skip
    names = [f"node-{index:05d}" for index in range(nodes)]
    return orjson.dumps({"Pod": pod, "Nodes": None, "NodeNames": names})


async def _sequential(session: aiohttp.ClientSession, url: str, bodies: list[bytes]) -> list[float]:
    times = []
    for body in bodies:
        started = time.perf_counter()
        async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
            await response.read()
            assert response.status == 200
        times.append(1000 * (time.perf_counter() - started))
    return times


async def _concurrent(session: aiohttp.ClientSession, url: str, bodies: list[bytes], connections: int) -> float:
    started = time.perf_counter()
    await asyncio.gather(*(_sequential(session, url, bodies[part::connections]) for part in range(connections)))
    return len(bodies) / (time.perf_counter() - started)


async def _compare(verb: str, urls: dict[str, str], nodes: int, calls: int) -> dict[str, Any]:
    bodies = [_body(nodes, call) for call in range(calls // ROUNDS)]
    times: dict[str, list[float]] = {name: [] for name in urls}
    per_second: dict[str, list[float]] = {name: [] for name in urls}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:
        for name, url in urls.items():
            await _sequential(session, f"{url}/extender/{verb}", bodies[:8])
            del name
        for _ in range(ROUNDS):  # in turns, so that a busy moment of the machine hits both
            for name, url in urls.items():
                times[name] += await _sequential(session, f"{url}/extender/{verb}", bodies)
                per_second[name].append(await _concurrent(session, f"{url}/extender/{verb}", bodies, 16))
    result: dict[str, Any] = {}
    for name in urls:
        cuts = statistics.quantiles(times[name], n=100)
        result[name] = {"p50_ms": cuts[49], "p99_ms": cuts[98], "rps_c16": statistics.median(per_second[name])}
    result["p50_ratio"] = result["ours"]["p50_ms"] / result["echo"]["p50_ms"]
    result["p99_over_echo_p50"] = result["ours"]["p99_ms"] / result["echo"]["p50_ms"]
    result["rps_ratio"] = result["ours"]["rps_c16"] / result["echo"]["rps_c16"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m perf", description="Ratios to a do-nothing extender.")
    parser.add_argument("--nodes", default="100,1000,5000")
    parser.add_argument("--pods", default="0,20000")
    parser.add_argument("--calls", type=int, default=800, help="sequential calls a case and server")
    parser.add_argument("--json", type=Path, help="write the results there as well")
    options = parser.parse_args()
    rows = []
    with _server("perf.echo") as echo:
        for nodes in map(int, options.nodes.split(",")):
            for pods in map(int, options.pods.split(",")):
                for answer, verb in (("seat", "filter"), ("all", "filter"), ("all", "prioritize")):
                    with _server("perf.ours", str(nodes), str(pods), answer) as ours:
                        case = {"verb": verb, "answer": answer, "nodes": nodes, "pods": pods}
                        urls = {"echo": echo, "ours": ours}
                        rows.append({**case, **asyncio.run(_compare(verb, urls, nodes, options.calls))})
    table = Table(title="our verbs beside a do-nothing aiohttp extender (ratios are the result)")
    for column in (
        "verb",
        "answer",
        "nodes",
        "pods",
        "echo p50 ms",
        "ours p50 ms",
        "p50 ratio",
        "p99/echo p50",
        "rps ratio",
    ):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["verb"], row["answer"], str(row["nodes"]), str(row["pods"]),
            f"{row['echo']['p50_ms']:.3f}", f"{row['ours']['p50_ms']:.3f}",
            f"{row['p50_ratio']:.2f}", f"{row['p99_over_echo_p50']:.2f}", f"{row['rps_ratio']:.2f}",
        )  # fmt: skip
    Console(width=120).print(table)
    if options.json:
        about = {
            "date": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "processor": platform.machine(),
        }
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
