"""The admission webhook over HTTP: what a bad request gets, and that the next one is served."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest

from extender import metrics
from extender.admission.pods import Context
from extender.errors import UnavailableError
from extender.servers.admission import Webhook
from extender.servers.listener import Listener

LIMIT = 64 * 1024


@dataclass
class Bench:
    session: aiohttp.ClientSession
    url: str = ""
    enforced: set[str] = field(default_factory=set)
    is_broken: bool = False

    async def post(self, webhook: str, body: object) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.session.post(f"{self.url}/admission/{webhook}", data=data) as response:
            payload = await response.read()
        return response.status, orjson.loads(payload) if response.status == 200 else payload.decode()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench(aiohttp.ClientSession())

    async def is_enforced(namespace: str) -> bool:
        if made.is_broken:
            raise UnavailableError("no API server")
        return namespace in made.enforced

    listener = Listener(Webhook(is_enforced, Context(""), max_body_bytes=LIMIT).app(), "127.0.0.1:0")
    await listener.start()
    made.url = listener.url
    yield made
    await made.session.close()
    await listener.stop()


def review(scheduler: str = "runai-scheduler", *, annotations: Any = None, **request: Any) -> dict[str, Any]:
    pod = {"metadata": {"name": "p", "annotations": annotations}, "spec": {"schedulerName": scheduler}}
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    asked = {"uid": "u", "operation": "CREATE", "kind": kind, "namespace": "ns", "object": pod, **request}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}


def patch(answer: Any) -> Any:
    return orjson.loads(base64.b64decode(answer["response"]["patch"]))


BAD_BODIES = {
    "empty": b"",
    "truncated": b'{"apiVersion": ',
    "a list": b"[]",
    "another kind": {"apiVersion": "v1", "kind": "Pod"},
    "beta": {**review(), "apiVersion": "admission.k8s.io/v1beta1"},
    "no request": {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"},
    "no uid": review(uid=""),
    "no operation": review(operation=None),
    "a text for a kind": review(kind="Pod"),
    "a list for an object": review(object=[]),
    "deep nesting": b"[" * 20_000,
}


@pytest.mark.parametrize("webhook", ["mutate", "validate"])
@pytest.mark.parametrize("case", BAD_BODIES)
async def test_what_is_no_review_is_a_short_400(bench: Bench, webhook: str, case: str) -> None:
    status, text = await bench.post(webhook, BAD_BODIES[case])
    assert status == 400
    assert text.startswith(f"malformed {webhook} request: ")
    assert len(text) < 300
    assert (await bench.post(webhook, review()))[0] == 200


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"metadata": {}, "spec": []},
        {"metadata": {"annotations": {"gpu-fraction": 0.5}}, "spec": {"schedulerName": "runai-scheduler"}},
        {"metadata": {}, "spec": {"schedulerName": "runai-scheduler", "containers": ["c"]}},
    ],
)
async def test_an_object_nobody_can_read_is_refused(bench: Bench, obj: Any) -> None:
    status, answer = await bench.post("validate", review(object=obj))
    assert status == 200
    assert answer["response"]["allowed"] is False
    assert answer["response"]["uid"] == "u"
    assert answer["response"]["status"]["code"] == 400


async def test_the_answer_is_for_its_request_and_the_same_every_time(bench: Bench) -> None:
    answers = [await bench.post("mutate", review()) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    response = answers[0][1]["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == ("u", True, "JSONPatch")
    assert patch(answers[0][1])[0]["value"] == [{"name": "run.ai/queued"}]


async def test_a_deletion_without_an_object_passes(bench: Bench) -> None:
    for webhook in ("mutate", "validate"):
        _, answer = await bench.post(webhook, review(operation="DELETE", object=None))
        assert answer["response"] == {"uid": "u", "allowed": True}


async def test_a_refusal_says_all_reasons_in_one_message(bench: Bench) -> None:
    _, answer = await bench.post("validate", review(annotations={"gpu-fraction": "2"}))
    text = "gpu-fraction annotation value must be a positive number smaller than 1.0"
    assert answer["response"]["status"] == {"code": 422, "reason": "Invalid", "message": text}
    assert "patch" not in answer["response"]


async def test_the_namespace_is_asked_for_pods_of_others_only(bench: Bench) -> None:
    bench.enforced.add("ns")
    _, answer = await bench.post("mutate", review("default-scheduler"))
    assert patch(answer)[0] == {"op": "replace", "path": "/spec/schedulerName", "value": "runai-scheduler"}
    bench.is_broken = True
    assert (await bench.post("mutate", review()))[0] == 200
    # Nobody knows: an error, so that the failure policy decides and no pod slips through unenforced.
    status, text = await bench.post("mutate", review("default-scheduler"))
    assert (status, text) == (500, "internal error, see the log of the webhook\n")
    bench.is_broken = False
    assert (await bench.post("mutate", review("default-scheduler")))[0] == 200


async def test_a_body_over_the_limit_is_413_and_the_next_request_is_served(bench: Bench) -> None:
    assert (await bench.post("mutate", b"x" * (LIMIT + 1)))[0] == 413
    assert (await bench.post("mutate", review()))[0] == 200


async def test_other_paths_and_methods(bench: Bench) -> None:
    assert (await bench.post("nothing", review()))[0] == 404
    async with bench.session.get(f"{bench.url}/admission/mutate") as response:
        assert response.status == 405


async def test_outcomes_are_counted(bench: Bench) -> None:
    def count(webhook: str, outcome: str) -> float:
        labels = {"webhook": webhook, "outcome": outcome}
        return metrics.REGISTRY.get_sample_value("runai_admission_reviews_total", labels) or 0.0

    cases: list[tuple[str, str, Any]] = [
        ("mutate", "patched", review()),
        ("mutate", "allowed", review("default-scheduler")),
        ("validate", "allowed", review()),
        ("validate", "refused", review(annotations={"gpu-fraction": "2"})),
        ("validate", "malformed", b""),
    ]
    for webhook, outcome, body in cases:
        before = count(webhook, outcome)
        await bench.post(webhook, body)
        assert count(webhook, outcome) == before + 1, (webhook, outcome)


async def test_a_client_that_stops_half_way_costs_no_other(bench: Bench) -> None:
    host, port = bench.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /admission/mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    assert (await bench.post("mutate", review()))[0] == 200
    writer.close()
    await writer.wait_closed()
