"""The webhook configurations on a cluster without a Service network."""

from __future__ import annotations

import contextlib
from typing import Any

from extender.errors import ApiError, NotFoundError
from extender.kube.client import KubeClient
from extender.model import names
from extender.wire import manifests

Json = dict[str, Any]

HOOKS = "/apis/admissionregistration.k8s.io/v1"
KINDS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
PATHS = tuple(f"{HOOKS}/{kind}" for kind in KINDS)
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GATE = {"name": names.SCHEDULING_GATE}


def configurations(url: str, name: str = "runai-scheduler") -> list[Json]:
    """Those that `deploy/` installs, but called at `url`: here is no Service network."""
    objects = [one for one in manifests.render() if one["kind"].endswith("WebhookConfiguration")]
    for one in objects:
        one["metadata"]["name"] = name
        for webhook in one["webhooks"]:
            path = webhook["clientConfig"].pop("service")["path"]
            webhook["clientConfig"]["url"] = url + path
    return objects


async def converted_at(client: KubeClient, name: str, url: str) -> None:
    """Have a definition of ours ask the webhook at `url`, whom it does not trust yet."""
    config = {"service": None, "url": f"{url}/admission/convert", "caBundle": None}
    await client.patch(f"{DEFINITIONS}/{name}", {"spec": {"conversion": {"webhook": {"clientConfig": config}}}})


async def install(client: KubeClient, port: int) -> None:
    """Have the API server ask the webhook at this loopback port about new pods."""
    for path, one in zip(PATHS, configurations(f"https://127.0.0.1:{port}"), strict=True):
        await client.create(path, one)


async def not_gated(client: KubeClient, namespace: str) -> list[str]:
    """Why new pods of ours come out without our gate: API servers take a moment to see a configuration."""
    probe = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe"},
        "spec": {"schedulerName": names.SCHEDULER_NAME, "containers": [{"name": "c", "image": "none"}]},
    }
    try:
        made = await client.create(f"/api/v1/namespaces/{namespace}/pods", probe, params={"dryRun": "All"})
    except ApiError as error:
        return [error.message]
    return [] if GATE in made["spec"].get("schedulingGates", []) else ["the webhook is not called yet"]


async def uninstall(client: KubeClient, name: str = "runai-scheduler") -> None:
    for path in PATHS:
        with contextlib.suppress(NotFoundError):
            await client.delete(f"{path}/{name}")
