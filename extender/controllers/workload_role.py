"""The role `workloads`: the controllers of jobs and workloads, and the Lease under which one replica runs them.

A controller joins by three lines below: make it, name the first lists it waits for, and list its tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from extender.controllers.election import Election
from extender.kube.client import KubeClient


class WorkloadRole:
    """Made and run by the service: spawn `tasks`, and be ready when all of `unready` is set."""

    def __init__(self, client: KubeClient, *, namespace: str, lease: str, identity: str) -> None:
        """lease: its name in `namespace`; "" to run the controllers in every process."""
        self._election = Election(client, namespace, lease, identity) if lease else None
        is_active: Callable[[], bool] = self._election.is_active if self._election else lambda: True
        self.is_active = is_active

    @property
    def unready(self) -> Mapping[str, asyncio.Event]:
        """What has to come in before we can work, by name."""
        return {}

    def tasks(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs until it is cancelled, by name."""
        return [("workloads lease", self._election.run())] if self._election else []
