"""Processes of the bench: helper servers and the service itself, each ended by the `with` that started it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_STOP_S = 30.0
_POLL_S = 0.01
# The console script's own main, of the checkout that the bench was started in.
# No kubelet here could say which device a reservation got: shared devices are held by our own books only.
_SETTINGS = {"RUNAI_GPU_SHARING__RESERVATIONS": "false"}
_SERVICE = "from extender.cli.scheduler import main; main()"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    pid: int


@dataclass(frozen=True, slots=True)
class Service(Server):
    """A running `runai-scheduler serve`. `ready_s`: from the start of the process to /readyz 200. Memory in MiB."""

    ready_s: float
    rss_mib: float
    peak_mib: float


@contextlib.contextmanager
def helper(*module: str) -> Iterator[Server]:
    """Run `python -m MODULE …` of this package."""
    with _child([sys.executable, "-m", *module], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        if not url:
            raise RuntimeError(f"{' '.join(module)} did not start")
        try:
            yield Server(url, process.pid)
        finally:
            process.stdin.close()
            process.stdout.close()


@contextlib.contextmanager
def service(
    api_url: str = "", *, kubeconfig: Path | None = None, answer: str = "seat", port: int = 0, ready_s: float = 120.0
) -> Iterator[Service]:
    """Run our service against the API server at `api_url` (no credentials) or in `kubeconfig`; wait until ready.

    Its log goes to the null device, at its default level. Raises RuntimeError when it ends or is not ready in time.
    """
    with contextlib.ExitStack() as stack:
        if kubeconfig is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            kubeconfig = folder / "kubeconfig"
            kubeconfig.write_text(_kubeconfig(api_url))
        port = port or free_port()
        operations = free_port()
        command = [
            sys.executable, "-c", _SERVICE, "serve", f"--kubeconfig={kubeconfig}", "--roles=extender",
            f"--extender-address=127.0.0.1:{port}", f"--metrics-address=127.0.0.1:{operations}",
        ]  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNAI_", "KUBECONFIG"))}
        began = time.perf_counter()
        process = stack.enter_context(
            _child(command, env={**kept, **_SETTINGS, "RUNAI_PLACEMENT__ANSWER": answer}, stdout=subprocess.DEVNULL)
        )
        while not _is_ready(f"http://127.0.0.1:{operations}/readyz"):
            if process.poll() is not None:
                raise RuntimeError(f"the service ended with {process.returncode}")
            if time.perf_counter() - began > ready_s:
                raise RuntimeError(f"the service is not ready after {ready_s:g} s")
            time.sleep(_POLL_S)
        took = time.perf_counter() - began
        rss, peak = memory_mib(process.pid)
        yield Service(f"http://127.0.0.1:{port}", process.pid, took, rss, peak)


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process, and the most it ever had, in MiB; zeros where the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return kib.get("VmRSS", 0) / 1024, kib.get("VmHWM", 0) / 1024


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, exact to the microsecond; 0 where the kernel does not tell."""
    try:
        threads = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(file.read_text().split()[0]) for file in threads) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _child(
    command: list[str], *, stdin: int = subprocess.DEVNULL, stdout: int, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    # Should we be killed, the kernel ends the child too.
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    process = subprocess.Popen(
        [*prefix, *command], stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, env=env, start_new_session=True
    )
    try:
        yield process
        if stdin == subprocess.DEVNULL:
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _kubeconfig(url: str) -> str:
    """JSON is YAML."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stub", "cluster": {"server": url}}],
            "users": [{"name": "stub", "user": {}}],
            "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub"}}],
            "current-context": "stub",
        }
    )
