"""Watch streams: resuming, bookmarks, selections, and every way to end."""

from __future__ import annotations

import asyncio

import pytest

PODS = "/api/v1/namespaces/default/pods"


async def test_without_a_version_a_watch_starts_with_what_is_there(api, pod) -> None:
    await api.create(PODS, pod("a"))
    for params in ({}, {"resourceVersion": "0"}):
        watch = await api.watch(PODS, **params)
        assert await watch.take(1) == [("ADDED", "a")]
        assert await watch.is_quiet()
        watch.close()


async def test_a_watch_resumes_behind_the_version_of_a_list(api, pod) -> None:
    await api.create(PODS, pod("a"))
    version = (await api.get(PODS))["metadata"]["resourceVersion"]
    await api.create(PODS, pod("b"))
    watch = await api.watch(PODS, resourceVersion=version)
    assert await watch.take(1) == [("ADDED", "b")]
    await api.patch(f"{PODS}/a", {"metadata": {"labels": {"x": "1"}}})
    await api.delete(f"{PODS}/b")
    assert await watch.take(2) == [("MODIFIED", "a"), ("DELETED", "b")]


async def test_a_deleted_object_carries_the_version_of_its_deletion(api, pod) -> None:
    created = await api.create(PODS, pod("a"))
    watch = await api.watch(PODS, resourceVersion=created["metadata"]["resourceVersion"])
    await api.delete(f"{PODS}/a")
    _, last = await watch.next()
    assert int(last["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])


async def test_other_namespaces_and_resources_are_not_seen(api, pod) -> None:
    await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    watch = await api.watch(PODS)
    await api.create("/api/v1/namespaces/other/pods", pod("elsewhere"))
    await api.create(PODS, pod("here"))
    assert await watch.take(1) == [("ADDED", "here")]


async def test_entering_and_leaving_a_selection(api, pod) -> None:
    watch = await api.watch(PODS, labelSelector="queue=a")
    await api.create(PODS, pod("p", labels={"queue": "b"}))
    await api.patch(f"{PODS}/p", {"metadata": {"labels": {"queue": "a"}}})
    await api.patch(f"{PODS}/p", {"metadata": {"labels": {"x": "1"}}})
    left = await api.patch(f"{PODS}/p", {"metadata": {"labels": {"queue": "b"}}})
    events = [await watch.next() for _ in range(3)]
    assert [type_ for type_, _ in events] == ["ADDED", "MODIFIED", "DELETED"]
    last = events[-1][1]["metadata"]
    assert last["labels"]["queue"] == "a", "the object as the watcher knew it"
    assert last["resourceVersion"] == left["metadata"]["resourceVersion"], "under the version of the change"


async def test_finished_pods_leave_a_phase_selection(api, pod) -> None:
    watch = await api.watch(PODS, fieldSelector="status.phase!=Succeeded")
    await api.create(PODS, pod())
    await api.patch(f"{PODS}/p/status", {"status": {"phase": "Succeeded"}})
    assert await watch.take(2) == [("ADDED", "p"), ("DELETED", "p")]


async def test_bookmarks_move_on_with_other_resources(api, pod) -> None:
    version = (await api.get(PODS))["metadata"]["resourceVersion"]
    watch = await api.watch(PODS, resourceVersion=version, allowWatchBookmarks="true")
    await api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    type_, obj = await watch.next()
    assert type_ == "BOOKMARK"
    assert obj["kind"] == "Pod"
    assert int(obj["metadata"]["resourceVersion"]) > int(version)


async def test_no_bookmarks_unless_asked_for(api) -> None:
    watch = await api.watch(PODS)
    assert await watch.is_quiet(0.3)


async def test_a_stream_as_list(api, pod) -> None:
    await api.create(PODS, pod("a"))
    params = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    watch = await api.watch(PODS, **params)
    assert await watch.take(1) == [("ADDED", "a")]
    type_, obj = await watch.next()
    assert type_ == "BOOKMARK"
    assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    code, _, message = await api.refusal("GET", PODS, watch="true", sendInitialEvents="true")
    assert code == 422
    assert "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan" in message


async def test_a_version_that_history_no_longer_covers(api, pod) -> None:
    created = await api.create(PODS, pod("a"))
    stream = await api.watch(PODS)
    await stream.take(1)
    api.server.faults.expire_history("pods")
    version = created["metadata"]["resourceVersion"]
    code, reason, message = await api.refusal("GET", PODS, watch="true", resourceVersion=version)
    assert (code, reason) == (410, "Expired")
    assert message.startswith(f"too old resource version: {version} (")
    # Who lists again goes on, and streams that were open never notice.
    fresh = (await api.get(PODS))["metadata"]["resourceVersion"]
    resumed = await api.watch(PODS, resourceVersion=fresh)
    await api.create(PODS, pod("b"))
    assert await resumed.take(1) == await stream.take(1) == [("ADDED", "b")]


async def test_a_stream_that_falls_behind_is_told_in_stream(pod) -> None:
    from extender.emulator import ApiServer
    from extender.emulator.resources import PODS as STORAGE

    server = ApiServer(history_events=10)
    await server.start()
    stream = server._watches
    record = server.store.insert(STORAGE, {"metadata": {"name": "p", "namespace": "default", "uid": "u"}})
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(server.url) as session, session.get(PODS, params={"watch": "true"}) as reply:
        await reply.content.readline()
        # One synchronous burst that is longer than the history: the stream has no chance to keep up.
        for number in range(100):
            record = server.store.replace(record, {"metadata": {**record.obj["metadata"]}, "spec": {"n": number}})
        event = orjson.loads(await reply.content.readline())
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
        assert await reply.content.readline() == b""
    await server.stop()
    assert len(stream) == 0


async def test_a_timeout_ends_the_stream_cleanly(api) -> None:
    watch = await api.watch(PODS, timeoutSeconds="1")
    with pytest.raises(EOFError):
        await watch.next()


async def test_cut_watches(api, pod) -> None:
    pods, nodes = await api.watch(PODS), await api.watch("/api/v1/nodes")
    assert api.server.faults.cut_watches("pods") == 1
    with pytest.raises(EOFError):
        await pods.next()
    assert await nodes.is_quiet()
    assert api.server.faults.cut_watches() == 1


async def test_a_client_that_leaves_is_forgotten(api) -> None:
    watch = await api.watch(PODS)
    assert len(api.server._watches) == 1
    watch.close()
    async with asyncio.timeout(2):
        while len(api.server._watches):
            await asyncio.sleep(0.01)


async def test_stopping_ends_every_stream_and_starting_again_keeps_the_objects(api, pod) -> None:
    await api.create(PODS, pod("a"))
    watch = await api.watch(PODS)
    await watch.take(1)
    port = int(api.server.url.rpartition(":")[2])
    await api.server.stop()
    with pytest.raises(EOFError):
        await watch.next()
    await api.server.start(port=port)
    assert await api.names(PODS) == ["a"]


async def test_a_hundred_watchers_see_the_same(api, pod) -> None:
    watches = [await api.watch(PODS) for _ in range(100)]
    for number in range(5):
        await api.create(PODS, pod(f"p{number}"))
    expected = [("ADDED", f"p{number}") for number in range(5)]
    assert all([await watch.take(5) == expected for watch in watches])
