"""A real Kubernetes control plane on loopback, for as long as an ``async with`` block lasts.

:class:`ControlPlane` starts etcd, kube-apiserver and kube-controller-manager as child processes on free
loopback ports, and kube-scheduler when asked (:meth:`ControlPlane.start_scheduler`). There is no kubelet: a
node is an object that a test creates, and a pod's status is what a test (or an emulator) writes.

The executables are found the way envtest finds them: in ``$KUBEBUILDER_ASSETS``, by default
``/usr/local/kubebuilder/bin``. See :func:`find_binaries` and :func:`missing_binaries`.

By hand::

    python -m tests.e2e.controlplane          # prints the kubeconfig's path; Ctrl-C stops everything
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import base64
import contextlib
import datetime
import ipaddress
import os
import random
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "Binaries",
    "ComponentFailedError",
    "ControlPlane",
    "binaries_directory",
    "can_name_hosts",
    "find_binaries",
    "missing_binaries",
    "write_scheduler_config",
]

DEFAULT_ASSETS = "/usr/local/kubebuilder/bin"
_NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

# Outside the range the kernel hands to outgoing connections (32768 and up on Linux): a port that is free when
# it is picked cannot then be taken by a client connection before the component listens on it.
_PORTS = range(20_000, 30_000)

_POLL_S = 0.05
_LOG_TAIL_LINES = 40

# What would act on nodes without a kubelet behind them: nodelifecycle marks a node without a heartbeat
# Unknown and taints it, the others want a cloud or a pod network. Everything else runs as in a real cluster.
_DISABLED_CONTROLLERS = (
    "node-lifecycle-controller",
    "node-ipam-controller",
    "node-route-controller",
    "cloud-node-lifecycle-controller",
    "service-lb-controller",
)

# ServiceAccount: a pod may be created before (or without) its namespace's `default` service account.
# TaintNodesByCondition: it taints every new node not-ready, and the controller that would take the taint away
# (nodelifecycle) is off.
_DISABLED_ADMISSION = ("ServiceAccount", "TaintNodesByCondition")


# ---------------------------------------------------------------------------------------------- executables


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths of the four executables."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path


def binaries_directory() -> Path:
    """Where the executables are looked for: ``$KUBEBUILDER_ASSETS``, or envtest's default."""
    return Path(os.environ.get("KUBEBUILDER_ASSETS") or DEFAULT_ASSETS)


def missing_binaries() -> list[str]:
    """Names of the executables that :func:`binaries_directory` lacks; empty when all four are there."""
    directory = binaries_directory()
    return [name for name in _NAMES if not _is_executable(directory / name)]


def find_binaries() -> Binaries | None:
    """Find the four executables; ``None`` when any is absent (:func:`missing_binaries` names which)."""
    if missing_binaries():
        return None
    directory = binaries_directory()
    return Binaries(
        etcd=directory / "etcd",
        kube_apiserver=directory / "kube-apiserver",
        kube_controller_manager=directory / "kube-controller-manager",
        kube_scheduler=directory / "kube-scheduler",
    )


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


# ------------------------------------------------------------------------------------------------- processes


