"""Restart: from the start of the process to /readyz 200, and what it then holds in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perf import children, stats

Json = dict[str, Any]


def restart(nodes: int, pods: int, rounds: int, say: Callable[[str], None]) -> Json:
    """Start our service `rounds` times against a stub that lists so much; one start before warms the stub's pages."""
    say(f"restart: {nodes} nodes, {pods} pods")
    with children.helper("perf.stub", str(nodes), str(pods)) as api:
        starts = []
        for _ in range(rounds + 1):
            with children.service(api.url) as service:
                starts.append(service)
    starts = starts[1:]
    return {
        "nodes": nodes,
        "pods": pods,
        "ready_s": stats.spread([one.ready_s for one in starts]).as_json(),
        "rss_mib": stats.spread([one.rss_mib for one in starts]).as_json(),
        "peak_mib": stats.spread([one.peak_mib for one in starts]).as_json(),
    }
