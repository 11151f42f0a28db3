"""Certificates are loaded into a server that is running, from files or from the shared Secret."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import time
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from cryptography import x509

from extender import metrics
from extender.controllers.authority import AUTHORITY_LIFE_S, Material, expiry_of, renewed
from extender.controllers.certificates import FileCertificate, OwnCertificate
from extender.emulator.patching import json_patch
from extender.errors import ConfigError, MalformedError, UnavailableError
from extender.servers.listener import Listener
from tests.edges.stub import StubApi, reply
from tests.scenarios.webhook import served_certificate

NOW = 1_800_000_000.0
HOSTS = ("hook.runai.svc", "127.0.0.1")


def der(material: Material) -> bytes:
    return ssl.PEM_cert_to_DER_cert(material.certificate.decode())


class Files:
    """A certificate and its key as a Secret mount has them: behind a link that is swapped."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._version = 0
        self.certificate, self.key = root / "data" / "tls.crt", root / "data" / "tls.key"

    def write(self, certificate: bytes, key: bytes) -> None:
        self._version += 1
        folder = self._root / f"v{self._version}"
        folder.mkdir()
        (folder / "tls.crt").write_bytes(certificate)
        (folder / "tls.key").write_bytes(key)
        link = self._root / "link"
        link.symlink_to(folder)
        os.replace(link, self._root / "data")  # noqa: PTH105  the link itself, not its target


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(scope="module")
def pairs() -> list[Material]:
    return [renewed(None, HOSTS, time.time()) for _ in range(2)]


async def _serve(context: ssl.SSLContext) -> Listener:
    listener = Listener(web.Application(), "127.0.0.1:0", context)
    await listener.start()
    assert listener.url.startswith("https://")
    return listener


async def test_new_files_are_served_without_a_restart(files: Files, pairs: list[Material]) -> None:
    old, new = pairs
    files.write(old.certificate, old.key)
    source = FileCertificate(files.certificate, files.key)
    assert source.ready.is_set()
    assert metrics.REGISTRY.get_sample_value("runai_admission_certificate_expiry_timestamp_seconds") == expiry_of(
        old.certificate
    )
    listener = await _serve(source.context)
    port = int(listener.url.rpartition(":")[2])
    try:
        assert await served_certificate(port, old.bundle) == der(old)
        assert not source.look()
        files.write(new.certificate, new.key)
        assert source.look()
        assert await served_certificate(port, new.bundle) == der(new)
        with pytest.raises(ssl.SSLError):
            await served_certificate(port, old.bundle)
        for certificate, key in ((old.certificate, new.key), (b"", b""), (new.certificate, b"half")):
            files.write(certificate, key)
            with pytest.raises(MalformedError):
                source.look()
            assert await served_certificate(port, new.bundle) == der(new), "the last good one serves on"
        files.write(old.certificate, old.key)
        assert source.look()
        assert await served_certificate(port, old.bundle) == der(old)
    finally:
        await listener.stop()


def test_files_that_cannot_be_used_at_first_are_a_mistake_of_the_settings(files: Files, pairs: list[Material]) -> None:
    with pytest.raises(ConfigError, match=r"tls\.crt"):
        FileCertificate(files.certificate, files.key)
    files.write(pairs[0].certificate, pairs[1].key)
    with pytest.raises(ConfigError, match="do not go together"):
        FileCertificate(files.certificate, files.key)


class Store:
    """An API server that holds one Secret, both configurations and definitions, with conflicts."""

    def __init__(self, api: StubApi) -> None:
        self.client = api.client
        self.objects: dict[str, Any] = {}
        self.version = 0
        self.before_write: list[Any] = []  # what another replica stores just before a write of ours
        self.forbidden: set[str] = set()
        api.script = [self._answer]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path, body = request.path, await request.read()
        collection, _, name = path.rpartition("/")
        if collection.rpartition("/")[2] in self.forbidden or name in self.forbidden:
            return await reply({"message": "forbidden"}, 403)(request)
        if request.method == "GET":
            found = self.objects.get(path)
            return await reply(found or {"message": "no such object"}, 200 if found else 404)(request)
        if self.before_write:
            secret = self.before_write.pop(0)
            self.put(f"{path}/{secret['metadata']['name']}" if request.method == "POST" else path, secret)
        value = orjson.loads(body)
        if request.method == "POST":
            path = f"{path}/{value['metadata']['name']}"
            if path in self.objects:
                return await reply({"message": "exists"}, 409)(request)
            self.put(path, value)
        elif request.method == "PUT":
            if value["metadata"]["resourceVersion"] != self.objects[path]["metadata"]["resourceVersion"]:
                return await reply({"message": "modified"}, 409)(request)
            self.put(path, value)
        else:
            self.put(path, json_patch(self.objects[path], value))
        return await reply(self.objects[path])(request)

    def put(self, path: str, obj: Any) -> None:
        self.version += 1
        versions = {"resourceVersion": str(self.version), "generation": self.version}
        self.objects[path] = {**obj, "metadata": {**obj["metadata"], **versions}}


