"""The protocol's forms and key casing; whole requests and answers are in tests/golden."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extender.errors import MalformedError
from extender.model.verdict import Reason, no
from extender.wire import extender as wire
from extender.wire.extender import Args
from tests.builders import node_object, pod, pod_object

Json = dict[str, Any]


def args(**document: Any) -> Args:
    return wire.decode_args(orjson.dumps({"Pod": pod_object("p"), **document}))


@pytest.mark.parametrize(
    ("document", "names", "by_object"),
    [
        pytest.param({"Nodes": None, "NodeNames": ["b", "a"]}, ["b", "a"], False, id="names"),
        pytest.param({"Nodes": {"items": [node_object("a")]}, "NodeNames": None}, ["a"], True, id="objects"),
        pytest.param({"Nodes": None, "NodeNames": None}, [], False, id="neither: no node passed"),
        pytest.param({}, [], False, id="missing"),
        pytest.param({"NodeNames": []}, [], False, id="no names"),
        pytest.param({"Nodes": {"metadata": {}, "items": None}}, [], True, id="no objects"),
        pytest.param({"Nodes": {"items": [node_object("a")]}, "NodeNames": ["b"]}, ["b"], False, id="both: the names"),
        pytest.param({"nodenames": ["a"]}, ["a"], False, id="any case, as Go"),
        pytest.param({"NodeNames": ["a"], "Unknown": 1}, ["a"], False, id="unknown keys"),
        pytest.param({"NodeNames": ["a", "b", "a"]}, ["a", "b"], False, id="each once"),
    ],
)
def test_both_forms(document: Json, names: list[str], by_object: bool) -> None:
    decoded = args(**document)
    assert list(decoded.names) == names
    assert (decoded.nodes is not None) == by_object
    assert decoded.pod == pod("p")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"\xff\xfe",
        b"{}",
        b'{"Pod":null}',
        b'{"Pod":[]}',
        b'{"Pod":{}}',
        b'{"Pod":{"metadata":{"name":"p"}}}',
        b'{"Pod":{"metadata":{"name":"p","uid":"u"}},"NodeNames":"n"}',
        b'{"Pod":{"metadata":{"name":"p","uid":"u"}},"NodeNames":[1]}',
        b'{"Pod":{"metadata":{"name":"p","uid":"u"}},"NodeNames":["a",null]}',
        b'{"Pod":{"metadata":{"name":"p","uid":"u"}},"Nodes":[1]}',
        b'{"Pod":{"metadata":{"name":"p","uid":"u"}},"Nodes":{"items":[1]}}',
        b'{"Pod":{"metadata":{"name":"p","uid":"u"}},"Nodes":{"items":[{"metadata":{}}]}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_question(body: bytes) -> None:
    with pytest.raises(MalformedError) as refused:
        wire.decode_args(body)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", [5, None, 1.5])
def test_a_nodes_name_is_a_text(name: Any) -> None:
    with pytest.raises(MalformedError):
        args(Nodes={"items": [{"metadata": {"name": name}}]})


BINDING = {"PodName": "p", "PodNamespace": "ns", "PodUID": "u", "Node": "n"}


def test_a_binding() -> None:
    request = wire.decode_binding(orjson.dumps(BINDING))
    assert (request.namespace, request.name, request.uid, request.node) == ("ns", "p", "u", "n")


@pytest.mark.parametrize("key", BINDING)
@pytest.mark.parametrize("value", [None, "", 5, ["x"]])
def test_a_binding_has_four_texts(key: str, value: Any) -> None:
    with pytest.raises(MalformedError, match=f"^{key} is missing$"):
        wire.decode_binding(orjson.dumps({**BINDING, key: value}))


def test_candidates_in_both_forms() -> None:
    meta = {"NodeNameToMetaVictims": {"n": {"Pods": [{"UID": "u"}], "NumPDBViolations": 1}}}
    full = {"NodeNameToVictims": {"n": {"Pods": [pod_object("x", uid="u")], "NumPDBViolations": 1}}}
    for document in (meta, full, {**full, "NodeNameToMetaVictims": None}):
        assert wire.decode_candidates(orjson.dumps(document)) == {"n": (["u"], 1)}
    for document in ({}, {"NodeNameToVictims": None, "NodeNameToMetaVictims": None}):
        assert wire.decode_candidates(orjson.dumps(document)) == {}
    empty = {"NodeNameToMetaVictims": {"n": {"Pods": None}}}
    assert wire.decode_candidates(orjson.dumps(empty)) == {"n": ([], 0)}


@pytest.mark.parametrize(
    "victims",
    [
        [1],
        "x",
        {"n": None},
        {"n": [1]},
        {"n": {"Pods": 5}},
        {"n": {"Pods": [{}]}},
        {"n": {"Pods": ["u"]}},
        {"n": {"Pods": [{"UID": "u"}], "NumPDBViolations": "x"}},
        {"n": {"Pods": [{"UID": "u"}], "NumPDBViolations": 1.5}},
    ],
)
def test_what_are_no_candidates(victims: Any) -> None:
    with pytest.raises(MalformedError):
        wire.decode_candidates(orjson.dumps({"NodeNameToMetaVictims": victims}))


@pytest.mark.parametrize("victim", [5, ["u"], None, {"a": 1}])
def test_a_victims_uid_is_a_text(victim: Any) -> None:
    with pytest.raises(MalformedError):
        wire.decode_candidates(orjson.dumps({"NodeNameToMetaVictims": {"n": {"Pods": [{"UID": victim}]}}}))


KEYS = ["Nodes", "NodeNames", "FailedNodes", "FailedAndUnresolvableNodes", "Error"]


def test_answers_have_every_key_in_gos_spelling() -> None:
    by_name, by_object = args(NodeNames=["a"]), args(Nodes={"items": [node_object("a")]})
    verdict = no(Reason.OVER_LIMIT, "with numbers")
    for answer in (
        wire.encode_pass(by_name, ["a"]),
        wire.encode_pass(by_object, ["a"]),
        wire.encode_reject(by_name, verdict),
        wire.encode_reject(by_object, verdict),
        wire.encode_filter_error("x"),
    ):
        assert list(orjson.loads(answer)) == KEYS


def test_objects_go_back_untouched() -> None:
    objects = [{**node_object(name), "extra": {"z": [1, None, 2.5], "a": "ü"}} for name in ("b", "a")]
    answer = orjson.loads(wire.encode_pass(args(Nodes={"metadata": {}, "items": objects}), ["a"]))
    assert (answer["Nodes"], answer["NodeNames"]) == ({"metadata": {}, "items": [objects[1]]}, None)


def test_a_reject_is_beyond_preemptions_help_and_carries_no_numbers() -> None:
    answer = orjson.loads(wire.encode_reject(args(NodeNames=["a", "b"]), no(Reason.OVER_LIMIT, "3 of 4")))
    text = "OverLimit: the project has reached the allowable limit"
    assert answer == {
        "Nodes": None,
        "NodeNames": [],
        "FailedNodes": {},
        "FailedAndUnresolvableNodes": {"a": text, "b": text},
        "Error": "",
    }


@pytest.mark.parametrize(("offered", "named"), [(0, 0), (1, 1), (500, 500), (501, 1), (5000, 1)])
def test_a_large_reject_names_one_node(offered: int, named: int) -> None:
    asked = args(NodeNames=[f"n{number}" for number in range(offered)])
    answer = orjson.loads(wire.encode_reject(asked, no(Reason.OVER_LIMIT)))
    assert len(answer["FailedAndUnresolvableNodes"]) == named


def test_the_small_answers() -> None:
    assert wire.encode_points([("a", 7), ("b", 0)]) == b'[{"Host":"a","Score":7},{"Host":"b","Score":0}]'
    assert wire.encode_points(()) == b"[]"
    assert wire.encode_binding() == b'{"Error":""}'
    assert wire.encode_binding("no") == b'{"Error":"no"}'
    assert wire.encode_victims({}) == b'{"NodeNameToMetaVictims":{}}'
