"""Which namespaces force our scheduler, from the watch and, where that is behind, from the API server."""

from __future__ import annotations

from typing import Any

from extender.controllers.enforcement import EnforcedNamespaces
from tests.edges.stub import StubApi, reply


def namespace(name: str, value: str | None = None) -> dict[str, Any]:
    annotations = {} if value is None else {"annotations": {"runai/enforce-scheduler-name": value}}
    return {"metadata": {"name": name, **annotations}}


async def test_the_watch_is_believed_and_the_unknown_is_read() -> None:
    async with StubApi() as api:
        enforced = EnforcedNamespaces(api.client)
        enforced.replace([enforced.read(namespace("a", "true")), enforced.read(namespace("b"))], 1)
        assert await enforced.is_enforced("a")
        assert not await enforced.is_enforced("b")
        for value in ("false", "True", ""):
            enforced.apply("MODIFIED", namespace("a", value))
            assert not await enforced.is_enforced("a")
        assert api.requests == []
        api.script = [reply(namespace("new", "true"))]
        assert await enforced.is_enforced("new")
        enforced.apply("ADDED", namespace("new"))
        assert not await enforced.is_enforced("new")
        api.script = [reply({"message": "gone"}, 404)]
        enforced.apply("DELETED", namespace("new", "true"))
        assert not await enforced.is_enforced("new")
