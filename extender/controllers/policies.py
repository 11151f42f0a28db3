"""The administrator's policies, mirrored: by kind and namespace, judged once when they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from extender import logs
from extender.admission import policies
from extender.admission.policies import Known
from extender.errors import UnavailableError
from extender.kube.client import KubeClient
from extender.kube.reflector import Reflector
from extender.model.names import RUN_AI_GROUP
from extender.model.workload import WorkloadKind
from extender.wire.workloads import STORED

Json = dict[str, Any]

log = logs.get("policies")


class Policies:
    """All policies of the cluster; `run` each of the `reflectors` as a task. A kind that is not installed has none."""

    def __init__(self, client: KubeClient) -> None:
        self._kinds = {kind: _OfKind(kind) for kind in WorkloadKind}
        self.reflectors = [
            Reflector(client, f"/apis/{RUN_AI_GROUP}/{STORED}/{kind.policies}", sink, name=kind.policies, optional=True)
            for kind, sink in self._kinds.items()
        ]
        self._synced = {kind: one.synced for kind, one in zip(self._kinds, self.reflectors, strict=True)}

    def lookup(self, kind: WorkloadKind, namespace: str) -> Sequence[Known]:
        """Those of a kind in a namespace: an `admission.policies.Lookup`.

        Raises UnavailableError before the first list: who has not read the rules must not say that there are none.
        """
        if not self._synced[kind].is_set():
            raise UnavailableError(f"the first list of {kind.policies} is not there yet")
        return tuple(self._kinds[kind].of(namespace).values())


class _OfKind:
    def __init__(self, kind: WorkloadKind) -> None:
        self._kind = kind
        self._known: dict[str, dict[str, Known]] = {}  # namespace → name → policy

    def of(self, namespace: str) -> dict[str, Known]:
        return self._known.get(namespace, {})

    def read(self, obj: Json) -> Known:
        known = policies.read(self._kind, obj)
        if known.problem:
            namespace, name = _key(obj)
            log.warning("bad_policy", kind=self._kind.policy, namespace=namespace, name=name, cause=known.problem)
        return known

    def replace(self, values: list[Known], version: int) -> None:  # noqa: ARG002  the Sink's signature
        self._known = {}
        for known in values:
            self._put(known)

    def apply(self, event: str, obj: Json) -> None:
        namespace, name = _key(obj)
        if event == "DELETED":
            self.of(namespace).pop(name, None)
        else:
            self._put(self.read(obj))

    def _put(self, known: Known) -> None:
        namespace, name = _key(known.obj)
        self._known.setdefault(namespace, {})[name] = known


def _key(obj: Json) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]
