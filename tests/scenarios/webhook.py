"""What the admission webhook must do on any cluster, as checks that the service and the end-to-end tests share."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from extender.admission.pods import Context
from extender.controllers.certificates import OwnCertificate
from extender.controllers.gates import lift
from extender.errors import ApiError, BadRequestError, UnavailableError
from extender.model import names
from extender.model.names import PodUID
from extender.servers.admission import Webhook
from extender.servers.listener import Listener
from extender.wire.manifests.definitions import converted
from tests.scenarios.cluster import Cluster
from tests.scenarios.process import Extender
from tests.scenarios.runner import Run
from tests.scenarios.webhooks import DEFINITIONS, GATE, HOOKS, KINDS, configurations, converted_at

Json = dict[str, Any]

SECRET = "/api/v1/namespaces/runai/secrets/runai-scheduler-admission-tls"
PROJECT = "runai-team-a"
PODS = f"/api/v1/namespaces/{PROJECT}/pods"
JOBS = f"/apis/batch/v1/namespaces/{PROJECT}/jobs"
RUNAI_JOBS = f"/apis/run.ai/v1/namespaces/{PROJECT}/runaijobs"
_SOON_S = 30.0


def pod(name: str, *, ours: bool = True, **spec: Any) -> Json:
    metadata = {key: spec.pop(key) for key in ("annotations", "labels", "generateName") if key in spec}
    scheduler = {"schedulerName": names.SCHEDULER_NAME} if ours else {}
    container = {"name": "c", "image": "none", **spec.pop("container", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [container], **scheduler, **spec},
    }


class Installed:
    """A cluster with the webhook configurations, and the webhook as a process beside it.

    kubeconfig: what the process may do; by default everything.
    """

    def __init__(self, cluster: Cluster, kubeconfig: Path | None = None) -> None:
        self.cluster = cluster
        self.client = cluster.client
        self._kubeconfig = kubeconfig or cluster.kubeconfig
        self.extender = self.replica("admission")

    def replica(self, name: str) -> Extender:
        return Extender(self._kubeconfig, self.cluster.directory / f"{name}.log", flags=("--roles=admission",))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.extender.admission_port}"

    async def start(self) -> None:
        for namespace in ("runai", PROJECT):
            labels = {names.QUEUE_LABEL: "team-a"} if namespace == PROJECT else {}
            await self.make("/api/v1/namespaces", {"metadata": {"name": namespace, "labels": labels}})
        for kind, one in zip(KINDS, configurations(self.url), strict=True):
            await self.client.create(f"{HOOKS}/{kind}", one)
        await self.extender.start()
        await self.answers()

    async def make(self, path: str, obj: Json) -> Json:
        """Create what may be there already."""
        with contextlib.suppress(ApiError):
            return await self.client.create(path, obj)
        return await self.client.get(f"{path}/{obj['metadata']['name']}")

    async def answers(self) -> None:
        """Return once new pods of ours are gated: API servers take a moment to see a configuration."""
        async with asyncio.timeout(_SOON_S):
            while True:
                with contextlib.suppress(UnavailableError):
                    made = await self.client.create(PODS, pod("probe"), params={"dryRun": "All"})
                    if GATE in made["spec"].get("schedulingGates", []):
                        return
                await asyncio.sleep(0.05)

    async def bundles(self) -> set[str]:
        """Every caBundle of both configurations; "" for one that has none."""
        found = set()
        for kind in KINDS:
            webhooks = (await self.client.get(f"{HOOKS}/{kind}/runai-scheduler"))["webhooks"]
            found |= {one["clientConfig"].get("caBundle", "") for one in webhooks}
        return found


async def served_certificate(port: int, bundle: bytes) -> bytes:
    """The certificate at a loopback port, DER, after a handshake that trusts `bundle` alone."""
    context = ssl.create_default_context(cadata=bundle.decode())
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate
    finally:
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def installed(cluster: Cluster, kubeconfig: Path | None = None) -> AsyncIterator[Installed]:
    made = Installed(cluster, kubeconfig)
    try:
        await made.start()
        yield made
        assert not made.extender.complaints(), made.extender.complaints()[:3]
    finally:
        await made.extender.close()


# The checks.


async def pods_of_ours_are_gated_and_pods_of_others_are_left_alone(hook: Installed) -> None:
    ours = await hook.client.create(PODS, pod("ours"))
    assert ours["spec"]["schedulingGates"] == [GATE]
    theirs = await hook.client.create(PODS, pod("theirs", ours=False, annotations={"runai-gpu": "0"}))
    assert "schedulingGates" not in theirs["spec"]
    assert theirs["spec"]["schedulerName"] == "default-scheduler"
    assert theirs["metadata"]["annotations"] == {"runai-gpu": "0"}
    foreign = await hook.client.create(PODS, pod("foreign", schedulingGates=[{"name": "example.com/wait"}, GATE]))
    assert foreign["spec"]["schedulingGates"] == [{"name": "example.com/wait"}, GATE]
    generated = await hook.client.create(PODS, {**pod(""), "metadata": {"generateName": "g-"}})
    assert generated["spec"]["schedulingGates"] == [GATE]


async def pods_that_come_with_their_node_are_not_gated(hook: Installed) -> None:
    made = await hook.client.create(PODS, pod("bound", nodeName="somewhere"))
    assert "schedulingGates" not in made["spec"]


async def forged_records_go_and_all_else_stays(hook: Installed) -> None:
    annotations = {"runai-gpu": "0", "runai-gpu-share": "1", "runai-gpu-uuid": "GPU-x", "note": "mine"}
    annotations["gpu-fraction"] = "0.5"
    labels = {"runai-gpu-group": "g", "runai-gpu-group/g": "g", "app": "x"}
    made = await hook.client.create(PODS, pod("forger", annotations=annotations, labels=labels))
    config_map = made["metadata"]["annotations"].pop("runai/shared-gpu-configmap")
    assert config_map.startswith("forger-")
    assert made["metadata"]["annotations"] == {"note": "mine", "gpu-fraction": "0.5"}
    assert made["metadata"]["labels"] == {"app": "x"}


async def a_dry_run_shows_the_patch_and_stores_nothing(hook: Installed) -> None:
    made = await hook.client.create(PODS, pod("dry"), params={"dryRun": "All"})
    assert made["spec"]["schedulingGates"] == [GATE]
    with pytest.raises(ApiError) as missing:
        await hook.client.get(f"{PODS}/dry")
    assert missing.value.status == 404
    with pytest.raises(BadRequestError):
        await hook.client.create(PODS, pod("dry", annotations={"gpu-fraction": "2"}), params={"dryRun": "All"})


async def requests_that_are_none_are_refused_in_the_products_words(hook: Installed) -> None:
    whole = {"container": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}
    fraction = "gpu-fraction annotation value must be a positive number smaller than 1.0"
    cases: list[tuple[Json, Json, str]] = [
        ({"gpu-fraction": "1.5"}, {}, fraction),
        ({"gpu-fraction": "NaN"}, {}, fraction),
        (
            {"gpu-fraction": "0.5"},
            whole,
            "cannot have both GPU fraction request and whole GPU resource request/limit",
        ),
        ({"gpu-memory": "100"}, whole, "cannot request both GPU and GPU memory"),
        ({"gpu-memory": "0"}, {}, "gpu-memory annotation value must be a positive integer greater than 0"),
    ]
    for request, spec, text in cases:
        with pytest.raises(BadRequestError) as refused:
            await hook.client.create(PODS, pod("bad", annotations=request, **spec))
        assert refused.value.message.endswith(
            f'admission webhook "pods.admission.run.ai" denied the request: {text}'
        ), refused.value.message
    # Not ours to judge.
    await hook.client.create(PODS, pod("their-annotation", ours=False, annotations={"gpu-fraction": "1.5"}))


async def a_namespace_may_force_our_scheduler(hook: Installed) -> None:
    path = f"/api/v1/namespaces/{PROJECT}"
    await hook.client.patch(path, {"metadata": {"annotations": {names.ENFORCE_SCHEDULER_ANNOTATION: "true"}}})
    try:
        async with asyncio.timeout(_SOON_S):  # the watch brings it
            while True:
                made = await hook.client.create(PODS, pod("forced", ours=False), params={"dryRun": "All"})
                if made["spec"]["schedulerName"] == names.SCHEDULER_NAME:
                    break
                await asyncio.sleep(0.05)
        assert made["spec"]["schedulingGates"] == [GATE]
        with pytest.raises(BadRequestError):  # forced, and then judged like any of ours
            await hook.client.create(PODS, pod("forced", ours=False, annotations={"gpu-fraction": "2"}))
    finally:
        await hook.client.patch(path, {"metadata": {"annotations": {names.ENFORCE_SCHEDULER_ANNOTATION: None}}})
    elsewhere = await hook.client.create("/api/v1/namespaces/default/pods", pod("free", ours=False))
    assert elsewhere["spec"]["schedulerName"] == "default-scheduler"


async def lifting_takes_our_gate_and_no_other(hook: Installed) -> None:
    foreign = {"name": "example.com/wait"}
    made = await hook.client.create(PODS, pod("lifted", schedulingGates=[foreign]))
    assert made["spec"]["schedulingGates"] == [foreign, GATE]
    uid = PodUID(made["metadata"]["uid"])
    assert not await lift(hook.client, PROJECT, "lifted", PodUID("another"))
    assert (await hook.client.get(f"{PODS}/lifted"))["spec"]["schedulingGates"] == [foreign, GATE]
    assert await lift(hook.client, PROJECT, "lifted", uid)
    assert (await hook.client.get(f"{PODS}/lifted"))["spec"]["schedulingGates"] == [foreign]
    assert await lift(hook.client, PROJECT, "lifted", uid)
    only = await hook.client.create(PODS, pod("only"))
    assert await lift(hook.client, PROJECT, "only", PodUID(only["metadata"]["uid"]))
    after = await hook.client.get(f"{PODS}/only")
    assert not after["spec"].get("schedulingGates")
    assert await lift(hook.client, PROJECT, "only", PodUID(only["metadata"]["uid"]))
    assert not await lift(hook.client, PROJECT, "nobody", uid)


async def a_lifted_pod_is_placed(hook: Installed) -> None:
    await hook.cluster.clear()  # of what other checks left unplaced
    scenario = {"nodes": [{"count": 1, "gpus": 2}], "projects": {"team-a": {"deservedGpus": 2}}}
    run = Run(scenario, hook.cluster, None)  # with all roles: one more replica of the webhook
    try:
        await run.extender.start()
        await hook.cluster.start_scheduler(run.extender.url)
        await run.furnish()
        limits = {"container": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}
        more = {"container": {"resources": {"limits": {"nvidia.com/gpu": "3"}}}}  # than there is anywhere
        held = await hook.client.create(PODS, pod("held", **more))
        await hook.client.create(PODS, pod("first", **limits))  # lifted by the planner, nobody else
        async with asyncio.timeout(_SOON_S):
            while not (placed := await hook.client.get(f"{PODS}/first"))["spec"].get("nodeName"):
                await asyncio.sleep(0.05)
        assert placed["metadata"]["annotations"][names.GPU_DEVICES_ANNOTATION] in ("0", "1")
        assert "schedulingGates" not in placed["spec"]
        # kube-scheduler had a look at everything by now, and has not asked about the one that is held.
        assert await run.extender.decisions("filter") == 1
        waiting = await hook.client.get(f"{PODS}/held")
        assert waiting["metadata"]["uid"] == held["metadata"]["uid"]
        assert "nodeName" not in waiting["spec"]
    finally:
        await hook.cluster.stop_scheduler()
        await run.close()


_RESTRICTED: Json = {  # what the namespace of the system asks of its pods
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "container": {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}},
}


async def while_it_is_down_only_pods_of_ours_wait(hook: Installed) -> None:
    assert await hook.extender.stop() == 0
    with pytest.raises(UnavailableError, match="failed calling webhook"):
        await hook.client.create(PODS, pod("late"))
    await hook.client.create("/api/v1/namespaces/default/pods", pod("unconcerned", ours=False))
    await hook.client.create("/api/v1/namespaces/runai/pods", pod("system", **_RESTRICTED))
    before = await hook.client.get(SECRET)
    await hook.extender.start()
    await hook.answers()
    assert (await hook.client.create(PODS, pod("late")))["spec"]["schedulingGates"] == [GATE]
    assert (await hook.client.get(SECRET))["data"] == before["data"], "a restart makes no new certificate"


async def replicas_share_one_certificate(hook: Installed) -> None:
    other = hook.replica("other")
    await other.start()
    try:
        bundle = base64.b64decode((await hook.client.get(SECRET))["data"]["ca.crt"])
        assert await hook.bundles() == {base64.b64encode(bundle).decode()}
        first = await served_certificate(hook.extender.admission_port, bundle)
        assert await served_certificate(other.admission_port, bundle) == first
    finally:
        await other.close()


async def both_versions_are_served_and_the_definitions_trust_us(hook: Installed) -> None:
    old, new = (f"/apis/run.ai/{version}/namespaces/{PROJECT}/trainingpolicies" for version in ("v1alpha1", "v2alpha1"))
    await converted_at(hook.client, "trainingpolicies.run.ai", hook.url)
    try:
        async with asyncio.timeout(_SOON_S):  # the definition was applied anew, without its bundle
            while True:
                with contextlib.suppress(ApiError):
                    made = await hook.client.create(old, _policy("v1alpha1", value={"value": "1"}))
                    break
                await asyncio.sleep(0.2)
        assert made["spec"] == _policy("v1alpha1", value={"value": "1"})["spec"]
        stored = await hook.client.get(f"{new}/limits")
        assert stored["spec"] == _policy("v2alpha1", value="1")["spec"]
        bundle = (await hook.client.get(SECRET))["data"]["ca.crt"]
        for name in converted():
            webhook = (await hook.client.get(f"{DEFINITIONS}/{name}"))["spec"]["conversion"]["webhook"]
            assert webhook["clientConfig"]["caBundle"] == bundle
    finally:
        await hook.client.delete(f"{new}/limits")


def _policy(version: str, **entry: Any) -> Json:
    spec = {"gpu": {"rules": {"max": "4"}, **entry}}
    return {"apiVersion": f"run.ai/{version}", "kind": "TrainingPolicy", "metadata": {"name": "limits"}, "spec": spec}


async def workloads_make_gated_pods(hook: Installed) -> None:
    await hook.client.create(JOBS, job("j"))
    async with asyncio.timeout(_SOON_S):
        while True:
            made, _ = await hook.client.list(PODS, params={"labelSelector": "job-name=j"})
            if made:
                break
            await asyncio.sleep(0.05)
    assert made[0]["spec"]["schedulingGates"] == [GATE]
    assert await lift(hook.client, PROJECT, made[0]["metadata"]["name"], PodUID(made[0]["metadata"]["uid"]))


def job(name: str, **container: Any) -> Json:
    template = {"spec": {**pod("x", container=container)["spec"], "restartPolicy": "Never"}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}}


async def who_asks_for_gpus_alone_gets_cpu_and_memory(hook: Installed) -> None:
    cases: list[tuple[Json, Json]] = [
        ({"limits": {"nvidia.com/gpu": "2"}}, {"cpu": "2", "memory": "200Mi"}),
        ({"limits": {"nvidia.com/gpu": "0.5"}}, {"cpu": "500m", "memory": "50Mi"}),
        ({"limits": {"nvidia.com/gpu": "2"}, "requests": {"cpu": "8"}}, {"cpu": "8", "memory": "200Mi"}),
        ({}, {}),
    ]
    for number, (resources, expected) in enumerate(cases):
        made = await hook.client.create(JOBS, {**job(f"sized-{number}", resources=resources)})
        given = made["spec"]["template"]["spec"]["containers"][0]["resources"].get("requests", {})
        assert {key: value for key, value in given.items() if key != names.GPU_RESOURCE} == expected
    made = await hook.client.create(PODS, pod("sized", container={"resources": {"limits": {"nvidia.com/gpu": "2"}}}))
    assert made["spec"]["containers"][0]["resources"]["requests"] == {
        "cpu": "2",
        "memory": "200Mi",
        "nvidia.com/gpu": "2",
    }


async def templates_of_runaijobs_are_filled_and_judged(hook: Installed) -> None:
    def runai_job(name: str, annotations: Json, **limits: str) -> Json:
        one = job(name, resources={"limits": limits})
        one["spec"]["template"]["metadata"] = {"annotations": annotations}
        return {**one, "apiVersion": "run.ai/v1", "kind": "RunaiJob"}

    made = await hook.client.create(RUNAI_JOBS, runai_job("half", {}, **{"nvidia.com/gpu": "0.5"}))
    template = made["spec"]["template"]
    assert template["metadata"]["annotations"] == {"gpu-fraction": "0.5"}
    resources = template["spec"]["containers"][0]["resources"]
    assert "nvidia.com/gpu" not in resources.get("limits", {})
    assert resources["requests"] == {"cpu": "500m", "memory": "50Mi"}
    with pytest.raises(ApiError, match="gpu-fraction annotation value must be a positive number smaller than 1"):
        await hook.client.create(RUNAI_JOBS, runai_job("never", {"gpu-fraction": "1.5"}))


async def a_rotation_refuses_nobody(hook: Installed) -> None:
    """Certificate and authority are replaced under a stream of new pods, by a clock that starts years ago."""
    day, now = 24 * 3600.0, time.time()
    clock = [now - 2440 * day]

    def replica() -> OwnCertificate:
        return OwnCertificate(
            hook.client,
            namespace="runai",
            secret="rotating",
            hosts=("127.0.0.1",),
            configurations="rotating",
            now=lambda: clock[0],
        )

    async def is_enforced(_: str) -> bool:
        return False

    certificate, slow = replica(), replica()
    listener, slow_listener = (
        Listener(Webhook(is_enforced, Context(""), max_body_bytes=1 << 20).app(), "127.0.0.1:0", source.context)
        for source in (certificate, slow)
    )
    await listener.start()
    await slow_listener.start()
    port, slow_port = (int(one.url.rpartition(":")[2]) for one in (listener, slow_listener))
    created, stop = 0, asyncio.Event()

    async def stream() -> None:
        nonlocal created
        while not stop.is_set():
            await hook.client.create(PODS, pod("stream"), params={"dryRun": "All"})
            created += 1

    async def more() -> None:
        goal = created + 20
        async with asyncio.timeout(_SOON_S):
            while created < goal and not task.done():
                await asyncio.sleep(0.01)

    async def bundle() -> bytes:
        return base64.b64decode((await hook.client.get(SECRET.rpartition("/")[0] + "/rotating"))["data"]["ca.crt"])

    await certificate.round()
    clock[0] = now - 100 * day
    for kind, one in zip(KINDS, configurations(listener.url, "rotating"), strict=True):
        await hook.client.create(f"{HOOKS}/{kind}", one)
    try:
        await certificate.round()
        await slow.round()
        await hook.answers()
        task = asyncio.create_task(stream())
        await more()
        seen = [await served_certificate(port, await bundle())]
        for clock[0] in (now - 2 * 3600, now - 1800):  # the new authority joins, then signs
            await certificate.round()
            await more()
            seen.append(await served_certificate(port, await bundle()))
        assert seen[0] == seen[1] != seen[2]
        assert (await bundle()).count(b"BEGIN CERTIFICATE") == 2
        assert await served_certificate(slow_port, await bundle()) == seen[0], "a slow replica is trusted still"
        stop.set()
        await task  # raises what a refused pod met
        assert created >= 60
    finally:
        stop.set()
        for kind in KINDS:
            await hook.client.delete(f"{HOOKS}/{kind}/rotating")
        await slow_listener.stop()
        await listener.stop()


CHECKS = (
    pods_of_ours_are_gated_and_pods_of_others_are_left_alone,
    pods_that_come_with_their_node_are_not_gated,
    forged_records_go_and_all_else_stays,
    a_dry_run_shows_the_patch_and_stores_nothing,
    requests_that_are_none_are_refused_in_the_products_words,
    a_namespace_may_force_our_scheduler,
    lifting_takes_our_gate_and_no_other,
    workloads_make_gated_pods,
    who_asks_for_gpus_alone_gets_cpu_and_memory,
    templates_of_runaijobs_are_filled_and_judged,
    replicas_share_one_certificate,
    both_versions_are_served_and_the_definitions_trust_us,
    a_rotation_refuses_nobody,
    a_lifted_pod_is_placed,
    while_it_is_down_only_pods_of_ours_wait,
)
