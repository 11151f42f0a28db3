"""How we listen: settings of the HTTP server that kube-scheduler's client needs (extender.md 1.2)."""

from __future__ import annotations

import ssl

from aiohttp import web

_KEEPALIVE_S = 120.0  # Go keeps idle connections 90 s; closing first would lose a POST
_SHUTDOWN_S = 5.0  # for answers under way; binds were waited for before
_BACKLOG = 1024  # Go keeps two idle connections a host and opens one more for every bind beside them


class Listener:
    """One aiohttp application on one address; with `tls`, over TLS by whatever that context holds at each handshake."""

    def __init__(self, app: web.Application, address: str, tls: ssl.SSLContext | None = None) -> None:
        self._app = app
        self._tls = tls
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen. Raises OSError when the address is taken."""
        self._runner = web.AppRunner(
            self._app,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_S,
            handle_signals=False,
            shutdown_timeout=_SHUTDOWN_S,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host.strip("[]"), self._port, backlog=_BACKLOG, ssl_context=self._tls)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def stop(self) -> None:
        """Stop accepting, let open requests finish for a moment, close."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
