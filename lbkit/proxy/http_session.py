"""http mode: accept → (secure) → the exchange layer's connection, whose handler routes and forwards."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial

from lbkit.exchange import HttpServer
from lbkit.proxy.identity import identity_of
from lbkit.proxy.origin import Origin
from lbkit.relay.adopt import adopt
from lbkit.relay.tls_transport import TlsTransport
from lbkit.tls import Termination

__all__ = ["HttpService"]

logger = logging.getLogger("lbkit.http")


class HttpService:
    """The http sessions of one listener; `http.handler`, `http.settings`, `tls` and `max_securing` may be
    replaced at any time."""

    def __init__(
        self,
        http: HttpServer,
        *,
        loop: asyncio.AbstractEventLoop,
        on_end: Callable[[], None],
        hold: Callable[[bool], None] = lambda is_held: None,
    ) -> None:
        """*on_end* is called once for each session that is over. *hold* tells whether so many are in their
        handshake that new clients had better wait where they are."""
        self.http = http
        self.tls: Termination | None = None
        self.max_securing = 4096
        self.failed_handshakes = 0
        self._loop = loop
        self._on_end = on_end
        self._hold = hold
        self._is_crowded = False
        self._securing: set[TlsTransport] = set()
        self._all_secured = asyncio.Event()

    def accept(self, client: socket.socket, origin: Origin | None = None) -> None:
        """A session begins on an accepted non-blocking socket."""
        on_end = self._on_end
        if origin is not None:
            on_end = partial(_ended, origin, on_end)
        client_end, server_end = (None, None) if origin is None else (origin.client, origin.server)
        tls = self.tls
        if tls is None:
            protocol = self.http.protocol_factory(on_end, client_end, server_end)
            adopt(self._loop, protocol, client, lambda error: on_end())
            return

        def secured(transport: TlsTransport) -> None:
            self._leave(transport)
            connection = transport.get_extra_info("ssl_object")
            is_h2 = connection.selected_alpn_protocol() == "h2"
            make = self.http.h2_protocol_factory if is_h2 else self.http.protocol_factory
            identity = identity_of(connection) if tls.asks_clients else []
            transport.attach(make(on_end, client_end, server_end, identity))

        def failed(error: Exception) -> None:
            self._leave(transport)
            self.failed_handshakes += 1
            logger.debug("TLS handshake failed: %s", error)  # any scanner can bring it about, at any rate
            on_end()

        transport = TlsTransport(
            self._loop, client, tls.context, timeout=tls.timeout, secured=secured, failed=failed
        )
        self._securing.add(transport)
        self._hold_or_let_in()
        transport.start()

    def _leave(self, transport: TlsTransport) -> None:
        self._securing.discard(transport)
        self._hold_or_let_in()
        if not self._securing:
            self._all_secured.set()

    def _hold_or_let_in(self) -> None:
        is_crowded = len(self._securing) >= self.max_securing
        if is_crowded is not self._is_crowded:
            self._is_crowded = is_crowded
            self._hold(is_crowded)

    @property
    def open_sessions(self) -> int:
        """Connections open now, idle ones and those in their handshake too."""
        return self.http.open_connections + len(self._securing)

    async def drain(self, timeout: float | None) -> bool:
        """Let the requests in progress end, at most *timeout* seconds; False when some were cut.

        Who has not finished the handshake has asked for nothing.
        """
        await self._cut_handshakes()
        return await self.http.drain(timeout) == 0

    async def close(self) -> None:
        """End every session now."""
        await self._cut_handshakes()
        await self.http.close()

    async def _cut_handshakes(self) -> None:
        for transport in list(self._securing):
            transport.abort()
        while self._securing:
            self._all_secured.clear()
            await self._all_secured.wait()


def _ended(origin: Origin, on_end: Callable[[], None]) -> None:
    origin.ended()
    on_end()
