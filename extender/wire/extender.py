"""kube-scheduler's extender protocol: request bytes → model, answers → bytes. Key casing is Go's, byte-exact.

Go decodes keys whatever their case and ignores unknown ones; so do we. Only HTTP 200 is ever read, so a verdict
or an error travels in the body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import add
from typing import Any, overload

import orjson

from extender.errors import MalformedError
from extender.model.names import NodeName, PodUID
from extender.model.pod import Pod
from extender.model.verdict import Verdict
from extender.pods.bind import BindRequest
from extender.wire import pods

Json = dict[str, Any]

# A reject that names every node costs 300 KB at 5,000 of them; one entry says the same on schedulers since 1.32,
# and below this size older ones get the full map that keeps their preemption from trying the unnamed nodes.
FULL_REJECT_MAP = 500
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}", re.ASCII)  # goes into the API server's paths


@dataclass(frozen=True, slots=True)
class Args:
    """filter's and prioritize's question. `nodes` holds the objects when the caller sent them, not names."""

    pod: Pod
    names: Sequence[str]
    nodes: Mapping[str, Json] | None = None


Known = Callable[[PodUID, int], Pod | None]
"""The pod of this uid as it was at this resourceVersion, when the watch has shown it."""


def _nothing_known(_: PodUID, __: int) -> None:
    return None


def decode_args(body: bytes, known: Known = _nothing_known) -> Args:
    """ExtenderArgs. Without any node, `names` is empty. Raises MalformedError with a short text.

    known: spares reading the very version of a pod that was read before.
    """
    quick = _quick_args(body, known)
    if quick is not None:
        return quick
    document = _document(body)
    pod = _field(document, "Pod")
    if not isinstance(pod, dict):
        raise MalformedError("Pod is missing")
    offered = _field(document, "NodeNames")
    if offered is not None:
        return Args(pods.parse(pod), list(dict.fromkeys(_names(offered))))
    listed = _field(document, "Nodes")
    if listed is None:
        return Args(pods.parse(pod), ())
    try:
        nodes = {_text(node["metadata"]["name"]): node for node in listed.get("items") or ()}
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedError("Nodes must be a NodeList whose items have names") from error
    return Args(pods.parse(pod), list(nodes), nodes)


class OfferedNames(Sequence[str]):
    """Node names as they came, `"n1","n2",…` from `start` to `stop`: finding one costs no decoding of the rest."""

    def __init__(self, body: bytes, start: int, stop: int) -> None:
        self._body = body
        self._start = start
        self._stop = stop
        self._names: list[str] | None = None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._body.find(b'"%b"' % name.encode(), self._start, self._stop) >= 0

    def __len__(self) -> int:
        return len(self._decoded())

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._decoded()[index]

    def _decoded(self) -> list[str]:
        if self._names is None:
            names = _document(b'{"NodeNames":[%b]}' % self._body[self._start : self._stop])["NodeNames"]
            self._names = _names(names)
        return self._names


# How Go writes our question, always: an unescaped quote cannot stand inside a text, so these bytes are the keys.
_QUICK_HEAD = b'{"Pod":{'
_QUICK_MIDDLE = b',"Nodes":null,"NodeNames":['
_QUICK_TAIL = b'"]}'


def _quick_args(body: bytes, known: Known) -> Args | None:
    """The arguments without decoding thousands of names, None when the body is not in the very form Go writes.

    At 5,000 names this takes a tenth of the time of decoding them (docs/decisions/0004-packing.md).
    """
    middle = body.find(_QUICK_MIDDLE)
    if middle < 0 or not body.startswith(_QUICK_HEAD) or not body.endswith(_QUICK_TAIL):
        return None
    start, stop = middle + len(_QUICK_MIDDLE), len(body) - len(b"]}")
    # With no escape and no other bracket up to the end, the list is one of plain texts: quotes are where names end.
    if any(body.find(byte, start, stop) >= 0 for byte in (b"\\", b"[", b"]", b"{")):
        return None
    try:
        pod = orjson.loads(memoryview(body)[len(b'{"Pod":') : middle])
    except orjson.JSONDecodeError:
        return None
    return Args(known(*pods.identity(pod)) or pods.parse(pod), OfferedNames(body, start, stop))


def decode_binding(body: bytes) -> BindRequest:
    """ExtenderBindingArgs. Raises MalformedError when one of its four texts is missing."""
    document = _document(body)
    values = [_field(document, key) for key in ("PodNamespace", "PodName", "PodUID", "Node")]
    for key, value in zip(("PodNamespace", "PodName", "PodUID", "Node"), values, strict=True):
        if not isinstance(value, str) or not value:
            raise MalformedError(f"{key} is missing")
        if key != "PodUID" and not _NAME.fullmatch(value):
            raise MalformedError(f"{key} is not the name of an object")
    namespace, name, uid, node = values
    return BindRequest(namespace, name, PodUID(uid), NodeName(node))


def decode_candidates(body: bytes) -> dict[str, tuple[list[PodUID], int]]:
    """ExtenderPreemptionArgs, in either form, as node → (victims' uids, PDB violations). Raises MalformedError."""
    document = _document(body)
    meta = _field(document, "NodeNameToMetaVictims")
    full = _field(document, "NodeNameToVictims")
    try:
        if meta is not None:
            return {
                node: ([PodUID(_text(pod["UID"])) for pod in victims.get("Pods") or ()], _violations(victims))
                for node, victims in meta.items()
            }
        return {
            node: (
                [PodUID(_text(pod["metadata"]["uid"])) for pod in victims.get("Pods") or ()],
                _violations(victims),
            )
            for node, victims in (full or {}).items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedError("victims must be a map of node to Pods with uids") from error


def encode_pass(args: Args, passed: Sequence[str]) -> bytes:
    """ExtenderFilterResult that lets `passed` through, in the form (names or objects) of the question."""
    if args.nodes is None:
        return _filter_result(names=list(passed))
    items = [args.nodes[name] for name in passed]
    return _filter_result(nodes={"metadata": {}, "items": items})


def encode_reject(args: Args, verdict: Verdict) -> bytes:
    """ExtenderFilterResult that lets none through: one constant text, marked as beyond preemption's help."""
    named = args.names if len(args.names) <= FULL_REJECT_MAP else args.names[:1]
    failed = dict.fromkeys(named, verdict.constant)
    if args.nodes is None:
        return _filter_result(names=[], unresolvable=failed)
    return _filter_result(nodes={"metadata": {}, "items": []}, unresolvable=failed)


def encode_filter_error(text: str) -> bytes:
    """ExtenderFilterResult for "cannot judge now": kube-scheduler backs off and asks again."""
    return _filter_result(error=text)


def encode_points(points: Sequence[tuple[str, int]]) -> bytes:
    """HostPriorityList: integers only, or the whole list is dropped in silence."""
    if not points:
        return b"[]"
    hosts, scores = zip(*points, strict=True)
    # The library writes the names, all at once; the rest has nothing to escape. A third of the time of many objects.
    written = orjson.dumps(hosts)[2:-2].decode().split('","')
    ends = {score: f'","Score":{score}}}' for score in {*scores}}
    parts = map(add, written, map(ends.__getitem__, scores))
    return ('[{"Host":"' + ',{"Host":"'.join(parts) + "]").encode()


def encode_binding(error: str = "") -> bytes:
    """ExtenderBindingResult; an empty error is success."""
    return orjson.dumps({"Error": error})


def encode_victims(kept: Mapping[str, tuple[Sequence[PodUID], int]]) -> bytes:
    """ExtenderPreemptionResult: always the Meta form."""
    return orjson.dumps(
        {
            "NodeNameToMetaVictims": {
                node: {"Pods": [{"UID": uid} for uid in victims], "NumPDBViolations": violations}
                for node, (victims, violations) in kept.items()
            }
        }
    )


def _filter_result(
    *,
    names: list[str] | None = None,
    nodes: Json | None = None,
    unresolvable: Mapping[str, str] | None = None,
    error: str = "",
) -> bytes:
    return orjson.dumps(
        {
            "Nodes": nodes,
            "NodeNames": names,
            "FailedNodes": {},
            "FailedAndUnresolvableNodes": unresolvable or {},
            "Error": error,
        }
    )


def _document(body: bytes) -> Json:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson's own text names line and column and quotes nothing of the body.
        raise MalformedError(f"not JSON: {error}"[:200]) from error
    if not isinstance(document, dict):
        raise MalformedError("not a JSON object")
    return document


def _field(document: Json, key: str) -> Any:
    if key in document:
        return document[key]
    lowered = key.lower()
    return next((value for name, value in document.items() if name.lower() == lowered), None)


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not {*map(type, value)} <= {str}:
        raise MalformedError("NodeNames must be a list of texts")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value


def _violations(victims: Json) -> int:
    value = victims.get("NumPDBViolations") or 0
    if not isinstance(value, int):
        raise TypeError("NumPDBViolations must be an integer")
    return value
