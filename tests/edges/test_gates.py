"""Lifting the scheduling gate: one patch by name, and what its refusals mean."""

from __future__ import annotations

import pytest

from extender.controllers.gates import lift
from extender.errors import BadRequestError, ConflictError, UnavailableError
from extender.model.names import PodUID
from tests.edges.stub import StubApi, reply

UID = PodUID("u")


async def test_one_write_that_names_gate_and_uid() -> None:
    async with StubApi() as api:
        api.script = [reply({})]
        assert await lift(api.client, "ns", "p", UID)
        ((method, path, _),) = api.requests
        assert (method, path) == ("PATCH", "/api/v1/namespaces/ns/pods/p")
        assert api.bodies == [
            {
                "metadata": {"uid": "u"},
                "spec": {"schedulingGates": [{"name": "run.ai/queued", "$patch": "delete"}]},
            }
        ]


@pytest.mark.parametrize("status", [409, 422])
async def test_another_pod_of_the_same_name_is_not_touched(status: int) -> None:
    async with StubApi() as api:
        api.script = [reply({"message": "no"}, status), reply({"metadata": {"uid": "other"}})]
        assert not await lift(api.client, "ns", "p", UID)
        api.script = [reply({"message": "no"}, status), reply({"message": "gone"}, 404)]
        assert not await lift(api.client, "ns", "p", UID)


async def test_a_pod_that_is_gone() -> None:
    async with StubApi() as api:
        api.script = [reply({"message": "gone"}, 404)]
        assert not await lift(api.client, "ns", "p", UID)


@pytest.mark.parametrize(("status", "error"), [(409, ConflictError), (422, BadRequestError), (500, UnavailableError)])
async def test_a_refusal_for_our_own_pod_is_the_callers_to_repeat(status: int, error: type[Exception]) -> None:
    async with StubApi() as api:
        api.script = [reply({"message": "no"}, status), reply({"metadata": {"uid": "u"}})]
        with pytest.raises(error):
            await lift(api.client, "ns", "p", UID)
