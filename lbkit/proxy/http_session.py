"""http mode: accept → the exchange layer's connection, whose handler routes and forwards."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from lbkit.exchange import HttpServer
from lbkit.proxy.origin import Origin
from lbkit.relay.adopt import adopt

__all__ = ["HttpService"]


class HttpService:
    """The http sessions of one listener; `http.handler` and `http.settings` may be replaced at any time."""

    def __init__(
        self, http: HttpServer, *, loop: asyncio.AbstractEventLoop, on_end: Callable[[], None]
    ) -> None:
        """*on_end* is called once for each session that is over."""
        self.http = http
        self._loop = loop
        self._on_end = on_end

    def accept(self, client: socket.socket, origin: Origin | None = None) -> None:
        """A session begins on an accepted non-blocking socket."""
        if origin is None:
            protocol = self.http.protocol_factory(self._on_end)
            adopt(self._loop, protocol, client, lambda error: self._on_end())
            return

        def on_end() -> None:
            origin.ended()
            self._on_end()

        protocol = self.http.protocol_factory(on_end, origin.client, origin.server)
        adopt(self._loop, protocol, client, lambda error: on_end())

    @property
    def open_sessions(self) -> int:
        """Connections open now, idle ones too."""
        return self.http.open_connections

    async def drain(self, timeout: float | None) -> bool:
        """Let the requests in progress end, at most *timeout* seconds; False when some were cut."""
        return await self.http.drain(timeout) == 0

    async def close(self) -> None:
        """End every session now."""
        await self.http.close()
