"""What Prometheus answers about the use of GPUs."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extender.errors import MalformedError
from extender.pods.idleness import Use
from extender.wire.prometheus import default_query, read_use, why_not


def answer(*series: tuple[dict[str, str], str]) -> bytes:
    result = [{"metric": labels, "value": [1_700_000_000.5, value]} for labels, value in series]
    return orjson.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


def labels(pod: str, **more: str) -> dict[str, str]:
    return {"namespace": "runai-a", "pod": pod, **more}


def test_a_pod_is_used_as_its_busiest_gpu() -> None:
    body = answer((labels("p", gpu="0"), "0"), (labels("p", gpu="1"), "37.5"), (labels("q"), "0"))
    assert read_use(body).pods == {"runai-a/p": 37.5, "runai-a/q": 0.0}


def test_the_exporters_own_pod_is_not_the_one_it_tells_about() -> None:
    of_exporter = {"namespace": "gpu-operator", "pod": "dcgm-exporter-x"}
    body = answer(({**of_exporter, "exported_namespace": "runai-a", "exported_pod": "p"}, "0"), (of_exporter, "5"))
    assert read_use(body).pods == {"runai-a/p": 0.0, "gpu-operator/dcgm-exporter-x": 5.0}


def test_gpus_that_nobody_holds_are_left_out() -> None:
    assert read_use(answer(({"gpu": "0"}, "0"), (labels(""), "0"), ({"pod": "p"}, "0"))) == Use({}, {})
    assert read_use(answer()) == Use({}, {})


def test_devices_are_told_apart_by_their_uuid() -> None:
    holder = {"namespace": "runai-reservation", "pod": "r"}
    body = answer(({**holder, "UUID": "GPU-a"}, "0"), ({"UUID": "GPU-b"}, "12"), ({"UUID": "GPU-c"}, "NaN"))
    assert read_use(body) == Use({"runai-reservation/r": 0.0}, {"GPU-a": 0.0, "GPU-b": 12.0})


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1", "", "much"])
def test_what_is_no_measure_makes_the_pod_unknown_not_idle(value: str) -> None:
    body = answer((labels("p", gpu="0"), "0"), (labels("p", gpu="1"), value), (labels("q"), "0"))
    assert read_use(body).pods == {"runai-a/q": 0.0}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"status":"error","data":{"resultType":"vector","result":[]}}',
        b'{"status":"success"}',
        b'{"status":"success","data":null}',
        b'{"status":"success","data":{"resultType":"matrix","result":[]}}',
        b'{"status":"success","data":{"resultType":"scalar","result":[1,"0"]}}',
        b'{"status":"success","data":{"resultType":"vector","result":null}}',
        b'{"status":"success","data":{"resultType":"vector","result":[null]}}',
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}',
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":[],"value":[1,"0"]}]}}',
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1]}]}}',
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":"0"}]}}',
    ],
)
def test_what_is_no_vector_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError, match="not a"):
        read_use(body)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"status": "error", "errorType": "bad_data", "error": "parse error"}, "parse error"),
        ({"status": "error"}, ""),
        ([], ""),
    ],
)
def test_why_a_query_was_refused(said: Any, text: str) -> None:
    assert why_not(orjson.dumps(said)) == text
    assert why_not(b"<html>") == ""


def test_the_query_looks_back_and_asks_only_for_what_is_measured_now() -> None:
    assert default_query(90.0) == (
        "max by (exported_namespace, exported_pod, namespace, pod, UUID) "
        "(max_over_time(DCGM_FI_DEV_GPU_UTIL[90s]) and DCGM_FI_DEV_GPU_UTIL)"
    )
