"""Which kinds the API server serves, and under which plural: asked when needed, remembered for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from extender.errors import NotFoundError
from extender.kube.client import KubeClient

_REMEMBERED_S = 30.0  # an operator that is installed now is used half a minute later


class Discovery:
    """One for all who ask."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._known: dict[str, tuple[float, Mapping[str, str]]] = {}

    async def served(self, api_version: str) -> Mapping[str, str]:
        """Kind → plural of one group and version; empty where it is not served. Raises ApiError."""
        known = self._known.get(api_version)
        if known is not None and time.monotonic() - known[0] < _REMEMBERED_S:
            return known[1]
        prefix = "/api" if "/" not in api_version else "/apis"
        try:
            listed = (await self._client.get(f"{prefix}/{api_version}")).get("resources") or []
        except NotFoundError:
            listed = []
        found = {one["kind"]: one["name"] for one in listed if "/" not in one["name"]}
        self._known[api_version] = time.monotonic(), found
        return found

    async def served_by(self, *api_versions: str) -> dict[str, Mapping[str, str]]:
        """`served` for several, by group and version."""
        found = await asyncio.gather(*(self.served(one) for one in api_versions))
        return dict(zip(api_versions, found, strict=True))

    async def collection(self, api_version: str, kind: str, namespace: str) -> str:
        """Where objects of a namespaced kind are. Raises NotFoundError for a kind that is not served."""
        plural = (await self.served(api_version)).get(kind)
        if plural is None:
            raise NotFoundError(f"the cluster does not serve {kind} of {api_version}", status=404)
        prefix = "/api" if "/" not in api_version else "/apis"
        return f"{prefix}/{api_version}/namespaces/{namespace}/{plural}"
