"""filter, prioritize and bind over HTTP: the whole service against a stub API server, beside the echo extender."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from perf import children, load, objects, stats
from perf.children import Server
from perf.load import Contestant, Limits
from perf.objects import NAMESPACE, Shape

Json = dict[str, Any]
Say = Callable[[str], None]

_TOO_LARGE = Shape(gpus=2 * objects.GPUS)
_TO_BIND = (Shape(gpus=1), Shape(share_milli=500), Shape(share_milli=250))


def verbs(nodes: list[int], pods: list[int], limits: Limits, say: Say) -> list[Json]:
    """filter with one node and with all, prioritize, and with running pods a filter that nothing passes."""
    rows: list[Json] = []
    with children.helper("perf.echo") as echo:
        for count, most in itertools.product(nodes, pods):
            running = objects.running_pods(count, most)
            say(f"verbs: {count} nodes, {running} running pods")
            with children.helper("perf.stub", str(count), str(running)) as api:
                cases = [("filter", "one node", "seat", _bodies(count))]
                if running:
                    cases.append(("filter", "none: rejected", "seat", _too_large(count)))
                rows += _cases(cases, "seat", api.url, echo, count, running, limits)
                cases = [(verb, "all", "all", _bodies(count)) for verb in ("filter", "prioritize")]
                rows += _cases(cases, "all", api.url, echo, count, running, limits)
    return rows


def growth(few: int, many: int, pods: int, limits: Limits, say: Say) -> Json:
    """filter p50 (one-node answer) at `many` nodes over that at `few`, ours and the echo's, all four in turns."""
    say(f"growth: filter from {few} to {many} nodes, {pods} running pods")
    with contextlib.ExitStack() as stack:
        echo = stack.enter_context(children.helper("perf.echo"))
        contestants = {}
        for count in (few, many):
            api = stack.enter_context(children.helper("perf.stub", str(count), str(pods)))
            ours = stack.enter_context(children.service(api.url))
            contestants[f"echo {count}"] = Contestant(echo, _forever("filter", _bodies(count)))
            contestants[f"ours {count}"] = Contestant(ours, _forever("filter", _bodies(count)))
        load.run(contestants, limits)
    grown = {
        name: [
            large / small
            for large, small in zip(
                contestants[f"{name} {many}"].p50_ms, contestants[f"{name} {few}"].p50_ms, strict=True
            )
        ]
        for name in ("echo", "ours")
    }
    return {
        "nodes": [few, many],
        "pods": pods,
        **{name: stats.spread(values).as_json() for name, values in grown.items()},
        "ours_over_echo": stats.ratios(grown["ours"], grown["echo"]).as_json(),
        "p50_ms": {name: one.as_json()["p50_ms"] for name, one in contestants.items()},
    }


def bind(nodes: int, pods: int, limits: Limits, say: Say) -> Json:
    """bind of pods that filter has seated, each once, beside an echo that makes one POST to the same stub a call."""
    say(f"bind: {nodes} nodes, {pods} running pods")
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(children.helper("perf.stub", str(nodes), str(pods)))
        echo = stack.enter_context(children.helper("perf.echo", api.url))
        ours = stack.enter_context(children.service(api.url))
        requests = _seat(ours.url, nodes, limits.calls)
        contestants = {
            "echo": Contestant(echo, itertools.cycle(requests)),
            "ours": Contestant(ours, iter(requests)),
        }
        load.run(contestants, limits)
        for one in contestants.values():
            _must(orjson.loads(one.answer)["Error"] == "", "bind", one.answer)
        return {"nodes": nodes, "pods": pods, **load.compare(contestants)}


def _cases(
    cases: list[tuple[str, str, str, list[bytes]]],
    setting: str,
    api: str,
    echo: Server,
    nodes: int,
    pods: int,
    limits: Limits,
) -> Iterator[Json]:
    with children.service(api, answer=setting) as ours:
        for verb, answer, _, bodies in cases:
            contestants = {
                "echo": Contestant(echo, _forever(verb, bodies)),
                "ours": Contestant(ours, _forever(verb, bodies)),
            }
            load.run(contestants, limits)
            _check(verb, answer, contestants["ours"].answer)
            yield {"verb": verb, "answer": answer, "nodes": nodes, "pods": pods, **load.compare(contestants)}


def _check(verb: str, answer: str, body: bytes) -> None:
    """A fast wrong answer is no result."""
    decoded = orjson.loads(body)
    if verb == "prioritize":
        _must(len(decoded) > 1, verb, body)
    elif answer == "one node":
        _must(len(decoded["NodeNames"] or ()) == 1, verb, body)
    elif answer == "all":
        _must(len(decoded["NodeNames"] or ()) > 1, verb, body)
    else:
        _must(not decoded["NodeNames"] and bool(decoded["FailedAndUnresolvableNodes"]), verb, body)


def _must(holds: bool, verb: str, body: bytes) -> None:
    if not holds:
        raise RuntimeError(f"{verb} answered {body[:300]!r}")


def _bodies(nodes: int) -> list[bytes]:
    """One pod each, and every name."""
    return [objects.filter_body(pod, nodes) for pod in objects.asking_pods()]


def _too_large(nodes: int) -> list[bytes]:
    """Pods that fit nowhere, and every name."""
    pods = [objects.pending_pod(f"large-{number}", _TOO_LARGE, version=6_000_000 + number) for number in range(4)]
    return [objects.filter_body(pod, nodes) for pod in pods]


def _forever(verb: str, bodies: list[bytes]) -> Iterator[bytes]:
    return itertools.cycle([load.post(f"/extender/{verb}", body) for body in bodies])


def _seat(url: str, nodes: int, count: int) -> list[bytes]:
    """Have `count` new pods filtered; the bind requests that kube-scheduler would send next."""
    requests = []
    connection = load.Connection(url)
    try:
        for number in range(count):
            name = f"bind-{number}"
            pod = objects.pending_pod(name, _TO_BIND[number % len(_TO_BIND)], version=7_000_000 + number)
            body = connection.call(load.post("/extender/filter", objects.filter_body(pod, nodes)))
            seats = orjson.loads(body)["NodeNames"]
            _must(bool(seats), "filter", body)
            args = {"PodName": name, "PodNamespace": NAMESPACE, "PodUID": name, "Node": seats[0]}
            requests.append(load.post("/extender/bind", orjson.dumps(args)))
    finally:
        connection.close()
    return requests
