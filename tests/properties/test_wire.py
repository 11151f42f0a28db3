"""Whatever comes over the wire: a value, or MalformedError. What was accepted can be decided about and answered."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extender.cluster import audit
from extender.errors import MalformedError
from extender.model.names import NodeName
from extender.pods.filter import filter_pod
from extender.pods.preempt import keep_possible
from extender.pods.prioritize import prioritize_pod
from extender.wire import extender as wire
from extender.wire import nodes, pods
from tests.builders import POLICY, node, node_object, pod, pod_object, world

GOLDEN = Path(__file__).parent.parent / "golden"
REQUESTS = {
    verb: [
        orjson.loads(line)
        for path in sorted(GOLDEN.glob(f"{verb}-*.jsonl"))
        if isinstance(orjson.loads(line := path.read_bytes().splitlines()[1]), dict)
    ]
    for verb in ("filter", "prioritize", "bind", "preempt")
}
DECODERS = {
    "filter": wire.decode_args,
    "prioritize": wire.decode_args,
    "bind": wire.decode_binding,
    "preempt": wire.decode_candidates,
}

texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "0", "-1", "NaN", "1e309", "½", "²", " 0.5", "0.5,0.5", "9" * 400, "../..", "nvidia.com/gpu"]),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, the root left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, item in inner:
        found.append((*prefix, key))
        found.extend(paths(item, (*prefix, key)))
    return found


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    document = copy.deepcopy(document)
    target = document
    for step in path[:-1]:
        target = target[step]
    if value is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return document


@st.composite
def mutated(draw: st.DrawFn, documents: list[Any]) -> Any:
    """A real document with up to three places dropped or replaced by anything."""
    document = draw(st.sampled_from(documents))
    for _ in range(draw(st.integers(1, 3))):
        places = paths(document)
        if not places:
            break
        document = replaced(document, draw(st.sampled_from(places)), draw(st.just(...) | values))
    return document


@pytest.mark.parametrize("verb", DECODERS)
@settings(max_examples=60)
@given(body=st.binary(max_size=200) | st.builds(orjson.dumps, values))
def test_anything(verb: str, body: bytes) -> None:
    try:
        DECODERS[verb](body)
    except MalformedError as error:
        told = str(error)
    else:
        return
    assert 0 < len(told) < 300


@settings(max_examples=60)
@given(st.sampled_from([request for requests in REQUESTS.values() for request in requests]), st.data())
def test_a_damaged_request(document: Any, data: st.DataObject) -> None:
    body = bytearray(orjson.dumps(document))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for decode in DECODERS.values():
        try:
            decode(bytes(body[: data.draw(st.integers(0, len(body)))]))
        except MalformedError:
            continue


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(mutated(REQUESTS["filter"]))
def test_what_filter_accepts_it_can_answer(document: Any) -> None:
    try:
        args = wire.decode_args(orjson.dumps(document))
    except MalformedError:
        return
    picture = world(node("gpu-1"), node("gpu-2"))
    for _ in range(2):
        answer = filter_pod(picture, args.pod, args.names, POLICY, now=0.0)
        if answer.verdict is None:
            assert set(answer.nodes) <= set(args.names)
            orjson.loads(wire.encode_pass(args, answer.nodes))
        else:
            orjson.loads(wire.encode_reject(args, answer.verdict))
        assert audit.check(picture) == []
    orjson.loads(wire.encode_points(prioritize_pod(picture, args.pod, args.names, POLICY)))
    picture.replace_pods([], 2**63)
    assert audit.check(picture) == []


@settings(max_examples=100)
@given(mutated(REQUESTS["bind"]))
def test_what_bind_accepts_are_texts(document: Any) -> None:
    try:
        request = wire.decode_binding(orjson.dumps(document))
    except MalformedError:
        return
    assert all(isinstance(one, str) and one for one in (request.namespace, request.name, request.uid, request.node))


@settings(max_examples=300)
@given(mutated(REQUESTS["preempt"]))
def test_what_preempt_accepts_it_can_answer(document: Any) -> None:
    try:
        candidates = wire.decode_candidates(orjson.dumps(document))
    except MalformedError:
        return
    picture = world(node("gpu-1"), node("gpu-2"))
    picture.upsert_pod(pod("x", on="gpu-1"))
    kept = keep_possible(picture, candidates)
    assert kept.keys() <= candidates.keys()
    orjson.loads(wire.encode_victims(kept))


PODS = [
    *(request["Pod"] for request in REQUESTS["filter"] if request["Pod"]),
    pod_object("p", fraction="0.5", devices=2, on="n", indices=[0, 1], gpu_groups=["g", "h"], owner="Job", claim=True),
    pod_object("p", gpu_memory=1024, cpu="250m", memory="1Gi", mig={"1g.5gb": 1}, deleting=True, priority=5),
]
NODES = [node_object("n", mig={"1g.5gb": 7}), node_object("m", gpus=6, slots=8, cordoned=True)]


@settings(max_examples=400)
@given(mutated(PODS))
def test_a_pod_that_is_read_can_be_kept(document: Any) -> None:
    try:
        read = pods.parse(document)
    except MalformedError:
        return
    picture = world(node("n"))
    for _ in range(2):
        picture.upsert_pod(read)
        assert audit.check(picture) == []
    picture.membership.priority_of(read)
    picture.membership.project_of(read)
    picture.replace_pods([], 2**63)
    assert audit.check(picture) == []


@settings(max_examples=300)
@given(mutated(NODES))
def test_a_node_that_is_read_can_be_kept(document: Any) -> None:
    try:
        read = nodes.parse(document)
    except MalformedError:
        return
    assert isinstance(read.name, str)
    picture = world(read)
    assert audit.check(picture) == []
    picture.delete_node(NodeName(read.name))
    assert audit.check(picture) == []
