"""The express way: for a request that needs nothing but to be passed on.

Most requests to a busy proxy are of one kind: no body, a plain head, a server with room and a kept connection
to it, and an answer that comes whole. Such a one gets no object of its own. The client's connection and the
server's point at each other while it is under way, and that is all.

Whenever anything is not of that kind (the head, the answer, a timeout, a client that says something in the
meantime) the request becomes an `Exchange` and goes on as any other: `Arrivals.stop_over`. So nothing is
decided here. What this way leaves out the ordinary one does, and the same tests run over both.

A client on a kept connection mostly repeats its fields, request after request. What follows from them is
kept with the connection, and as long as they stay the same to the byte only the request line is looked at.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from lbkit.exchange import Exchange, HttpProtocol
from lbkit.exchange.exchange import Peer
from lbkit.http.plain import Trait, status_of, statuses, survey, survey_request
from lbkit.pool import Pool
from lbkit.proxy.passage import Divert
from lbkit.proxy.upstream import UpstreamConnection
from lbkit.server import Outcome, Server

__all__ = ["Arrivals", "Express", "Way"]

# A path of plain segments, each as it is to be compared: no escapes, no dots first, none empty but the last.
_LINE = re.compile(rb"(GET|HEAD|OPTIONS|DELETE) ((?:/(?![./])[!\"$&-.0->@-~]*)+)(?:\?[!\"$-~]*)? HTTP/1\.1")
_ORDINARY = int(Trait.HOST)
_LOOKED_AT = int(
    Trait.HOST
    | Trait.CONTENT_LENGTH
    | Trait.TRANSFER_ENCODING
    | Trait.CLAIM
    | Trait.UPGRADE
    | Trait.EXPECT
    | Trait.CLOSE
    | Trait.TE
)
_NOT_ORDINARY = int(Trait.TRANSFER_ENCODING | Trait.CLOSE)
_LONGEST_KEPT = 2048
_LENGTH = int(Trait.CONTENT_LENGTH)
_GOOD_5XX = (501, 505)
_MAY_DIVERT = re.compile(rb"(?i)\nx-accel-")
_DONE, _ERROR = Outcome.DONE, Outcome.ERROR


class Way(Protocol):
    """What is needed of a forwarder."""

    pool: Pool
    now: Callable[[], float]
    takes_express: bool
    keep: Callable[[UpstreamConnection, float], None]
    divert: Divert | None

    def kept(self, server: Server, now: float) -> UpstreamConnection | None: ...

    def with_hop(self, lines: list[bytes], client: Peer, scheme: str, host: bytes) -> bytes: ...

    async def serve(self, exchange: Exchange, server: Server | None, reuse: bool) -> None: ...

    def go_on(self, connection: UpstreamConnection, exchange: Exchange, started_at: float) -> None: ...


class Express:
    """The beginning of the way, for the clients of one listener."""

    def __init__(self, choose: Callable[[bytes, bytes], Way | None], only: Way | None = None) -> None:
        """*choose* gives the forwarder for a Host and a path; None where something else answers. *only* is
        the one where there is no choice."""
        self._choose = choose
        self._only = only

    def __call__(self, wire: HttpProtocol, data: bytes) -> bool:
        """Send the request *data* on; False, and nothing has happened, where it is not of the kind."""
        start = data.find(b"\r\n")
        line = _LINE.fullmatch(data, 0, start)
        if line is None or len(data) > wire.limits.head_size:
            return False
        block = data[start:]
        if block != wire.block and not self._learn(wire, data, block, line[2]):
            return False
        forwarder = self._only or self._choose(wire.host, line[2])
        if forwarder is None or not forwarder.takes_express:
            return False
        now = forwarder.now()
        server = forwarder.pool.offer(now)
        if server is None:
            return False
        connection = forwarder.kept(server, now)
        if connection is None:
            exchange = wire.stop_over(data)
            exchange.run(partial(forwarder.serve, exchange, server, True))
            return True
        wire.flight = connection
        connection.fly(wire, data, data[:start] + wire.tail, line[1] == b"HEAD", now)
        return True

    def _learn(self, wire: HttpProtocol, data: bytes, block: bytes, path: bytes) -> bool:
        """Whether the fields of *data* ask for nothing special; what follows from them is kept then."""
        if data.find(b"\r\n\r\n") + 4 != len(data):
            return False
        seen = survey_request(data, wire.limits.fields)
        if seen is None:
            return False
        lines, traits, hops, host = seen
        if traits & _LOOKED_AT != _ORDINARY:
            return False
        forwarder = self._choose(host, path)
        if forwarder is None:
            return False
        if hops is not None:
            for place in reversed(hops):
                del lines[place]
        lines[0] = b""
        wire.tail = forwarder.with_hop(lines, wire.client, wire.scheme, host)
        wire.host = host
        wire.block = block if len(block) <= _LONGEST_KEPT else b""
        return True


class Arrivals:
    """The end of the way, for the servers of *forwarder*."""

    def __init__(self, forwarder: Way) -> None:
        self._forwarder = forwarder

    def land(self, connection: UpstreamConnection, data: bytes) -> bool:
        """The answer *data* has come; False, and nothing has happened, where it is not of the kind."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > connection.limits.head_size:
            return False
        if self._forwarder.divert is not None and _MAY_DIVERT.search(data, 0, end):
            return False
        seen = survey(data[:end], connection.limits.fields)
        if seen is None:
            return False
        lines, traits, hops, _, length = seen
        status = statuses.get(lines[0]) or status_of(lines[0])
        if not status:
            return False
        if connection.is_head or status == 204 or status == 304:
            length = 0
        if len(data) - end != length or traits & _NOT_ORDINARY or (status == 204 and traits & _LENGTH):
            return False
        wire = connection.client
        assert wire is not None
        forwarder, server = self._forwarder, connection.server
        pool, now = forwarder.pool, forwarder.now()
        seconds = 0.0
        if pool.hears:
            seconds = time.perf_counter() - connection.started_at
            pool.responded(server, seconds, now)
        failed = status >= 500 and status not in _GOOD_5XX
        pool.release(server, now, seconds, _ERROR if failed else _DONE)
        connection.client = None
        forwarder.keep(connection, now)
        missing = wire.http.missing(traits, now)
        if hops is not None:
            for place in reversed(hops):
                del lines[place]
            data = b"".join((b"\r\n".join(lines), missing, data[end - 4 :]))
        elif missing:
            data = b"".join((data[: end - 4], missing, data[end - 4 :]))
        wire.land(status, data, now)
        return True

    def stop_over(self, connection: UpstreamConnection) -> None:
        """What is under way on *connection* goes on in the ordinary way."""
        wire = connection.client
        assert wire is not None
        connection.client = wire.flight = None
        exchange = wire.stop_over(connection.request)
        self._forwarder.go_on(connection, exchange, connection.started_at)
