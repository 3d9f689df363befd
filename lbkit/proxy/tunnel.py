"""`Tunnel`: what a client and a server say to one another after both changed the protocol.

Strategy: each of both transports gets a protocol that writes what comes to the other one, as `relay.stream`
does with sockets. Reading stops while the other side's write buffer is full. Nothing of the client's has been
sent on before the server's 101, and what had come by then is the first that is.

The relays of tcp mode cannot be used: they need bare sockets, and here bytes may already be in a buffer, or
in TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lbkit.exchange import Exchange, HttpCounters, Switched
from lbkit.proxy.upstream import UpstreamConnection
from lbkit.server import ServerCounters

__all__ = ["Tunnel"]


class _Side(asyncio.Protocol):
    """One of both connections; what comes on it goes to `peer`."""

    peer: _Side

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport) -> None:
        self.tunnel = tunnel
        self.transport = transport
        self.received = 0
        self.has_ended = False
        """It sends no more."""
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        size = len(data)
        self.received += size
        self.count(size)
        if not self.peer.is_lost:
            self.peer.transport.write(data)

    def count(self, size: int) -> None:
        raise NotImplementedError

    def eof_received(self) -> bool:
        self.has_ended = True
        peer = self.peer
        if peer.has_ended or not (peer.transport.can_write_eof() and self.transport.can_write_eof()):
            self.tunnel.close()  # TLS knows no half-closed connection
            return False
        if not peer.is_lost:
            peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if not self.peer.is_lost:
            if exc is None:
                self.peer.transport.close()
            else:
                self.peer.transport.abort()
        self.tunnel.lost()

    def unsent(self) -> int:
        return 0 if self.is_lost else self.transport.get_write_buffer_size()


class _ClientSide(_Side):
    def __init__(self, tunnel: Tunnel, switched: Switched, server: ServerCounters) -> None:
        super().__init__(tunnel, switched.transport)
        self._ended = switched.ended
        self._http: HttpCounters = switched.counters
        self._server = server

    def count(self, size: int) -> None:
        self._http.bytes_in += size
        self._server.bytes_in += size

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._ended(exc)


class _ServerSide(_Side):
    def __init__(
        self,
        tunnel: Tunnel,
        transport: asyncio.Transport,
        exchange: Exchange,
        switched: Switched,
        server: ServerCounters,
    ) -> None:
        super().__init__(tunnel, transport)
        self._exchange = exchange
        self._http: HttpCounters = switched.counters
        self._server = server

    def count(self, size: int) -> None:
        self._http.bytes_out += size
        self._server.bytes_out += size
        self._exchange.bytes_out += size


class Tunnel:
    """Joins the client of *exchange*, which was told so by *switched*, and *connection*.

    `on_end` is called once, when both connections are closed.
    """

    def __init__(
        self,
        exchange: Exchange,
        switched: Switched,
        connection: UpstreamConnection,
        on_end: Callable[[], None],
    ) -> None:
        self._on_end: Callable[[], None] | None = on_end
        self._progress = -1
        self._moved_at = 0.0
        server = connection.server.counters
        is_server_clogged = connection.is_clogged
        transport, rest = connection.switch()
        client = self._client = _ClientSide(self, switched, server)
        upstream = self._upstream = _ServerSide(self, transport, exchange, switched, server)
        client.peer, upstream.peer = upstream, client
        switched.transport.set_protocol(client)
        transport.set_protocol(upstream)
        if switched.rest:
            client.data_received(switched.rest)
        if rest:
            server.bytes_out -= len(rest)  # counted when it came
            upstream.data_received(rest)
        # A transport that is full says so once, and has said it to the protocol before.
        if switched.is_clogged:
            transport.pause_reading()
        if is_server_clogged:
            switched.transport.pause_reading()

    def check(self, now: float, idle: float) -> None:
        """Cut it when nothing has moved for *idle* seconds; called now and then, *now* in monotonic
        seconds.
        """
        sides = (self._client, self._upstream)
        progress = 2 * sum(side.received for side in sides) - sum(side.unsent() for side in sides)
        if progress != self._progress:
            self._progress, self._moved_at = progress, now
        elif now - self._moved_at >= idle:
            self.abort()

    def close(self) -> None:
        """Close both connections once all is written."""
        for side in (self._client, self._upstream):
            if not side.is_lost:
                side.transport.close()

    def abort(self) -> None:
        """Cut both connections."""
        for side in (self._client, self._upstream):
            if not side.is_lost:
                side.transport.abort()

    def lost(self) -> None:
        """One of both is closed."""
        if self._client.is_lost and self._upstream.is_lost and self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end()
