"""What the cluster has to say to a submission: its base workload, the policy, the project. Read when it is judged.

Read and not watched: whoever applies a policy, a template and a workload in one file is judged by all three, and
submissions are few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from extender.errors import NotFoundError
from extender.kube.client import KubeClient
from extender.model import names
from extender.model.workload import WorkloadKind
from extender.wire.resources import parse_project
from extender.wire.workloads import STORED
from extender.workloads import policy as policies
from extender.workloads.submission import TEMPLATE, Sources, base_name, usage

Json = dict[str, Any]

_API = f"/apis/{names.RUN_AI_GROUP}/{STORED}"


def workload_path(kind: WorkloadKind, namespace: str, name: str = "", *, version: str = STORED) -> str:
    """Where the API server serves workloads of a kind, or one of them."""
    collection = f"/apis/{names.RUN_AI_GROUP}/{version}/namespaces/{namespace}/{kind.workloads}"
    return f"{collection}/{name}" if name else collection


def policies_path(kind: WorkloadKind, namespace: str) -> str:
    return f"{_API}/namespaces/{namespace}/{kind.policies}"


async def read_sources(client: KubeClient, kind: WorkloadKind, namespace: str, spec: Json) -> Sources:
    """Everything that completes a spec of v2alpha1. Raises ApiError when the cluster cannot tell now."""
    if usage(spec) == TEMPLATE:
        return Sources()
    project, (base, base_at, problems), (policy, policy_at, warnings) = await asyncio.gather(
        _project(client, namespace), _base(client, kind, namespace, base_name(spec)), _policy(client, kind, namespace)
    )
    name, known = project
    if name and known is None:
        warnings = (*warnings, f"project {name} does not exist: the pods wait until it does")
    if base_name(spec) and base is None:
        problems = (_not_found(base_name(spec), name or namespace, problems),)
    return Sources(
        project=name,
        base=base,
        base_name=base_at,
        policy=policy,
        policy_name=policy_at,
        node_types=_node_types(kind, known),
        problems=problems,
        warnings=warnings,
    )


async def read_policies(client: KubeClient, kind: WorkloadKind, namespace: str) -> list[Json]:
    """The policies of a kind in one namespace; none where the kind is not installed. Raises ApiError."""
    try:
        found, _ = await client.list(policies_path(kind, namespace))
    except NotFoundError:
        return []
    return found


async def _project(client: KubeClient, namespace: str) -> tuple[str, Json | None]:
    """The name of the namespace's project, "" for none, and the project itself if it exists."""
    try:
        labels = (await client.get(f"/api/v1/namespaces/{namespace}"))["metadata"].get("labels") or {}
    except NotFoundError:
        labels = {}
    of_name = namespace.removeprefix(names.NAMESPACE_PREFIX) if namespace.startswith(names.NAMESPACE_PREFIX) else ""
    name = labels.get(names.QUEUE_LABEL) or of_name
    if not name:
        return "", None
    try:
        return name, await client.get(f"/apis/{names.RUN_AI_GROUP}/v1/projects/{name}")
    except NotFoundError:
        return name, None


async def _base(
    client: KubeClient, kind: WorkloadKind, namespace: str, name: str
) -> tuple[Json | None, str, tuple[str, ...]]:
    """The spec of the base workload and where it is; of the project first, then of all projects.

    Where there is none, the kinds that have one of that name.
    """
    if not name:
        return None, "", ()
    places = dict.fromkeys((namespace, names.SYSTEM_NAMESPACE))
    for place in places:
        try:
            found = await client.get(workload_path(kind, place, name))
        except NotFoundError:
            continue
        spec: Json = found.get("spec") or {}
        if place == namespace or usage(spec) == TEMPLATE:
            return spec, f"{place}/{name}", ()
    others = []
    for other in WorkloadKind:
        for place in places if other is not kind else ():
            try:
                await client.get(workload_path(other, place, name))
            except NotFoundError:
                continue
            others.append(other.workload)
    return None, "", tuple(dict.fromkeys(others))


def _not_found(name: str, project: str, others: Sequence[str]) -> str:
    line = f"baseWorkload: {name} not found in {project} or in global templates"
    return line + (f" (a base is of the same kind; {name} is a {' and a '.join(others)})" if others else "")


async def _policy(client: KubeClient, kind: WorkloadKind, namespace: str) -> tuple[Json | None, str, tuple[str, ...]]:
    """The spec of the policy that holds in a namespace, where it is, and what to warn of."""
    for place in dict.fromkeys((namespace, names.SYSTEM_NAMESPACE)):
        in_force = policies.effective({"kind": kind.policy, **one} for one in await read_policies(client, kind, place))
        if in_force.policy is not None:
            warnings = tuple(filter(None, [in_force.warning]))
            return in_force.policy.get("spec") or {}, f"{place}/{in_force.policy['metadata']['name']}", warnings
    return None, "", ()


def _node_types(kind: WorkloadKind, project: Json | None) -> tuple[str, ...]:
    if project is None:
        return ()
    found = parse_project(project).to_model()
    trains = kind in (WorkloadKind.TRAINING, WorkloadKind.DISTRIBUTED)
    return found.train_node_types if trains else found.interactive_node_types
