"""Which replica is the active one: the one beside the kube-scheduler that holds the Lease. No second election."""

from __future__ import annotations

from typing import Any

from extender import logs
from extender.kube.client import KubeClient
from extender.kube.reflector import Reflector

Json = dict[str, Any]

log = logs.get("lease")


class LeaseFollower:
    """Watches one Lease. kube-scheduler's holder identity is `<host name>_<uuid>`; ours is the same Pod's host name."""

    def __init__(self, client: KubeClient, lease: str, identity: str) -> None:
        namespace, name = lease.split("/")
        self._identity = identity
        self._name = name
        self._holder = ""
        self.reflector = Reflector(
            client,
            f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
            self,
            name="leases",
            params={"fieldSelector": f"metadata.name={name}"},
        )

    def is_active(self) -> bool:
        """The whole host name must match: `scheduler-1` is not `scheduler-12`."""
        return bool(self._holder) and self._holder.rpartition("_")[0] == self._identity

    def read(self, obj: Json) -> Json | None:
        return obj if obj["metadata"]["name"] == self._name else None

    def replace(self, values: list[Json], version: int) -> None:  # noqa: ARG002  the Sink's signature
        self._take(next(iter(values), {}))

    def apply(self, event: str, obj: Json) -> None:
        self._take({} if event == "DELETED" else obj)

    def _take(self, obj: Json) -> None:
        was = self.is_active()
        self._holder = str((obj.get("spec") or {}).get("holderIdentity") or "")
        if self.is_active() != was:
            log.info("active" if not was else "passive", cause=f"lease held by {self._holder or 'nobody'}")
