"""`Forwarder`: the handler that sends a request on to a server of a pool and relays the answer.

Per request: pick → connect (or take a kept connection) → relay. What may be tried again, and what the
client gets when it may not:

===================================================  ===============================================
no server can be picked                              503
no connection to the server picked                   another server, up to the pool's retries; 502
the connection is lost before a byte of the answer   if the request is idempotent and has no body (RFC
                                                     9110 §9.2.2), again: on a new connection when it
                                                     was a kept one, else on one other server, no more:
                                                     it may be the request that kills; else 502
nothing from the server in time                      504
a broken answer, before its head is complete         502
a broken answer later on                             the client's connection is reset: no response may
                                                     look complete that is not
the client leaves                                    the server's connection is dropped at once
===================================================  ===============================================

Bodies go both ways at the same time, each piece only after the one before was taken. The client's
Expect is answered here, when the server's side begins to read, and not sent on.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import TypeAlias

from lbkit.errors import (
    BadResponse,
    ClientError,
    ConnectFailed,
    NoServerAvailable,
    ServerError,
    ServerTimeout,
)
from lbkit.exchange import Exchange
from lbkit.http.engine import Limits
from lbkit.http.forwarded import LOOPBACK, Hop, forwarded_headers
from lbkit.http.hop_by_hop import end_to_end
from lbkit.http.messages import Body, Headers, Request, Response, get, without
from lbkit.pool import Pool
from lbkit.proxy.ticker import Ticker
from lbkit.proxy.upstream import IdleConnections, UpstreamConnection, adopt
from lbkit.server import Address, Server
from lbkit.sockets import connect

__all__ = ["ForwardSettings", "Forwarder"]

Connect: TypeAlias = Callable[[Address, float], Awaitable[socket.socket]]

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 §9.2.2


@dataclass(frozen=True, slots=True)
class ForwardSettings:
    """How requests are sent on. Durations are seconds."""

    connect: float = 5.0
    """For one attempt to connect."""
    server: float = 60.0
    """Silence of a server while it is its turn (nginx proxy_read_timeout), else 504."""
    idle: float = 4.0
    """How long a connection is kept without a request: below the 5 s of common app servers."""
    idle_per_server: int = 32
    """Connections kept for each server (nginx's usual `keepalive 32`)."""
    limits: Limits = field(default_factory=Limits)
    """What a response head may have; more is a 502."""
    trusted: Collection[str] = LOOPBACK
    """Neighbours whose X-Forwarded-* are believed and extended; those of others are replaced."""


class Forwarder:
    """Sends each exchange to a server of *pool*.

    `settings` may be replaced at any time. After a server has left the pool `forget` closes what is kept
    for it; requests in progress on it go on. `close` at the end.
    """

    def __init__(
        self,
        pool: Pool,
        name: str,
        settings: ForwardSettings | None = None,
        *,
        ticker: Ticker,
        clock: Callable[[], float],
        connect: Connect = connect,
    ) -> None:
        """*name* is what Via calls this proxy; *clock* gives monotonic seconds, as ``loop.time``."""
        self.pool = pool
        self.name = name
        self.settings = settings or ForwardSettings()
        self._ticker = ticker
        self._clock = clock
        self._connect = connect
        self._idle = IdleConnections(self.settings.idle_per_server, self.settings.idle)
        self._active: set[UpstreamConnection] = set()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer *exchange*; raises NoServerAvailable, a ServerError or ClientError where it can't be."""
        tried: list[Server] = []
        failure: ServerError | None = None
        has_died = False
        reuse = _may_reuse(exchange)
        while True:
            server = self._pick(tried, failure)
            self.pool.acquire(server, self._clock())
            try:
                return await self._attempt(server, exchange, reuse)
            except ConnectFailed as error:
                failure = error
                tried.append(server)
            except _Unanswered as error:
                if not error.was_kept:
                    if has_died:
                        raise
                    has_died = True
                    failure = error
                    tried.append(server)
                reuse = False
            finally:
                self.pool.release(server, self._clock())
            if exchange.disconnected:
                raise ClientError("the client left", 0)
            if failure is not None and len(tried) > self.pool.retries:
                raise failure
            server.counters.retries += 1

    def _pick(self, tried: list[Server], failure: ServerError | None) -> Server:
        try:
            return self.pool.pick(self._clock(), None, tried)
        except NoServerAvailable:
            if failure is not None:
                raise failure from None  # there were servers, and all failed
            raise

    async def _attempt(self, server: Server, exchange: Exchange, reuse: bool) -> None:
        """Relay *exchange* over *server*; what goes wrong is counted there."""
        try:
            connection = await self._connection(server, reuse)
        except ConnectFailed:
            server.counters.connect_errors += 1
            raise
        self._active.add(connection)
        self._ticker.wake(self._tick)
        try:
            await self._relay(connection, exchange)
        except ServerTimeout:
            server.counters.timeouts += 1
            raise
        except BadResponse as error:
            unanswered = not connection.answered and _may_repeat(exchange)
            server.counters.response_errors += not (unanswered and connection.was_kept)
            if unanswered:
                raise _Unanswered(str(error), was_kept=connection.was_kept) from error
            raise
        finally:
            self._active.discard(connection)
            self._keep_or_close(connection)

    async def _connection(self, server: Server, reuse: bool) -> UpstreamConnection:
        if reuse:
            kept = self._idle.take(server, self._clock())
            if kept is not None:
                return kept
        sock = await self._connect(server.address, self.settings.connect)
        return await adopt(server, sock, self.settings.limits)

    def _keep_or_close(self, connection: UpstreamConnection) -> None:
        server = connection.server
        still_there = server.name in self.pool and self.pool[server.name] is server
        if connection.is_reusable and still_there:
            self._idle.put(connection, self._clock())
        else:
            connection.abort(BadResponse("the exchange is over"))

    # ---- one exchange on one connection ----

    async def _relay(self, connection: UpstreamConnection, exchange: Exchange) -> None:
        if exchange.disconnected:
            raise ClientError("the client left", 0)
        exchange.on_disconnect = lambda: connection.abort(ClientError("the client left", 0))
        has_body = _has_body(exchange.request)
        upload: asyncio.Task[None] | None = None
        request = exchange.request
        try:
            headers = self._request_headers(exchange, connection.server)
            connection.begin(request.method, request.target.origin_form, headers, has_body=has_body)
            if has_body:
                upload = asyncio.get_running_loop().create_task(_upload(exchange, connection))
            await _answer(connection, exchange)
        finally:
            exchange.on_disconnect = None
            if upload is not None and not upload.done():
                upload.cancel()
                await asyncio.gather(upload, return_exceptions=True)

    def _request_headers(self, exchange: Exchange, server: Server) -> Headers:
        request = exchange.request
        headers = without(end_to_end(request.headers), {b"expect"})
        if get(headers, b"host") is None:
            headers.insert(0, (b"Host", _host_of(server.address)))
        hop = Hop(exchange.client[0] if exchange.client else "", exchange.scheme, request.version)
        headers = forwarded_headers(headers, hop, self.name, self.settings.trusted)
        if get(request.headers, b"transfer-encoding") is not None:
            headers.append((b"Transfer-Encoding", b"chunked"))
        return headers

    # ---- upkeep ----

    def _tick(self, now: float) -> bool:
        """Timeouts and kept connections that got too old; True while there is something to look at."""
        self._idle.idle, self._idle.per_server = self.settings.idle, self.settings.idle_per_server
        self._idle.expire(now)
        for connection in list(self._active):
            connection.check(now, self.settings.server)
        return bool(self._active) or len(self._idle) > 0

    def forget(self, server: Server) -> None:
        """Close the connections that are kept for *server*."""
        self._idle.forget(server)

    def close(self) -> None:
        """Close every kept connection."""
        self._idle.close()


class _Unanswered(BadResponse):
    """The connection was lost before a byte of the answer, and the request may be sent again."""

    def __init__(self, message: str, *, was_kept: bool) -> None:
        super().__init__(message)
        self.was_kept = was_kept


def _may_reuse(exchange: Exchange) -> bool:
    """HAProxy's `http-reuse safe`: a client's first request rides a kept connection only if it may be
    sent again, for a client that sees its first request fail gives up."""
    return exchange.number > 1 or exchange.request.method in _IDEMPOTENT


def _may_repeat(exchange: Exchange) -> bool:
    request = exchange.request
    return request.method in _IDEMPOTENT and not _has_body(request) and not exchange.started


def _has_body(request: Request) -> bool:
    return request.has_body and get(request.headers, b"content-length") != b"0"


def _host_of(address: Address) -> bytes:
    return b"localhost" if address.path else str(address).encode("ascii")


async def _upload(exchange: Exchange, connection: UpstreamConnection) -> None:
    try:
        while data := await exchange.read():
            if not await connection.write(data):
                return  # the server's answer, or its absence, says what happened
        connection.finish()
    except Exception as error:  # noqa: BLE001 - raised again where the response is awaited
        connection.abort(error)


async def _answer(connection: UpstreamConnection, exchange: Exchange) -> None:
    response = await connection.next_event()
    assert isinstance(response, Response), "a response begins with its head"
    await exchange.start(response.status, end_to_end(response.headers), response.reason)
    while isinstance(event := await connection.next_event(), Body):
        await exchange.write(event.data)
    await exchange.end()
