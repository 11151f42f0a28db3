"""The certificate that the admission webhook serves with, kept fresh without a restart.

Two sources: files that somebody else renews (an administrator, cert-manager), or a Secret that the replicas share and
renew themselves (`authority`), with the authorities patched into whatever sends the API server to us. Both load into
one live TLS context: handshakes under way keep the old certificate, new ones get the new.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from extender import logs, metrics
from extender.controllers import authority
from extender.controllers.authority import Material
from extender.errors import ApiError, ConfigError, ConflictError, MalformedError, NotFoundError, UnauthorizedError
from extender.kube.client import KubeClient

Json = dict[str, Any]

_LOOK_EVERY_S = 5.0  # at files: a Secret mount takes a minute anyway
_ROUND_EVERY_S = 10.0  # a configuration applied without its bundle fails closed for no longer than this
_FIRST_ROUND_RETRY_S = 0.5
_MOST_TRIES = 5
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# Secret keys; the first two are those of the type kubernetes.io/tls.
_CERTIFICATE, _KEY, _BUNDLE, _AUTHORITY_KEY = "tls.crt", "tls.key", "ca.crt", "ca.key"

log = logs.get("certificates")


class Certificate(Protocol):
    """A source. `context` serves; `ready` is set once it holds a certificate; `run` it as a task."""

    context: ssl.SSLContext
    ready: asyncio.Event

    async def run(self) -> None: ...


class FileCertificate:
    """From two PEM files, read again when either changed. Raises ConfigError when they cannot be used at first."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.context = _empty_context()
        self.ready = asyncio.Event()
        self._stamp: object = None
        try:
            self.look()
        except (OSError, MalformedError) as error:
            raise ConfigError(f"tls_cert {certificate}, tls_key {key}: {error}") from error
        self.ready.set()

    def look(self) -> bool:
        """Load the files when they changed; whether they did. Raises OSError or MalformedError, keeping the old."""
        # Secret mounts change by a link, so it is the target's identity that tells.
        stamp = [(found.st_mtime_ns, found.st_ino, found.st_size) for found in map(os.stat, self._files())]
        if stamp == self._stamp:
            return False
        _load(self.context, *(path.read_bytes() for path in self._files()))
        self._stamp = stamp
        return True

    async def run(self) -> None:
        """Watch the files until cancelled."""
        failure = ""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                if self.look():
                    log.info("certificate_loaded", cause="the files changed")
                failure = ""
            except (OSError, MalformedError) as error:
                # Half written, perhaps: the old one serves on, and the next look tries again.
                if str(error) != failure:
                    log.warning("certificate_unusable", cause=str(error))
                failure = str(error)

    def _files(self) -> tuple[Path, Path]:
        return self._certificate, self._key


