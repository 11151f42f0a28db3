"""Sharers of devices that come and go at random while the extender is killed and the API server misbehaves. Seeded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.scenarios import pods as shorthand

if TYPE_CHECKING:
    from tests.scenarios.runner import Run

Json = dict[str, Any]

_SHARES = ("0.1", "0.25", "0.3", "0.5", "0.5", "0.7", "0.9")
_MEMORIES = (5_000, 20_000, 41_000)


async def shake(run: Run, value: Json) -> None:
    """{count, rounds, seed, namespace}: so many pods over so many rounds, each with one kill -9; settled after each."""
    rng = random.Random(value["seed"])
    alive: list[str] = []
    each = value["count"] // value["rounds"]
    for number in range(value["rounds"]):
        made = list(_pods(rng, each, number, value["namespace"]))
        gone = rng.sample(alive, rng.randint(len(alive) // 3, len(alive)))
        steps: list[Callable[[], Awaitable[None]]] = []
        for pod in made:
            steps.append(lambda pod=pod: run.create(pod))  # type: ignore[misc]
        for name in gone:
            steps.append(lambda name=name: run.delete(value["namespace"], name))  # type: ignore[misc]
        rng.shuffle(steps)
        kill_at = rng.randrange(len(steps))
        limit = asyncio.Semaphore(8)

        async def one(step: Callable[[], Awaitable[None]], after_s: float, limit: asyncio.Semaphore = limit) -> None:
            await asyncio.sleep(after_s)
            async with limit:
                await step()

        _misbehave(run, rng)
        async with asyncio.TaskGroup() as tasks:
            for position, step in enumerate(steps):
                tasks.create_task(one(step, position * 0.02))
            await asyncio.sleep(kill_at * 0.02 + rng.random() * 0.3)
            await run.extender.kill()
            await asyncio.sleep(rng.random() * 0.5)
            if "pause_api" in run.abilities and number % 3 == 0:
                await run.step("pause_api", {"seconds": 1.0})
            await run.extender.start()
        alive = [name for name in alive if name not in gone] + [pod["metadata"]["name"] for pod in made]
        await run.step("settled", {"within": 90})


def _pods(rng: random.Random, count: int, number: int, namespace: str) -> Iterator[Json]:
    for index in range(count):
        short: Json = {"name": f"s{number}-{index}", "namespace": namespace}
        if rng.random() < 0.25:
            short["memory"] = rng.choice(_MEMORIES)
        else:
            short["fraction"] = rng.choice(_SHARES)
        if rng.random() < 0.15:
            short["devices"] = 2
        if rng.random() < 0.2:
            short["run_seconds"] = rng.choice([0.1, 0.5, 2])
        yield shorthand.pod(short)


def _misbehave(run: Run, rng: random.Random) -> None:
    """Faults of an API server that can be scripted: bindings lost, refused and slow, watches cut, history forgotten."""
    if "faults" not in run.abilities:
        return
    for method, arguments in rng.sample(
        [
            ("drop_bindings", {"count": 2, "stored": True}),
            ("drop_bindings", {"count": 2, "stored": False}),
            ("fail_bindings", {"count": 2, "code": 500}),
            ("fail_bindings", {"count": 2, "code": 409}),
            ("delay_bindings", {"count": 2, "delay_s": 1.0}),
            ("cut_watches", {"abort": True}),
            ("cut_watches", {"plural": "pods"}),
            ("expire_history", {"plural": "pods"}),
        ],
        3,
    ):
        run.fault(method, arguments)