class ComponentFailedError(RuntimeError):
    """A component exited, or was not ready in time; the message ends with the tail of its log."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        super().__init__(f"{name} {reason}; the end of {log}:\n{_tail(log)}")
        self.name = name
        self.reason = reason


def _tail(log: Path, lines: int = _LOG_TAIL_LINES) -> str:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


class _Process:
    """One running component.

    A plain ``Popen`` and not an ``asyncio`` subprocess: the latter belongs to one event loop, and a control
    plane that a test session shares outlives the loop of any one test.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            output.write((" ".join(command) + "\n").encode())
            output.flush()
            self._popen = subprocess.Popen(
                [*_dies_with_parent(), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal must reach only us, so that we stop the components in order.
                start_new_session=True,
            )
        _LIVE.add(self)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_status(self) -> int | None:
        return self._popen.poll()

    def kill(self) -> None:
        """Kill and reap at once (for exits that cannot await)."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.kill()
        self._popen.wait()
        _LIVE.discard(self)

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, kill it after `grace_s` seconds, and reap it. Does nothing once it has ended."""
        try:
            if self._popen.poll() is None:
                self._popen.terminate()
                deadline = time.monotonic() + grace_s
                while self._popen.poll() is None and time.monotonic() < deadline:
                    await asyncio.sleep(_POLL_S)
        finally:  # also when the wait itself is cancelled
            self.kill()


_LIVE: set[_Process] = set()


@atexit.register
def _kill_what_is_left() -> None:
    for process in list(_LIVE):
        process.kill()


def _dies_with_parent() -> list[str]:
    """A command prefix that has the kernel kill the child should we be killed; empty where there is none.

    The kernel watches the *thread* that started the child, hence only on the main one.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL", "--"]


# `sh -c SCRIPT HOSTNAME COMMAND…` in a UTS namespace of its own.
_ON_HOST = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')


def can_name_hosts() -> bool:
    """Whether :meth:`ControlPlane.start_replica` can work here: it needs `unshare` and the right to use it."""
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run([*_ON_HOST, "probe", "true"], capture_output=True, check=False, timeout=30)
    return done.returncode == 0


def _free_ports(count: int) -> list[int]:
    """`count` distinct loopback TCP ports that nothing listens on."""
    with contextlib.ExitStack() as held:  # held together, so that they are distinct
        ports: list[int] = []
        for port in random.sample(_PORTS, len(_PORTS)):
            candidate = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise RuntimeError(f"fewer than {count} free ports in {_PORTS}")


# ------------------------------------------------------------------------------------------ keys and configs


@dataclass(frozen=True, slots=True)
class _Credentials:
    ca: Path
    certificate: Path
    key: Path
    service_account_key: Path
    service_account_public_key: Path
    token_file: Path
    token: str


def _write_credentials(directory: Path) -> _Credentials:
    """Make a certificate authority, a serving certificate for loopback, and the admin's token."""
    directory.mkdir(mode=0o700)
    now = datetime.datetime.now(datetime.UTC)
    valid_from, valid_to = now - datetime.timedelta(hours=1), now + datetime.timedelta(days=30)

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e-ca")])
    ca_usage = _key_usage(signs_certificates=True)
    ca = (
        x509.CertificateBuilder(
            ca_name, ca_name, ca_key.public_key(), x509.random_serial_number(), valid_from, valid_to
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(ca_usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
        *(x509.DNSName(host) for host in ("localhost", "kubernetes", "kubernetes.default.svc")),
    ]
    certificate = (
        x509.CertificateBuilder(ca_name, name, key.public_key(), x509.random_serial_number(), valid_from, valid_to)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        # Verifiers that follow RFC 5280 to the letter (Python 3.13 and later) insist on this one.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )

    service_account = ec.generate_private_key(ec.SECP256R1())
    token = secrets.token_hex(16)
    pem = serialization.Encoding.PEM
    return _Credentials(
        ca=_secret(directory / "ca.crt", ca.public_bytes(pem)),
        certificate=_secret(directory / "apiserver.crt", certificate.public_bytes(pem)),
        key=_secret(directory / "apiserver.key", _private_pem(key)),
        service_account_key=_secret(directory / "service-account.key", _private_pem(service_account)),
        service_account_public_key=_secret(
            directory / "service-account.pub",
            service_account.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
        ),
        token_file=_secret(directory / "tokens.csv", f'{token},admin,admin,"system:masters"\n'.encode()),
        token=token,
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        # The API server reads an ECDSA key only in its own ("EC PRIVATE KEY") form.
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _secret(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def _kubeconfig(url: str, credentials: _Credentials) -> bytes:
    name = "e2e"
    cluster = {
        "server": url,
        "certificate-authority-data": base64.b64encode(credentials.ca.read_bytes()).decode(),
    }
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"token": credentials.token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
        sort_keys=False,
    ).encode()


def write_scheduler_config(
    source: Path,
    target: Path,
    *,
    kubeconfig: Path,
    extender_url: str | None = None,
    leader_elect: bool = False,
) -> None:
    """Copy a KubeSchedulerConfiguration file, changed only in what ties it to a place.

    The copy's ``clientConnection.kubeconfig`` is `kubeconfig` and its ``leaderElection.leaderElect`` is
    `leader_elect` (then with lease times of seconds). With `extender_url` (such as
    ``http://127.0.0.1:40001``), every extender's ``urlPrefix`` takes that scheme, host and port and keeps its
    own path. The rest (profiles, plugins, timeouts) stays as it is.

    Raises ``ValueError`` when `source` is no KubeSchedulerConfiguration, or when `extender_url` is given and
    `source` has no extender to point at it.
    """
    config: Any = yaml.safe_load(source.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or config.get("kind") != "KubeSchedulerConfiguration":
        raise ValueError(f"{source} is no KubeSchedulerConfiguration")
    config["clientConnection"] = {**(config.get("clientConnection") or {}), "kubeconfig": str(kubeconfig)}
    times = {"leaseDuration": "4s", "renewDeadline": "3s", "retryPeriod": "1s"} if leader_elect else {}
    config["leaderElection"] = {**(config.get("leaderElection") or {}), "leaderElect": leader_elect, **times}
    if extender_url is not None:
        extenders = config.get("extenders") or []
        if not extenders:
            raise ValueError(f"{source} has no extender that could be sent to {extender_url}")
        to = urlsplit(extender_url)
        for extender in extenders:
            path = urlsplit(extender["urlPrefix"]).path
            extender["urlPrefix"] = urlunsplit((to.scheme, to.netloc, path, "", ""))
    target.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


# --------------------------------------------------------------------------------------------- control plane


class ControlPlane:
    """etcd, kube-apiserver and kube-controller-manager on loopback; an async context manager.

    Entering raises :class:`ComponentFailedError` when a component ends or is not ready within
    `ready_timeout_s` seconds, and ``FileNotFoundError`` when an executable is missing; either way nothing is
    left running. Leaving ends the components in reverse order, killing one that takes longer than
    `stop_grace_s` seconds.

    Keys, data and logs lie in a new temporary directory (``$TMPDIR`` is honoured) that is removed at the end,
    or in `directory`, which is kept and must not hold an earlier control plane (``FileExistsError``).

    :attr:`kubeconfig`, :attr:`url`, :attr:`token`, :attr:`ca` and :attr:`directory` are there once it is
    entered. The admin is in ``system:masters``. Logs are ``<directory>/<component>.log``.

    A node that a test creates is schedulable at once, whatever its ``Ready`` condition says: what would taint
    it is off. No node is marked unreachable, and no pod evicted from it, for want of a heartbeat.
    """

    kubeconfig: Path
    """A kubeconfig of an administrator, with the CA's certificate in it."""
    url: str
    """The API server, such as ``https://127.0.0.1:20443``."""
    token: str
    """The administrator's bearer token."""
    directory: Path
    """Where keys, data and logs lie."""
    ca: Path
    """The CA certificate (PEM) that vouches for the API server."""
    scheduler_url: str | None = None
    """The running kube-scheduler's own HTTPS server (``/metrics``, by :attr:`token`; its certificate is
    self-signed), or ``None`` while none runs."""

    def __init__(
        self,
        binaries: Binaries | None = None,
        *,
        directory: Path | None = None,
        apiserver_args: Sequence[str] = (),
        controller_manager_args: Sequence[str] = (),
        ready_timeout_s: float = 90.0,
        stop_grace_s: float = 10.0,
    ) -> None:
        self._binaries = binaries
        self._given_directory = directory
        self._apiserver_args = tuple(apiserver_args)
        self._controller_manager_args = tuple(controller_manager_args)
        self._ready_timeout_s = ready_timeout_s
        self._stop_grace_s = stop_grace_s
        self._processes: list[_Process] = []  # in the order they were started
        self._scheduler: _Process | None = None
        self._scheduler_starts = 0

    async def __aenter__(self) -> ControlPlane:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything but the scheduler and wait until it is ready; raises what the class says."""
        if self._processes:
            raise RuntimeError("this control plane is already running")
        binaries = self._binaries or find_binaries()
        if binaries is None:
            raise FileNotFoundError(f"{binaries_directory()} lacks {', '.join(missing_binaries())}")
        self._binaries = binaries
        self.directory = self._make_directory()
        try:
            etcd_port, peer_port, api_port, manager_port = _free_ports(4)
            credentials = _write_credentials(self.directory / "keys")
            self.ca, self.token = credentials.ca, credentials.token
            self.url = f"https://127.0.0.1:{api_port}"
            self.kubeconfig = _secret(self.directory / "kubeconfig", _kubeconfig(self.url, credentials))
            await self._start_etcd(etcd_port, peer_port)
            await self._start_apiserver(api_port, etcd_port, credentials)
            await self._start_controller_manager(manager_port, credentials)
        except BaseException:  # cancelled, too: whatever the cause, nothing stays behind
            await self.stop()
            raise

    async def stop(self) -> None:
        """End whatever runs, last started first, and remove the temporary directory. May be called twice."""
        try:
            while self._processes:
                await self._processes[-1].stop(self._stop_grace_s)
                self._processes.pop()
        finally:  # cancelled in the middle: the rest goes without ceremony
            for process in reversed(self._processes):
                process.kill()
            self._processes.clear()
            self._scheduler = None
            self.scheduler_url = None
            if self._given_directory is None and hasattr(self, "directory"):
                shutil.rmtree(self.directory, ignore_errors=True)

    # -- the scheduler

    async def start_scheduler(
        self,
        config: Path,
        *,
        extender_url: str | None = None,
        feature_gates: Mapping[str, bool] | None = None,
        extra_args: Sequence[str] = (),
    ) -> None:
        """Start kube-scheduler on a copy of `config` and wait until its caches are in step.

        `config` is a KubeSchedulerConfiguration file; :func:`write_scheduler_config` says what the copy
        changes. `feature_gates` become ``--feature-gates``, `extra_args` (such as ``"-v=6"``) are appended.
        The first start logs to ``kube-scheduler.log``, later ones to ``kube-scheduler-2.log`` and so on.

        A gate that makes the scheduler watch an alpha API needs that API on the server too (`apiserver_args`:
        its ``--feature-gates`` and ``--runtime-config``); else the scheduler never becomes ready.

        Raises ``ValueError`` for a file that cannot be used, ``RuntimeError`` when a scheduler runs already
        or the control plane does not, and :class:`ComponentFailedError` when the scheduler ends or is not
        ready in time (it is stopped then).
        """
        if not self._processes or self._binaries is None:
            raise RuntimeError("this control plane is not running")
        if self._scheduler is not None:
            raise RuntimeError("a scheduler is already running")
        copy = self.directory / "scheduler-config.yaml"
        write_scheduler_config(config, copy, kubeconfig=self.kubeconfig, extender_url=extender_url)
        (port,) = _free_ports(1)
        command = self._scheduler_command("kube-scheduler", copy, port, feature_gates)
        self._scheduler_starts += 1
        # A log of its own for each start: a test that restarts the scheduler wants to read both.
        suffix = "" if self._scheduler_starts == 1 else f"-{self._scheduler_starts}"
        self._scheduler = self._spawn(f"kube-scheduler{suffix}", [*command, *extra_args])
        try:
            await self._ready(self._scheduler, f"https://127.0.0.1:{port}/readyz")
        except BaseException:
            await self.stop_scheduler()
            raise
        self.scheduler_url = f"https://127.0.0.1:{port}"

    async def stop_scheduler(self) -> None:
        """End kube-scheduler, if one runs."""
        scheduler, self._scheduler, self.scheduler_url = self._scheduler, None, None
        if scheduler is None:
            return
        try:
            await scheduler.stop(self._stop_grace_s)
        finally:
            self._processes.remove(scheduler)

    # -- several schedulers

    async def start_replica(
        self,
        hostname: str,
        config: Path,
        *,
        extender_url: str,
        feature_gates: Mapping[str, bool] | None = None,
    ) -> None:
        """Start one of several kube-schedulers that elect a leader by the Lease that `config` names.

        It believes to run on host `hostname`, which begins its identity in the Lease; that takes a UTS namespace
        of its own, see :func:`can_name_hosts`. It is called `hostname` here, too (:meth:`kill`, :meth:`log`).
        Lease times are shortened to seconds. Raises as :meth:`start_scheduler`.
        """
        copy = self.directory / f"{hostname}-config.yaml"
        write_scheduler_config(config, copy, kubeconfig=self.kubeconfig, extender_url=extender_url, leader_elect=True)
        (port,) = _free_ports(1)
        process = self._spawn(
            hostname,
            [*_ON_HOST, hostname, *self._scheduler_command(hostname, copy, port, feature_gates)],
        )
        await self._ready(process, f"https://127.0.0.1:{port}/healthz")

    # -- faults

    async def kill(self, component: str) -> None:
        """kill -9; the component is not part of this control plane any more. Nothing of that name is no error."""
        for process in [process for process in self._processes if process.name == component]:
            process.kill()
            self._processes.remove(process)
            if process is self._scheduler:
                self._scheduler, self.scheduler_url = None, None

    @contextlib.contextmanager
    def paused(self, component: str) -> Iterator[None]:
        """Freeze a component (SIGSTOP) inside the ``with`` block; connections to it stay open and silent."""
        process = next(process for process in self._processes if process.name == component)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)

    # -- what tests read

    def log(self, component: str) -> str:
        """Everything that a component (such as ``"kube-apiserver"``) has logged so far."""
        return (self.directory / f"{component}.log").read_text(encoding="utf-8", errors="replace")

    def ssl_context(self) -> ssl.SSLContext:
        """A client context that trusts the API server's CA and nothing else."""
        return ssl.create_default_context(cafile=str(self.ca))

    # -- the components

    async def _start_etcd(self, port: int, peer_port: int) -> None:
        assert self._binaries is not None
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        command = [
            str(self._binaries.etcd),
            "--name=e2e",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=e2e={peer}",
            "--logger=zap",
            "--log-level=warn",
            "--log-outputs=stderr",
        ]
        # The data need not survive a power cut. 3.4 does not know the flag and refuses to start with it.
        if "-unsafe-no-fsync" in _help_of(self._binaries.etcd):
            command.append("--unsafe-no-fsync")
        await self._ready(self._spawn("etcd", command), f"{client}/health")

    async def _start_apiserver(self, port: int, etcd_port: int, credentials: _Credentials) -> None:
        assert self._binaries is not None
        command = [
            str(self._binaries.kube_apiserver),
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={credentials.certificate}",
            f"--tls-private-key-file={credentials.key}",
            f"--token-auth-file={credentials.token_file}",
            "--authorization-mode=RBAC",
            f"--disable-admission-plugins={','.join(_DISABLED_ADMISSION)}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={credentials.service_account_public_key}",
            f"--service-account-signing-key-file={credentials.service_account_key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # The `kubernetes` service's endpoints may not be loopback addresses: have none.
            "--endpoint-reconciler-type=none",
            "--allow-privileged=true",
            # The tests share two cores with all this: let work queue rather than be refused.
            "--max-requests-inflight=3000",
            "--max-mutating-requests-inflight=1500",
            *self._apiserver_args,
        ]
        await self._ready(self._spawn("kube-apiserver", command), f"{self.url}/readyz")

    async def _start_controller_manager(self, port: int, credentials: _Credentials) -> None:
        assert self._binaries is not None
        command = [
            str(self._binaries.kube_controller_manager),
            f"--kubeconfig={self.kubeconfig}",
            # Each controller by its own account, as real clusters have it: admission tells who made a pod.
            "--use-service-account-credentials=true",
            *self._serving_args("kube-controller-manager", port),
            "--leader-elect=false",
            f"--controllers={','.join(['*', *(f'-{name}' for name in _DISABLED_CONTROLLERS)])}",
            f"--service-account-private-key-file={credentials.service_account_key}",
            f"--root-ca-file={credentials.ca}",
            # The defaults (20 and 30 a second) would make a test of many pods wait for that limit alone.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            *self._controller_manager_args,
        ]
        await self._ready(self._spawn("kube-controller-manager", command), f"https://127.0.0.1:{port}/healthz")

    def _scheduler_command(
        self, name: str, config: Path, port: int, feature_gates: Mapping[str, bool] | None
    ) -> list[str]:
        if not self._processes or self._binaries is None:
            raise RuntimeError("this control plane is not running")
        command = [
            str(self._binaries.kube_scheduler),
            f"--config={config}",
            *self._serving_args(name, port),
        ]
        if feature_gates:
            gates = ",".join(f"{gate}={str(on).lower()}" for gate, on in sorted(feature_gates.items()))
            command.append(f"--feature-gates={gates}")
        return command

    def _serving_args(self, name: str, port: int) -> list[str]:
        """Flags of a component's own HTTPS server: a self-signed certificate, the API server's tokens."""
        return [
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.directory / 'keys' / name}",
            f"--authentication-kubeconfig={self.kubeconfig}",
            f"--authorization-kubeconfig={self.kubeconfig}",
            # What would be looked up are the CAs of client certificates; nothing here has one.
            "--authentication-skip-lookup=true",
        ]

    # -- starting and waiting

    def _make_directory(self) -> Path:
        if self._given_directory is None:
            return Path(tempfile.mkdtemp(prefix="controlplane-"))
        self._given_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._given_directory.resolve()

    def _spawn(self, name: str, command: Sequence[str]) -> _Process:
        process = _Process(name, command, self.directory / f"{name}.log")
        self._processes.append(process)
        return process

    async def _ready(self, process: _Process, url: str) -> None:
        """Wait until `url` answers 200; raises :class:`ComponentFailedError` (see the class)."""
        deadline = time.monotonic() + self._ready_timeout_s
        last = "it did not answer"
        # Only "is it up?" is asked here, of an address we picked ourselves: no verification.
        connector = aiohttp.TCPConnector(ssl=False, force_close=True)
        timeout = aiohttp.ClientTimeout(total=5)
        headers = {"Authorization": f"Bearer {self.token}"} if url.startswith("https:") else {}
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
            while True:
                status = process.exit_status()
                if status is not None:
                    raise ComponentFailedError(process.name, f"ended with status {status}", process.log)
                try:
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                        last = f"{url} answered {answer.status}: {(await answer.text())[-2000:]}"
                except (aiohttp.ClientError, TimeoutError) as error:
                    last = f"{url}: {error!r}"
                if time.monotonic() >= deadline:
                    reason = f"was not ready after {self._ready_timeout_s:g} s ({last})"
                    raise ComponentFailedError(process.name, reason, process.log)
                await asyncio.sleep(_POLL_S)


def _help_of(executable: Path) -> str:
    done = subprocess.run([executable, "--help"], capture_output=True, text=True, check=False, timeout=30)
    return done.stdout + done.stderr


# --------------------------------------------------------------------------------------------------- by hand


async def _run(arguments: argparse.Namespace) -> None:
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    began = time.monotonic()
    async with ControlPlane(directory=arguments.directory) as plane:
        if arguments.scheduler_config is not None:
            await plane.start_scheduler(arguments.scheduler_config, extender_url=arguments.extender_url)
        print(f"ready after {time.monotonic() - began:.1f} s; logs are in {plane.directory}; Ctrl-C stops it")
        print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
        await asked_to_stop.wait()


def main() -> int:
    """Run a control plane until Ctrl-C; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.controlplane", description=main.__doc__)
    parser.add_argument("--directory", type=Path, help="keep keys, data and logs here (default: temporary)")
    parser.add_argument("--scheduler-config", type=Path, help="also start kube-scheduler with this file")
    parser.add_argument("--extender-url", help="where that file's extender listens, such as http://127.0.0.1:8888")
    try:
        asyncio.run(_run(parser.parse_args()))
    except (ComponentFailedError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
