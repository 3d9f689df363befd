"""`Forwarder`: the handler that sends a request on to a server of a pool and relays the answer.

Per request: pick (→ wait for a place) → connect (or take a kept connection) → relay. What may be tried
again, within the pool's retry budget, and what the client gets when it may not:

===================================================  ===============================================
no server can be picked                              503
all are at their limit, and the queue is full, or    503
no place came free in time
no connection to the server picked                   another server, up to the pool's retries; 502
the connection is lost before a byte of the answer   if the request is idempotent and has no body (RFC
                                                     9110 §9.2.2), again: on a new connection when it
                                                     was a kept one, else on one other server, no more:
                                                     it may be the request that kills; else 502
nothing from the server in time                      504
the time for the whole request is over               504, or a reset once the answer has begun
a broken answer, before its head is complete         502
the answer says X-Accel-Redirect                     the file that is meant (`lbkit.proxy.accel`)
a broken answer later on                             the client's connection is reset: no response may
                                                     look complete that is not
the client leaves                                    the server's connection is dropped at once
===================================================  ===============================================

A client that asks to change the protocol, and is allowed to, is passed on with that wish; the server's 101
makes a tunnel of both connections, and any other answer is one as usual (`lbkit.proxy.tunnel`).

Bodies go both ways at the same time, each piece only after the one before was taken. The client's
Expect is answered here, when the server's side begins to read, and not sent on.

Most requests need no task: they have no body, a server has a place, and a connection to it is kept. `begin`
sends such a one on at once, and a `Passage` relays its answer. All others, and those that turn out to need
another try, go on in a task.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Container
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from lbkit.config.values import KeySource
from lbkit.errors import (
    BadResponse,
    ClientError,
    ConnectFailed,
    DeadlineExceeded,
    NoServerAvailable,
    PoolFull,
    ServerError,
    ServerTimeout,
)
from lbkit.exchange import Exchange, Work
from lbkit.exchange.exchange import Peer
from lbkit.http.deadlines import told, untold
from lbkit.http.engine import Limits
from lbkit.http.forwarded import LOOPBACK, Form, Hop, forwarded_headers, hop_lines
from lbkit.http.hop_by_hop import COUNTED, end_to_end, hops_left, one_hop_on
from lbkit.http.messages import Headers, Request, Response, get, tokens, without
from lbkit.http.plain import Trait
from lbkit.http.trailers import takes_trailers
from lbkit.http.upgrade import asked_protocols
from lbkit.pool import Pool, Waiter
from lbkit.proxy.clients import ClientReader
from lbkit.proxy.express import Arrivals
from lbkit.proxy.keys import cookie_of, key_reader
from lbkit.proxy.passage import Divert, Passage
from lbkit.proxy.secure import secure
from lbkit.proxy.ticker import Ticker
from lbkit.proxy.tunnel import Tunnel
from lbkit.proxy.upstream import IdleConnections, UpstreamConnection, adopt, introduce
from lbkit.proxy_protocol import build
from lbkit.server import Address, Outcome, Server
from lbkit.sockets import connect
from lbkit.tls import ClientTls

__all__ = ["ForwardSettings", "Forwarder"]

Connect: TypeAlias = Callable[[Address, float], Awaitable[socket.socket]]

_GOOD_5XX = frozenset({501, 505})  # the request's fault and not the server's (HAProxy, observe layer7)
_LOOKED_AT = int(Trait.RAW_TARGET | Trait.CLAIM | Trait.UPGRADE | Trait.EXPECT | Trait.TE)
_AS_THEY_CAME = int(Trait.RAW_TARGET)
_PATIENCE = 0.25  # seconds for others' tries after failed connections, which take a millisecond each
_PAUSE = 0.005
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 §9.2.2


@dataclass(frozen=True, slots=True)
class ForwardSettings:
    """How requests are sent on. Durations are seconds."""

    connect: float = 5.0
    """For one attempt to connect."""
    server: float = 60.0
    """Silence of a server while it is its turn (nginx proxy_read_timeout), else 504."""
    request: float = 0.0
    """For the whole of a request, from its head to the end of the answer; 0 is no limit. It is lifted from
    tunnels, and where a file of ours takes the answer's place."""
    deadline_field: bytes = b""
    """By which servers are told how much of that is left, and *trusted* neighbours tell what they have left;
    empty for neither."""
    queue: float = 5.0
    """Waiting for a server under its connection limit, else 503; 0 is no limit."""
    idle: float = 4.0
    """How long a connection is kept without a request: below the 5 s of common app servers."""
    idle_per_server: int = 1024
    """Connections kept for each server; those that nobody needs any more go after `idle` seconds anyway."""
    limits: Limits = field(default_factory=Limits)
    """What a response head may have; more is a 502."""
    trusted: Container[str] = LOOPBACK
    """Neighbours whose X-Forwarded-* or Forwarded are believed and extended; those of others are replaced."""
    forwarded: Form = "x-forwarded"
    """By which of them the client is told to servers."""
    key: KeySource = field(default_factory=KeySource)
    """What hashing algorithms go by."""
    upgrades: Collection[bytes] = frozenset({b"websocket"})
    """Protocols, in lower case, to which a connection may be changed (RFC 9110 §7.8)."""
    tunnel: float = 3600.0
    """Silence of both sides after that (the manual of HAProxy uses 1h for `timeout tunnel`)."""
    sticky_cookie: str = ""
    """Name of a cookie that keeps a client at its server; empty for none."""


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
        self._via = name.encode("ascii")
        self._tls: ClientTls | None = None
        self.divert: Divert | None = None
        """Sees each server's answer before it goes out; may be replaced at any time."""
        self._ticker = ticker
        self._clock = self.now = clock
        self._connect = connect
        self.settings = settings or ForwardSettings()
        self._idle = IdleConnections(self.settings.idle_per_server, self.settings.idle)
        self._watched: set[UpstreamConnection] = set()
        """Those with a request under way, and some that had one at the last tick."""
        self._tunnels: set[Tunnel] = set()
        self.keep: Callable[[UpstreamConnection, float], None] = self._idle.put
        """Keeps a connection whose exchange is over, from a time in monotonic seconds on."""
        self._arrivals = Arrivals(self)
        self._is_ticking = False

    @property
    def settings(self) -> ForwardSettings:
        """How requests are sent on."""
        return self._settings

    @settings.setter
    def settings(self, settings: ForwardSettings) -> None:
        self._settings = settings
        self._key_of = key_reader(settings.key, ClientReader(settings.trusted, settings.forwarded))
        self._cookie = settings.sticky_cookie.encode()
        # What these say of the pool changes only by a reload, which sets the settings anew.
        pool = self.pool
        self._is_timed = bool(settings.request or settings.deadline_field)
        self.takes_express = not (
            self._cookie or pool.balancer.keyed or pool.settings.send_proxy or self._is_timed
        )
        """Whether a request may be passed on without being looked at for anything but its route."""

    @property
    def tls(self) -> ClientTls | None:
        """How connections to the servers are secured; a change ends those that are kept."""
        return self._tls

    @tls.setter
    def tls(self, tls: ClientTls | None) -> None:
        if tls != self._tls:
            self._idle.close()
        self._tls = tls

    # ---- the express way ----

    def kept(self, server: Server, now: float) -> UpstreamConnection | None:
        """A kept connection to *server*, which is watched from now on; None where there is none."""
        connection = self._idle.take(server, now)
        if connection is not None:
            if not connection.is_watched:
                self._watch(connection)
            if self.pool.hears:
                connection.started_at = time.perf_counter()
        return connection

    def _watch(self, connection: UpstreamConnection) -> None:
        """Look at the timeouts of *connection* now and then; it is let go when it is found idle."""
        connection.is_watched = True
        self._watched.add(connection)
        if not self._is_ticking:
            self._is_ticking = True
            self._ticker.wake(self._tick)

    def go_on(self, connection: UpstreamConnection, exchange: Exchange, started_at: float) -> None:
        """What went express over *connection* is *exchange* from now on."""
        attempt = _Attempt(self, connection.server, exchange)
        if started_at:
            attempt.started_at = started_at
        attempt.connected(connection)
        exchange.on_disconnect = partial(connection.abort, ClientError("the client left", 0))
        connection.go_on(
            exchange.request.method,
            Passage(connection, exchange, attempt.answered, attempt.over, divert=self.divert),
        )

    def with_hop(self, lines: list[bytes], client: Peer, scheme: str, host: bytes) -> bytes:
        """*lines* and what is told to the server of the hop to here, as the end of a head."""
        hop = hop_lines("" if client is None else client[0], scheme, host, self._settings.forwarded)
        return b"%b\r\n%bVia: 1.1 %b\r\n\r\n" % (b"\r\n".join(lines), hop, self._via)

    # ---- the ordinary way ----

    def begin(self, exchange: Exchange) -> Work | None:
        """See `PromptHandler.begin`. Raises NoServerAvailable."""
        request = exchange.request
        if self._cookie or request.has_body or not _may_reuse(exchange) or request.method in COUNTED:
            return partial(self, exchange)
        if self._is_timed:
            return partial(self, exchange)
        if request.plain is None and asked_protocols(request, self.settings.upgrades):
            return partial(self, exchange)
        pool, now = self.pool, self._clock()
        if pool.settings.send_proxy:
            return partial(self, exchange)
        key = self._key_of(exchange) if pool.balancer.keyed else None
        try:
            server = pool.pick(now, key)
        except PoolFull:
            return partial(self, exchange)
        pool.acquire(server, now)
        connection = self._idle.take(server, now)
        if connection is None:
            return partial(self.serve, exchange, server, True)
        attempt = _Attempt(self, server, exchange)
        attempt.connected(connection)
        self._send(
            connection,
            exchange,
            Passage(connection, exchange, attempt.answered, attempt.over, divert=self.divert),
        )
        return None

    async def __call__(self, exchange: Exchange) -> None:
        """Answer *exchange*; raises NoServerAvailable, a ServerError or ClientError where it can't be."""
        if exchange.request.method in COUNTED and hops_left(exchange.request.headers) == 0:
            await exchange.respond(200 if exchange.request.method == "OPTIONS" else 501, [])
            return
        left = self._time_for(exchange) if self._is_timed else math.inf
        if left == math.inf:
            await self.serve(exchange, None, _may_reuse(exchange))
            return
        exchange.deadline = self._clock() + left
        over = DeadlineExceeded(f"the {left:g} s for this request are over")
        if left <= 0:
            raise over
        limit = exchange.time_limit = asyncio.timeout(left)
        try:
            async with limit:
                await self.serve(exchange, None, _may_reuse(exchange))
        except TimeoutError:
            if limit.expired():
                raise over from None
            raise

    def _time_for(self, exchange: Exchange) -> float:
        """Seconds that *exchange* may take from now on; infinite where nobody says."""
        settings = self._settings
        left = settings.request or math.inf
        neighbour = exchange.client[0] if exchange.client else ""
        if settings.deadline_field and neighbour in settings.trusted:
            theirs = told(exchange.request.headers, settings.deadline_field)
            if theirs is not None:
                return min(left, theirs)
        return left

    async def again(self, exchange: Exchange, server: Server) -> None:
        """A kept connection of *server* turned out to be closed: nothing was answered, nobody is to blame."""
        _check_present(exchange)
        self._count_retry(server, exchange)
        await self.serve(exchange, None, False)

    def _count_retry(self, server: Server, exchange: Exchange) -> None:
        server.counters.retries += 1
        if exchange.trail is not None:
            exchange.trail.retries += 1

    async def serve(self, exchange: Exchange, server: Server | None, reuse: bool) -> None:
        """Try one server after the other, the first one being *server*, already acquired, where given."""
        tried: list[Server] = []
        failure: ServerError | None = None
        has_died = False
        budget = _Budget(self.pool)
        pool, trail = self.pool, exchange.trail
        if trail is not None:
            trail.pool = pool.name
        key = self._key_of(exchange) if server is None and pool.balancer.keyed else None
        try:
            while True:
                try:
                    if server is None:
                        server = await self._acquire(exchange, key, tried, budget)
                except NoServerAvailable:
                    if failure is not None:
                        raise failure from None  # there were servers, and all failed
                    raise
                try:
                    await self._attempt(server, exchange, reuse, budget)
                    break
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
                _check_present(exchange)
                budget.give_back()
                if failure is not None:
                    if len(tried) > pool.retries:
                        raise failure
                    if isinstance(failure, ConnectFailed) and pool.is_retrying:
                        await self._be_patient(exchange)
                    if not budget.take(failure):
                        raise failure
                self._count_retry(server, exchange)
                if key is None and pool.balancer.keyed:
                    key = self._key_of(exchange)
                server = None
        finally:
            budget.give_back()
        if exchange.instead is not None:
            _lift_limit(exchange)
            await exchange.instead()

    async def _be_patient(self, exchange: Exchange) -> None:
        """Where a server has just died many find out in the same moment: all but the first few would get an
        error, although the tries of these are over in a moment, too."""
        give_up = self._clock() + _PATIENCE
        while self.pool.is_retrying and self._clock() < give_up:
            await asyncio.sleep(_PAUSE)
            _check_present(exchange)

    async def _acquire(
        self, exchange: Exchange, key: bytes | None, tried: list[Server], budget: _Budget
    ) -> Server:
        """A server for the next attempt, acquired; waits where all are at their limit.

        Raises NoServerAvailable, or ClientError when the client left meanwhile.
        """
        now = self._clock()
        stuck = self._stuck_to(exchange, tried) if self._cookie else None
        if stuck is not None and stuck.is_full:
            budget.harmless()
            return await self._wait(exchange, tried, stuck)
        try:
            server = stuck or self.pool.pick(now, key, tried)
        except PoolFull:
            budget.harmless()
            return await self._wait(exchange, tried, None)
        server.counters.picks += stuck is not None
        self.pool.acquire(server, now)
        return server

    def _stuck_to(self, exchange: Exchange, tried: list[Server]) -> Server | None:
        """The server that the client's cookie names, where it can still be had."""
        token = cookie_of(exchange.request.headers, self._cookie)
        server = None if token is None else self.pool.stuck_to(token.decode("latin-1"))
        return None if server in tried else server

    async def _wait(self, exchange: Exchange, tried: list[Server], only: Server | None) -> Server:
        _check_present(exchange)  # of a client that left before on_disconnect tells nothing
        limit = self.settings.queue
        now = self._clock()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def woken(waiter: Waiter) -> None:
            if not place.done():
                place.set_result(None)

        waiter = self.pool.wait(now, now + limit if limit else math.inf, woken, tuple(tried), only)
        began_at = time.perf_counter()
        self._is_ticking = True
        self._ticker.wake(self._tick)
        exchange.on_disconnect = lambda: woken(waiter)
        try:
            await place
        except BaseException:
            self._give_back(waiter)
            raise
        finally:
            exchange.on_disconnect = None
            if exchange.trail is not None:
                exchange.trail.queue += time.perf_counter() - began_at
        try:
            _check_present(exchange)
        except ClientError:
            self._give_back(waiter)
            raise
        if waiter.server is None:
            raise NoServerAvailable(
                f'no place at a server of pool "{self.pool.name}" came free within {limit:g} s'
            )
        return waiter.server

    def _give_back(self, waiter: Waiter) -> None:
        """Nobody wants the place any more, whether it came or not."""
        self.pool.leave(waiter)
        if waiter.server is not None:
            self.pool.release(waiter.server, self._clock(), 0.0, Outcome.CANCELLED)

    async def _attempt(self, server: Server, exchange: Exchange, reuse: bool, budget: _Budget) -> None:
        """Relay *exchange* over *server*, which is acquired; what goes wrong is counted there."""
        attempt = _Attempt(self, server, exchange)
        try:
            introduction = self._introduction(exchange) if self.pool.settings.send_proxy else b""
            connection = await self._connection(server, reuse, introduction)
            attempt.connected(connection)
            budget.harmless()
            await self._relay(connection, exchange, attempt)
        except (ConnectFailed, ServerTimeout, BadResponse) as error:
            verdict = attempt.judge(error)
            if verdict is not error:
                raise verdict from error
            raise
        finally:
            attempt.settle()

    async def _connection(self, server: Server, reuse: bool, introduction: bytes) -> UpstreamConnection:
        if reuse:
            kept = self._idle.take(server, self._clock(), introduction)
            if kept is not None:
                return kept
        if self._tls is not None:
            return await self._secured(server, self._tls, introduction)
        sock = await self._connect(server.address, self.settings.connect)
        return await adopt(server, sock, self.settings.limits, self._arrivals, introduction)

    async def _secured(self, server: Server, tls: ClientTls, introduction: bytes) -> UpstreamConnection:
        """A new connection; the time to connect is that of both, as of HAProxy's `timeout connect`."""
        limit = self.settings.connect
        began_at = self._clock()
        sock = await self._connect(server.address, limit)
        await introduce(sock, server, introduction)
        left = max(0.001, limit - (self._clock() - began_at)) if limit else 0.0
        transport = await secure(sock, server.address, tls, left)
        connection = UpstreamConnection(server, self.settings.limits, self._arrivals, introduction)
        transport.attach(connection)
        return connection

    def _introduction(self, exchange: Exchange) -> bytes:
        """The PROXY header that tells the client of *exchange*."""
        return build(self.pool.settings.send_proxy, exchange.client, exchange.server)

    def keep_or_close(self, connection: UpstreamConnection) -> None:
        """The exchange on it is over."""
        server = connection.server
        if connection.is_reusable and server.name in self.pool and self.pool[server.name] is server:
            self._idle.put(connection, self._clock())
        else:
            connection.abort(BadResponse("the exchange is over"))

    # ---- one exchange on one connection ----

    def _send(self, connection: UpstreamConnection, exchange: Exchange, passage: Passage) -> None:
        """Begin *exchange*, whose answer *passage* takes, on *connection*."""
        self._watch(connection)
        exchange.on_disconnect = partial(connection.abort, ClientError("the client left", 0))
        request = exchange.request
        head = self._head_as_it_is(exchange)
        if head is not None:
            connection.begin_as_it_is(request.method, head, passage)
            return
        headers = self._request_headers(exchange, connection.server)
        target = request.target.origin_form if exchange.changes is None else exchange.changes.target
        try:
            connection.begin(request.method, target, headers, passage, has_body=_has_body(request))
        except ValueError as error:
            passage.failed(error)

    async def _relay(self, connection: UpstreamConnection, exchange: Exchange, attempt: _Attempt) -> None:
        _check_present(exchange)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def over(error: Exception | None) -> None:
            if error is None:
                exchange.on_disconnect = None  # from here on the connection is another's
                attempt.settle()
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        edit = (
            partial(self._with_cookie, exchange=exchange, server=connection.server) if self._cookie else None
        )
        tunnel: Tunnel | None = None

        def switch(response: Response) -> None:
            nonlocal tunnel
            headers = end_to_end(response.headers)
            if edit is not None:
                headers = edit(headers)
            protocols = b", ".join(tokens(response.headers, b"upgrade"))
            headers += [(b"Connection", b"Upgrade"), (b"Upgrade", protocols)]
            switched = exchange.switch(headers, response.reason)
            _lift_limit(exchange)
            exchange.on_disconnect = None
            tunnel = Tunnel(exchange, switched, connection, lambda: over(None))
            self._tunnels.add(tunnel)

        passage = Passage(connection, exchange, attempt.answered, over, edit, switch, self.divert)
        upload: asyncio.Task[None] | None = None
        try:
            self._send(connection, exchange, passage)
            if _has_body(exchange.request):
                upload = asyncio.get_running_loop().create_task(_upload(exchange, connection))
            await done
            if tunnel is None:
                await exchange.drain()
        finally:
            if tunnel is not None:
                tunnel.abort()
                self._tunnels.discard(tunnel)
                exchange.finish()
            passage.cancel()
            exchange.on_disconnect = None
            if upload is not None and not upload.done():
                upload.cancel()
                await asyncio.gather(upload, return_exceptions=True)

    def _head_as_it_is(self, exchange: Exchange) -> bytes | None:
        """The head for the server, made of the lines that came; None where they have to be looked at."""
        request = exchange.request
        plain = request.plain
        if plain is None or request.has_body or exchange.changes is not None or self._is_timed:
            return None
        if plain.traits & _LOOKED_AT != _AS_THEY_CAME:
            return None
        lines = plain.lines
        if plain.hops is not None:
            lines = lines.copy()
            for place in reversed(plain.hops):
                del lines[place]
        return self.with_hop(lines, exchange.client, exchange.scheme, plain.host)

    def _request_headers(self, exchange: Exchange, server: Server) -> Headers:
        request = exchange.request
        headers = without(end_to_end(request.headers), {b"expect"})
        if request.method in COUNTED:
            headers = one_hop_on(headers)
        if get(headers, b"host") is None:
            headers.insert(0, (b"Host", _host_of(server.address)))
        client = exchange.client[0] if exchange.client else ""
        hop = Hop(client, exchange.scheme, request.version, bool(exchange.identity))
        headers = forwarded_headers(headers, hop, self.name, self.settings.trusted, self.settings.forwarded)
        if exchange.changes is not None:
            headers = exchange.changes.request(headers)
        if field := self._settings.deadline_field:
            headers = untold(headers, field)
            if exchange.deadline is not None:
                left = exchange.deadline - self._clock()
                headers.append((field, b"%d" % max(1, left * 1000)))
        if get(request.headers, b"transfer-encoding") is not None:
            headers.append((b"Transfer-Encoding", b"chunked"))
        options = []
        if request.plain is None and (names := asked_protocols(request, self.settings.upgrades)):
            headers.append((b"Upgrade", b", ".join(names)))
            options.append(b"Upgrade")
        if takes_trailers(request):
            headers.append((b"TE", b"trailers"))
            options.append(b"TE")  # RFC 9110 §10.1.4
        if options:
            headers.append((b"Connection", b", ".join(options)))
        return headers

    def _with_cookie(self, headers: Headers, exchange: Exchange, server: Server) -> Headers:
        """*headers* with the cookie that keeps the client at *server*, unless it has it already."""
        token = self.pool.token_of(server).encode()
        if cookie_of(exchange.request.headers, self._cookie) == token:
            return headers
        secure = b"; Secure" if exchange.scheme == "https" else b""
        cookie = b"%s=%s; Path=/; HttpOnly; SameSite=Lax%s" % (self._cookie, token, secure)
        # A shared cache must not hand one client's server to all the others (HAProxy `nocache`).
        private = [] if get(headers, b"cache-control") else [(b"Cache-Control", b"private")]
        return [*headers, (b"Set-Cookie", cookie), *private]

    # ---- upkeep ----

    def _tick(self, now: float) -> bool:
        """Timeouts and kept connections that got too old; True while there is something to look at."""
        self._idle.idle, self._idle.per_server = self.settings.idle, self.settings.idle_per_server
        self._idle.expire(now)
        if now >= self.pool.next_deadline():
            self.pool.advance(now)
        for connection in list(self._watched):
            if connection.is_asked:
                connection.check(now, self.settings.server)
            else:
                connection.is_watched = False
                self._watched.discard(connection)
        for tunnel in list(self._tunnels):
            tunnel.check(now, self.settings.tunnel)
        asked = bool(self._watched or self._tunnels)
        self._is_ticking = asked or len(self._idle) > 0 or self.pool.waiting > 0
        return self._is_ticking

    def forget(self, server: Server) -> None:
        """Close the connections that are kept for *server*."""
        self._idle.forget(server)

    def close(self) -> None:
        """Close every kept connection."""
        self._idle.close()


