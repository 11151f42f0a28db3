"""The mirror of the administrator's policies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from extender.controllers.policies import Policies
from extender.errors import UnavailableError
from extender.kube import reflector as module
from extender.model.workload import WorkloadKind
from tests.edges.stub import StubApi, failure, page, stream

TRAINING = WorkloadKind.TRAINING
PATH = "/apis/run.ai/v2alpha1/trainingpolicies"


def policy(name: str, namespace: str = "runai", spec: Any = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "resourceVersion": "7", "uid": name}
    return {"kind": "TrainingPolicy", "metadata": metadata, "spec": spec or {}}


def names(policies: Policies, namespace: str = "runai") -> list[str]:
    return sorted(one.obj["metadata"]["name"] for one in policies.lookup(TRAINING, namespace))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr(module, "_SHORTEST_WATCH_S", 0.001)


async def test_policies_by_kind_and_namespace() -> None:
    async with StubApi() as api:
        policies = Policies(api.client)
        training = next(one for one in policies.reflectors if one.name == "trainingpolicies")
        with pytest.raises(UnavailableError, match="the first list of trainingpolicies is not there yet"):
            policies.lookup(TRAINING, "runai")
        api.script = [page(policy("a"), policy("b", "runai-a")), stream(then="hang")]
        task = asyncio.create_task(training.run())
        try:
            async with asyncio.timeout(5):
                await training.synced.wait()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert api.requests[0][:2] == ("GET", PATH)
        assert (names(policies), names(policies, "runai-a"), names(policies, "runai-b")) == (["a"], ["b"], [])
        with pytest.raises(UnavailableError):
            policies.lookup(WorkloadKind.INTERACTIVE, "runai")


async def test_changes_and_policies_that_cannot_be_enforced() -> None:
    async with StubApi() as api:
        policies = Policies(api.client)
        sink = policies._kinds[TRAINING]
        policies._synced[TRAINING].set()
        sink.apply("ADDED", policy("a", spec={"gpu": {"value": "x"}}))
        (known,) = policies.lookup(TRAINING, "runai")
        assert known.problem == 'gpu.value: must be a number, not "x"'
        sink.apply("MODIFIED", policy("a", spec={"gpu": {"value": "1"}}))
        (known,) = policies.lookup(TRAINING, "runai")
        assert (known.problem, known.obj["spec"]) == ("", {"gpu": {"value": "1"}})
        sink.apply("ADDED", policy("b"))
        sink.apply("DELETED", policy("a"))
        sink.apply("DELETED", policy("never-seen", "elsewhere"))
        assert names(policies) == ["b"]
        sink.replace([], 9)
        assert names(policies) == []


async def test_a_kind_that_is_not_installed_has_no_policies_until_it_is() -> None:
    async with StubApi() as api:
        policies = Policies(api.client)
        training = next(one for one in policies.reflectors if one.name == "trainingpolicies")
        missing = failure(404)
        api.script = [missing, missing, page(policy("a")), missing, missing, page(policy("b")), stream(then="hang")]
        task = asyncio.create_task(training.run())
        try:
            async with asyncio.timeout(5):
                await training.synced.wait()
                assert names(policies) == []
                # Installed, taken away again (the watch finds nothing), and installed once more.
                while names(policies) != ["b"]:
                    await asyncio.sleep(0)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
