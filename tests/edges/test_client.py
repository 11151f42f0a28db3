from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from extender import errors
from extender.kube.client import KubeClient
from tests.edges.stub import StubApi, failure, obj, page, reply, stream


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, errors.BadRequestError),
        (422, errors.BadRequestError),
        (401, errors.UnauthorizedError),
        (403, errors.UnauthorizedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (410, errors.GoneError),
        (429, errors.ThrottledError),
        (500, errors.UnavailableError),
        (503, errors.UnavailableError),
    ],
)
async def test_a_refusal_has_its_class_status_and_words(status: int, error: type[errors.ApiError]) -> None:
    async with StubApi() as api:
        api.script = [failure(status, "Because", {"Retry-After": "7"})]
        with pytest.raises(error, match="no: Because") as caught:
            await api.client.get("/api/v1/nodes/n")
        assert caught.value.status == status
        assert caught.value.reason == "Because"
        if isinstance(caught.value, errors.ThrottledError):
            assert caught.value.retry_after_s == 7.0


async def test_an_error_page_that_is_not_json_is_quoted_in_part() -> None:
    async def html(_: web.Request) -> web.Response:
        return web.Response(text="<html>bad gateway</html>" * 100, status=502)

    async with StubApi() as api:
        api.script = [html]
        with pytest.raises(errors.UnavailableError, match="bad gateway") as caught:
            await api.client.get("/x")
        assert len(str(caught.value)) < 300


async def test_silence_is_an_unknown_outcome_and_a_closed_port_is_not() -> None:
    async with StubApi() as api:
        api.script = [stream(then="hang")]
        with pytest.raises(errors.OutcomeUnknownError):
            await api.client.create("/x", {}, timeout_s=0.05)
    async with StubApi() as api:
        url = api.client.url
    client = await _client(url)
    with pytest.raises(errors.UnavailableError) as caught:
        await client.create("/x", {}, timeout_s=1.0)
    assert caught.value.status == 0  # nothing was sent
    await client.close()


async def test_a_dropped_connection_is_an_unknown_outcome() -> None:
    async def drop(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with StubApi() as api:
        api.script = [drop]
        with pytest.raises(errors.OutcomeUnknownError):
            await api.client.create("/x", {})


async def test_a_list_reads_every_page_and_keeps_the_last_version() -> None:
    async with StubApi() as api:
        api.script = [page(obj("a", 1), token="next"), page(obj("b", 2), version="12")]
        items, version = await api.client.list("/api/v1/pods", limit=1)
        assert [item["metadata"]["name"] for item in items] == ["a", "b"]
        assert version == "12"
        assert api.requests[1][2] == {"limit": "1", "continue": "next"}


async def test_an_error_inside_a_watch_is_raised_as_its_class() -> None:
    async with StubApi() as api:
        api.script = [stream(("ADDED", obj("a", 5)), ("ERROR", {"code": 410, "reason": "Expired", "message": "old"}))]
        seen = []
        with pytest.raises(errors.GoneError):
            async for event in api.client.watch("/api/v1/pods", resource_version="4"):
                seen.append(event.type)
        assert seen == ["ADDED"]


async def test_a_silent_watch_is_given_up() -> None:
    async with StubApi() as api:
        api.script = [stream(then="hang")]
        with pytest.raises(errors.UnavailableError, match="stream broken"):
            async for _ in api.client.watch("/api/v1/pods", resource_version="4", idle_s=0.05):
                pass


async def test_patch_kinds_have_their_content_types() -> None:
    seen: list[str] = []

    async def note(request: web.Request) -> web.StreamResponse:
        seen.append(f"{request.headers['Content-Type']} force={request.query.get('force')}")
        return await reply({})(request)

    async with StubApi() as api:
        api.script = [note]
        await api.client.patch("/x", {}, kind="merge")
        await api.client.patch("/x", {}, kind="apply")
    assert seen == ["application/merge-patch+json force=None", "application/apply-patch+yaml force=true"]


async def test_a_missing_kubeconfig_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="--kubeconfig FILE"):
        await KubeClient.connect(str(tmp_path / "none"))


async def _client(url: str) -> KubeClient:
    import aiohttp

    return KubeClient(url, aiohttp.ClientSession())
