"""Every wire format of the extender, byte for byte: one question and its answer a file, over real HTTP.

A file is a few lines of JSON: what the pair is about, the request, the answer, and for a bind the Binding that is
stored. The requests were recorded from kube-scheduler 1.36.2 where the first line says so. Changing an answer is a
visible decision: edit the file.

The first line: `verb`; `origin` of the request; `running` (uids of pods on each node); `after` (pairs asked before);
`answer`, `limit_gpus`, `projects` and `why_not` of the world. Its nodes are two with 8 GPUs each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from extender.controllers.binder import Binder
from extender.controllers.upkeep import Upkeep
from extender.kube.events import EventRecorder
from extender.servers.listener import Listener
from extender.servers.verbs import Verbs
from tests.builders import POLICY, is_sound, node, pod, queue, world
from tests.edges.stub import StubApi, reply

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.jsonl"))


@dataclass
class Pair:
    about: dict[str, Any]
    request: bytes
    answer: bytes
    binding: bytes | None = None


def read(path: Path) -> Pair:
    about, request, answer, *rest = path.read_bytes().splitlines()
    return Pair(orjson.loads(about), request, answer, rest[0] if rest else None)


async def ask(pair: Pair, before: list[Pair]) -> tuple[bytes, bytes | None]:
    """The last answer, and the Binding stored with it, if any."""
    about = pair.about
    gpus = about.get("limit_gpus")
    projects = [queue(name, limit=None if gpus is None else 1000 * gpus) for name in about.get("projects", ["team-a"])]
    picture = world(node("gpu-1", cpu="4"), node("gpu-2", cpu="4"), projects=projects)
    for on, uids in about.get("running", {}).items():
        for number, one in enumerate(uids):
            picture.upsert_pod(pod(f"running-{on}-{number}", uid=one, on=on, cpu="1"))
    async with StubApi() as api, aiohttp.ClientSession() as session:
        api.script = [reply({}, 201)]
        binder = Binder(api.client, picture, POLICY, lambda: True, timeout_s=5)
        upkeep = Upkeep(api.client, picture, POLICY, binder, EventRecorder(api.client), lambda: True)
        verbs = Verbs(
            picture,
            POLICY,
            binder,
            upkeep,
            lambda: str(about.get("why_not", "")),
            answer_all=about.get("answer") == "all",
            max_body_bytes=1 << 20,
        )
        listener = Listener(verbs.app(), "127.0.0.1:0")
        await listener.start()
        try:
            for each in [*before, pair]:
                api.bodies.clear()
                url = f"{listener.url}/extender/{each.about['verb']}"
                headers = {"Content-Type": "application/json", "User-Agent": "Go-http-client/1.1"}
                async with session.post(url, data=each.request, headers=headers) as response:
                    answer = await response.read()
                    assert response.status == 200
                    assert response.headers["Content-Type"].startswith("application/json")
                    # Chunked answers would cost kube-scheduler its connection.
                    assert response.headers["Content-Length"] == str(len(answer))
        finally:
            await listener.stop()
    assert is_sound(picture)
    return answer, orjson.dumps(api.bodies[0]) if api.bodies else None


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
async def test_a_pair(path: Path) -> None:
    pair = read(path)
    before = [read(HERE / f"{name}.jsonl") for name in pair.about.get("after", [])]
    answer, binding = await ask(pair, before)
    assert answer.decode() == pair.answer.decode()
    assert (binding or b"").decode() == (pair.binding or b"").decode()


def test_every_verb_has_pairs() -> None:
    assert {read(path).about["verb"] for path in FILES} == {"filter", "prioritize", "bind", "preempt"}
