"""Conversion over HTTP: ConversionReviews in and out, all objects of one or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from extender import metrics
from extender.admission.pods import Context
from extender.servers.admission import Webhook
from extender.servers.listener import Listener

V1, V2 = "run.ai/v1alpha1", "run.ai/v2alpha1"
Json = dict[str, Any]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def is_enforced(_: str) -> bool:
        raise AssertionError("conversion asks nobody")

    listener = Listener(Webhook(is_enforced, Context(""), max_body_bytes=64 * 1024).app(), "127.0.0.1:0")
    await listener.start()
    yield f"{listener.url}/admission/convert"
    await listener.stop()


async def post(url: str, body: object) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    async with aiohttp.ClientSession() as session, session.post(url, data=data) as response:
        payload = await response.read()
    return response.status, orjson.loads(payload) if response.status == 200 else payload.decode()


def review(*objects: Any, version: Any = V2, **request: Any) -> Json:
    asked = {"uid": "u", "desiredAPIVersion": version, "objects": list(objects), **request}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": asked}


def workload(name: str, version: str = V1, **spec: Any) -> Json:
    return {"apiVersion": version, "kind": "TrainingWorkload", "metadata": {"name": name}, "spec": spec}


def answered(response: Json) -> Json:
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}


async def test_all_objects_in_their_order(url: str) -> None:
    prefix = {"value": "x"}
    given = [workload("b", jobNamePrefix=prefix), workload("a", V2, namePrefix=prefix), workload("c")]
    status, answer = await post(url, review(*given))
    assert status == 200
    converted = [workload("b", V2, namePrefix=prefix), workload("a", V2, namePrefix=prefix), workload("c", V2)]
    assert answer == answered({"uid": "u", "convertedObjects": converted, "result": {"status": "Success"}})


async def test_one_that_cannot_be_converted_fails_them_all(url: str) -> None:
    status, answer = await post(url, review(workload("a"), workload("b", jobNamePrefix={}, namePrefix={})))
    assert status == 200
    result = answer["response"].pop("result")
    assert answer == answered({"uid": "u", "convertedObjects": []})
    assert result["status"] == "Failed"
    assert result["message"].startswith("TrainingWorkload b has two prefixes for the names of its jobs: ")


@pytest.mark.parametrize("version", ["run.ai/v3", "batch/v1", "v2alpha1"])
async def test_a_version_that_is_none_fails(url: str, version: str) -> None:
    status, answer = await post(url, review(workload("a"), version=version))
    assert (status, answer["response"]["result"]["status"]) == (200, "Failed")
    assert answer["response"]["result"]["message"] == (
        f"apiVersion {version!r} has no conversion; there are {V1} and {V2}"
    )


BAD_BODIES: dict[str, tuple[object, str]] = {
    "empty": (b"", "not JSON"),
    "a list": ([], "not a ConversionReview of apiextensions.k8s.io/v1"),
    "beta": ({**review(), "apiVersion": "apiextensions.k8s.io/v1beta1"}, "not a ConversionReview"),
    "an AdmissionReview": ({**review(), "kind": "AdmissionReview"}, "not a ConversionReview"),
    "no request": ({**review(), "request": None}, "request is missing"),
    "no uid": (review(uid=""), "request.uid is missing"),
    "no version": (review(version=None), "request.desiredAPIVersion is missing"),
    "no objects": (review(objects=None), "request.objects is no list of objects"),
    "an object that is none": (review("pod"), "request.objects is no list of objects"),
}


@pytest.mark.parametrize("case", BAD_BODIES)
async def test_what_is_no_review_is_a_short_400(url: str, case: str) -> None:
    body, why = BAD_BODIES[case]
    status, text = await post(url, body)
    assert status == 400
    assert text.startswith(f"malformed convert request: {why}")
    assert (await post(url, review(workload("a"))))[0] == 200


async def test_outcomes_are_counted(url: str) -> None:
    def count(outcome: str) -> float:
        labels = {"webhook": "convert", "outcome": outcome}
        return metrics.REGISTRY.get_sample_value("runai_admission_reviews_total", labels) or 0.0

    cases: list[tuple[str, object]] = [
        ("converted", review(workload("a"))),
        ("refused", review(workload("a"), version="v3")),
        ("malformed", b""),
    ]
    for outcome, body in cases:
        before = count(outcome)
        await post(url, body)
        assert count(outcome) == before + 1, outcome
