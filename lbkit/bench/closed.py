"""A closed-loop HTTP client on asyncio: N connections, each with one request in flight.

For machines without wrk, and for tests that must know of every single failure: when it came and what
it was. It reads responses with a Content-Length or chunked bodies, and opens a new connection where
one is closed, as wrk does. (`load` is the open-loop one: it sends at given times.)
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from lbkit.server import Address

__all__ = ["ClosedLoad", "Failure", "LoadResult"]

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_RECONNECT_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Failure:
    """One request that failed: seconds since the start, and why."""

    at: float
    why: str


@dataclass(slots=True)
class LoadResult:
    """What one run saw; `latencies` are seconds, in the order in which the answers came."""

    seconds: float = 0.0
    requests: int = 0
    received: int = 0
    latencies: list[float] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    def percentile(self, part: float) -> float:
        """The latency below which *part* (0–1) of the answers came; 0 without answers."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


class ClosedLoad:
    """Requests *path* over *connections* connections until *seconds* are over or `stop` is called."""

    def __init__(
        self,
        address: Address,
        path: str = "/",
        *,
        connections: int = 32,
        seconds: float = 5.0,
        close: bool = False,
    ) -> None:
        """*close*: one connection a request."""
        self._address = address
        self._connections = connections
        self._seconds = seconds
        self.close = close
        self.patience = 5.0
        """Seconds that the last answers may take after the end."""
        end = "Connection: close\r\n" if close else ""
        self.request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\n{end}\r\n".encode()
        self.result = LoadResult()
        self.stopped = asyncio.Event()
        self._started = 0.0

    async def run(self) -> LoadResult:
        """The result, when the time is over and the last answers have come or were given up."""
        loop = asyncio.get_running_loop()
        self._started = loop.time()
        workers = [asyncio.create_task(self._worker()) for _ in range(self._connections)]
        try:
            async with asyncio.timeout(self._seconds):
                await self.stopped.wait()
        except TimeoutError:
            self.stopped.set()
        self.result.seconds = loop.time() - self._started
        _, late = await asyncio.wait(workers, timeout=self.patience)
        for worker in late:
            self.failed(f"no answer within {self.patience:g} s of the end")
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return self.result

    def stop(self) -> None:
        """End the run now."""
        self.stopped.set()

    def failed(self, why: str) -> None:
        """Note a failure."""
        self.result.failures.append(Failure(asyncio.get_running_loop().time() - self._started, why))

    async def _worker(self) -> None:
        while not self.stopped.is_set():
            connection = _Connection(self)
            try:
                await self._connect(connection)
            except OSError as error:
                self.failed(f"connect: {error.strerror}")
                await asyncio.sleep(_RECONNECT_PAUSE)
                continue
            try:
                await connection.done
            finally:
                connection.abort()

    async def _connect(self, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        if self._address.path:
            await loop.create_unix_connection(lambda: connection, self._address.path)
        else:
            await loop.create_connection(lambda: connection, self._address.host, self._address.port)


class _Connection(asyncio.Protocol):
    """Sends a request, waits for its answer, sends the next one."""

    def __init__(self, load: ClosedLoad) -> None:
        loop = asyncio.get_running_loop()
        self._load = load
        self.done: asyncio.Future[None] = loop.create_future()
        """Done when the connection is closed."""
        # Not the loop's clock: uvloop's has whole milliseconds.
        self._now: Callable[[], float] = time.perf_counter
        self._buffer = b""
        self._missing = -1
        """Bytes of the body still to come; -1 while the head is."""
        self._waiting = False
        self._closing = False
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._waiting = True
        self._sent_at = self._now()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._load.result.received += len(data)
        if self._missing > 0:
            self._missing -= len(data)
        else:
            self._buffer += data
            self._read()
        if self._missing == 0:
            self._answered()

    def _read(self) -> None:
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[: head_end + 2]
        if length := _LENGTH.search(head):
            self._missing = head_end + 4 + int(length[1]) - len(self._buffer)
        elif _CHUNKED.search(head):
            self._missing = 0 if self._buffer.endswith(b"\r\n0\r\n\r\n") else -1
        else:
            self._missing = 0
        if self._missing >= 0:
            self._closing = _CLOSE.search(head) is not None
            if not self._buffer.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")):
                self._load.failed(self._buffer.split(b"\r\n", 1)[0].decode("latin-1"))
                self._waiting = False
            self._buffer = b""

    def _answered(self) -> None:
        result = self._load.result
        if self._waiting:
            result.requests += 1
            result.latencies.append(self._now() - self._sent_at)
        self._waiting = False
        self._missing = -1
        if self._load.stopped.is_set() or self._load.close or self._closing:
            self.abort()
        else:
            self._send()

    def abort(self) -> None:
        """Close at once; what was waited for is no failure of the server's."""
        self._waiting = False
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting:
            self._load.failed(f"connection lost: {error or 'closed before the answer was complete'}")
        if not self.done.done():
            self.done.set_result(None)
