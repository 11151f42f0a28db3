"""The client: HTTP/1.1 keep-alive over plain sockets, so thin that what is measured is the server.

An aiohttp client costs about as much a call as the echo server does, and would pull every ratio towards one.
"""

from __future__ import annotations

import gc
import selectors
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from perf import children, stats
from perf.children import Server

CONNECTIONS = 16

_TIMEOUT_S = 60.0
_WARM_UP = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one contestant's turn: calls and seconds, whichever ends first; and the number of rounds."""

    rounds: int
    sequential: int
    concurrent: int
    seconds: float

    @property
    def calls(self) -> int:
        """The most calls that `run` makes of each contestant."""
        return _WARM_UP + self.rounds * (self.sequential + self.concurrent)


@dataclass(slots=True)
class Contestant:
    """A server, and the requests it gets, one after the other (`requests` must not run dry)."""

    server: Server
    requests: Iterator[bytes]
    answer: bytes = b""  # of the last sequential call
    # A round's figures.
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)  # of the server, a call
    all_ms: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, float]:
        return {
            "p50_ms": stats.percentile(self.all_ms, 0.5),
            "p99_ms": stats.percentile(self.all_ms, 0.99),
            "calls": len(self.all_ms),
            "per_second": stats.spread(self.per_second).median if self.per_second else 0.0,
            "cpu_us": stats.spread(self.cpu_us).median,
            "answer_bytes": len(self.answer),
        }


def post(path: str, body: bytes) -> bytes:
    """The request as one piece of bytes, with the headers of kube-scheduler's client."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    return head.encode() + body


def run(contestants: Mapping[str, Contestant], limits: Limits) -> None:
    """Measure in turns, so that a busy moment of the machine hits all; the order is reversed every other round."""
    connections = {name: Connection(one.server.url) for name, one in contestants.items()}
    gc.collect()
    gc.disable()
    try:
        for name, one in contestants.items():
            for _ in range(_WARM_UP):
                one.answer = connections[name].call(next(one.requests))
        for number in range(limits.rounds):
            order = list(contestants) if number % 2 else list(contestants)[::-1]
            for name in order:
                _sequential(contestants[name], connections[name], limits)
            for name in order:
                if limits.concurrent:
                    contestants[name].per_second.append(_concurrent(contestants[name], limits))
    finally:
        gc.enable()
        for connection in connections.values():
            connection.close()


def compare(contestants: Mapping[str, Contestant]) -> dict[str, object]:
    """Figures of "ours" and "echo" after `run`, and their ratios round by round."""
    ours, echo = contestants["ours"], contestants["echo"]
    result: dict[str, object] = {name: one.as_json() for name, one in contestants.items()}
    result["p50_ratio"] = stats.ratios(ours.p50_ms, echo.p50_ms).as_json()
    if all(echo.cpu_us):
        result["cpu_ratio"] = stats.ratios(ours.cpu_us, echo.cpu_us).as_json()
    result["p99_over_echo_p50"] = stats.ratios(ours.p99_ms, echo.p50_ms).as_json()
    result["p99_pooled_over_echo_p50"] = stats.percentile(ours.all_ms, 0.99) / stats.percentile(echo.all_ms, 0.5)
    result["echo_p99_over_p50"] = stats.percentile(echo.all_ms, 0.99) / stats.percentile(echo.all_ms, 0.5)
    if ours.per_second:
        result["per_second_ratio"] = stats.ratios(ours.per_second, echo.per_second).as_json()
    return result


class Connection:
    """One keep-alive connection; `call` blocks."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(4 * 1024 * 1024)
        self._view = memoryview(self._buffer)
        self._filled = 0

    def close(self) -> None:
        self.socket.close()

    def call(self, request: bytes) -> bytes:
        """Send, and return the answer's body. Raises RuntimeError for anything but a 200 with a Content-Length."""
        self.socket.sendall(request)
        while (body := self.receive()) is None:
            pass
        return body

    def receive(self) -> bytes | None:
        """Read what is there; the body when the answer is complete."""
        count = self.socket.recv_into(self._view[self._filled :])
        if not count:
            raise RuntimeError("the server closed a keep-alive connection")
        self._filled += count
        end = self._buffer.find(b"\r\n\r\n", 0, min(self._filled, 4096))
        if end < 0:
            return None
        head = bytes(self._view[:end])
        total = end + 4 + _content_length(head)
        if self._filled < total:
            return None
        self._filled = 0
        return bytes(self._view[end + 4 : total])


def _content_length(head: bytes) -> int:
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
        raise RuntimeError(f"the server answered {head[:60]!r}")
    at = head.find(b"Content-Length: ")
    if at < 0:
        raise RuntimeError("the answer has no Content-Length")
    return int(head[at + 16 : at + 28].split(b"\r", 1)[0])


def _sequential(one: Contestant, connection: Connection, limits: Limits) -> None:
    times = []
    cpu_before = children.cpu_s(one.server.pid)
    until = time.perf_counter() + limits.seconds
    for _ in range(limits.sequential):
        request = next(one.requests)
        began = time.perf_counter()
        one.answer = connection.call(request)
        ended = time.perf_counter()
        times.append(1000 * (ended - began))
        if ended > until:
            break
    one.cpu_us.append(1e6 * (children.cpu_s(one.server.pid) - cpu_before) / len(times))
    one.p50_ms.append(stats.percentile(times, 0.5))
    one.p99_ms.append(stats.percentile(times, 0.99))
    one.all_ms += times


def _concurrent(one: Contestant, limits: Limits) -> float:
    """Answers a second on 16 connections, each with one call under way at any time."""
    with selectors.DefaultSelector() as selector:
        connections = [Connection(one.server.url) for _ in range(CONNECTIONS)]
        try:
            for connection in connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            began = time.perf_counter()
            until = began + limits.seconds
            for connection in connections:
                connection.socket.sendall(next(one.requests))
            left, open_calls, done = limits.concurrent - CONNECTIONS, CONNECTIONS, 0
            while open_calls:
                for key, _ in selector.select(_TIMEOUT_S):
                    connection = key.data
                    if connection.receive() is None:
                        continue
                    done += 1
                    open_calls -= 1
                    if left > 0 and time.perf_counter() < until:
                        left -= 1
                        open_calls += 1
                        connection.socket.sendall(next(one.requests))
            return done / (time.perf_counter() - began)
        finally:
            for connection in connections:
                connection.close()