SECRET = "/api/v1/namespaces/runai/secrets/tls"
HOOKS = [
    f"/apis/admissionregistration.k8s.io/v1/{kind}/hooks"
    for kind in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
]


@pytest.fixture
async def api() -> AsyncIterator[StubApi]:
    async with StubApi() as made:
        yield made


@pytest.fixture
def store(api: StubApi) -> Store:
    made = Store(api)
    for path in HOOKS:
        webhooks = [{"name": name, "clientConfig": {"service": {}}} for name in ("a", "b")]
        made.put(path, {"metadata": {"name": "hooks"}, "webhooks": webhooks})
    return made


def own(store: Store, now: float = NOW, definitions: tuple[str, ...] = ()) -> OwnCertificate:
    return OwnCertificate(
        store.client,
        namespace="runai",
        secret="tls",
        hosts=HOSTS,
        configurations="hooks",
        definitions=definitions,
        now=lambda: now,
    )


def bundles(store: Store) -> set[str]:
    return {one["clientConfig"].get("caBundle", "") for path in HOOKS for one in store.objects[path]["webhooks"]}


async def test_the_first_replica_makes_it_and_the_others_read_it(store: Store) -> None:
    one, two = own(store), own(store)
    await one.round()
    assert store.objects[SECRET]["type"] == "kubernetes.io/tls"
    assert one.ready.is_set()
    before = dict(store.objects[SECRET])
    await two.round()
    await one.round()
    assert store.objects[SECRET] == before
    assert bundles(store) == {before["data"]["ca.crt"]}