class _Budget:
    """A request's part of the pool's retry budget.

    A try after a failed connect counts until it is connected or stands in line for a place: no server has
    seen the request before, so that it makes no more work. One after an answer that never came counts until
    its end.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._is_taken = False
        self._only_connects = False

    def take(self, failure: ServerError) -> bool:
        """Whether another try is allowed after *failure*."""
        self._is_taken = self._pool.start_retry()
        self._only_connects = isinstance(failure, ConnectFailed)
        return self._is_taken

    def harmless(self) -> None:
        """The try is connected, or waits until a limit allows it."""
        if self._only_connects:
            self.give_back()

    def give_back(self) -> None:
        """The try is over."""
        if self._is_taken:
            self._is_taken = False
            self._pool.end_retry()


class _Attempt:
    """One try at one server, which is acquired: times it, and says there how it ended."""

    __slots__ = (
        "_connection",
        "_exchange",
        "_forwarder",
        "_is_settled",
        "_outcome",
        "_pool",
        "_server",
        "_trail",
        "started_at",
    )

    def __init__(self, forwarder: Forwarder, server: Server, exchange: Exchange) -> None:
        self._outcome = Outcome.CANCELLED
        """Until something else is known: whatever ends it without an answer was not the server."""
        self._forwarder = forwarder
        self._pool = forwarder.pool
        self._server = server
        self._exchange = exchange
        self._trail = trail = exchange.trail
        self._connection: UpstreamConnection | None = None
        self._is_settled = False
        self.started_at = time.perf_counter()  # finer than the loop's clock, which may go by milliseconds
        if trail is not None:
            trail.pool = self._pool.name
            trail.ask(server.name, self.started_at)

    def connected(self, connection: UpstreamConnection) -> None:
        """*connection* stands, new or kept."""
        self._connection = connection
        if self._trail is not None:
            self._trail.connect = time.perf_counter() - self.started_at

    def answered(self, status: int) -> None:
        """The head of the answer has come."""
        self._outcome = Outcome.ERROR if status >= 500 and status not in _GOOD_5XX else Outcome.DONE
        if self._trail is None and not self._pool.hears_responses:
            return
        seconds = time.perf_counter() - self.started_at
        if self._trail is not None:
            self._trail.response = seconds - self._trail.connect
        self._pool.responded(self._server, seconds, self._forwarder.now())

    def judge(self, error: Exception) -> Exception:
        """What went wrong is counted at the server; the error to go on with."""
        counters = self._server.counters
        if isinstance(error, ConnectFailed):
            self._outcome = Outcome.CONNECT_FAILED
            counters.connect_errors += 1
        elif isinstance(error, ServerTimeout):
            self._outcome = Outcome.TIMEOUT
            counters.timeouts += 1
        elif isinstance(error, BadResponse):
            connection = self._connection
            assert connection is not None
            unanswered = not connection.answered and _may_repeat(self._exchange)
            # A kept connection that the server had just closed is nobody's fault.
            was_stale = unanswered and connection.was_kept
            self._outcome = Outcome.CANCELLED if was_stale else Outcome.ERROR
            counters.response_errors += not was_stale
            if unanswered:
                return _Unanswered(str(error), was_kept=connection.was_kept)
        return error

    def over(self, error: Exception | None) -> None:
        """The end of a passage that no task waits for."""
        exchange = self._exchange
        exchange.on_disconnect = None
        if error is None:
            self.settle()
            if exchange.instead is not None:
                exchange.run(exchange.instead)
            return
        verdict = self.judge(error)
        self.settle()
        if isinstance(verdict, _Unanswered):
            exchange.run(partial(self._forwarder.again, exchange, self._server))
        else:
            exchange.fail(verdict)

    def settle(self) -> None:
        """It is over: the server has its place back, and the connection is kept or closed."""
        if self._is_settled:
            return
        self._is_settled = True
        forwarder = self._forwarder
        if self._connection is not None:
            forwarder.keep_or_close(self._connection)
        seconds = time.perf_counter() - self.started_at
        self._pool.release(self._server, forwarder.now(), seconds, self._outcome)


class _Unanswered(BadResponse):
    """The connection was lost before a byte of the answer, and the request may be sent again."""

    def __init__(self, message: str, *, was_kept: bool) -> None:
        super().__init__(message)
        self.was_kept = was_kept


def _check_present(exchange: Exchange) -> None:
    if exchange.disconnected:
        raise ClientError("the client left", 0)
    if exchange.error is not None:  # no server has to see the beginning of what is known to be broken
        raise exchange.error


def _lift_limit(exchange: Exchange) -> None:
    """*exchange* may take longer than a request, unless its time is over already."""
    limit = exchange.time_limit
    if limit is not None and not limit.expired():
        limit.reschedule(None)


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
