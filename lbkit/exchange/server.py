"""`HttpServer`: what the connections of one HTTP server share: handler, settings, counters, timer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from lbkit.exchange.counters import HttpCounters
from lbkit.exchange.exchange import Exchange, Handler, Peer, Work
from lbkit.exchange.h2_protocol import H2Protocol
from lbkit.exchange.protocol import Connection, HttpProtocol
from lbkit.exchange.settings import HttpSettings
from lbkit.exchange.trail import Trail
from lbkit.http.dates import format_date
from lbkit.http.messages import Headers
from lbkit.http.plain import Trait

__all__ = ["HttpServer"]

_log = logging.getLogger("lbkit.http")

_DATE_BIT = int(Trait.DATE).bit_length() - 1  # and Trait.SERVER is the next one

_CANCEL_TIME = 1.0
"""Seconds for handlers to end after they were cancelled."""


class HttpServer:
    """Answers HTTP/1.1 and HTTP/2 on the connections that others accept.

    `protocol_factory` goes to ``loop.create_server`` or ``loop.connect_accepted_socket``. `handler` and
    `settings` may be replaced at any time: the next request has them. One timer serves all timeouts.
    """

    def __init__(
        self,
        handler: Handler,
        settings: HttpSettings | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """*clock* gives monotonic seconds; the running loop's by default."""
        self._handler = handler
        self.begin: Callable[[Exchange], Work | None] | None = getattr(handler, "begin", None)
        self.express: Callable[[HttpProtocol, bytes], bool] | None = getattr(handler, "express", None)
        self.settings = settings or HttpSettings()
        self.counters = HttpCounters()
        self.connections: set[Connection] = set()
        self.draining = False
        self.access_log: Callable[[Exchange, Trail], None] | None = None
        """Told of each exchange that is over."""
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ends = asyncio.Event()
        """Set when a connection or a handler ends."""
        self._stamped_at = -1
        self._stamped_for = self.settings
        self._stamps = (b"", b"")
        self._missing = (b"", b"", b"", b"")
        self._reported_at = -1
        self._unreported = 0

    @property
    def handler(self) -> Handler:
        """What answers."""
        return self._handler

    @handler.setter
    def handler(self, handler: Handler) -> None:
        self._handler = handler
        self.begin = getattr(handler, "begin", None)
        self.express = getattr(handler, "express", None)
        for connection in self.connections:
            if isinstance(connection, HttpProtocol):
                connection.forget()

    def protocol_factory(
        self,
        on_close: Callable[[], None] | None = None,
        client: Peer = None,
        server: Peer = None,
        identity: Headers | None = None,
    ) -> HttpProtocol:
        """A protocol for one connection; *on_close* is called when that is closed. *client* and *server* are
        its ends where they are known to be others than the socket's. *identity* are fields that every request
        of it gets in place of its own."""
        return HttpProtocol(self, on_close, client, server, identity)

    def h2_protocol_factory(
        self,
        on_close: Callable[[], None] | None = None,
        client: Peer = None,
        server: Peer = None,
        identity: Headers | None = None,
    ) -> H2Protocol:
        """The same for a client that speaks HTTP/2, as it has said in its TLS handshake (ALPN)."""
        return H2Protocol(self, on_close, client, server, identity)

    @property
    def open_connections(self) -> int:
        """Connections from accept to close, idle ones too."""
        return len(self.connections)

    def now(self) -> float:
        """Monotonic seconds."""
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()

    def date(self) -> bytes:
        """The Date field's value, made once a second."""
        return self.stamps()[0][6:]

    def stamps(self, now: float | None = None) -> tuple[bytes, bytes]:
        """The lines of Date and Server for a response that lacks them, made once a second.

        The second is empty where `server_header` is. *now*, where it is known already, is that of `now`.
        """
        second = int(self.now() if now is None else now)
        if self._stamped_at != second or self._stamped_for is not self.settings:
            name = self.settings.server_header
            date = b"Date: " + format_date(datetime.now(UTC).timestamp())
            server = b"Server: " + name if name else b""
            self._stamped_at, self._stamped_for = second, self.settings
            self._stamps = date, server
            server_line = b"\r\n" + server if server else b""
            self._missing = b"\r\n" + date + server_line, server_line, b"\r\n" + date, b""
        return self._stamps

    def missing(self, traits: int, now: float) -> bytes:
        """Of `stamps` what a head with *traits* lacks, each line after a line break."""
        if self._stamped_at != int(now) or self._stamped_for is not self.settings:
            self.stamps(now)
        return self._missing[(traits >> _DATE_BIT) & 3]

    def report(self, problem: str) -> None:
        """Log a problem that may come with every request, at most once a second."""
        now = int(self.now())
        if self._reported_at == now:
            self._unreported += 1
            return
        more = f" ({self._unreported} more before)" if self._unreported else ""
        _log.warning("%s%s", problem, more)
        self._reported_at, self._unreported = now, 0

    async def drain(self, timeout: float | None) -> int:
        """Let what is running end, close the rest; the number of connections cut after *timeout* seconds.

        Requests that come in the meantime on open connections are answered, with Connection: close.
        Whoever accepts connections must stop that first.
        """
        self.draining = True
        for connection in list(self.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(timeout):
                while self.connections or self._tasks:
                    await self._something_ends()
        except TimeoutError:
            pass
        cut = len(self.connections)
        await self.close()
        return cut

    async def close(self) -> None:
        """Cut every connection, cancel every handler and wait for the end of both.

        A handler that goes on although it was cancelled, such as one that waits for a thread, is left
        behind after a while, and that is logged.
        """
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)  # what was just begun holds a place at a server, which only it gives back
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, stuck = await asyncio.wait(self._tasks, timeout=_CANCEL_TIME)
            if stuck:
                _log.error("%d requests go on although they were cancelled", len(stuck))
        while self.connections:
            await self._something_ends()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _something_ends(self) -> None:
        self._ends.clear()
        await self._ends.wait()

    # ---- for the connections ----

    def opened(self, connection: Connection) -> None:
        """A connection begins."""
        self.connections.add(connection)
        self.counters.connections += 1
        if self._timer is None:
            self._arm()

    def closed(self, connection: Connection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self._ends.set()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a handler in a task of its own, which is kept until it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ends.set()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.settings.tick, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.tick(self.now())
        if self.connections:
            self._arm()

    def tick(self, now: float) -> None:
        """Look at the timeouts of all connections; the timer calls it."""
        for connection in list(self.connections):
            connection.check(now)
