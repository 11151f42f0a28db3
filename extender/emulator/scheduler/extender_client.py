"""The client side of the extender protocol, as kube-scheduler 1.36 speaks it.

Requests are byte for byte those of Go's encoder up to the order inside the Pod; answers are read as Go reads them:
keys in any case, the first JSON value counts, unknown keys are ignored, a value of the wrong type is an error.
`tests/e2e/test_parity.py` compares requests and error texts with those of the real kube-scheduler.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from extender.emulator.scheduler.cache import NodeState, PodView
from extender.emulator.scheduler.config import ExtenderConfig
from extender.errors import RunaiError

Json = dict[str, Any]

_IDLE_CONNECTION_S = 90.0
_INT64 = 1 << 63


class ExtenderCallError(RunaiError):
    """The extender gave no usable answer, or an answer with `Error`; becomes a SchedulerError of the pod."""


@dataclass(frozen=True, slots=True)
class FilterAnswer:
    """node_names: those left, in the extender's order; the maps give node -> reason."""

    node_names: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    unresolvable: Mapping[str, str] = field(default_factory=dict)


class ExtenderClient:
    """One configured extender. Use as an async context manager; safe for many concurrent binds."""

    def __init__(self, config: ExtenderConfig) -> None:
        self.config = config
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ExtenderClient:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION_S),
            headers={
                "Content-Type": "application/json",
                "User-Agent": "Go-http-client/1.1",
                "Accept-Encoding": "gzip",
            },
            skip_auto_headers=("Accept",),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def is_interested(self, pod: PodView) -> bool:
        """Whether `pod` names one of the managed resources; without such a list, always."""
        managed = self.config.managed_resources
        if not managed:
            return True
        return any(
            resource in managed
            for container in (*pod.spec.get("initContainers", ()), *pod.spec.get("containers", ()))
            for kind in ("requests", "limits")
            for resource in (container.get("resources") or {}).get(kind) or ()
        )

    async def filter(self, pod: PodView, nodes: Sequence[NodeState]) -> FilterAnswer:
        """Which of `nodes` the extender leaves; raises ExtenderCallError."""
        value = await self._call(self.config.filter_verb, self._arguments(pod, nodes))
        answer = _Answer(value, "ExtenderFilterResult")
        if error := answer.text("Error"):
            raise ExtenderCallError(error)
        names = answer.names("NodeNames") if self.config.node_cache_capable else None
        if names is None:
            names = answer.node_items("Nodes")
        offered = {node.name for node in nodes}
        for name in names:
            if name not in offered:
                raise ExtenderCallError(
                    f'extender "{self.config.url_prefix}" claims a filtered node "{name}" '
                    "which is not found in the input node list"
                )
        return FilterAnswer(
            tuple(dict.fromkeys(names)),
            answer.texts("FailedNodes"),
            answer.texts("FailedAndUnresolvableNodes"),
        )

    async def prioritize(self, pod: PodView, nodes: Sequence[NodeState]) -> dict[str, int]:
        """What to add to each node's score, the weight included; raises ExtenderCallError."""
        verb = self.config.prioritize_verb
        answer = await self._call(verb, self._arguments(pod, nodes))
        if not isinstance(answer, list):
            raise ExtenderCallError(
                f"json: cannot unmarshal {_go_type(answer)} into Go value of type v1.HostPriorityList"
            )
        scores: dict[str, int] = {}
        for entry in answer:
            host = _Answer(entry, "HostPriority")
            score = host.value("Score") or 0
            if isinstance(score, bool) or not isinstance(score, int) or not -_INT64 <= score < _INT64:
                raise host.mismatch("Score", score, "int64")
            scores[host.text("Host")] = score * self.config.weight * 10
        return scores

    async def bind(self, pod: PodView, node: str) -> None:
        """Let the extender write the binding; raises ExtenderCallError when it says or does anything but
        that.
        """
        arguments = {
            "PodName": pod.name,
            "PodNamespace": pod.namespace,
            "PodUID": pod.uid,
            "Node": node,
        }
        answer = _Answer(await self._call(self.config.bind_verb, arguments), "ExtenderBindingResult")
        if error := answer.text("Error"):
            raise ExtenderCallError(error)

    def _arguments(self, pod: PodView, nodes: Sequence[NodeState]) -> Json:
        # Both keys are always there, in this order, and exactly one is not null.
        if self.config.node_cache_capable:
            return {"Pod": pod.obj, "Nodes": None, "NodeNames": [node.name for node in nodes]}
        items = [node.obj for node in nodes]
        return {"Pod": pod.obj, "Nodes": {"metadata": {}, "items": items}, "NodeNames": None}

    async def _call(self, verb: str, arguments: Json) -> Any:
        if self._session is None:
            raise RuntimeError("the extender client is not open")
        url = self.config.url(verb)
        timeout = aiohttp.ClientTimeout(total=self.config.timeout_s)
        try:
            async with self._session.post(url, data=orjson.dumps(arguments), timeout=timeout) as response:
                if response.status != 200:
                    raise ExtenderCallError(f"failed {verb} with extender at URL {url}, code {response.status}")
                payload = await response.text(encoding="utf-8", errors="replace")
        except TimeoutError as error:
            cause = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            raise ExtenderCallError(f'Post "{url}": {cause}') from error
        except aiohttp.ClientError as error:
            raise ExtenderCallError(f'Post "{url}": {error}') from error
        try:
            value, _ = json.JSONDecoder().raw_decode(payload.lstrip())
        except json.JSONDecodeError as error:
            raise ExtenderCallError(_syntax_error(payload.strip(), error)) from error
        return value


