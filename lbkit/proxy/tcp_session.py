"""tcp mode: accept (→ secure) (→ route by name) → pick (→ wait for a place) → connect (→ secure it) (→
another server) → relay → close.

A session is a small object and a few callbacks, without a task. Until a server has accepted, nothing
is read from the client, so a server that refuses costs the client only time: its bytes wait in the
kernel and go to the next one.

Timeouts are looked at by the service's tick, each session when it is due in the service's wheel: while it
connects at the deadline, while it relays after a tenth of the shortest timeout, again and again. A relay
only counts bytes; whether the counts moved since the last look says whether a side was idle.

Where this process has no descriptor left for the connection to a server, the session waits and tries
again, and the listener accepts nobody meanwhile: no server is to blame, and no client is turned away.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lbkit.errors import ClientError, ConnectFailed, Exhausted, LbkitError, NoServerAvailable, PoolFull
from lbkit.kernel.poller import Poller
from lbkit.pool import Pool, Waiter
from lbkit.proxy.hello_peek import HelloPeek
from lbkit.proxy.origin import Origin, ends_of
from lbkit.proxy.ticker import TICK, Ticker
from lbkit.proxy.wheel import Wheel
from lbkit.proxy_protocol import build
from lbkit.relay import Relay, RelayEnd, Resources
from lbkit.relay.secure import SecureRelay
from lbkit.relay.tls_transport import TlsTransport
from lbkit.server import Outcome, Server
from lbkit.sockets import Dial
from lbkit.tls import ClientHello, ClientTls, NameRoutes, Termination
from lbkit.tls.client import why_not_secured

__all__ = ["TcpService", "TcpSettings"]

logger = logging.getLogger("lbkit.tcp")

_QUIET = 5.0
_CLOSE_TIMEOUT = 5.0
_RELIEVE_INTERVAL = 1.0
_RELIEVED = 500  # sessions at a time
_OUTCOMES = {
    RelayEnd.DONE: Outcome.DONE,
    RelayEnd.CLIENT_RESET: Outcome.CANCELLED,
    RelayEnd.SERVER_RESET: Outcome.ERROR,
    RelayEnd.ABORTED: Outcome.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """Seconds; 0 is no limit. `connect` bounds one attempt, `client` and `server` idleness, `queue` the
    wait for a server at its connection limit.

    `tunnel`, where set, takes the place of `client` and `server` as soon as both sides have sent something
    (HAProxy's `timeout tunnel`): then only silence of both counts. At most `max_connecting` sessions are
    without a server at a time, or the listener accepts nobody. `hello` bounds the arrival of a ClientHello
    where sessions are routed by it.
    """

    connect: float = 5.0
    client: float = 600.0
    server: float = 600.0
    queue: float = 5.0
    tunnel: float = 0.0
    max_connecting: int = 4096
    hello: float = 10.0

    @property
    def look_interval(self) -> float:
        """Seconds between two looks at whether a session is idle; a reload may bring limits."""
        limits = [limit for limit in (self.client, self.server, self.tunnel) if limit]
        return min(10.0, max(TICK, min(limits, default=100.0) / 10))


class TcpSession:
    """One client's connection and the server that it is paired with."""

    __slots__ = (
        "_client",
        "_dial",
        "_failure",
        "_is_retry",
        "_key",
        "_outcome",
        "_peek",
        "_pool",
        "_relay",
        "_securing",
        "_server",
        "_service",
        "_slot",
        "_started_at",
        "_tried",
        "_waiter",
        "client_idle_since",
        "connect_deadline",
        "origin",
        "progress",
        "server_idle_since",
    )

    def __init__(self, service: TcpService, client: socket.socket, origin: Origin | None = None) -> None:
        self.origin = origin
        self._service = service
        self._client: socket.socket | TlsTransport | None = client
        self._pool: Pool
        self._key: bytes | None = None
        self._peek: HelloPeek | None = None
        self._securing: TlsTransport | None = None
        """The server's side while it is in its handshake."""
        self._server: Server | None = None
        self._tried: tuple[Server, ...] = ()
        self._failure: ConnectFailed | None = None
        self._is_retry = False
        self._waiter: Waiter | None = None
        self._dial: Dial | None = None
        self._relay: Relay | None = None
        self._outcome: Outcome | None = None
        self._slot: set[TcpSession] | None = None
        self._started_at = 0.0
        self.connect_deadline = 0.0
        self.progress = (0, 0)
        self.client_idle_since = self.server_idle_since = 0.0

    def start(self) -> None:
        """Secure the connection, or find out its name, where that is wanted; then `route`."""
        service, client = self._service, self._client
        if service.tls is not None:
            assert isinstance(client, socket.socket)
            self._client = secured = TlsTransport(
                service.loop,
                client,
                service.tls.context,
                timeout=service.tls.timeout,
                secured=lambda _: self._lead_to(service.pool),
                failed=self._client_lost,
            )
            secured.start()
        elif service.names is not None:
            assert isinstance(client, socket.socket)
            if service.settings.hello:
                self._due_at(service.loop.time() + service.settings.hello)
            self._peek = HelloPeek(service.loop, client, self._named)
            self._peek.start()
        else:
            self._lead_to(service.pool)

    def _client_lost(self, error: Exception) -> None:
        """The handshake with the client failed, or it left while it waits for a server."""
        if isinstance(self._client, TlsTransport):
            if not self._client.is_secured:
                self._service.handshake_failed(str(error))
            self.abort()

    def _named(self, hello: ClientHello | ClientError) -> None:
        self._peek = None
        self._not_due()
        service = self._service
        if isinstance(hello, ClientError):
            service.handshake_failed(str(hello))
            self._close()
            return
        assert service.names is not None
        self._lead_to(service.names.match(hello.server_name, service.pool))

    def _lead_to(self, pool: Pool | None) -> None:
        """Go on with *pool*: a reload may give the listener another one, and the session stays with this."""
        if pool is None:
            self._service.handshake_failed("no route for the name that the client asks for")
            self._close()
            return
        self._pool = pool
        if pool.balancer.keyed:
            client = self._client
            assert client is not None
            self._key = _address_of(_socket_of(client), self.origin)
        self.route()

    def route(self) -> None:
        """Pick a server and connect to it; on failure another one, up to the pool's retries."""
        now = self._service.loop.time()
        try:
            server = self._pool.pick(now, self._key, self._tried)
        except PoolFull:
            self._wait(now)
        except NoServerAvailable as error:
            self._give_up(error)
        else:
            self._pool.acquire(server, now)
            self._connect(server, now)

    def _wait(self, now: float) -> None:
        limit = self._service.settings.queue
        deadline = now + limit if limit else math.inf
        try:
            self._waiter = self._pool.wait(now, deadline, self._woken, self._tried)
        except PoolFull as error:
            self._give_up(error)
        else:
            self._service.waiting.add(self)
        self._end_retry()  # in line it makes no work; its place comes when a limit allows

    def _woken(self, waiter: Waiter) -> None:
        self._waiter = None
        self._service.waiting.discard(self)
        if waiter.server is None:
            limit = self._service.settings.queue
            self._give_up(NoServerAvailable(f"no place at a server came free within {limit:g} s"))
        else:
            self._connect(waiter.server, self._service.loop.time())

    def _give_up(self, error: LbkitError) -> None:
        self._end_retry()
        # Where there were servers and all failed, why they did says more than that none is left.
        self._service.session_failed(self._failure or error)
        self._close()

    def _connect(self, server: Server, now: float) -> None:
        """Dial *server*, which is acquired."""
        service = self._service
        if self._tried:
            self._tried[-1].counters.retries += 1
        self._server = server
        self._started_at = time.perf_counter()
        if service.settings.connect:
            self.connect_deadline = now + service.settings.connect
            self._due_at(self.connect_deadline)
        self._dial_server()

    def _dial_server(self) -> None:
        service, server = self._service, self._server
        assert server is not None
        self._dial = Dial(service.loop, server.address, self._connected, service.poller)
        self._dial.start()

    def _due_at(self, when: float) -> None:
        """Be looked at then, and not before."""
        self._not_due()
        self._slot = self._service.wheel.add(self, when)

    def _not_due(self) -> None:
        if self._slot is not None:
            self._slot.discard(self)
            self._slot = None

    def _connected(self, result: socket.socket | ConnectFailed | Exhausted) -> None:
        self._dial = None
        if not isinstance(result, socket.socket):
            if isinstance(result, Exhausted):
                self._service.exhausted(self, result)
            else:
                self._connect_failed(result)
            return
        if self._pool.settings.send_proxy and not self._introduce(result):
            return
        tls = self._service.server_tls.get(self._pool) if self._service.server_tls else None
        if tls is None:
            self._paired(result)
        else:
            self._secure(result, tls)

    def _secure(self, sock: socket.socket, tls: ClientTls) -> None:
        """Do the handshake with the server, within the time to connect."""
        service, server = self._service, self._server
        assert server is not None
        if service.resources.poller is not None:
            service.resources.poller.forget(sock.fileno())

        def failed(error: Exception) -> None:
            if self._securing is securing:
                self._securing = None
                self._connect_failed(ConnectFailed(f"{server.address}: {why_not_secured(error)}"))

        def secured(transport: TlsTransport) -> None:
            self._securing = None
            self._paired(transport)

        self._securing = securing = TlsTransport(
            service.loop,
            sock,
            tls.context,
            timeout=0,
            secured=secured,
            failed=failed,
            server_name=tls.name_of(server.address),
        )
        securing.start()

    def _paired(self, upstream: socket.socket | TlsTransport) -> None:
        """The session has both its ends."""
        self._end_retry()
        service, client = self._service, self._client
        assert client is not None
        self._client = None
        self.client_idle_since = self.server_idle_since = now = service.loop.time()
        # The connect deadline is a good time for the first look, too, if that is not wanted sooner.
        if self._slot is None or service.look_interval < service.settings.connect:
            self._due_at(now + service.look_interval)
        service.relaying(self)
        heard = self._responded if self._pool.hears_responses else None
        relay: Relay
        if isinstance(client, socket.socket) and isinstance(upstream, socket.socket):
            relay = service.relay(service.resources, client, upstream, self._relayed, heard)
        else:
            relay = SecureRelay(service.resources, client, upstream, self._relayed, heard)
        self._relay = relay
        relay.start()

    def _introduce(self, server: socket.socket) -> bool:
        """Tell *server* who the client is, before anything else; whether it took that.

        The buffer of a socket that was connected a moment ago holds thousands of bytes, and this has at most
        52 of a binary header or 107 of a line. One that does not take them is as good as not connected.
        """
        assert self._client is not None and self._server is not None
        header = build(self._pool.settings.send_proxy, *ends_of(_socket_of(self._client), self.origin))
        try:
            if server.send(header) == len(header):
                return True
            reason = "took only a part of the PROXY header"
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
        poller = self._service.resources.poller
        if poller is not None and poller.watches(server.fileno()):
            poller.close(server)
        else:
            server.close()
        self._connect_failed(ConnectFailed(f"{self._server.address}: {reason}"))
        return False

    def try_again(self, now: float) -> None:
        """There may be a descriptor now."""
        server = self._server
        if server is None or self._client is None:
            return
        if 0 < self.connect_deadline <= now:
            self._release(server, Outcome.CANCELLED)
            self._give_up(Exhausted("no descriptor came free in time"))
        else:
            self._dial_server()

    def is_due(self, now: float) -> None:
        """The time that it was to be looked at has come."""
        self._slot = None
        if self._relay is not None:
            self._look(now)
        elif self._peek is not None:
            self._peek.cancel()
            self._named(ClientError(f"no ClientHello within {self._service.settings.hello:g} s", 0))
        elif (self._dial is not None or self._securing is not None) and self.connect_deadline:
            if self.connect_deadline <= now:
                self._connect_timed_out()
            else:
                self._due_at(self.connect_deadline)

    def _connect_timed_out(self) -> None:
        self._cancel_connecting()
        self._connect_failed(ConnectFailed(f"not connected within {self._service.settings.connect:g} s"))

    def _cancel_connecting(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        securing, self._securing = self._securing, None
        if securing is not None:
            securing.abort()

    def _connect_failed(self, error: ConnectFailed) -> None:
        server = self._server
        assert server is not None
        server.counters.connect_errors += 1
        self._release(server, Outcome.CONNECT_FAILED)
        self._not_due()
        self._tried = (*self._tried, server)
        self._failure = error
        self._end_retry()
        if len(self._tried) > self._pool.retries or not self._pool.start_retry():
            self._give_up(error)
            return
        self._is_retry = True
        # From a fresh call stack: a Dial may fail at once, and a large pool of those would recurse.
        self._service.loop.call_soon(self._retry)

    def _retry(self) -> None:
        if self._client is not None:
            self.route()

    def _end_retry(self) -> None:
        if self._is_retry:
            self._is_retry = False
            self._pool.end_retry()

    def _responded(self) -> None:
        assert self._server is not None
        seconds = time.perf_counter() - self._started_at
        self._pool.responded(self._server, seconds, self._service.loop.time())

    def _release(self, server: Server, outcome: Outcome) -> None:
        self._server = None
        seconds = time.perf_counter() - self._started_at
        self._pool.release(server, self._service.loop.time(), seconds, outcome)

    def _relayed(self, end: RelayEnd) -> None:
        server, relay = self._server, self._relay
        assert server is not None and relay is not None
        self._relay = None
        server.counters.bytes_in += relay.bytes_in
        server.counters.bytes_out += relay.bytes_out
        if end is RelayEnd.SERVER_RESET:
            server.counters.response_errors += 1
        self._not_due()
        self._service.ended(self)
        self._release(server, self._outcome or _OUTCOMES[end])

    @property
    def pool(self) -> Pool:
        """The pool that its server comes from."""
        return self._pool

    @property
    def bytes_so_far(self) -> tuple[Server | None, int, int]:
        """The server and the bytes in and out that are not on its counters yet."""
        if self._relay is None:
            return None, 0, 0
        return self._server, self._relay.bytes_in, self._relay.bytes_out

    def _look(self, now: float) -> None:
        """End the relay where a side was idle for too long."""
        relay, service = self._relay, self._service
        assert relay is not None
        client_before, server_before = self.progress
        self.progress = client_now, server_now = relay.progress()
        if client_now != client_before:
            self.client_idle_since = now
        if server_now != server_before:
            self.server_idle_since = now
        client_limit, server_limit = self._limits(relay)
        if client_limit and now - self.client_idle_since > client_limit:
            service.client_timeouts += 1
            relay.abort()
        elif server_limit and now - self.server_idle_since > server_limit:
            assert self._server is not None
            self._server.counters.timeouts += 1
            self._outcome = Outcome.TIMEOUT
            relay.abort()
        else:
            self._due_at(now + service.look_interval)

    def _limits(self, relay: Relay) -> tuple[float, float]:
        """How long the client's side and the server's may be idle."""
        settings = self._service.settings
        if settings.tunnel and relay.bytes_in and relay.bytes_out:
            # Silence of one side is none of the tunnel.
            self.client_idle_since = self.server_idle_since = max(
                self.client_idle_since, self.server_idle_since
            )
            return settings.tunnel, 0.0
        return settings.client, settings.server

    @property
    def server(self) -> Server | None:
        """The server that it has, or is connecting to."""
        return self._server

    def relieve(self) -> bool:
        """Do with less of this process's time, if it can; whether it does so from now on."""
        return self._relay is not None and self._relay.relieve()

    def leave_if_reset(self) -> None:
        """End it where the client has reset the connection while it waits for a place.

        One that only closed its side may still want an answer, and waits on.
        """
        client = self._client
        if self._waiter is None or client is None:
            return
        # Nor does a secured one tell: nothing is read from it meanwhile.
        if _socket_of(client).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()

    def abort(self) -> None:
        """End it now, whatever state it is in."""
        if self._relay is not None:
            self._relay.abort()
            return
        if self._waiter is not None:
            self._pool.leave(self._waiter)
            self._waiter = None
            self._service.waiting.discard(self)
        self._cancel_connecting()
        if self._peek is not None:
            self._peek.cancel()
            self._peek = None
        self._end_retry()
        if self._server is not None:
            self._release(self._server, Outcome.CANCELLED)
        self._close()

    def _close(self) -> None:
        self._not_due()
        client, self._client = self._client, None
        if client is not None:
            client.close()
            self._service.ended(self)


def _socket_of(end: socket.socket | TlsTransport) -> socket.socket:
    return end.sock if isinstance(end, TlsTransport) else end


def _address_of(client: socket.socket, origin: Origin | None) -> bytes | None:
    """The client's IP address; None on a Unix socket, or where it has left already."""
    if origin is not None and origin.client is not None:
        return origin.client[0].encode()
    try:
        peer = client.getpeername()
    except OSError:
        return None
    return str(peer[0]).encode() if isinstance(peer, tuple) else None


class TcpService:
    """The tcp sessions of one listener. `pool`, `relay`, `settings`, `tls`, `names` and `server_tls` may be
    replaced at any time."""

    def __init__(
        self,
        name: str,
        pool: Pool | None,
        relay: type[Relay],
        settings: TcpSettings,
        *,
        resources: Resources,
        ticker: Ticker,
        on_end: Callable[[], None],
        hold: Callable[[bool], None],
    ) -> None:
        """*on_end* is called once for each session that is over. *hold* tells whether new clients would find
        no room now, so that they had better wait where they are."""
        self.name = name
        self.pool = pool
        self.relay = relay
        self.settings = settings
        self.resources = resources
        self.loop = resources.loop
        self.tls: Termination | None = None
        self.names: NameRoutes[Pool] | None = None
        """Pools by the name that the client's TLS asks for; `pool` is where the others go."""
        self.server_tls: Mapping[Pool, ClientTls] = {}
        self.failed_handshakes = 0
        """Sessions that ended because their TLS could not be opened, or has no name that leads anywhere."""
        self.client_timeouts = 0
        self.failed_sessions = 0
        """Sessions that ended because no server took them."""
        self.waiting: set[TcpSession] = set()
        """Sessions in line for a server at its limit."""
        self._wanting: list[TcpSession] = []
        """Sessions that found no descriptor, in the order of coming."""
        self.wheel: Wheel[TcpSession] = Wheel(TICK)
        self._ticker = ticker
        self._on_end = on_end
        self._hold = hold
        self._is_crowded = False
        self._relaying: set[TcpSession] = set()
        self._connecting: set[TcpSession] = set()
        self._quiet_until = 0.0
        self._relieve_at = 0.0
        self._idle = asyncio.Event()

    @property
    def settings(self) -> TcpSettings:
        """Timeouts and limits."""
        return self._settings

    @settings.setter
    def settings(self, settings: TcpSettings) -> None:
        self._settings = settings
        self.look_interval = settings.look_interval

    @property
    def poller(self) -> Poller | None:
        """What new connections to servers are watched by; None where the relay wants none of it."""
        return self.resources.poller if self.relay.needs_poller else None

    def accept(self, client: socket.socket, origin: Origin | None = None) -> None:
        """A session begins on an accepted non-blocking socket."""
        session = TcpSession(self, client, origin)
        self._connecting.add(session)
        if len(self._connecting) >= self._settings.max_connecting:
            self._hold_or_let_in()
        self._ticker.wake(self._tick)
        session.start()

    def relaying(self, session: TcpSession) -> None:
        """*session* has its server."""
        self._connecting.discard(session)
        self._relaying.add(session)
        if self._is_crowded:
            self._hold_or_let_in()

    def ended(self, session: TcpSession) -> None:
        """*session* is over."""
        self._connecting.discard(session)
        self._relaying.discard(session)
        if self._is_crowded:
            self._hold_or_let_in()
        if session.origin is not None:
            session.origin.ended()
        self._on_end()
        if not self.open_sessions:
            self._idle.set()

    def exhausted(self, session: TcpSession, error: Exhausted) -> None:
        """*session* found no descriptor for its server: it tries again at the next tick, and until it has one
        nobody is let in."""
        self._wanting.append(session)
        self._hold_or_let_in()
        self._say(f"connecting pauses: {error}; raise the limit of open files, or lower max_connections")

    def _hold_or_let_in(self) -> None:
        crowded = bool(self._wanting) or len(self._connecting) >= self._settings.max_connecting
        if crowded is not self._is_crowded:
            self._is_crowded = crowded
            self._hold(crowded)

    def handshake_failed(self, why: str) -> None:
        """Count a session whose TLS failed."""
        self.failed_handshakes += 1
        self._say(f"TLS handshake failed ({self.failed_handshakes} so far): {why}")

    def session_failed(self, error: LbkitError) -> None:
        """Count a session that no server took; said in the log at most every few seconds."""
        self.failed_sessions += 1
        self._say(f"session failed ({self.failed_sessions} so far): {error}")

    def _say(self, what: str) -> None:
        now = self.loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            logger.warning("listener %s: %s", self.name, what)

    @property
    def open_sessions(self) -> int:
        """Sessions connecting or relaying now."""
        return len(self._connecting) + len(self._relaying)

    def unsettled_bytes(self) -> list[tuple[Server, int, int]]:
        """Server, bytes in and bytes out of the sessions in progress, for a scrape."""
        found = (session.bytes_so_far for session in self._relaying)
        return [(server, bytes_in, bytes_out) for server, bytes_in, bytes_out in found if server is not None]

    @property
    def _pools(self) -> set[Pool]:
        """Those that new sessions may come to."""
        named = set() if self.names is None else self.names.values()
        return named if self.pool is None else named | {self.pool}

    def _tick(self, now: float) -> bool:
        # After a reload some may still stand in line for the pool that they began with.
        for pool in {*self._pools, *(session.pool for session in self.waiting)}:
            if now >= pool.next_deadline():
                pool.advance(now)
        wanting, self._wanting = self._wanting, []
        for session in wanting:
            session.try_again(now)
        for session in self.wheel.take(now):
            session.is_due(now)
        for session in list(self.waiting):
            session.leave_if_reset()
        if self._is_crowded:
            self._hold_or_let_in()
        if self.relay.may_relieve and now >= self._relieve_at:
            self._relieve_at = now + _RELIEVE_INTERVAL
            if self.resources.pressure.is_high():
                self._relieve()
        return self.open_sessions > 0

    def _relieve(self) -> None:
        """Let some of the sessions do with less of this process's time."""
        done = 0
        for session in list(self._relaying):
            done += session.relieve()
            if done == _RELIEVED:
                break

    async def drain(self, timeout: float | None) -> bool:
        """Wait until every session has ended, at most *timeout* seconds; False when some had not."""
        try:
            async with asyncio.timeout(timeout):
                while self.open_sessions:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def cut(self, server: Server) -> None:
        """End the sessions with *server* now, and those that are connecting to it."""
        ended = [session for session in (*self._connecting, *self._relaying) if session.server is server]
        for session in ended:
            session.abort()
        if ended:
            logger.warning("listener %s: %d sessions with %s were cut", self.name, len(ended), server.name)

    def abort(self) -> None:
        """End every session now; the last callbacks of some follow."""
        for session in [*self._connecting, *self._relaying]:
            session.abort()

    async def close(self) -> None:
        """End every session and wait until all are over."""
        self.abort()
        await self.drain(_CLOSE_TIMEOUT)
