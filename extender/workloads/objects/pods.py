"""A pod of a submission: all aspects, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from extender.workloads.objects import (
    compute,
    environment,
    metadata,
    network,
    scheduling,
    security,
    sources,
    storage,
    tools,
)
from extender.workloads.objects.draft import Draft, Host
from extender.workloads.objects.submission import Submission

Json = dict[str, Any]

ASPECTS: tuple[Callable[[Draft], None], ...] = (
    environment.add_container,
    environment.add_identity,
    compute.add_compute,
    compute.add_shared_memory,
    storage.add_volumes,
    storage.add_claims,
    sources.add_git,
    sources.add_buckets,
    environment.add_home,
    security.add_security,
    scheduling.add_scheduling,
    network.add_ports,
    tools.add_tools,
    environment.add_variables,  # last: what the submitter sets wins
)


def draft(submission: Submission, values: Json, host: Host) -> Draft:
    """A pod of `host` with these values, which may be those of one role only."""
    pod = Draft(
        submission,
        values,
        host,
        labels=metadata.job_labels(submission),
        annotations=metadata.pod_annotations(submission),
    )
    if host.restart:
        pod.spec["restartPolicy"] = host.restart
    for add in ASPECTS:
        add(pod)
    return pod
