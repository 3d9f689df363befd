"""`Exchange`: one request and its response, as a handler sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from lbkit.errors import ClientError
from lbkit.exchange.counters import HttpCounters
from lbkit.exchange.disk import on_disk
from lbkit.exchange.file_part import FilePart
from lbkit.exchange.trail import Trail
from lbkit.http.messages import Headers, Request, get
from lbkit.http.rewriting import Changes
from lbkit.http.status import reason_of

__all__ = ["Exchange", "Handler", "Peer", "PromptHandler", "Switched", "Wire", "Work"]

Handler: TypeAlias = "Callable[[Exchange], Awaitable[None]]"
"""Answers an exchange. Where it has a method `begin` as `PromptHandler`, that is asked first."""
Work: TypeAlias = Callable[[], Awaitable[None]]
Peer: TypeAlias = "tuple[str, int] | None"


_SMALL = 1024
"""Pieces of a body of fewer bytes are joined: each kept by itself would cost many times its size."""


class PromptHandler(Protocol):
    """A handler that can answer without a task, where nothing has to be waited for in between."""

    async def __call__(self, exchange: Exchange) -> None: ...

    def begin(self, exchange: Exchange) -> Work | None:
        """Begin to answer; None: all that follows happens by itself.

        Then, should there be no answer, `Exchange.fail` must be called. Else what is returned is run in a
        task, as the call of a handler is.
        """


@dataclass(slots=True)
class Switched:
    """A client's connection after a 101: it belongs to who asked for that, with all its limits."""

    transport: asyncio.Transport
    """It has the protocol of before, which must be replaced at once."""
    rest: bytes
    """What the client has sent behind its request."""
    is_clogged: bool
    """Whether the transport's buffer is full, which it has said already."""
    counters: HttpCounters
    ended: Callable[[Exception | None], None]
    """To be called with what ``connection_lost`` is."""


class Wire(Protocol):
    """What an exchange needs of the connection it is on."""

    client: Peer
    server: Peer
    scheme: str
    identity: Headers
    """What is known of the client by its certificate, as fields; empty where none was asked for."""

    def body_wanted(self) -> None:
        """The handler waits for the body: send 100 Continue if the client waits for that."""

    def body_taken(self) -> None:
        """The body buffer is empty again."""

    def send_head(self, status: int, headers: Headers, reason: bytes) -> None: ...

    def pass_head(self, status: int, lines: list[bytes], traits: int, length: int) -> bool: ...

    def pass_whole(self, status: int, lines: list[bytes], traits: int, body: bytes) -> bool: ...

    def send_body(self, data: bytes) -> None: ...

    async def send_file(self, part: FilePart) -> bool:
        """The kernel sends it by itself. False, and nothing has happened, where that is not possible."""

    def send_end(self, trailers: Headers | None = None) -> None: ...

    def send_interim(self, status: int, headers: Headers) -> None: ...

    def send_whole(self, status: int, headers: Headers, reason: bytes, body: bytes) -> None:
        """Head, body and end in one write."""

    def switch(self, headers: Headers, reason: bytes) -> Switched: ...

    def error_page(self, status: int, request: Request | None) -> tuple[Headers, bytes]:
        """Fields and body of the page for an error that is found here."""

    def cork(self) -> None:
        """What is sent until the loop's next turn may leave in one write."""

    @property
    def is_clogged(self) -> bool:
        """Whether the client takes no more for now, so that `drain` would wait."""

    async def drain(self) -> None:
        """Wait while the client takes no more."""

    def abort(self) -> None:
        """Drop the connection so that the client sees a failure."""

    def run(self, exchange: Exchange, work: Work) -> None:
        """Go on with the answer in a task."""

    def fail(self, exchange: Exchange, error: Exception) -> None:
        """There is no answer, or no more of it."""


