"""List, then watch, for ever: how each actor of the embedded cluster keeps its own picture of one collection.

An actor gives two synchronous callbacks: `on_list` gets everything there is (first, and again whenever the
server has forgotten where we were), `on_event` every change after that. Because both run on the event loop
without an await, an actor's picture is never seen half-updated.

`extender.kube.reflector` does the same for the product; the actors have their own so that the product's metrics
count the product's watches only, and so that a fault in one is not hidden by the same fault in the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

from extender import logs
from extender.errors import ApiError, GoneError
from extender.kube.client import KubeClient

Json = dict[str, Any]

log = logs.get("emulator.following")
OnList = Callable[[list[Json]], None]
OnEvent = Callable[[str, Json], None]

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_GOOD_S = 1.0


async def follow(
    client: KubeClient,
    path: str,
    *,
    on_list: OnList,
    on_event: OnEvent,
    params: Mapping[str, str] | None = None,
) -> None:
    """Keep calling back until cancelled; API errors are waited out (0.05 s doubling to 5 s) and logged.

    path: of the collection, as in `/api/v1/pods`. on_event gets ADDED, MODIFIED or DELETED and the object.
    A restart lists again only when the server says 410, so a broken connection loses and repeats nothing.
    """
    version = ""
    pause_s = _FIRST_PAUSE_S
    now = asyncio.get_running_loop().time
    while True:
        opened = now()
        try:
            if not version:
                items, version = await client.list(path, params=params)
                on_list(items)
            async with aclosing(client.watch(path, resource_version=version, params=params)) as events:
                async for event in events:
                    if event.type != "BOOKMARK":
                        on_event(event.type, event.object)
                    version = event.object["metadata"]["resourceVersion"]
        except GoneError:
            version = ""
        except ApiError as error:
            log.warning("watch_interrupted", path=path, cause=error.message)
        # A stream that lasted was a good one, however it ended; only a server that keeps failing is spared.
        pause_s = _FIRST_PAUSE_S if now() - opened > _GOOD_S else min(pause_s * 2, _LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s)


def strip(obj: Json) -> Json:
    """An object as an informer keeps it: without kind, apiVersion and managedFields (changes it in place)."""
    obj.pop("kind", None)
    obj.pop("apiVersion", None)
    obj["metadata"].pop("managedFields", None)
    return obj
