"""A server of the bench in a process of its own: it prints its URL and serves until its standard input ends."""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from extender.servers.listener import Listener


async def serve(app: web.Application) -> None:
    """Listen as the service does, on a free port; print the URL; stop when standard input ends."""
    listener = Listener(app, "127.0.0.1:0")
    await listener.start()
    print(listener.url, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await listener.stop()