class Exchange:
    """One request and its response.

    A handler reads the body with `read`, answers with `start`, `write` and `end`, or with `respond`, and
    returns. Once the client is gone `read`, `write` and the others raise ClientError with status 0, which a
    handler lets pass.

    `number` counts the requests of the connection from 1.
    """

    deadline: float | None = None
    """When the response has to be complete, by the clock of who forwards the request."""
    time_limit: asyncio.Timeout | None = None
    """What sees to that; to be lifted by who goes on for longer."""
    instead: Work | None = None
    """What answers in place of a server's response, once that is over."""

    def __init__(self, wire: Wire, request: Request, number: int, *, body_buffer: int) -> None:
        self.request = request
        self.number = number
        self.client = wire.client
        """The neighbour's address and port; None on a Unix socket."""
        self.server = wire.server
        self.scheme = wire.scheme
        self.identity = wire.identity
        self.status = 0
        """The response's, 0 before there is one."""
        self.bytes_out = 0
        """The response's body so far."""
        self.trail: Trail | None = None
        """Kept only where the access is logged."""
        self.changes: Changes | None = None
        """What is to be changed of the request for a server, and of the response."""
        self.started = False
        """Whether the response's head was sent."""
        self.goes_nowhere = request.method == "HEAD"
        """Whether the response has no body, whatever the handler sends."""
        self.ended = False
        """Whether the response is complete; what the handler still does is its own affair."""
        self.disconnected = False
        """Whether the client closed its side or was lost. Writing may still work: it may be half-closed."""
        self.has_task = False
        """Whether a handler in a task answers it."""
        self.waits_for_body = False
        """Whether the handler is in `read` and it is the client's turn."""
        self.on_disconnect: Callable[[], None] | None = None
        """Called once when `disconnected` becomes true before the response has ended."""
        self.error: ClientError | None = None
        """Why the rest of the request's body will not come."""
        self._wire = wire
        self._body_buffer = body_buffer
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._body_complete = not request.has_body
        self._waiters: list[asyncio.Future[None]] = []

    # ---- for handlers ----

    async def read(self) -> bytes:
        """The next piece of the request's body; ``b""`` at its end.

        The first call sends 100 Continue to a client that waits for it. Raises ClientError: 400 for a
        malformed body, 408 for one that stopped coming, 0 for a client that left.
        """
        while not self._chunks:
            if self._body_complete:
                return b""
            if self.error is not None:
                raise self.error
            if self.ended:
                raise ClientError("the response ended before the body was read", 0)
            await self._more_body()
        data = self.take()
        self._wire.body_taken()
        return data

    def take(self) -> bytes:
        """What has come of the body and was not read."""
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        return data

    async def _more_body(self) -> None:
        self.waits_for_body = True
        self._wire.body_wanted()
        try:
            await self._changed()
        finally:
            self.waits_for_body = False

    async def start(self, status: int, headers: Headers, reason: bytes | None = None) -> None:
        """Send the head of the response. Date and Server are added where they are missing.

        Without Content-Length the body is chunked, or ends with the connection for HTTP/1.0.
        Raises ValueError for fields that cannot be sent.
        """
        self.send_head(status, headers, reason)
        await self._wire.drain()

    async def write(self, data: bytes) -> None:
        """Send a piece of the body and wait while the client is slow; dropped for HEAD, 204 and 304.

        Raises ValueError for more than Content-Length said.
        """
        self.send_body(data)
        if data:
            await self._wire.drain()
            if self.request.method == "HEAD":
                await asyncio.sleep(0)  # no slow client ever stops a writer whose data goes nowhere

    async def write_file(self, part: FilePart) -> None:
        """`write` for a part of a file, which is sent without being read where that is possible.

        Raises ClientError with status 0, which a handler lets pass, where the file changes meanwhile;
        ValueError for more than Content-Length said.
        """
        self._check_open(started=True)
        size = part.left
        if self.request.method == "HEAD" or not size:
            return
        try:
            if await self._wire.send_file(part):
                return
        finally:
            self.count_out(size - part.left)
        while part.left:
            await self.write(await on_disk(part.read))

    async def end(self) -> None:
        """The response is complete; raises ValueError when it is less than Content-Length said."""
        self.send_end()
        await self._wire.drain()

    async def respond(
        self, status: int, headers: Headers, body: bytes = b"", reason: bytes | None = None
    ) -> None:
        """The whole response in one write; Content-Length is added where it is missing."""
        self.send_whole(status, headers, body, reason)
        if self._wire.is_clogged:
            await self._wire.drain()

    def send_whole(
        self, status: int, headers: Headers, body: bytes = b"", reason: bytes | None = None
    ) -> None:
        """`respond`, without waiting for a slow client."""
        self._check_open(started=False)
        unknown = status == 304 or (self.request.method == "HEAD" and not body)
        if get(headers, b"content-length") is None and not unknown:
            headers = [*headers, (b"Content-Length", b"%d" % len(body))]
        reason = reason_of(status) if reason is None else reason
        if self.changes is not None:
            headers = self.changes.response(headers)
        self.status = status
        self.count_out(len(body))
        self._wire.send_whole(status, headers, reason, body)

    async def respond_error(self, status: int, headers: Headers | None = None) -> None:
        """A small page that names *status*; *headers* are added to it."""
        fields, body = self._wire.error_page(status, self.request)
        await self.respond(status, [*fields, *(headers or [])], body)

    async def wait_disconnected(self) -> None:
        """Return when the client is gone, or the response has ended."""
        while not (self.disconnected or self.ended):
            await self._changed()

    def abort(self) -> None:
        """Drop the connection: the client sees a failure and never a short but clean response."""
        self._wire.abort()

    def run(self, work: Work) -> None:
        """Go on in a task, after `PromptHandler.begin` had begun without one."""
        self._wire.run(self, work)

    def fail(self, error: Exception) -> None:
        """What would have been raised by a handler in a task: answered as that is."""
        self._wire.fail(self, error)

    # ---- for handlers that pass on what somebody else sends, and wait for nothing ----

    def send_head(self, status: int, headers: Headers, reason: bytes | None = None) -> None:
        """`start`, without waiting for a slow client."""
        self._check_open(started=False)
        if self.changes is not None:
            headers = self.changes.response(headers)
        self._wire.send_head(status, headers, reason_of(status) if reason is None else reason)
        self.started = True
        self.status = status
        if status == 204 or status == 304:
            self.goes_nowhere = True

    def pass_head(self, status: int, lines: list[bytes], traits: int, length: int) -> bool:
        """The head of a response that has come from a server goes out as it came, line for line.

        *lines* are known to be well-formed and without any field for one connection only; *traits* are those
        of the fast parser, and *length* is the Content-Length, -1 where there is none. False where this is
        not possible: then `send_head`.
        """
        self._check_open(started=False)
        if self.changes is not None and self.changes.edits_response:
            return False
        if not self._wire.pass_head(status, lines, traits, length):
            return False
        self.started = True
        self.status = status
        if status == 204 or status == 304:
            self.goes_nowhere = True
        return True

    def pass_whole(self, status: int, lines: list[bytes], traits: int, body: bytes) -> bool:
        """`pass_head`, with all of the body and the end. False where this is not possible."""
        self._check_open(started=False)
        if self.changes is not None and self.changes.edits_response:
            return False
        self.status = status
        self.bytes_out = len(body)
        if self._wire.pass_whole(status, lines, traits, body):
            return True
        self.bytes_out = 0
        return False

    def send_body(self, data: bytes) -> None:
        """`write`, without waiting for a slow client."""
        if self.ended or not self.started:
            self._check_open(started=True)
        if data:
            self._wire.send_body(data)
            if not self.goes_nowhere:
                self.bytes_out += len(data)

    def send_end(self, trailers: Headers | None = None) -> None:
        """`end`, without waiting for a slow client. *trailers* are dropped where the body is not chunked."""
        self._check_open(started=True)
        self._wire.send_end(trailers)

    def send_interim(self, status: int, headers: Headers) -> None:
        """A 1xx before the response, such as 103 Early Hints; dropped for a client that knows none.

        Raises ValueError for fields that cannot be sent.
        """
        self._check_open(started=False)
        self._wire.send_interim(status, headers)

    def switch(self, headers: Headers, reason: bytes) -> Switched:
        """Answer with 101 and give the connection away; `finish` when it is over.

        Only for a request of HTTP/1.1 that asked for it and has no body. Raises ValueError for fields that
        cannot be sent.
        """
        self._check_open(started=False)
        if self.changes is not None:
            headers = self.changes.response(headers)
        switched = self._wire.switch(headers, reason)
        self.started = True
        self.status = 101
        return switched

    def cork(self) -> None:
        """What is sent until the loop's next turn may leave in one write."""
        self._wire.cork()

    @property
    def is_clogged(self) -> bool:
        """Whether the client takes no more for now: `drain` before more is sent."""
        return self._wire.is_clogged

    async def drain(self) -> None:
        """Wait while the client takes no more."""
        await self._wire.drain()

    @property
    def at_end(self) -> bool:
        """Whether all of the request's body has come and was read."""
        return self._body_complete and not self._chunks

    # ---- for the connection ----

    @property
    def is_full(self) -> bool:
        """Whether so much body is buffered that the client should wait."""
        return self._buffered > self._body_buffer

    def feed(self, data: bytes) -> None:
        """A piece of the request's body."""
        chunks = self._chunks
        if chunks and len(chunks[-1]) < _SMALL:
            chunks[-1] += data
        else:
            chunks.append(data)
        self._buffered += len(data)
        self._wake()

    def feed_end(self) -> None:
        """The request is complete."""
        self._body_complete = True
        self._wake()

    def feed_error(self, error: ClientError) -> None:
        """The rest of the body will not come."""
        self.error = self.error or error
        self._wake()

    def lose(self) -> None:
        """The client closed its side or was lost."""
        if self.disconnected or self.ended:
            return
        self.disconnected = True
        if not self._body_complete:
            self.feed_error(ClientError("the client left", 0))
        self._wake()
        if self.on_disconnect is not None:
            self.on_disconnect()

    def count_out(self, size: int) -> None:
        """So much of the response's body is sent, where it is one that has any."""
        if self.request.method != "HEAD" and self.status not in (204, 304):
            self.bytes_out += size

    def finish(self) -> int:
        """The response is complete; the bytes of the body that nobody read, which are dropped."""
        self.started = self.ended = True
        if self.trail is not None:
            self.trail.over()
        unread, self._buffered = self._buffered, 0
        self._chunks.clear()
        self._wake()
        return unread

    def _check_open(self, *, started: bool) -> None:
        if self.ended:
            raise RuntimeError("the response has already ended")
        if self.started != started:
            raise RuntimeError(f"the response has {'not' if started else 'already'} started")

    async def _changed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
