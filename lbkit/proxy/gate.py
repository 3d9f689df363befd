"""`EdgeGate`: who of those that a listener accepted gets a session: PROXY protocol and firewall, before TLS.

Who is denied gets a reset: two system calls, no session object, nothing read and nothing sent. What the
firewall decides it decides on numbers (`lbkit.firewall`); here are only sockets and counters.

Where a PROXY header must come first a connection waits here for it. What has come is looked at (MSG_PEEK) and
then exactly the header is taken from the socket: the payload stays in the kernel, so that neither TLS nor a
relay needs to know that there was one. A header that comes in pieces is taken piece by piece, for else its
first one would wake the loop again and again. Those that wait have a place of the listener's, which bounds
their number, and a time.

A connection of the proxy's own (LOCAL, UNKNOWN: its health checks) and one whose client has no IP address is
none of the firewall's.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from functools import partial
from typing import Any

from lbkit.errors import ClientError
from lbkit.firewall import Firewall, NetworkTable, place_of
from lbkit.proxy.listener import Listener
from lbkit.proxy.origin import Origin
from lbkit.proxy.ticker import Ticker
from lbkit.proxy_protocol import Header, HeaderParser
from lbkit.sockets import reset

__all__ = ["EdgeGate"]

logger = logging.getLogger("lbkit.listener")

_QUIET = 5.0
_PEEK = 2048
"""Bytes looked at in one go: more than a header has that carries no certificate."""


class EdgeGate:
    """The gate of one listener; its public attributes may be changed at any time."""

    def __init__(self, listener: Listener, *, loop: asyncio.AbstractEventLoop, ticker: Ticker) -> None:
        self.firewall: Firewall | None = None
        """None lets everybody in."""
        self.trusted: NetworkTable | None = None
        """Whose PROXY headers are believed, and must come; None: there are none."""
        self._header_timeout = math.inf
        self.untrusted = 0
        """Neighbours that may send no PROXY header, turned away."""
        self.bad_headers = 0
        self.late_headers = 0
        self._listener = listener
        self._loop = loop
        self._ticker = ticker
        self._quiet_until = 0.0
        self._waiting: dict[_Waiting, float] = {}
        """Until when each may wait, in the order of coming, which is also that of these times."""

    @property
    def waiting(self) -> int:
        """Connections whose PROXY header has not come yet."""
        return len(self._waiting)

    @property
    def header_timeout(self) -> float:
        """Seconds that a header may take; a shorter time is also for those who wait already."""
        return self._header_timeout

    @header_timeout.setter
    def header_timeout(self, seconds: float) -> None:
        self._header_timeout = seconds
        latest = self._loop.time() + seconds
        for waiting, deadline in self._waiting.items():
            self._waiting[waiting] = min(deadline, latest)

    @property
    def counters(self) -> dict[str, int]:
        """Totals by name, of what is configured."""
        counters = {} if self.firewall is None else self.firewall.counters
        if self.trusted is not None:
            counters["proxy_untrusted"] = self.untrusted
            counters["proxy_bad_headers"] = self.bad_headers
            counters["proxy_late_headers"] = self.late_headers
        return counters

    def receive(self, client: socket.socket, peer: Any) -> None:
        """See `Gate`. A client on a Unix socket has no address: whether it may come is its path's matter."""
        if self.trusted is not None:
            self._expect_header(self.trusted, client, peer)
            return
        origin = None
        if self.firewall is not None and client.family != socket.AF_UNIX:
            origin = self._judge(self.firewall, client, peer[0], None, None)
            if origin is None:
                return
        client.setblocking(False)
        self._listener.reserve()
        self._listener.let_in(client, origin)

    def _judge(
        self,
        firewall: Firewall,
        sock: socket.socket,
        address: str,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
    ) -> Origin | None:
        """The origin of a session that counts for *address*; None where it was denied, and *sock* closed."""
        place = place_of(address)
        if firewall.judge(place, self._loop.time()) is not None:
            reset(sock)
            return None
        # A firewall of later may be another object: who began with this one ends with it.
        return Origin(client, server, partial(firewall.ended, firewall.began(place)))

    # ---- PROXY protocol ----

    def _expect_header(self, trusted: NetworkTable, client: socket.socket, peer: Any) -> None:
        if client.family != socket.AF_UNIX and not trusted.admits(place_of(peer[0])):
            self.untrusted += 1
            reset(client)
            self._say(f"{peer[0]} is not in proxy_protocol_from and may not connect", self.untrusted)
            return
        client.setblocking(False)
        self._listener.reserve()
        waiting = _Waiting(self, client)
        self._waiting[waiting] = self._loop.time() + self._header_timeout
        waiting.readable()  # mostly it came together with the connection
        if waiting in self._waiting:
            self._loop.add_reader(client.fileno(), waiting.readable)
            self._ticker.wake(self._tick)

    def heard(self, waiting: _Waiting, header: Header) -> None:
        """The header of *waiting* is there."""
        sock = self._no_longer(waiting)
        origin: Origin | None = Origin(header.client, header.server)
        if self.firewall is not None and header.client is not None:
            origin = self._judge(self.firewall, sock, header.client[0], header.client, header.server)
        if origin is None:
            self._listener.session_ended()
        else:
            self._listener.let_in(sock, origin)

    def failed(self, waiting: _Waiting, error: Exception) -> None:
        """It will have no header."""
        self.bad_headers += 1
        self._send_away(waiting)
        self._say(f"a connection without a PROXY header: {error}", self.bad_headers)

    def _say(self, what: str, times: int) -> None:
        """Mostly a mistake in somebody's configuration, which nobody would look for among counters."""
        now = self._loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            logger.warning("listener %s: %s (%d so far)", self._listener.name, what, times)

    def _no_longer(self, waiting: _Waiting) -> socket.socket:
        del self._waiting[waiting]
        self._loop.remove_reader(waiting.sock.fileno())
        return waiting.sock

    def _send_away(self, waiting: _Waiting) -> None:
        reset(self._no_longer(waiting))
        self._listener.session_ended()

    def _tick(self, now: float) -> bool:
        for waiting, deadline in list(self._waiting.items()):
            if deadline > now:
                break
            self.late_headers += 1
            self._send_away(waiting)
            self._say(f"no PROXY header within {self.header_timeout:g} s", self.late_headers)
        return bool(self._waiting)

    def close(self) -> None:
        """See `Gate`."""
        for waiting in list(self._waiting):
            self._send_away(waiting)


class _Waiting:
    """One connection whose PROXY header is to come."""

    __slots__ = ("_gate", "_parser", "sock")

    def __init__(self, gate: EdgeGate, sock: socket.socket) -> None:
        self._gate = gate
        self._parser = HeaderParser()
        self.sock = sock

    def readable(self) -> None:
        """Take what has come of it."""
        try:
            seen = self.sock.recv(_PEEK, socket.MSG_PEEK)
            if not seen:
                raise ClientError("the connection was closed before its PROXY header", 0)
            rest = self._parser.feed(seen)
            while rest:
                rest -= len(self.sock.recv(rest))
        except BlockingIOError:
            return
        except (OSError, ClientError) as error:
            self._gate.failed(self, error)
            return
        if self._parser.header is not None:
            self._gate.heard(self, self._parser.header)
