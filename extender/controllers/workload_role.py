"""The role `workloads`: the controllers of jobs and workloads, and the Lease under which one replica runs them.

A controller joins by three lines below: make it, name the first lists it waits for, and list its tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from extender.controllers.election import Election
from extender.controllers.runaijobs import RunaiJobs
from extender.controllers.submitter import Submitter
from extender.controllers.workloads import WorkloadController
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder
from extender.kube.reflector import Reflector
from extender.workloads.objects import Backend, Images


class WorkloadRole:
    """Made and run by the service: spawn `tasks`, and be ready when all of `unready` is set."""

    def __init__(
        self, client: KubeClient, *, namespace: str, lease: str, identity: str, backend: Backend, images: Images
    ) -> None:
        """lease: its name in `namespace`; "" to run the controllers in every process."""
        self._election = Election(client, namespace, lease, identity) if lease else None
        is_active: Callable[[], bool] = self._election.is_active if self._election else lambda: True
        self.is_active = is_active
        submitter = Submitter(client, backend=backend, images=images, is_active=is_active)
        self._events = EventRecorder(client)
        self._workloads = WorkloadController(client, submitter, self._events, is_active)
        self._runai_jobs = RunaiJobs(client, self._events, is_active)

    @property
    def unready(self) -> Mapping[str, asyncio.Event]:
        """What has to come in before we can work, by name."""
        reflectors = (*self._workloads.reflectors, *self._runai_jobs.reflectors)
        return {f"the first list of {one.name}": one.synced for one in reflectors}

    def tasks(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs until it is cancelled, by name."""
        workloads, jobs = self._workloads, self._runai_jobs
        return [
            *([("workloads lease", self._election.run())] if self._election else []),
            ("workload events", self._events.run()),
            *((one.name, one.run()) for one in (*workloads.reflectors, *jobs.reflectors)),
            ("workloads", _once_synced(workloads.reflectors, workloads.run)),
            ("runaijobs", _once_synced(jobs.reflectors, jobs.run)),
        ]


async def _once_synced(reflectors: Sequence[Reflector], run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    for one in reflectors:
        await one.synced.wait()
    await run()
