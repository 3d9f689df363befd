"""`HttpProtocol`: one connection of a client, from accept to close.

The engine turns bytes into events; this class moves them between transport, engine and `Exchange`:

- One exchange at a time. Requests that a client sends ahead stay in the engine, in order; when too
  much is held, the transport is no longer read from, and the client's TCP window closes. None is begun
  while the client leaves the responses before it unread: they would pile up here.
- An exchange is over when its response is complete, not when its handler returns: an application may
  go on with work of its own while the connection serves the next request.
- A response that was refused a request's body is followed by a lingering close: the sending side is
  shut, and what still comes is thrown away for a while, so that the client gets to read the response.
- Timeouts are looked at by the server's one timer (`check`); nothing here arms a timer per request.

Rejected: asyncio streams, which cost a second buffer and a wake-up per read.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, cast

from lbkit.errors import ClientError
from lbkit.exchange.answering import Serving, status_for
from lbkit.exchange.counters import HttpCounters
from lbkit.exchange.exchange import Exchange, Handler, Peer, Switched, Work
from lbkit.exchange.file_part import FilePart, FileSending
from lbkit.exchange.trail import Trail
from lbkit.http.engine import ServerEngine
from lbkit.http.forwarded import identified
from lbkit.http.messages import Body, End, Headers, Request, get
from lbkit.http.plain import Trait
from lbkit.http.status import error_page, reason_of
from lbkit.http.targets import Target

__all__ = ["Connection", "HttpProtocol", "Shared"]

_log = logging.getLogger("lbkit.http")
_LENGTH = int(Trait.CONTENT_LENGTH)
_IDLE = 5.0  # seconds after which a client's next request will not be soon
_MOST_CORKED = 64 * 1024  # bytes that wait for the loop's next turn
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection(Protocol):
    """One connection, whatever it speaks, as its `HttpServer` sees it."""

    def shutdown(self) -> None: ...

    def abort(self) -> None: ...

    def check(self, now: float) -> None: ...


class Shared(Serving, Protocol):
    """What the connections of one `HttpServer` share."""

    @property
    def handler(self) -> Handler: ...

    begin: Callable[[Exchange], Work | None] | None
    express: Callable[[HttpProtocol, bytes], bool] | None
    counters: HttpCounters
    draining: bool
    access_log: Callable[[Exchange, Trail], None] | None

    def now(self) -> float: ...

    def stamps(self, now: float | None = None) -> tuple[bytes, bytes]: ...

    def missing(self, traits: int, now: float) -> bytes: ...

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...

    def run(self, work: Coroutine[Any, Any, None]) -> None: ...


class Flight(Protocol):
    """What is under way for a client without an exchange; see `Shared.express`."""

    def stop_over(self) -> None:
        """It becomes an exchange of the client's now."""


