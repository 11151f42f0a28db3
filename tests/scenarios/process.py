"""The extender as a child process: `runai-scheduler serve`, started, watched for `ready`, ended or killed."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

Json = dict[str, Any]

READY_S = 60.0
_STOP_S = 30.0
_POLL_S = 0.05
_TAIL_LINES = 60

_RUNNING: set[subprocess.Popen[bytes]] = set()


@atexit.register
def _kill_what_is_left() -> None:
    for child in list(_RUNNING):
        child.kill()
        child.wait()


class ExtenderFailedError(AssertionError):
    """It ended, or was not ready in time; the message ends with the tail of its log."""


def free_port() -> int:
    """A loopback port that nothing listens on now, outside the range of outgoing connections."""
    for port in range(30_000 - os.getpid() % 4_000, 20_000, -1):
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port
    raise RuntimeError("no free port")


_GIVEN: set[int] = set()


class Extender:
    """One process. `start`, then `snapshot`, `metric`, …, then `stop` or `kill`; may be started again."""

    def __init__(
        self,
        kubeconfig: Path,
        log: Path,
        *,
        port: int | None = None,
        flags: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port or free_port()
        self.log = log
        self._kubeconfig = kubeconfig
        self.admission_port = free_port()
        self._metrics_port = free_port()
        self._flags = flags
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._http: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Where kube-scheduler finds the verbs."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    async def start(self, timeout_s: float = READY_S) -> None:
        """Start, and return when its log says `ready` and /readyz agrees. Raises ExtenderFailedError."""
        assert self._child is None, "it runs already"
        begin = self.log.stat().st_size if self.log.exists() else 0
        command = [
            *_dies_with_parent(),
            *_console_script(),
            "serve",
            f"--kubeconfig={self._kubeconfig}",
            f"--extender-address=127.0.0.1:{self.port}",
            f"--admission-address=127.0.0.1:{self.admission_port}",
            f"--metrics-address=127.0.0.1:{self._metrics_port}",
            *self._flags,
        ]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNAI_", "KUBECONFIG"))}
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(  # noqa: ASYNC220  it may outlive this event loop
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=kept | self._environment,
                start_new_session=True,
            )
        _RUNNING.add(self._child)
        deadline = time.monotonic() + timeout_s
        while not (_has_said_ready(self.log, begin) and await self.is_ready()):
            if self._child.poll() is not None:
                raise ExtenderFailedError(f"the extender ended with {self._child.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ExtenderFailedError(f"the extender is not ready after {timeout_s:g} s:\n{self.tail()}")
            await asyncio.sleep(_POLL_S)

    async def kill(self) -> None:
        """kill -9, and reap."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int | None:
        """SIGTERM, SIGKILL after 30 s; the exit status, None when it did not run."""
        return await self._end(signal.SIGTERM)

    async def close(self) -> None:
        """Stop whatever runs and let go of connections. Safe to call twice."""
        await self.stop()
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def is_ready(self) -> bool:
        """Whether /readyz answers 200."""
        try:
            async with self._session().get(self._operations("/readyz")) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def snapshot(self) -> Json:
        """/snapshot?check=1."""
        async with self._session().get(self._operations("/snapshot?check=1")) as answer:
            assert answer.status == 200, await answer.text()
            document: Json = json.loads(await answer.read())
            return document

    async def metrics(self) -> dict[str, float]:
        """/metrics: value by series as it is written, such as `runai_pods_woken_total`."""
        async with self._session().get(self._operations("/metrics")) as answer:
            lines = (await answer.text()).splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {series: float(value) for series, _, value in pairs}

    async def decisions(self, verb: str) -> int:
        """Calls of one verb that were answered since it started."""
        series = 'runai_extender_decisions_total{reason="'
        wanted = f'verb="{verb}"'
        return int(
            sum(value for name, value in (await self.metrics()).items() if name.startswith(series) and wanted in name)
        )

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"

    def complaints(self) -> list[str]:
        """Log lines that speak of a bug: errors and tracebacks."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [line for line in text.splitlines() if '"level":"error"' in line or '"traceback"' in line]

    def answered_nodes(self) -> dict[str, str]:
        """namespace/name of each pod that filter let pass → the node it answered last. Log level debug."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if '"event":"filter"' in line)
        return {line["pod"]: line["node"] for line in lines if "node" in line}

    async def _end(self, number: signal.Signals) -> int | None:
        child, self._child = self._child, None
        if child is None:
            return None
        try:
            if child.poll() is None:
                child.send_signal(number)
                deadline = time.monotonic() + _STOP_S
                while child.poll() is None and time.monotonic() < deadline:
                    await asyncio.sleep(_POLL_S)
        finally:
            child.kill()
            child.wait()
            _RUNNING.discard(child)
        return child.returncode

    def _operations(self, path: str) -> str:
        return f"http://127.0.0.1:{self._metrics_port}{path}"

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            # A killed server leaves dead connections in a pool: none is kept.
            connector = aiohttp.TCPConnector(force_close=True)
            self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10))
        return self._http


def _has_said_ready(log: Path, begin: int) -> bool:
    with log.open("rb") as file:
        file.seek(begin)
        for line in file:
            with contextlib.suppress(ValueError):
                if json.loads(line).get("event") == "ready":
                    return True
    return False


def _console_script() -> list[str]:
    return [str(Path(sys.executable).parent / "runai-scheduler")]


def _dies_with_parent() -> list[str]:
    """Have the kernel kill the child should we be killed (it watches the thread that started it)."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL", "--"]
