"""Connections to HTTP servers: one request at a time on each, kept open between requests.

A kept connection may die at any moment, and the request that finds out is the one that was just
sent. Three rules keep that from clients: the idle time stays below the servers' own (4 s, while app
servers keep 5), a close that arrives meanwhile removes the connection at once, and the one used last is
used first, so that the others age and go.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from lbkit.errors import BadResponse, ConnectFailed, ServerTimeout
from lbkit.http.engine import ClientEngine, Limits
from lbkit.http.messages import Body, End, Headers, Interim, Response
from lbkit.server import Server

__all__ = ["IdleConnections", "UpstreamConnection", "adopt"]

_BUFFER = 64 * 1024


class UpstreamConnection(asyncio.Protocol):
    """One connection to *server*.

    Use: `begin` a request, `write` its body and `finish` it; meanwhile `next_event` until the End. When
    `is_reusable`, begin another one.
    """

    def __init__(self, server: Server, limits: Limits) -> None:
        self.server = server
        self.requests = 0
        """Requests begun on this connection."""
        self.answered = False
        """Whether any byte has come for the present request."""
        self.idle_since = 0.0
        self.on_idle_end: Callable[[UpstreamConnection], None] | None = None
        """Set while the connection is kept: called when it can be kept no more."""
        self._limits = limits
        self._engine = ClientEngine(limits)
        self._loop = asyncio.get_running_loop()
        self._error: Exception | None = None
        self._is_lost = False
        self._sent_all = False
        self._unread = 0
        self._is_paused = False
        self._is_write_paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._moved_at = 0.0

    # ---- the transport's calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        if self.on_idle_end is not None:
            self.close()  # nobody asked: whatever it is, it must not be taken for the next answer
            return
        self.server.counters.bytes_out += len(data)
        self.answered = True
        self._moved_at = self._loop.time()
        self._engine.receive(data)
        self._unread += len(data)
        if self._unread > _BUFFER and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        self._end_of_input(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._end_of_input(exc)
        _wake(self._writer)

    def _end_of_input(self, exc: Exception | None) -> None:
        if self.on_idle_end is not None:
            self.on_idle_end(self)
        if self._error is None and exc is not None:
            self._error = BadResponse(f"{self.server.name}: connection lost: {exc}")
        if self._error is None:  # only a clean close may end a body
            self._engine.receive(b"")
        _wake(self._reader)

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._moved_at = self._loop.time()
        _wake(self._writer)

    # ---- a request ----

    @property
    def is_reusable(self) -> bool:
        """Whether the exchange is over and another one may follow."""
        return self._engine.reusable and self._error is None and not self._transport.is_closing()

    @property
    def was_kept(self) -> bool:
        """Whether the present request is not the first one: the server may have just closed."""
        return self.requests > 1

    def begin(self, method: str, target: bytes, headers: Headers, *, has_body: bool) -> None:
        """Send a request's head."""
        if self.requests:
            self._engine = ClientEngine(self._limits)
        self.requests += 1
        self.answered = False
        self._sent_all = False
        self.server.counters.requests += 1
        head = self._engine.request(method, target, headers)
        if not has_body:
            head += self._engine.end()
            self._sent_all = True
        self._send(head)

    async def write(self, data: bytes) -> bool:
        """Send a piece of the request's body and wait while the server is slow; False: it is gone."""
        if self._transport.is_closing():
            return False
        self._send(self._engine.body(data))
        while self._is_write_paused and not self._is_lost:
            self._writer = self._loop.create_future()
            await self._writer
        return not self._is_lost

    def finish(self) -> None:
        """The request's body is complete."""
        if not self._transport.is_closing():
            self._send(self._engine.end())
            self._sent_all = True

    def _send(self, data: bytes) -> None:
        if data:
            self._moved_at = self._loop.time()
            self.server.counters.bytes_in += len(data)
            self._transport.write(data)

    async def next_event(self) -> Response | Body | End:
        """The next part of the response; 1xx heads are skipped.

        Raises BadResponse, ServerTimeout, or what `abort` was given.
        """
        while True:
            event = self._engine.next_event()
            if isinstance(event, Interim):
                continue
            if isinstance(event, End):
                self._read_on()  # while kept it must see the server close, or send what nobody asked for
            if event is not None:
                return event
            await self._more()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._read_on()
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _read_on(self) -> None:
        self._unread = 0
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    # ---- ends ----

    def check(self, now: float, timeout: float) -> None:
        """Give up when the server has not moved for *timeout* seconds while it was its turn.

        It is not while the client is slow to send the rest of its request.
        """
        servers_turn = self._reader is not None and (self._sent_all or self._is_write_paused)
        if servers_turn and now - self._moved_at >= timeout:
            self.abort(ServerTimeout(f"{self.server.name}: silent for {timeout:g} s"))

    def abort(self, error: Exception) -> None:
        """Drop the connection at once; whoever waits for the response gets *error*."""
        self._error = self._error or error
        self._transport.abort()
        _wake(self._reader)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def adopt(server: Server, sock: socket.socket, limits: Limits) -> UpstreamConnection:
    """Make a connection of *sock*, a connected socket, which belongs to it from now on.

    Raises ConnectFailed when it has been lost already.
    """
    loop = asyncio.get_running_loop()
    connection = UpstreamConnection(server, limits)
    make = loop.create_unix_connection if sock.family == socket.AF_UNIX else loop.create_connection
    try:
        await make(lambda: connection, sock=sock)
    except BaseException as exc:
        sock.close()
        if isinstance(exc, OSError):
            raise ConnectFailed(f"{server.address}: {exc}") from None
        raise
    return connection


class IdleConnections:
    """Connections that are kept for the next request, the one used last on top."""

    def __init__(self, per_server: int, idle: float) -> None:
        """At most *per_server* for each server, each for *idle* seconds."""
        self.per_server = per_server
        self.idle = idle
        self._kept: dict[Server, list[UpstreamConnection]] = {}

    def __len__(self) -> int:
        return sum(len(stack) for stack in self._kept.values())

    def take(self, server: Server, now: float) -> UpstreamConnection | None:
        """One for *server*, None where there is none."""
        stack = self._kept.get(server)
        while stack and now - stack[-1].idle_since < self.idle:
            connection = stack.pop()
            connection.on_idle_end = None
            if connection.is_reusable:
                return connection
        return None

    def put(self, connection: UpstreamConnection, now: float) -> None:
        """Keep *connection*; the oldest one of its server goes when there are too many."""
        stack = self._kept.setdefault(connection.server, [])
        connection.idle_since = now
        connection.on_idle_end = self._discard
        stack.append(connection)
        if len(stack) > self.per_server:
            self._drop(stack.pop(0))

    def expire(self, now: float) -> None:
        """Close those that nobody has used for too long."""
        for server, stack in list(self._kept.items()):
            while stack and now - stack[0].idle_since >= self.idle:
                self._drop(stack.pop(0))
            if not stack:
                del self._kept[server]

    def forget(self, server: Server) -> None:
        """Close those of a server that is used no more."""
        for connection in self._kept.pop(server, []):
            self._drop(connection)

    def close(self) -> None:
        """Close all."""
        for server in list(self._kept):
            self.forget(server)

    def _drop(self, connection: UpstreamConnection) -> None:
        connection.on_idle_end = None
        connection.close()

    def _discard(self, connection: UpstreamConnection) -> None:
        """The server closed a kept connection."""
        connection.on_idle_end = None
        self._kept[connection.server].remove(connection)
