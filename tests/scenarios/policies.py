"""What the policies of administrators must do to plain workloads on any cluster, as checks that two suites share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extender.errors import BadRequestError
from extender.model import names
from tests.scenarios.webhook import JOBS, PODS, PROJECT, Installed, pod

Json = dict[str, Any]

MANIFESTS = Path(__file__).parent / "manifests"
_POLICIES = "/apis/run.ai/v2alpha1/namespaces/{}/{}"
_SOON_S = 30.0

TRAINING: Json = {
    "gpu": {"rules": {"max": "4"}, "value": "1"},
    "cpu": {"value": "0.5"},
    "nodeType": {"value": "a100"},
    "environment": {"items": {"TEAM": {"value": "a"}, "TOKEN": {"value": "SECRET:tokens,a"}}},
    "labels": {"items": {"cost-center": {"value": "7"}}},
    "annotations": {"items": {"note": {"value": "by policy"}}},
    "tolerations": {"items": {"t": {"value": {"key": "gpus", "operator": "Exists", "effect": "NoSchedule"}}}},
    "runAsUid": {"rules": {"canEdit": False}, "value": 500},
    "allowPrivilegeEscalation": {"rules": {"canEdit": False}, "value": False},
    "hostIpc": {"rules": {"canEdit": False}, "value": False},
    "backoffLimit": {"value": 2},
}


@contextlib.asynccontextmanager
async def policy(hook: Installed, kind: str, spec: Json, namespace: str = "runai") -> AsyncIterator[str]:
    """A policy that the webhook has seen; its path."""
    mark = f"{kind} of {namespace}"
    notes = {**spec.get("annotations", {}).get("items", {}), "seen": {"value": mark}}
    obj = {
        "apiVersion": "run.ai/v2alpha1",
        "kind": kind,
        "metadata": {"name": "policy", "namespace": namespace},
        "spec": {**spec, "annotations": {"items": notes}},
    }
    await hook.cluster.apply(yaml.safe_dump(obj), namespace=namespace)
    path = f"{_POLICIES.format(namespace, kind.lower().removesuffix('y'))}ies/policy"
    try:
        await seen(hook, kind, mark, is_there=True)
        yield path
    finally:
        await hook.client.delete(path)
        await seen(hook, kind, mark, is_there=False)


async def seen(hook: Installed, kind: str, mark: str, *, is_there: bool) -> None:
    """Return when pods of this kind of work get the annotation of a policy, or no longer: the watch brings it."""
    classes = {"InteractivePolicy": "build", "InferencePolicy": "inference"}
    labels = {names.PRIORITY_CLASS_LABEL: classes[kind]} if kind in classes else {}
    async with asyncio.timeout(_SOON_S):
        while True:
            with contextlib.suppress(BadRequestError):
                made = await hook.client.create(PODS, pod("seen", labels=labels), params={"dryRun": "All"})
                if ((made["metadata"].get("annotations") or {}).get("seen") == mark) is is_there:
                    return
            await asyncio.sleep(0.05)


def seed_job(name: str, gpus: str = "1") -> str:
    text = (MANIFESTS / "first-seed-job.yaml").read_text()
    given = {"JOB-NAME": name, "IMAGE-NAME": "example.com/i:1", "PROJECT-NAME": "team-a", "USER-NAME": "joe"}
    for key, value in {**given, "REQUESTED-GPUs": gpus}.items():
        text = text.replace(f"<{key}>", value)
    return text


async def the_seeds_job_gets_what_it_leaves_open(hook: Installed) -> None:
    async with policy(hook, "TrainingPolicy", TRAINING):
        await hook.cluster.apply(seed_job("seed"), namespace=PROJECT)
        made = await hook.client.get(f"{JOBS}/seed")
        template = made["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert made["spec"]["backoffLimit"] == 2
        assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
        assert container["resources"]["requests"] == {"cpu": "500m", "memory": "100Mi"}
        assert container["env"] == [
            {"name": "TEAM", "value": "a"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "a"}}},
        ]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False}
        assert template["spec"]["securityContext"] == {"runAsUser": 500}
        assert template["spec"]["nodeSelector"] == {"run.ai/type": "a100"}
        assert template["spec"]["tolerations"] == [{"key": "gpus", "operator": "Exists", "effect": "NoSchedule"}]
        assert template["metadata"]["labels"]["cost-center"] == "7"
        marks = {"scheduling.k8s.io/group-name": "group-seed", "note": "by policy", "seen": "TrainingPolicy of runai"}
        assert template["metadata"]["annotations"] == marks
        await hook.cluster.apply(seed_job("seed"), namespace=PROJECT)  # once more
        assert (await hook.client.get(f"{JOBS}/seed"))["spec"] == made["spec"]


async def what_breaks_a_rule_is_refused_in_the_products_words(hook: Installed) -> None:
    async with policy(hook, "TrainingPolicy", TRAINING):
        with pytest.raises(AssertionError, match=r"denied the request: gpu: must be no greater than 4\n"):
            await hook.cluster.apply(seed_job("greedy", "5"), namespace=PROJECT)
        with pytest.raises(BadRequestError) as refused:
            await hook.client.create(PODS, pod("root", hostIPC=True, securityContext={"runAsUser": 0}))
        text = "denied the request: hostIpc: cannot be edited; runAsUid: cannot be edited"
        assert refused.value.message.endswith(text), refused.value.message


async def a_pod_without_a_word_on_gpus_gets_what_the_policy_gives(hook: Installed) -> None:
    for gpu, limits, annotation in (("2", {"nvidia.com/gpu": "2"}, None), ("0.5", None, "0.5")):
        async with policy(hook, "TrainingPolicy", {"gpu": {"value": gpu}}):
            made = await hook.client.create(PODS, pod(f"silent-{gpu.replace('.', '')}"))
            (container,) = made["spec"]["containers"]
            assert container["resources"].get("limits") == limits
            assert made["metadata"]["annotations"].get(names.GPU_FRACTION) == annotation
            assert container["resources"]["requests"]["cpu"] == {"2": "2", "0.5": "500m"}[gpu]


async def the_projects_own_policy_replaces_that_of_all_projects(hook: Installed) -> None:
    """M7."""
    many = {"container": {"resources": {"limits": {"nvidia.com/gpu": "8"}}}}
    async with policy(hook, "TrainingPolicy", {"gpu": {"rules": {"max": "1"}}}):
        with pytest.raises(BadRequestError, match="gpu: must be no greater than 1"):
            await hook.client.create(PODS, pod("eight", **many))
        async with policy(hook, "TrainingPolicy", {"cpu": {"value": "3"}}, PROJECT):
            made = await hook.client.create(PODS, pod("eight", **many), params={"dryRun": "All"})
            assert made["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "3"


async def each_kind_of_work_has_its_policy(hook: Installed) -> None:
    for kind, plural in (("InteractivePolicy", "statefulsets"), ("InferencePolicy", "deployments")):
        path = f"/apis/apps/v1/namespaces/{PROJECT}/{plural}"
        one, two = (
            {
                "metadata": {"name": f"w-{number}"},
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": {"app": "w"}},
                    **({"serviceName": "w"} if plural == "statefulsets" else {}),
                    "template": {
                        "metadata": {"labels": {"app": "w"}},
                        "spec": pod("x", container={"resources": {"limits": {"nvidia.com/gpu": number}}})["spec"],
                    },
                },
            }
            for number in ("1", "2")
        )
        async with policy(hook, kind, {"gpu": {"rules": {"max": "1"}}}):
            with pytest.raises(BadRequestError, match="gpu: must be no greater than 1"):
                await hook.client.create(path, two)
            made = await hook.client.create(path, one)
            assert made["spec"]["template"]["metadata"]["annotations"] == {"seen": f"{kind} of runai"}
            # A good one does not open the door to a bad one.
            with pytest.raises(BadRequestError, match="gpu: must be no greater than 1"):
                await hook.client.patch(f"{path}/w-1", {"spec": {"template": two["spec"]["template"]}})  # type: ignore[index]


CHECKS = (
    the_seeds_job_gets_what_it_leaves_open,
    what_breaks_a_rule_is_refused_in_the_products_words,
    a_pod_without_a_word_on_gpus_gets_what_the_policy_gives,
    the_projects_own_policy_replaces_that_of_all_projects,
    each_kind_of_work_has_its_policy,
)
