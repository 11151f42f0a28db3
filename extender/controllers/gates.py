"""The scheduling gate that the admission webhook puts on pods of ours: taken off here and nowhere else."""

from __future__ import annotations

from extender.errors import BadRequestError, ConflictError, NotFoundError
from extender.kube.client import KubeClient
from extender.model import names
from extender.model.names import PodUID


async def lift(client: KubeClient, namespace: str, name: str, uid: PodUID) -> bool:
    """Take our gate off one pod; kube-scheduler sees the pod when that was its last. False: the pod is gone.

    One write and no read: the gate is named, not counted, so gates of others stay wherever they stand, and a pod
    without our gate stays as it is; lifting twice is safe. Another pod of the same name is not touched.
    Raises ApiError.
    """
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    patch = {
        "metadata": {"uid": uid},
        "spec": {"schedulingGates": [{"name": names.SCHEDULING_GATE, "$patch": "delete"}]},
    }
    try:
        await client.patch(path, patch, kind="strategic")
    except NotFoundError:
        return False
    except (BadRequestError, ConflictError):
        # Another uid (422), or a crowd of writers (409): the object tells which it was.
        if await _uid_of(client, path) == uid:
            raise
        return False
    return True


async def _uid_of(client: KubeClient, path: str) -> str:
    try:
        return str((await client.get(path))["metadata"]["uid"])
    except NotFoundError:
        return ""
