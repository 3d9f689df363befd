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
from typing import Protocol, cast

from lbkit.errors import BadResponse, ConnectFailed, ServerTimeout
from lbkit.exchange import HttpProtocol
from lbkit.http.engine import ClientEngine, Limits
from lbkit.http.messages import Headers, Response
from lbkit.server import Server

__all__ = ["IdleConnections", "Sink", "UpstreamConnection", "adopt", "introduce"]


class Arrivals(Protocol):
    """Who is told of what goes express; see `lbkit.proxy.express`."""

    def land(self, connection: UpstreamConnection, data: bytes) -> bool:
        """The answer *data* has come; False where it has to stop over first."""

    def stop_over(self, connection: UpstreamConnection) -> None:
        """It goes on as an exchange, whose sink `UpstreamConnection.go_on` is given."""


class Sink(Protocol):
    """Who takes the answer to the present request."""

    def whole(self, response: Response, body: bytes) -> None:
        """The whole answer has come at once."""

    def received(self) -> None:
        """Something has come, or the end of it: `UpstreamConnection.next_event` may have more."""

    def failed(self, error: Exception) -> None:
        """There will be no more."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to *server*.

    Use: `begin` a request, `write` its body and `finish` it; the *sink* is told when there is something of
    the answer, and takes it with `next_event` until the End. When `is_reusable`, begin another one.
    """

    def __init__(
        self, server: Server, limits: Limits, arrivals: Arrivals | None = None, introduction: bytes = b""
    ) -> None:
        """*arrivals* are told of answers to what goes express."""
        self.server = server
        self.introduction = introduction
        """The PROXY header that it began with: it is of that client connection and of no other."""
        self.limits = limits
        self.client: HttpProtocol | None = None
        """Whose request is under way here by express, if any; then `request` is its head."""
        self.request = b""
        self.is_head = False
        self.started_at = 0.0
        """When, by ``time.perf_counter``."""
        self._arrivals = arrivals
        self.requests = 0
        """Requests begun on this connection."""
        self.answered = False
        """Whether any byte has come for the present request."""
        self.idle_since = 0.0
        self.is_watched = False
        """For its forwarder, which looks at the timeouts of those that are."""
        self.on_idle_end: Callable[[UpstreamConnection], None] | None = None
        """Set while the connection is kept: called when it can be kept no more."""
        self._engine = ClientEngine(limits)
        self.next_event = self._engine.next_event
        """The next part of the answer; None where more has to come. Raises BadResponse."""
        self._sink: Sink | None = None
        self._loop = asyncio.get_running_loop()
        self._error: Exception | None = None
        self._is_lost = False
        self._sent_all = False
        self._is_paused = False
        self._is_write_paused = False
        self._writer: asyncio.Future[None] | None = None
        self._moved_at = 0.0

    # ---- the transport's calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        if self.on_idle_end is not None:
            self.on_idle_end(self)  # nobody asked: whatever it is, it must not be taken for the next answer
            self.close()
            return
        self.server.counters.bytes_out += len(data)
        if self.client is not None:
            assert self._arrivals is not None
            if self._arrivals.land(self, data):
                return
            self._arrivals.stop_over(self)
        sink, engine = self._sink, self._engine
        if not self.answered:
            self.answered = True
            if sink is not None and (whole := engine.take_whole(data)) is not None:
                sink.whole(*whole)
                return
        self._moved_at = self._loop.time()
        engine.receive(data)
        if sink is not None:
            sink.received()

    def eof_received(self) -> None:
        self._end_of_input(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._end_of_input(exc)
        _wake(self._writer)

    def stop_over(self) -> None:
        """What is under way by express becomes an ordinary exchange."""
        assert self._arrivals is not None
        self._arrivals.stop_over(self)

    def _end_of_input(self, exc: Exception | None) -> None:
        if self.client is not None:
            self.stop_over()
        if self.on_idle_end is not None:
            self.on_idle_end(self)
        if self._error is not None:
            return
        if exc is not None:
            self._fail(BadResponse(f"{self.server.name}: connection lost: {exc}"))
            return
        self._engine.receive(b"")  # only a clean close may end a body
        if self._sink is not None:
            self._sink.received()

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._moved_at = self._loop.time()
        _wake(self._writer)

    # ---- a request ----

    @property
    def is_asked(self) -> bool:
        """Whether an answer is waited for."""
        return self._sink is not None or self.client is not None

    @property
    def is_reusable(self) -> bool:
        """Whether the exchange is over and another one may follow."""
        return self._engine.reusable and self._error is None and not self._transport.is_closing()

    @property
    def was_kept(self) -> bool:
        """Whether the present request is not the first one: the server may have just closed."""
        return self.requests > 1

    def begin(self, method: str, target: bytes, headers: Headers, sink: Sink, *, has_body: bool) -> None:
        """Send a request's head. Raises ValueError for one that cannot be sent."""
        self._start(sink)
        head = self._engine.request(method, target, headers)
        if not has_body:
            head += self._engine.end()
            self._sent_all = True
        self._send(head)

    def begin_as_it_is(self, method: str, head: bytes, sink: Sink) -> None:
        """Send the *head* of a request without a body, which is known to be well-formed."""
        self._start(sink)
        engine = self._engine
        engine.begin_as_it_is(method)
        engine.end()
        self._sent_all = True
        self._send(head)

    def fly(self, client: HttpProtocol, request: bytes, head: bytes, is_head: bool, now: float) -> None:
        """Send *head* for *client*, without a sink: see `lbkit.proxy.express`."""
        self.client = client
        self.request = request
        self.is_head = is_head
        self.requests += 1
        self.answered = False
        self._sent_all = True
        self._moved_at = now
        counters = self.server.counters
        counters.requests += 1
        counters.bytes_in += len(head)
        self._transport.write(head)

    def go_on(self, method: str, sink: Sink) -> None:
        """*sink* takes the answer to what `fly` sent."""
        self._engine.next_cycle()
        self._engine.begin_as_it_is(method)
        self._engine.end()
        self._sink = sink

    def _start(self, sink: Sink) -> None:
        if self.requests:
            self._engine.next_cycle()
        self.requests += 1
        self.answered = False
        self._sent_all = False
        self.server.counters.requests += 1
        self._sink = sink
        if self._is_lost or self._error is not None:
            # Its end was told before anybody listened.
            self._loop.call_soon(self._end_again, sink)

    def _end_again(self, sink: Sink) -> None:
        if self._sink is sink:
            if self._error is not None:
                sink.failed(self._error)
            else:
                sink.received()

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

    @property
    def is_clogged(self) -> bool:
        """Whether the server takes no more for now."""
        return self._is_write_paused

    def switch(self) -> tuple[asyncio.Transport, bytes]:
        """The server has changed the protocol: the transport, for another protocol, and what has come for
        that.
        """
        self.release()
        return self._transport, self._engine.take_rest()

    def release(self) -> None:
        """The sink wants no more: it has the whole answer, or has given up."""
        self._sink = None
        self.resume()  # while kept it must see the server close, or send what nobody asked for

    def pause(self) -> None:
        """Whoever gets the answer is slow: read no more for now."""
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._moved_at = self._loop.time()
            self._transport.resume_reading()

    # ---- ends ----

    def check(self, now: float, timeout: float) -> None:
        """Give up when the server has not moved for *timeout* seconds while it was its turn.

        It is not while the client is slow to send the rest of its request, or to take the answer.
        """
        servers_turn = self.is_asked and not self._is_paused and (self._sent_all or self._is_write_paused)
        if servers_turn and now - self._moved_at >= timeout:
            self.abort(ServerTimeout(f"{self.server.name}: silent for {timeout:g} s"))

    def abort(self, error: Exception) -> None:
        """Drop the connection at once; whoever waits for the response gets *error*."""
        if self.client is not None:
            self.stop_over()
        self._transport.abort()
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
            if self._sink is not None:
                self._sink.failed(error)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def introduce(sock: socket.socket, server: Server, introduction: bytes) -> None:
    """Send *introduction*, which may be empty, before all else. Raises ConnectFailed, with *sock* closed."""
    if not introduction:
        return
    try:
        await asyncio.get_running_loop().sock_sendall(sock, introduction)
    except BaseException as exc:
        sock.close()
        if isinstance(exc, OSError):
            raise ConnectFailed(f"{server.address}: {exc}") from None
        raise


async def adopt(
    server: Server,
    sock: socket.socket,
    limits: Limits,
    arrivals: Arrivals | None = None,
    introduction: bytes = b"",
) -> UpstreamConnection:
    """Make a connection of *sock*, a connected socket, which belongs to it from now on; *introduction* is
    sent before all else.

    Raises ConnectFailed when it has been lost already.
    """
    loop = asyncio.get_running_loop()
    await introduce(sock, server, introduction)
    connection = UpstreamConnection(server, limits, arrivals, introduction)
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
        self._on_end = self._discard

    def __len__(self) -> int:
        return sum(len(stack) for stack in self._kept.values())

    def take(self, server: Server, now: float, introduction: bytes = b"") -> UpstreamConnection | None:
        """One for *server* that began with *introduction*, None where there is none."""
        if introduction:
            return self._take_introduced(server, now, introduction)
        stack = self._kept.get(server)
        while stack and now - stack[-1].idle_since < self.idle:
            connection = stack.pop()
            connection.on_idle_end = None
            if not connection.introduction:
                return connection
            connection.close()  # from before a reload: nobody can use it any more
        return None

    def _take_introduced(self, server: Server, now: float, introduction: bytes) -> UpstreamConnection | None:
        for connection in reversed(self._kept.get(server, ())):
            if now - connection.idle_since >= self.idle:
                break
            if connection.introduction == introduction:
                self._discard(connection)
                return connection
        return None

    def put(self, connection: UpstreamConnection, now: float) -> None:
        """Keep *connection*; the oldest one of its server goes when there are too many."""
        stack = self._kept.get(connection.server)
        if stack is None:
            stack = self._kept[connection.server] = []
        connection.idle_since = now
        connection.on_idle_end = self._on_end
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
        """It is kept no more: taken, or closed by the server."""
        connection.on_idle_end = None
        self._kept[connection.server].remove(connection)
