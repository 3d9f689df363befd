"""A client that sends requests when a scenario says, whether earlier ones were answered or not (open loop).

Latency counts from the moment at which a request was to be sent: a client that waited for slow answers before
it sent the next would hide just what is to be measured (coordinated omission). Connections are kept, and made
where all are in use.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

from lbkit.server import Address

__all__ = ["Call", "Done", "Load"]

Call: TypeAlias = "tuple[float, int, float, bytes | None]"
"""When, which balancer, seconds of work, key."""
Done: TypeAlias = Callable[[float, float, int], None]
"""When it was to be sent, seconds until the answer, and its status; 0 where the connection was lost."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class Load:
    """Sends requests to *balancers*; *done* is told of each answer, *time* is seconds of the scenario."""

    def __init__(self, balancers: list[Address], done: Done) -> None:
        self._balancers = balancers
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._idle: list[list[_Connection]] = [[] for _ in balancers]
        self._open = 0
        self._all: set[_Connection] = set()
        self._start = 0.0
        self._dials: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()

    async def run(self, calls: Iterable[Call], patience: float) -> int:
        """Send all of *calls* and wait; how many had no answer *patience* seconds after the last one."""
        loop = self._loop
        self._start = loop.time()
        for when, balancer, work, key in calls:
            wait = self._start + when - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            self._send(when, balancer, work, key)
        try:
            async with asyncio.timeout(patience):
                while self._open:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            pass
        unanswered = self._open
        for connection in list(self._all):
            connection.close()
        for task in self._dials:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        return unanswered

    def _send(self, when: float, balancer: int, work: float, key: bytes | None) -> None:
        self._open += 1
        named = b"" if key is None else b"X-Key: " + key.hex().encode() + b"\r\n"
        request = b"GET / HTTP/1.1\r\nHost: bench\r\nX-Work: %.9f\r\n%s\r\n" % (work, named)
        idle = self._idle[balancer]
        while idle:
            connection = idle.pop()
            if connection.is_open:
                connection.send(request, when)
                return
        task = self._loop.create_task(self._dial(balancer, request, when))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, balancer: int, request: bytes, when: float) -> None:
        address = self._balancers[balancer]
        try:
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self, balancer), address.host, address.port
            )
        except OSError:
            self.finished(when, 0)
            return
        connection.send(request, when)

    # ---- for the connections ----

    def opened(self, connection: _Connection) -> None:
        """It can be used."""
        self._all.add(connection)

    def closed(self, connection: _Connection) -> None:
        """It cannot any more."""
        self._all.discard(connection)

    def free(self, connection: _Connection) -> None:
        """It waits for the next request."""
        self._idle[connection.balancer].append(connection)

    def finished(self, when: float, status: int) -> None:
        """The request that was to be sent at *when* has its answer."""
        self._open -= 1
        self._done(when, self._loop.time() - self._start - when, status)
        if not self._open:
            self._quiet.set()


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: Load, balancer: int) -> None:
        self.balancer = balancer
        self.is_open = True
        self._load = load
        self._when: float | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._load.opened(self)

    def send(self, request: bytes, when: float) -> None:
        """Ask; the answer is told to the load."""
        self._when = when
        self._received = b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or self._when is None:
            return
        length = _LENGTH.search(head + b"\r\n")
        if length is None or len(body) < int(length[1]):
            return  # an answer without a length ends with the connection
        self._answered(head)
        if b"\r\nconnection: close" in head.lower():
            self.close()
        else:
            self._load.free(self)

    def _answered(self, head: bytes) -> None:
        when, self._when = self._when, None
        status = _STATUS.match(head)
        assert when is not None
        self._load.finished(when, int(status[1]) if status else 0)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._load.closed(self)
        if self._when is not None:
            self._answered(self._received.partition(b"\r\n\r\n")[0])

    def close(self) -> None:
        """No more of it; a request that waits for its answer is not told of again."""
        self._when = None
        self.is_open = False
        self._transport.close()