class OwnCertificate:
    """Signed by ourselves, shared through one Secret: whoever comes first makes it, the others read it.

    secret: its name. hosts: what the certificate is for. now: Unix time.
    configurations: the name of both webhook configurations, definitions: those of the CustomResourceDefinitions with a
    conversion, whose caBundles are kept equal to the Secret's `ca.crt`.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        secret: str,
        hosts: tuple[str, ...],
        configurations: str,
        definitions: tuple[str, ...] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._secret = secret
        self._hosts = hosts
        hooks = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
        self._trusting = [
            *(f"{_CONFIGURATIONS}/{kind}/{configurations}" for kind in hooks),
            *(f"{_DEFINITIONS}/{name}" for name in definitions),
        ]
        self._now = now
        self.context = _empty_context()
        self.ready = asyncio.Event()
        self._loaded: Material | None = None
        self._complaints: dict[str, str] = {}
        self._seen: dict[str, object] = {}  # the states of objects that have the bundle

    async def run(self) -> None:
        """Keep certificate and bundles until cancelled. Raises ConfigError when the Secret is forbidden at first."""
        while True:
            try:
                await self.round()
                self._complain("secret", "")
            except UnauthorizedError as error:
                if not self.ready.is_set():
                    raise ConfigError(
                        "the admission webhook has no certificate: give --tls-cert and --tls-key, or let this account "
                        f"get, create and update Secret {self._namespace}/{self._secret} ({error.message})"
                    ) from error
                self._complain("secret", error.message)
            except ApiError as error:
                self._complain("secret", error.message)
            except Exception:
                # The loop must survive whatever one round meets.
                log.exception("certificate_failed")
            await asyncio.sleep(_ROUND_EVERY_S if self.ready.is_set() else _FIRST_ROUND_RETRY_S)

    async def round(self) -> None:
        """Once: renew what is due, have it trusted, serve it. Raises ApiError when the Secret is out of reach."""
        material = await self._shared()
        # Trusted before it is served; `authority` leaves other replicas an hour for the same.
        for path in self._trusting:
            await self._trust(path, material.bundle)
        if material != self._loaded:
            _load(self.context, material.certificate, material.key)
            self._loaded = material
            log.info("certificate_loaded", cause=f"Secret {self._namespace}/{self._secret}")
            self.ready.set()

    async def _shared(self) -> Material:
        """What is in the Secret, after renewing it where due. Conflicts mean that somebody else did: read theirs."""
        path = f"/api/v1/namespaces/{self._namespace}/secrets"
        for _ in range(_MOST_TRIES):
            try:
                stored = await self._client.get(f"{path}/{self._secret}")
            except NotFoundError:
                stored = None
            known = _read(stored)
            wanted = authority.renewed(known, self._hosts, self._now())
            if wanted is known:
                return wanted
            try:
                if stored is None:
                    await self._create(path, wanted)
                else:
                    # With the resourceVersion that was read: of several replicas one wins.
                    await self._client.replace(f"{path}/{self._secret}", {**stored, "data": _data(wanted)})
            except ConflictError:
                continue
            log.info("certificate_made", cause="renewed" if known else "first")
            return wanted
        raise ConflictError(f"Secret {self._namespace}/{self._secret} keeps changing")

    async def _create(self, path: str, material: Material) -> None:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self._secret, "namespace": self._namespace},
            "type": "kubernetes.io/tls",
            "data": _data(material),
        }
        try:
            await self._client.create(path, secret)
        except NotFoundError:
            # Not installed by our manifests, from a developer's machine perhaps: the namespace is missing.
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace}}
            await self._client.create("/api/v1/namespaces", namespace)
            await self._client.create(path, secret)

    async def _trust(self, path: str, bundle: bytes) -> None:
        text = base64.b64encode(bundle).decode()
        try:
            # A definition has a quarter of a megabyte; that nothing of it changed is told by its metadata.
            if self._seen.get(path) == _state(await self._client.get_metadata(path), text):
                return
            found = await self._client.get(path)
            if patch := _trust_patch(found, text):
                found = await self._client.patch(path, patch, kind="json")
                log.info("bundle_patched", kind=_named(path))
            self._seen[path] = _state(found["metadata"], text)
            self._complain(_named(path), "")
        except ApiError as error:
            # Perhaps not installed yet, or kept by somebody else: said once, tried again next round.
            self._complain(_named(path), error.message)

    def _complain(self, about: str, cause: str) -> None:
        """Log a trouble when it begins or changes, not in every round."""
        if cause and self._complaints.get(about) != cause:
            log.warning("bundle_not_patched" if about != "secret" else "certificate_unreachable", cause=cause)
        self._complaints[about] = cause


def _trust_patch(found: Json, bundle: str) -> list[Json]:
    """The JSON patch that puts `bundle` into a webhook configuration or a CustomResourceDefinition; none when it is."""
    patch: list[Json] = []
    for index, webhook in enumerate(found.get("webhooks") or ()):
        if webhook["clientConfig"].get("caBundle") != bundle:
            # By position, so only while that position is still the same webhook.
            patch += [
                {"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]},
                {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle},
            ]
    # Nothing where the API server converts by itself: an older release of ours, perhaps.
    webhook = ((found.get("spec") or {}).get("conversion") or {}).get("webhook")
    if webhook and webhook["clientConfig"].get("caBundle") != bundle:
        patch.append({"op": "add", "path": "/spec/conversion/webhook/clientConfig/caBundle", "value": bundle})
    return patch


def _state(metadata: Json, bundle: str) -> object:
    """What is the same for as long as the bundle in an object is."""
    return metadata.get("uid"), metadata.get("generation"), bundle


def _named(path: str) -> str:
    """How logs call it: plural and name."""
    return "/".join(path.split("/")[-2:])


def _empty_context() -> ssl.SSLContext:
    """Without a certificate every handshake fails, which the API server takes as the webhook being down."""
    return ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Have `context` serve this pair from the next handshake on. Raises MalformedError and changes nothing."""
    expiry = authority.expiry_of(certificate)
    # The library reads files only. 0600, and gone before anybody else could look for it.
    with tempfile.NamedTemporaryFile(prefix="tls-") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        try:
            # First where it does no harm: a key that does not match would leave the live context in halves.
            _empty_context().load_cert_chain(file.name)
            context.load_cert_chain(file.name)
        except ssl.SSLError as error:
            raise MalformedError(f"certificate and key do not go together: {error.reason}") from error
    metrics.CERTIFICATE_EXPIRY.set(expiry)


def _read(secret: Json | None) -> Material | None:
    data = (secret or {}).get("data") or {}
    try:
        values = [base64.b64decode(data[key], validate=True) for key in (_BUNDLE, _AUTHORITY_KEY, _CERTIFICATE, _KEY)]
    except (KeyError, ValueError, TypeError, binascii.Error):
        return None
    return Material(*values)


def _data(material: Material) -> dict[str, str]:
    values = {
        _BUNDLE: material.bundle,
        _AUTHORITY_KEY: material.authority_key,
        _CERTIFICATE: material.certificate,
        _KEY: material.key,
    }
    return {key: base64.b64encode(value).decode() for key, value in values.items()}