@pytest.mark.parametrize("first", [True, False], ids=["creating", "renewing"])
async def test_of_two_replicas_at_once_one_wins_and_the_other_takes_its(store: Store, first: bool) -> None:
    winner = renewed(None, HOSTS, NOW)
    data = {
        "ca.crt": winner.bundle,
        "ca.key": winner.authority_key,
        "tls.crt": winner.certificate,
        "tls.key": winner.key,
    }
    theirs = {
        "metadata": {"name": "tls"},
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
    if not first:
        store.put(SECRET, {"metadata": {"name": "tls"}, "data": {}})
    store.before_write = [theirs]
    await own(store).round()
    assert store.objects[SECRET]["data"] == theirs["data"]
    assert bundles(store) == {theirs["data"]["ca.crt"]}


async def test_a_secret_that_always_changes_is_given_up_for_this_round(store: Store) -> None:
    store.put(SECRET, {"metadata": {"name": "tls"}, "data": {}})
    store.before_write = [{"metadata": {"name": "tls"}, "data": {"n": str(n)}} for n in range(10)]
    with pytest.raises(Exception, match="keeps changing"):
        await own(store).round()


async def test_a_configuration_that_lost_its_bundle_gets_it_again(store: Store) -> None:
    replica = own(store)
    await replica.round()
    lost, wrong = (deepcopy(store.objects[path]) for path in HOOKS)
    del lost["webhooks"][1]["clientConfig"]["caBundle"]
    wrong["webhooks"][0]["clientConfig"]["caBundle"] = "b2xk"
    for path, one in zip(HOOKS, (lost, wrong), strict=True):
        store.put(path, one)
    await replica.round()
    assert bundles(store) == {store.objects[SECRET]["data"]["ca.crt"]}


DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"


def definition(name: str, **webhook: Any) -> Any:
    conversion = {"strategy": "Webhook", "webhook": webhook} if webhook else {"strategy": "None"}
    return {"metadata": {"name": name}, "spec": {"group": "run.ai", "conversion": conversion}}


async def test_definitions_that_are_converted_by_us_get_the_bundle_and_others_nothing(store: Store) -> None:
    names = ("a.run.ai", "missing.run.ai", "old.run.ai", "b.run.ai")
    for name in ("a.run.ai", "b.run.ai"):
        store.objects[DEFINITION + name] = definition(name, clientConfig={"service": {}})
    store.objects[f"{DEFINITION}old.run.ai"] = definition("old.run.ai")
    replica = own(store, definitions=names)

    def given(name: str) -> Any:
        return store.objects[DEFINITION + name]["spec"]["conversion"].get("webhook")

    for _ in range(2):
        await replica.round()
        bundle = store.objects[SECRET]["data"]["ca.crt"]
        assert given("a.run.ai") == given("b.run.ai") == {"clientConfig": {"service": {}, "caBundle": bundle}}
        assert given("old.run.ai") is None
        # Applied anew, without the bundle.
        store.put(f"{DEFINITION}a.run.ai", definition("a.run.ai", clientConfig={"service": {}}))


async def test_what_has_not_changed_is_not_read_in_full(store: Store, api: StubApi) -> None:
    store.put(f"{DEFINITION}a.run.ai", definition("a.run.ai", clientConfig={"service": {}}))
    replica = own(store, definitions=("a.run.ai",))
    await replica.round()
    api.requests.clear()
    await replica.round()
    assert [path for _, path, _ in api.requests] == [SECRET, *HOOKS, f"{DEFINITION}a.run.ai"]


async def test_a_definition_trusts_old_and_new_while_the_authority_changes(store: Store) -> None:
    store.objects[f"{DEFINITION}a.run.ai"] = definition("a.run.ai", clientConfig={"service": {}})
    await own(store, definitions=("a.run.ai",)).round()
    before = store.objects[SECRET]["data"]["ca.crt"]
    # Two thirds of the authority's life later.
    await own(store, NOW + AUTHORITY_LIFE_S * 0.7, definitions=("a.run.ai",)).round()
    (old,) = x509.load_pem_x509_certificates(base64.b64decode(before))
    client = store.objects[f"{DEFINITION}a.run.ai"]["spec"]["conversion"]["webhook"]["clientConfig"]
    trusted = x509.load_pem_x509_certificates(base64.b64decode(client["caBundle"]))
    assert len(trusted) == 2
    assert trusted[1] == old


async def test_configurations_out_of_reach_do_not_keep_it_from_serving(store: Store) -> None:
    store.forbidden = {"hooks"}
    replica = own(store)
    await replica.round()
    assert replica.ready.is_set()
    assert bundles(store) == {""}


async def test_without_the_right_to_the_secret_it_says_what_to_do(store: Store) -> None:
    store.forbidden = {"tls"}
    with pytest.raises(ConfigError, match=r"--tls-cert and --tls-key.*Secret runai/tls"):
        await asyncio.wait_for(own(store).run(), 5)


async def test_without_an_api_server_it_waits(store: Store) -> None:
    replica = own(store)
    original, store.client.url = store.client.url, "http://127.0.0.1:1"
    with pytest.raises(UnavailableError):
        await replica.round()
    assert not replica.ready.is_set()
    task = asyncio.create_task(replica.run())
    try:
        store.client.url = original
        await asyncio.wait_for(replica.ready.wait(), 5)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_renewal_reaches_a_running_server(store: Store) -> None:
    now = time.time()
    clock = [now - 250 * 24 * 3600.0]
    replica = OwnCertificate(
        store.client, namespace="runai", secret="tls", hosts=HOSTS, configurations="hooks", now=lambda: clock[0]
    )
    await replica.round()
    listener = await _serve(replica.context)
    port = int(listener.url.rpartition(":")[2])
    try:
        bundle = base64.b64decode(store.objects[SECRET]["data"]["ca.crt"])
        before = await served_certificate(port, bundle)
        await replica.round()
        assert await served_certificate(port, bundle) == before
        clock[0] = now
        await replica.round()
        assert await served_certificate(port, bundle) != before
    finally:
        await listener.stop()
