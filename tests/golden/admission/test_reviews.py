"""AdmissionReviews as a real kube-apiserver sends them, and our answers, byte for byte.

A file is a few lines of JSON: what it is about, the review, the answer, and the patch inside the answer, if any. The
first line: `webhook`; `origin` of the review; `enforced`: the namespace forces our scheduler. Changing an answer is a
visible decision: edit the file.
"""

from __future__ import annotations

import base64
from pathlib import Path

import aiohttp
import orjson
import pytest

from extender.admission.pods import Context
from extender.servers.admission import Webhook
from extender.servers.listener import Listener

FILES = sorted(Path(__file__).parent.glob("*.jsonl"))


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
async def test_a_review(path: Path) -> None:
    first, review, answer, *patch = lines(path)
    about = orjson.loads(first)

    async def is_enforced(_: str) -> bool:
        return bool(about.get("enforced"))

    listener = Listener(Webhook(is_enforced, Context(""), max_body_bytes=1 << 20).app(), "127.0.0.1:0")
    await listener.start()
    try:
        url = f"{listener.url}/admission/{about['webhook']}"
        async with aiohttp.ClientSession() as session, session.post(url, data=review) as response:
            given = await response.read()
            assert response.status == 200
    finally:
        await listener.stop()
    assert given.decode() == answer.decode()
    inside = orjson.loads(given)["response"].get("patch")
    assert (base64.b64decode(inside).decode() if inside else "") == b"".join(patch).decode()


def test_both_webhooks_have_reviews() -> None:
    assert {orjson.loads(lines(path)[0])["webhook"] for path in FILES} == {"mutate", "validate"}