class HttpProtocol(asyncio.Protocol):
    """Serves one connection for an `HttpServer`."""

    __slots__ = (
        "_corked",
        "_corked_size",
        "_engine",
        "_exchange",
        "_file",
        "_is_aborted",
        "_is_advancing",
        "_is_broken",
        "_is_lingering",
        "_is_lost",
        "_is_paused",
        "_is_special",
        "_is_switched",
        "_is_write_paused",
        "_number",
        "_on_close",
        "_since",
        "_skipped",
        "_transport",
        "_unsent",
        "_unsent_since",
        "_write_waiters",
        "block",
        "client",
        "flight",
        "host",
        "http",
        "identity",
        "kept",
        "limits",
        "scheme",
        "server",
        "tail",
    )

    def __init__(
        self,
        http: Shared,
        on_close: Callable[[], None] | None = None,
        client: Peer = None,
        server: Peer = None,
        identity: Headers | None = None,
    ) -> None:
        """*client* and *server* are the connection's ends; None is what its socket says. *identity* are
        fields that every request gets in place of its own."""
        self.client = client
        self.server = server
        self.scheme = "http"
        self.identity: Headers = identity or []
        self.http = http
        self._on_close = on_close
        self._engine = ServerEngine(http.settings.limits)
        self._exchange: Exchange | None = None
        self._number = 0
        self.limits = http.settings.limits
        self.flight: Flight | None = None
        self.block = self.tail = self.host = b""
        self.kept: Any = None
        """For the express way: the fields of the last request, and what follows from them."""
        self._is_paused = False
        self._write_waiters: list[asyncio.Future[None]] = []
        self._is_write_paused = False
        self._is_lost = False
        self._is_aborted = False
        self._is_broken = False
        self._is_lingering = False
        self._is_switched = False
        self._is_advancing = False
        self._skipped = 0
        self._since = 0.0
        """When the present phase began or last moved: idle, head, body or lingering."""
        self._unsent = 0
        self._unsent_since = 0.0
        self._file: FileSending | None = None
        self._corked: list[bytes] | None = None
        """What is to leave in one write."""
        self._corked_size = 0

    # ---- the transport's calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        if self.client is None:
            self.client = _peer(transport.get_extra_info("peername"))
        if self.server is None:
            self.server = _peer(transport.get_extra_info("sockname"))
        if transport.get_extra_info("ssl_object") is not None:
            self.scheme = "https"
        # What neither a head that is passed on as it came nor an answer that is can have.
        self._is_special = bool(self.identity) or (self.scheme == "https" and bool(self.http.settings.hsts))
        self._since = self.http.now()
        self.http.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self.flight is not None:
            self.flight.stop_over()
        if self._exchange is not None:
            self.http.counters.client_errors += not self._is_aborted
            self._exchange.lose()
        if self._file is not None:
            self._file.stop()
        self._wake_writers()
        self.http.closed(self)
        if self._on_close is not None:
            self._on_close()

    def data_received(self, data: bytes) -> None:
        self.http.counters.bytes_in += len(data)
        if self._is_lingering or self._is_broken:
            return
        if self.flight is not None:
            self.flight.stop_over()
        if self._exchange is None and not self._is_write_paused:
            http = self.http
            express = http.express
            if (
                express is not None
                and not self._is_special
                and self._engine.is_at_rest()
                and http.access_log is None
            ):
                # Also while it stops each answer has to say so.
                self._number += 1
                if self._number < http.settings.max_requests and not http.draining and express(self, data):
                    http.counters.requests += 1
                    return
                self._number -= 1
            try:
                request = self._engine.take_whole(data)
            except ClientError as error:
                self._refuse(error)
                return
            if request is not None:
                self._begin(request)
                return
        self._take_in(data)

    def stop_over(self, data: bytes) -> Exchange:
        """The request *data*, which was taken by express, becomes an exchange."""
        engine = self._engine
        event: object = engine.take_whole(data)
        if event is None:  # it has a body
            engine.receive(data)
            event = engine.next_event()
        assert isinstance(event, Request), "what goes express is whole and plain"
        exchange = Exchange(self, event, self._number, body_buffer=self.http.settings.body_buffer)
        self._exchange = exchange
        if self.http.access_log is not None:
            exchange.trail = Trail()
        if event.has_body:
            self._advance()
        return exchange

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what answers a request that was taken by express in a task."""
        self.http.run(work)

    def land(self, status: int, data: bytes, now: float) -> None:
        """*data* is the whole answer to what was taken by express; *now* is monotonic seconds."""
        self.flight = None
        self._since = now
        counters = self.http.counters
        counters.responses[status // 100] += 1
        counters.bytes_out += len(data)
        self._transport.write(data)

    def forget(self) -> None:
        """What followed from the fields of the last request may do so no more."""
        self.block = self.tail = b""

    def _take_in(self, data: bytes) -> None:
        # What is skipped counts from the end of the response, and a head from its first byte; empty
        # lines before it are no such byte, or they would keep a connection for ever.
        if self._exchange is not None:
            self._since = self.http.now()
        was_idle = self._engine.awaits_head and not self._engine.head_has_begun
        self._engine.receive(data)
        self._advance()
        if was_idle and self._engine.awaits_head and self._engine.head_has_begun:
            self._since = self.http.now()

    def eof_received(self) -> bool:
        if self.flight is not None:
            self.flight.stop_over()
        if self._exchange is None and not self._is_held_back:
            return False
        if not self._is_broken:
            self._engine.receive(b"")
            self._advance()
        if self._exchange is not None:
            self._exchange.lose()
        # The client may have shut its sending side only, and still read; not with asyncio's own TLS.
        return self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        held_back, self._is_write_paused = self._is_held_back, False
        self._wake_writers()
        if held_back:
            self._advance()

    # ---- requests ----

    @property
    def _is_held_back(self) -> bool:
        """Whether a next request has begun to come and its turn waits for the client to read."""
        is_next = self._exchange is None and self._engine.awaits_head and self._engine.buffered > 0
        return is_next and self._is_write_paused

    def _advance(self) -> None:
        """Handle every event that the engine has by now."""
        self._is_advancing = True
        try:
            while not (self._is_lingering or self._is_held_back):
                event = self._engine.next_event()
                if event is None:
                    break
                self._handle(event)
        except ClientError as error:
            self._refuse(error)
        finally:
            self._is_advancing = False
        self._regulate_reading()

    def _handle(self, event: Request | Body | End) -> None:
        exchange = self._exchange
        if isinstance(event, Request):
            self._begin(event)
        elif exchange is None:
            self._skip(event)
        elif isinstance(event, Body):
            exchange.feed(event.data)
        else:
            exchange.feed_end()

    def _begin(self, request: Request) -> None:
        self._number += 1
        self.http.counters.requests += 1
        settings = self.http.settings
        if self.identity:
            request.headers, request.plain = identified(request.headers, self.identity), None
        exchange = self._exchange = Exchange(self, request, self._number, body_buffer=settings.body_buffer)
        if self.http.access_log is not None:
            exchange.trail = Trail()
        begin = self.http.begin
        if begin is None:
            self.run(exchange, partial(self.http.handler, exchange))
            return
        try:
            work = begin(exchange)
        except Exception as error:  # noqa: BLE001 - as a handler's in a task
            self.fail(exchange, error)
        else:
            if work is not None:
                self.run(exchange, work)

    def _skip(self, event: Body | End) -> None:
        """The rest of a body that the handler did not want."""
        if isinstance(event, End):
            self._next_or_close()
            return
        self._skipped += len(event.data)
        if self._skipped > self.http.settings.unread_body:
            self._linger()

    def _refuse(self, error: ClientError) -> None:
        """The client broke the protocol; nothing more can be read from it."""
        self.http.counters.client_errors += 1
        exchange = self._exchange
        if exchange is not None:
            exchange.feed_error(error)
            self._is_broken = True
        elif error.status and not self._engine.response_started:
            self._send_refusal(error)
            self._linger()
        else:
            self._transport.close()

    def _send_refusal(self, error: ClientError) -> None:
        status = error.status
        headers, body = self.error_page(status, None)
        head = self._started(status, headers, reason_of(status), close=True)
        self._count_response(status)
        self._send(head + self._engine.body(body) + self._engine.end())
        if self.http.access_log is not None:
            unread = Request("", Target(b"", b"", b""), [])  # nobody knows what it would have been
            exchange, trail = Exchange(self, unread, self._number + 1, body_buffer=0), Trail()
            exchange.status, exchange.bytes_out, trail.end = status, len(body), str(error)
            trail.over()
            self.http.access_log(exchange, trail)

    def _regulate_reading(self) -> None:
        exchange = self._exchange
        full = exchange is not None and exchange.is_full
        full = full or self._engine.buffered > self.http.settings.body_buffer
        if full != self._is_paused and not self._transport.is_closing():
            self._is_paused = full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # ---- one exchange ----

    def run(self, exchange: Exchange, work: Work) -> None:
        exchange.has_task = True
        self.http.run(self._answer(exchange, work))

    async def _answer(self, exchange: Exchange, work: Work) -> None:
        """Run the handler and see to it that there is an end, whatever it does; log it then."""
        try:
            await work()
        except asyncio.CancelledError:
            self.abort()
            self._log_access(exchange)
            raise
        except Exception as error:  # noqa: BLE001 - a bug of the handler: logged whole, its client gets a 500
            self.settle(exchange, error)
        else:
            self.settle(exchange, None)

    def settle(self, exchange: Exchange, error: Exception | None) -> None:
        """The handler has ended, by *error* where there is one: see to it that the response has, too."""
        if error is not None:
            self._end_with(exchange, error)
        elif not (exchange.ended or self._is_aborted or self._is_lost):
            status = 0
            if not exchange.disconnected:  # else there is nobody to finish it for
                _log.error("the handler of %s left its response unfinished", exchange.request.path)
                status = 500
            self._fail(exchange, status)
        self._log_access(exchange)

    def fail(self, exchange: Exchange, error: Exception) -> None:
        exchange.has_task = True  # so that it is logged once, here
        self._end_with(exchange, error)
        self._log_access(exchange)

    def _log_access(self, exchange: Exchange) -> None:
        if exchange.trail is not None and self.http.access_log is not None:
            exchange.trail.over()
            self.http.access_log(exchange, exchange.trail)

    def _end_with(self, exchange: Exchange, error: Exception) -> None:
        """What the client gets where there was an error in place of an answer."""
        status = status_for(self.http, exchange, error)
        if not (exchange.ended or self._is_aborted):
            self._fail(exchange, status)

    def _fail(self, exchange: Exchange, status: int) -> None:
        if self._engine.response_started or not status or self._transport.is_closing():
            self.abort()
        else:
            headers, body = self.error_page(status, exchange.request)
            if exchange.changes is not None:
                headers = exchange.changes.response(headers)
            exchange.status = status
            exchange.count_out(len(body))
            self.send_whole(status, headers, reason_of(status), body)

    def _response_over(self) -> None:
        if self._corked is not None:
            self._uncork()
        exchange, self._exchange = self._exchange, None
        self._skipped = 0
        if exchange is not None:
            self._skipped = exchange.finish()
            if not exchange.has_task:
                self._log_access(exchange)
        self._since = self.http.now()
        if self._engine.request_ended:
            self._next_or_close()
            if not (self._is_paused or self._engine.buffered):
                return
        else:
            is_too_much = self._skipped > self.http.settings.unread_body
            if self._is_broken or is_too_much or not self._engine.may_continue:
                self._linger()
        self._regulate_reading()

    def _next_or_close(self) -> None:
        """Both messages are complete."""
        if not self._engine.keeps_alive or self.http.draining:
            if self._engine.buffered:
                self._linger()  # the client has sent more, and may be sending still
            else:
                self._transport.close()
            return
        self._engine.next_cycle()
        self._since = self.http.now()
        # Else `_advance` goes on by itself: by a call for each, many requests at once would fill the stack.
        if self._engine.buffered and not self._is_advancing:
            self._advance()

    # ---- closing ----

    def shutdown(self) -> None:
        """Close when the present exchange is over; at once where none is and none has begun to come."""
        if self.flight is not None:
            self.flight.stop_over()
        if self._exchange is None and self._engine.awaits_head and not self._engine.buffered:
            self._transport.close()

    def abort(self) -> None:
        """Close with a reset, which no client takes for the end of a response."""
        self._is_aborted = True
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX and not self._transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def _linger(self) -> None:
        self._is_lingering = True
        self._since = self.http.now()
        if self._transport.is_closing() or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()

    def check(self, now: float) -> None:
        """Act on timeouts; called by the server's timer with monotonic seconds."""
        settings = self.http.settings
        if self.flight is not None or self._is_switched:
            return  # it is the server's turn, or another's connection
        if self._is_stuck(now):
            self.http.counters.client_errors += 1
            self.abort()
        elif self._unsent:
            self._since = now  # the client is slow but taking
        elif self._is_lingering:
            if now - self._since >= settings.linger:
                self._transport.abort()
        elif self._exchange is not None:
            if self._exchange.waits_for_body and now - self._since >= settings.client:
                self._refuse(ClientError("the body stopped coming", 408))
        elif self._engine.awaits_head:
            self._check_head(now - self._since)
        elif now - self._since >= settings.client:
            self._transport.close()

    def _check_head(self, waited: float) -> None:
        settings = self.http.settings
        if self._engine.head_has_begun:
            if waited >= settings.request_head:
                self._refuse(ClientError("the head stopped coming", 408))
        elif waited >= _IDLE and self.block:
            self.forget()  # memory of a connection that nobody uses
        elif waited >= (settings.keep_alive if self._number else settings.request_head):
            self._transport.close()

    def _is_stuck(self, now: float) -> bool:
        """Whether the client has taken nothing of what waits to be sent for its whole time."""
        unsent = self._transport.get_write_buffer_size()
        if self._file is not None:
            unsent += self._file.unsent
        if unsent != self._unsent:
            self._unsent = unsent
            self._unsent_since = now
        return unsent > 0 and now - self._unsent_since >= self.http.settings.client

    # ---- for the exchange (`Wire`) ----

    def body_wanted(self) -> None:
        self._since = self.http.now()
        if self._engine.expects_continue and not self._is_lost:
            self._send(self._engine.proceed())

    def body_taken(self) -> None:
        if not self._is_lost:
            self._regulate_reading()

    def send_head(self, status: int, headers: Headers, reason: bytes) -> None:
        self._check_present()
        self._send(self._head(status, headers, reason))

    @property
    def _is_last(self) -> bool:
        """Whether the present answer has to say that it is the last one."""
        return self.http.draining or self._number >= self.http.settings.max_requests

    def _may_pass(self, status: int, traits: int) -> bool:
        """Whether the head of a response can go out without a word of ours."""
        if not self._engine.may_pass or self._is_special or self._is_last:
            return False
        return status != 204 or not traits & _LENGTH  # RFC 9110 §8.6: that must not say a length

    def pass_head(self, status: int, lines: list[bytes], traits: int, length: int) -> bool:
        http, engine = self.http, self._engine
        if not self._may_pass(status, traits):
            return False
        self._check_present()
        if not engine.start_as_it_is(status, length):
            return False
        http.counters.responses[status // 100] += 1
        self._send(b"%b%b\r\n\r\n" % (b"\r\n".join(lines), http.missing(traits, http.now())))
        return True

    def pass_whole(self, status: int, lines: list[bytes], traits: int, body: bytes) -> bool:
        http, engine = self.http, self._engine
        if not self._may_pass(status, traits):
            return False
        self._check_present()
        http.counters.responses[status // 100] += 1
        engine.answer_as_it_is()
        self._send(b"%b%b\r\n\r\n%b" % (b"\r\n".join(lines), http.missing(traits, http.now()), body))
        self._response_over()
        return True

    def send_body(self, data: bytes) -> None:
        if self._is_lost or self._transport.is_closing():
            self._check_present()
        self._send(self._engine.body(data))

    async def send_file(self, part: FilePart) -> bool:
        sock = self._transport.get_extra_info("socket")
        if self.scheme != "http" or sock is None or not FileSending.is_possible:
            return False
        self._check_present()
        try:
            sending = FileSending(sock.fileno(), part)
        except OSError:
            return False  # no descriptor is left, and reading needs none
        size = part.left
        if not self._engine.leave_out(size):
            sending.close()
            return False
        self._uncork()
        self._transport.set_write_buffer_limits(0)
        try:
            await self.drain()  # what is written already has to go first
            self._check_present()
            self._file = sending
            await sending.run()
        finally:
            self._file = None
            sending.close()
            self.http.counters.bytes_out += size - part.left
            if not self._is_lost:
                self._transport.set_write_buffer_limits()
        return True

    def send_end(self, trailers: Headers | None = None) -> None:
        self._check_present()
        self._send(self._engine.end(trailers))
        self._response_over()

    def send_interim(self, status: int, headers: Headers) -> None:
        self._check_present()
        self._send(self._engine.interim(status, headers))

    def send_whole(self, status: int, headers: Headers, reason: bytes, body: bytes) -> None:
        self._check_present()
        head = self._head(status, headers, reason)
        self._send(head + self._engine.body(body) + self._engine.end())
        self._response_over()

    def error_page(self, status: int, request: Request | None) -> tuple[Headers, bytes]:
        return error_page(status, request, self.http.settings.error_pages)

    def switch(self, headers: Headers, reason: bytes) -> Switched:
        self._check_present()
        head = self._engine.switch(headers, reason)
        self._count_response(101)
        self._send(head)
        self._uncork()
        self._is_switched = True
        self._exchange = None
        if self._is_paused:
            self._transport.resume_reading()
        rest, counters = self._engine.take_rest(), self.http.counters
        counters.bytes_in -= len(rest)  # of the next protocol, and counted again there
        return Switched(self._transport, rest, self._is_write_paused, counters, self.connection_lost)

    @property
    def is_clogged(self) -> bool:
        return self._is_write_paused and not self._is_lost

    async def drain(self) -> None:
        while self._is_write_paused and not self._is_lost:
            waiter = asyncio.get_running_loop().create_future()
            self._write_waiters.append(waiter)
            try:
                await waiter
            finally:
                self._write_waiters.remove(waiter)

    def _head(self, status: int, headers: Headers, reason: bytes) -> bytes:
        close = (
            self.http.draining
            or self._is_broken
            or self._number >= self.http.settings.max_requests
            or self._engine.expects_continue  # it may send the body it announced, or not: no telling
        )
        head = self._started(status, headers, reason, close=close)
        self._count_response(status)
        return head

    def _started(self, status: int, headers: Headers, reason: bytes, *, close: bool) -> bytes:
        """The head of a response, with the fields that every response has."""
        date, server = self.http.stamps()
        hsts = self.http.settings.hsts
        if hsts and self.scheme == "https" and get(headers, b"strict-transport-security") is None:
            headers = [*headers, (b"Strict-Transport-Security", hsts)]
        return self._engine.start(status, headers, reason, close=close, date=date, server=server)

    def _count_response(self, status: int) -> None:
        self.http.counters.responses[status // 100] += 1

    def _check_present(self) -> None:
        if self._is_lost or self._transport.is_closing():
            raise ClientError("the client left", 0)

    def _send(self, data: bytes) -> None:
        if data:
            self.http.counters.bytes_out += len(data)
            if self._corked is None:
                self._transport.write(data)
                return
            self._corked.append(data)
            self._corked_size += len(data)
            if self._corked_size >= _MOST_CORKED:
                self._uncork()

    def cork(self) -> None:
        if self._corked is None:
            self._corked, self._corked_size = [], 0
            asyncio.get_running_loop().call_soon(self._uncork)

    def _uncork(self) -> None:
        corked, self._corked = self._corked, None
        if corked and not (self._is_lost or self._transport.is_closing()):
            self._transport.write(b"".join(corked))

    def _wake_writers(self) -> None:
        for waiter in self._write_waiters:
            if not waiter.done():
                waiter.set_result(None)


def _peer(name: object) -> Peer:
    """(ip, port) of a TCP address; None for a Unix socket, whose name is text or empty."""
    if isinstance(name, tuple) and len(name) >= 2:
        return str(name[0]), int(name[1])
    return None
