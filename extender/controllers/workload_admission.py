"""Whether a workload or a policy may be written: judged by what the cluster has at that moment (behaviour.md 12.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from extender.controllers.submissions import read_policies, read_sources
from extender.errors import ApiError
from extender.kube.client import KubeClient
from extender.model import names
from extender.model.workload import WorkloadKind
from extender.wire.admission import Answer, Review
from extender.wire.workloads import STORED, parameters
from extender.workloads import policy as policies
from extender.workloads.conversion import convert
from extender.workloads.submission import SUBMIT, base_name, judge, usage

Json = dict[str, Any]

_WORKLOADS = {f"{kind.workload}.{names.RUN_AI_GROUP}": kind for kind in WorkloadKind}
_POLICIES = {f"{kind.policy}.{names.RUN_AI_GROUP}": kind for kind in WorkloadKind}

SUBMITTED = "Submitted"
_JUDGED_S = 2.5  # the API server that asks waits three seconds


class WorkloadAdmission:
    """Reads the API server for each answer: whoever applies several objects at once is judged by all of them."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    @property
    def judges(self) -> dict[str, Callable[[Review], Awaitable[Answer]]]:
        """Who validates which kind."""
        return dict.fromkeys((*_WORKLOADS, *_POLICIES), self.validate)

    async def validate(self, review: Review) -> Answer:
        """Every violation, one a line. Raises MalformedError for an object that cannot be converted."""
        try:
            obj = convert(review.obj, f"{names.RUN_AI_GROUP}/{STORED}")
            async with asyncio.timeout(_JUDGED_S):
                if review.kind in _POLICIES:
                    return await self._policy(_POLICIES[review.kind], review, obj)
                return await self._workload(_WORKLOADS[review.kind], review, obj)
        except ApiError as error:
            # Not judged is not allowed: the writer tries again.
            return _refused([f"cannot be judged now: {error.message}"])
        except TimeoutError:
            return _refused([f"cannot be judged now: the API server did not answer within {_JUDGED_S:g} s"])

    async def _workload(self, kind: WorkloadKind, review: Review, obj: Json) -> Answer:
        spec = _spec(obj)
        if review.operation == "UPDATE":
            old = convert(review.old, f"{names.RUN_AI_GROUP}/{STORED}")
            before = _spec(old)
            if before == spec:
                return Answer()
            status = old.get("status") or {}
            if usage(before) == SUBMIT and status.get("phase") == SUBMITTED:
                job = (status.get("job") or {}).get("name")
                name = (obj.get("metadata") or {}).get("name")
                return _refused(
                    [f"spec: {name} was submitted as job {job}, and is submitted once; create another {kind.workload}"]
                )
        if base_name(spec) and base_name(spec) == (obj.get("metadata") or {}).get("name"):
            return _refused([f"baseWorkload: {base_name(spec)} cannot be its own base"])
        sources = await read_sources(self._client, kind, review.namespace, spec)
        judged = judge(kind, parameters(kind), review.namespace, spec, sources)
        if judged.violations:
            return _refused(list(judged.violations))
        return Answer(warnings=sources.warnings)

    async def _policy(self, kind: WorkloadKind, review: Review, obj: Json) -> Answer:
        violations = list(policies.problems(parameters(kind), _spec(obj)))
        if review.operation == "CREATE":
            name = (obj.get("metadata") or {}).get("name")
            others = [one["metadata"]["name"] for one in await read_policies(self._client, kind, review.namespace)]
            others = sorted(other for other in others if other != name)
            if others:
                violations.insert(
                    0,
                    f"namespace: {review.namespace} has the {kind.policy} {others[0]} already, and a namespace has "
                    "one; change that one or delete it first",
                )
        return _refused(violations) if violations else Answer()


def _spec(obj: Json) -> Json:
    spec = obj.get("spec")
    return spec if isinstance(spec, dict) else {}


def _refused(lines: list[str]) -> Answer:
    return Answer(refusals=("\n".join(lines),))