def _syntax_error(payload: str, error: json.JSONDecodeError) -> str:
    """Go's words, as far as Python's decoder knows what was wrong."""
    if not payload:
        return "EOF"
    if error.pos >= len(payload) or error.msg.startswith(("Unterminated", "Expecting property name")):
        return "unexpected EOF"
    return f"invalid character {payload[error.pos]!r} ({error.msg})"


class _Answer:
    """A JSON object read as Go reads one into `struct`: keys in any case, null for absent, types checked."""

    def __init__(self, value: Any, struct: str) -> None:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise ExtenderCallError(f"json: cannot unmarshal {_go_type(value)} into Go value of type v1.{struct}")
        self._struct = struct
        self._values = {key.lower(): item for key, item in value.items()}

    def value(self, key: str) -> Any:
        return self._values.get(key.lower())

    def text(self, key: str) -> str:
        value = self.value(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.mismatch(key, value, "string")
        return value

    def names(self, key: str) -> list[str] | None:
        value = self.value(key)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.mismatch(key, value, "[]string")
        for name in value:
            if not isinstance(name, str):
                raise self.mismatch(key, name, "string")
        return value

    def texts(self, key: str) -> dict[str, str]:
        value = self.value(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.mismatch(key, value, "v1.FailedNodesMap")
        for text in value.values():
            if not isinstance(text, str):
                raise self.mismatch(key, text, "string")
        return value

    def node_items(self, key: str) -> list[str]:
        """The names in a NodeList; an absent list is no node at all, which is not an error."""
        items = _Answer(self.value(key), "NodeList").value("items") or ()
        try:
            return [str(item["metadata"]["name"]) for item in items]
        except (KeyError, TypeError):
            raise self.mismatch(key, items, "v1.NodeList") from None

    def mismatch(self, key: str, value: Any, wanted: str) -> ExtenderCallError:
        return ExtenderCallError(
            f"json: cannot unmarshal {_go_type(value)} into Go struct field {self._struct}.{key} of type {wanted}"
        )


def _go_type(value: Any) -> str:
    match value:
        case dict():
            return "object"
        case list():
            return "array"
        case str():
            return "string"
        case bool():
            return "bool"
    return "number"
