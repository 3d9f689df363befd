"""`H2Protocol`: one connection of a client that speaks HTTP/2, and `_Stream`, one request on it.

The h2 library turns bytes into events and back; this class moves them between transport, library and
exchanges. A stream is the `Wire` of its `Exchange`, so that every handler answers here as it does on
HTTP/1.1:

- What a handler writes is kept with its stream until the windows of stream and connection and the transport's
  buffer have room, and the handler waits for that: memory is bounded by one write for each stream. Streams
  take turns, so that a large answer does not hold up small ones.
- A client may send as much body as fits the stream's window, and gets more room only when the handler has
  read.
- What is malformed ends its stream with an error page; what breaks the connection's state, or is too much of
  anything (`lbkit.http.h2_guard`), ends the connection with GOAWAY, and what still comes is thrown away for a
  while, so that the client gets to read why.
- A connection that is to end says so and lets what is under way finish, also where the client has said it.
  That GOAWAY is written here: after its own, or the client's, the library would send nothing more.
- It ends with a lingering close: the client goes on to open its windows while it reads the rest, and a closed
  socket would answer that with a reset, which takes the rest away.
- Timeouts are looked at by the server's one timer (`check`).

Rejected: the library's checks of fields, which loop over every character in Python and end the connection for
what one stream did. Ours are the same as for HTTP/1.1, as regular expressions (`lbkit.http.h2_requests`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hpack.hpack import Encoder
from hpack.table import HeaderTable
from hyperframe.frame import Frame, GoAwayFrame

from lbkit.errors import ClientError
from lbkit.exchange.answering import answer, completed, status_for
from lbkit.exchange.exchange import Exchange, Peer, Switched, Work
from lbkit.exchange.file_part import FilePart
from lbkit.exchange.protocol import Shared
from lbkit.exchange.trail import Trail
from lbkit.http.forwarded import identified
from lbkit.http.h2_guard import FrameGuard
from lbkit.http.h2_requests import check_trailers, request_of, response_fields, sent_fields
from lbkit.http.messages import Headers, Request, get
from lbkit.http.status import error_page
from lbkit.http.targets import Target

__all__ = ["H2Protocol"]

_log = logging.getLogger("lbkit.http")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CONNECTION_WINDOW = 1 << 20
"""Bytes of bodies, of all streams, that may wait here for handlers."""
_MOST_UNSENT = 1 << 20
"""Bytes of what the protocol itself has to answer that may wait for a client that goes on without reading."""
_TURN = 64 * 1024
"""Bytes that a stream may send before it is another one's turn."""


class _Encoder(Encoder):
    """One whose table of fields that were sent stays as small as at the start, whatever room the client
    offers (RFC 7541 §4.2): with 4 GiB all would be kept, and searched for each field."""

    @property
    def header_table_size(self) -> int:
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        size = min(value, HeaderTable.DEFAULT_SIZE)
        if size != self.header_table.maxsize:
            self.header_table.maxsize = size
            self.table_size_changes.append(size)


class _Library(H2Connection):
    """The h2 library's, which a goodbye without a fault leaves as it is: it only announces the end (RFC 9113
    §6.8), and clients wait for the answers that they have asked for."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        if frame.error_code:
            return super()._receive_goaway_frame(frame)
        return [], [ConnectionTerminated()]


class _Stream:
    """One request: the wire of its exchange."""

    def __init__(self, connection: H2Protocol, number: int, now: float) -> None:
        self.client = connection.client
        self.server = connection.server
        self.scheme = connection.scheme
        self.identity = connection.identity
        self.id = number
        self.exchange: Exchange | None = None
        self.request_ended = False
        self.is_gone = False
        """Whether nothing can be sent on it any more."""
        self.since = now
        """When the client's body last moved, or the handler began to wait for it."""
        self.moved_at = now
        """When something of the answer was last sent."""
        self.pending = b""
        self.at = 0
        self.is_ending = False
        self.trailers: Headers = []
        self.head_sent = False
        self._connection = connection
        self._received = 0
        self._unread = 0
        self._expects_continue = False
        self._has_no_body = False
        self._left: int | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def begin(self, exchange: Exchange) -> None:
        self.exchange = exchange
        expect = exchange.request.get(b"expect")
        self._expects_continue = expect is not None and not self.request_ended

    @property
    def unsent(self) -> int:
        return len(self.pending) - self.at

    def receive(self, data: bytes, now: float) -> None:
        """A piece of the body."""
        self.since = now
        self._expects_continue = False
        self._received += len(data)
        self._unread += len(data)
        if self.exchange is not None and data:
            self.exchange.feed(data)

    def check_length(self) -> None:
        """Trailers have come. Raises ClientError for less of a body than Content-Length said, which the
        library sees only where the body itself ends the stream."""
        length = None if self.exchange is None else self.exchange.request.get(b"content-length")
        if length is not None and int(length) != self._received:
            raise ClientError("less of a body than Content-Length said")

    def give_back(self) -> int:
        """Bytes of the body that nobody holds any more."""
        unread, self._unread = self._unread, 0
        return unread

    def lose(self) -> None:
        """The client gave it up, or is lost."""
        self.is_gone = True
        self.pending, self.at = b"", 0
        if self.exchange is not None:
            self.exchange.lose()
        self.wake()

    def wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # ---- for the exchange (`Wire`)

    def body_wanted(self) -> None:
        self.since = self._connection.now()
        if self._expects_continue and not self.is_gone:
            self._expects_continue = False
            self._connection.send_fields(self, [(b":status", b"100")])
            self._connection.flush()

    def body_taken(self) -> None:
        self._connection.acknowledge(self)

    def send_head(self, status: int, headers: Headers, reason: bytes) -> None:
        self._head(status, headers)
        self._connection.flush_soon()

    def _head(self, status: int, headers: Headers) -> None:
        self._check_present()
        fields = response_fields(status, self._connection.complete(headers))
        exchange = self.exchange
        assert exchange is not None
        self._has_no_body = exchange.request.method == "HEAD" or status in (204, 304)
        length = get(fields, b"content-length")
        self._left = None if length is None or self._has_no_body else int(length)
        self.head_sent = True
        self._expects_continue = False
        self._connection.send_fields(self, fields, status=status)

    def send_body(self, data: bytes) -> None:
        self._check_present()
        self._put(data)
        self._connection.push(self)

    async def send_file(self, part: FilePart) -> bool:
        return False  # what is sent has to be in frames

    def _put(self, data: bytes) -> None:
        """Keep *data* to be sent."""
        if self._has_no_body:
            return
        if self._left is not None:
            if len(data) > self._left:
                raise ValueError("more of a body than Content-Length said")
            self._left -= len(data)
        if not self.unsent:
            self.moved_at = self._connection.now()
        self.pending = self.pending[self.at :] + data
        self.at = 0

    def send_end(self, trailers: Headers | None = None) -> None:
        self._check_present()
        if trailers and not self._has_no_body:
            self.trailers = sent_fields(trailers)
        self._end()

    def send_interim(self, status: int, headers: Headers) -> None:
        self._check_present()
        if not self.head_sent:
            self._connection.send_fields(self, [(b":status", b"%d" % status), *sent_fields(headers)])
            self._connection.flush_soon()

    def error_page(self, status: int, request: Request | None) -> tuple[Headers, bytes]:
        return self._connection.error_page(status, request)

    def switch(self, headers: Headers, reason: bytes) -> Switched:
        raise ValueError("HTTP/2 has no upgrades (RFC 9113 §8.6)")

    def _end(self) -> None:
        if self._left:
            raise ValueError("less of a body than Content-Length said")
        self.is_ending = True
        self._connection.response_over(self)

    def send_whole(self, status: int, headers: Headers, reason: bytes, body: bytes) -> None:
        self._head(status, headers)
        self._put(body)
        self._end()

    def pass_head(self, status: int, lines: list[bytes], traits: int, length: int) -> bool:
        return False  # nothing of HTTP/1.1 goes out as it came

    def pass_whole(self, status: int, lines: list[bytes], traits: int, body: bytes) -> bool:
        return False

    def cork(self) -> None:
        pass  # every frame waits for the loop's next turn

    @property
    def is_clogged(self) -> bool:
        return bool(self.unsent or self._connection.is_write_paused) and not self.is_gone

    def run(self, exchange: Exchange, work: Work) -> None:
        self._connection.run(self, exchange, work)

    def fail(self, exchange: Exchange, error: Exception) -> None:
        self._connection.failed(self, exchange, error)

    async def drain(self) -> None:
        while (self.unsent or self._connection.is_write_paused) and not self.is_gone:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)

    def abort(self) -> None:
        self._connection.reset(self, ErrorCodes.INTERNAL_ERROR)

    def _check_present(self) -> None:
        if self.is_gone or self.is_ending:
            raise ClientError("the client left", 0)


class H2Protocol(asyncio.Protocol):
    """Serves one connection for an `HttpServer`."""

    def __init__(
        self,
        http: Shared,
        on_close: Callable[[], None] | None = None,
        client: Peer = None,
        server: Peer = None,
        identity: Headers | None = None,
    ) -> None:
        """As those of `HttpProtocol`."""
        self.client = client
        self.server = server
        self.scheme = "https"
        self.identity: Headers = identity or []
        self.is_write_paused = False
        self._http = http
        self._on_close = on_close
        self._streams: dict[int, _Stream] = {}
        self._running = 0
        """Handlers at work, those of streams that are gone too."""
        self._number = 0
        self._flushes_soon = False
        self._is_leaving = False
        self._is_lingering = False
        self._is_parting = False
        """Whether all is sent, and the client has still to read it."""
        self._parting_since = 0.0
        self._unsent = 0
        self._since = self._unsent_since = http.now()
        self._guard = FrameGuard(http.settings.h2, self._since)
        self._h2 = _Library(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )

    def now(self) -> float:
        return self._http.now()

    # ---- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.client = self.client or _peer(transport, "peername")
        self.server = self.server or _peer(transport, "sockname")
        settings = self._http.settings
        initial = {
            SettingCodes.MAX_CONCURRENT_STREAMS: settings.h2.streams,
            SettingCodes.INITIAL_WINDOW_SIZE: settings.body_buffer,
            SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
        }
        self._h2.encoder = _Encoder()
        self._h2.local_settings = Settings(client=False, initial_values=initial)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW - 65_535)
        self._http.opened(self)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.counters.client_errors += bool(self._streams)
        self._lose_all()
        self._http.closed(self)
        if self._on_close is not None:
            self._on_close()

    def eof_received(self) -> bool:
        return False  # nobody could say any more how much it takes

    def pause_writing(self) -> None:
        self.is_write_paused = True

    def resume_writing(self) -> None:
        self.is_write_paused = False
        self._push_all()
        for stream in list(self._streams.values()):
            stream.wake()

    def data_received(self, data: bytes) -> None:
        self._http.counters.bytes_in += len(data)
        if self._is_lingering:
            return
        now = self.now()
        if self._is_parting:
            self._since = now
            return
        try:
            self._guard.feed(data, now)
            self._take(self._h2.receive_data(data), now)
        except ClientError as error:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, str(error))
        except ProtocolError as error:
            self._end(None, str(error))
        else:
            self.flush()
            if self.is_write_paused and self._transport.get_write_buffer_size() > _MOST_UNSENT:
                self._http.counters.client_errors += 1
                self.abort()

    # ---- events

    def _take(self, events: list[Event], now: float) -> None:
        """All that came together. The library is at the end of it already: on a stream that ends by a reset
        nothing can be sent any more, so that resets, and what ends the connection, go first."""
        gone: set[int | None] = set()
        for event in events:
            if isinstance(event, ConnectionTerminated) and event.error_code:
                self._lose_all()
                self._transport.close()
                return
            if isinstance(event, StreamReset):
                gone.add(event.stream_id)
                self._guard.reset(now)
                self._forget(event.stream_id or 0)
        for event in events:
            if self._is_parting:
                return
            if not (isinstance(event, RequestReceived) and event.stream_id in gone):
                self._handle(event, now)

    def _handle(self, event: Event, now: float) -> None:
        match event:
            case RequestReceived():
                self._begin(event, now)
            case DataReceived():
                self._body(event, now)
            case StreamEnded():
                self._request_ended(event.stream_id or 0)
            case TrailersReceived():
                self._trailers(event)
            case WindowUpdated() | RemoteSettingsChanged():
                self._push_all()
            case ConnectionTerminated():
                self.shutdown()
            case _:
                pass

    def _begin(self, event: RequestReceived, now: float) -> None:
        number = event.stream_id or 0
        if self._is_leaving or self._running >= self._http.settings.h2.streams:
            # Of handlers, too, no more run than streams may be open: some go on after their client has left.
            self._reset(number, ErrorCodes.REFUSED_STREAM)
            self._guard.reset(now)
            return
        self._number += 1
        self._http.counters.requests += 1
        stream = self._streams[number] = _Stream(self, number, now)
        stream.request_ended = has_ended = event.stream_ended is not None
        settings = self._http.settings
        fields = cast(Headers, list(event.headers or ()))
        try:
            request = request_of(fields, has_ended=has_ended, limits=settings.limits)
        except ClientError as error:
            self._refuse(stream, error)
            return
        if self.identity:
            request.headers = identified(request.headers, self.identity)
        exchange = Exchange(stream, request, self._number, body_buffer=settings.body_buffer)
        stream.begin(exchange)
        if has_ended:
            exchange.feed_end()
        if self._http.access_log is not None:
            exchange.trail = Trail()
        self.run(stream, exchange, partial(self._http.handler, exchange))
        if self._number >= settings.max_requests:
            self._leave()

    def _refuse(self, stream: _Stream, error: ClientError) -> None:
        """No request that a handler could get: its page, and the end of the stream."""
        self._http.counters.client_errors += 1
        self._guard.reset(self.now())
        nobody_knows = Request("", Target(b"", b"", b""), [], "2")
        exchange = Exchange(stream, nobody_knows, self._number, body_buffer=0)
        stream.begin(exchange)
        headers, body = self.error_page(error.status, None)
        exchange.status, exchange.bytes_out = error.status, len(body)
        stream.send_whole(error.status, headers, b"", body)
        if self._http.access_log is not None:
            trail = Trail()
            trail.end = str(error)
            trail.over()
            self._http.access_log(exchange, trail)

    def _body(self, event: DataReceived, now: float) -> None:
        data, size = event.data or b"", event.flow_controlled_length or 0
        stream = self._streams.get(event.stream_id or 0)
        padding = size - len(data)
        if stream is None:
            padding = size
        else:
            stream.receive(data, now)
        if padding:
            self._h2.acknowledge_received_data(padding, event.stream_id or 0)

    def _trailers(self, event: TrailersReceived) -> None:
        """Checked and dropped, as HTTP/1.1's are; malformed ones end the stream (RFC 9113 §8.1.1)."""
        stream = self._streams.get(event.stream_id or 0)
        try:
            check_trailers(cast(Headers, list(event.headers or ())))
            if stream is not None:
                stream.check_length()
        except ClientError:
            self._http.counters.client_errors += 1
            self._guard.reset(self.now())
            if stream is not None:
                self.reset(stream, ErrorCodes.PROTOCOL_ERROR)

    def _request_ended(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            stream.request_ended = True
            if stream.exchange is not None:
                stream.exchange.feed_end()

    # ---- one exchange

    def run(self, stream: _Stream, exchange: Exchange, work: Work) -> None:
        """Answer in a task."""
        exchange.has_task = True
        self._running += 1
        self._http.run(self._answer(stream, exchange, work))

    def failed(self, stream: _Stream, exchange: Exchange, error: Exception) -> None:
        """There is no answer, or no more of it."""
        status = status_for(self._http, exchange, error)
        if not exchange.ended:
            self._fail(stream, exchange, status)

    async def _answer(self, stream: _Stream, exchange: Exchange, work: Work) -> None:
        try:
            status = await answer(self._http, exchange, work)
            if status is not None and not exchange.ended:
                self._fail(stream, exchange, status)
        except asyncio.CancelledError:
            stream.abort()
            raise
        finally:
            self._running -= 1
            if exchange.trail is not None and self._http.access_log is not None:
                exchange.trail.over()
                self._http.access_log(exchange, exchange.trail)

    def _fail(self, stream: _Stream, exchange: Exchange, status: int) -> None:
        if stream.head_sent or not status or stream.is_gone:
            stream.abort()
            return
        headers, body = self.error_page(status, exchange.request)
        if exchange.changes is not None:
            headers = exchange.changes.response(headers)
        exchange.status = status
        exchange.count_out(len(body))
        stream.send_whole(status, headers, b"", body)

    def error_page(self, status: int, request: Request | None) -> tuple[Headers, bytes]:
        """Fields and body of the page for an error that is found here."""
        return error_page(status, request, self._http.settings.error_pages)

    def complete(self, headers: Headers) -> Headers:
        """*headers* of a response with those that every response has."""
        return completed(self._http, headers, self.scheme)

    def send_fields(self, stream: _Stream, fields: Headers, status: int = 0) -> None:
        """A head, which a `flush` must follow; *status* where it is the final one."""
        if status:
            self._http.counters.responses[status // 100] += 1
        self._h2.send_headers(stream.id, fields)
        stream.moved_at = self.now()

    def acknowledge(self, stream: _Stream) -> None:
        """The handler has taken what was there: as much again may come."""
        size = stream.give_back()
        if size and not stream.is_gone and not self._transport.is_closing():
            self._h2.acknowledge_received_data(size, stream.id)
            self.flush()

    def response_over(self, stream: _Stream) -> None:
        """The handler has given all."""
        assert stream.exchange is not None
        stream.exchange.finish()
        self.push(stream)

    def push(self, stream: _Stream) -> None:
        """Send of *stream* what there is room for."""
        while self._push_some(stream):
            pass

    def _push_all(self) -> None:
        """The same for all, in turns."""
        waiting = [stream for stream in self._streams.values() if stream.unsent]
        while waiting:
            waiting = [stream for stream in waiting if self._push_some(stream)]

    def _push_some(self, stream: _Stream) -> bool:
        """One turn; whether there is more and room for it."""
        if stream.is_gone or self._transport.is_closing():
            return False
        sent = 0
        while stream.unsent and not self.is_write_paused and sent < _TURN:
            room = min(self._h2.local_flow_control_window(stream.id), self._h2.max_outbound_frame_size)
            if room <= 0:
                break
            chunk = stream.pending[stream.at : stream.at + room]
            stream.at += len(chunk)
            sent += len(chunk)
            is_last = stream.is_ending and not stream.unsent and not stream.trailers
            self._h2.send_data(stream.id, chunk, end_stream=is_last)
            if is_last:
                self._finish(stream)
        if sent:
            stream.moved_at = self.now()
            self._guard.sent(sent)
        if not stream.unsent:
            stream.pending, stream.at = b"", 0
            if stream.is_ending and not stream.is_gone:
                if stream.trailers:
                    self._h2.send_headers(stream.id, stream.trailers, end_stream=True)
                else:
                    self._h2.end_stream(stream.id)
                self._finish(stream)
            stream.wake()
        self.flush()
        return bool(stream.unsent) and sent >= _TURN

    def _finish(self, stream: _Stream) -> None:
        """All of the answer is sent."""
        self._return_window(stream)
        if not stream.request_ended:  # RFC 9113 §8.1: what else would come of it is not wanted
            self._reset(stream.id, ErrorCodes.NO_ERROR)
        stream.is_gone = True
        self._remove(stream)

    def reset(self, stream: _Stream, code: ErrorCodes) -> None:
        """Give *stream* up so that the client sees a failure."""
        if stream.is_gone or self._transport.is_closing():
            return
        self._return_window(stream)
        self._reset(stream.id, code)
        stream.lose()
        self._remove(stream)
        self.flush()

    def _reset(self, number: int, code: ErrorCodes) -> None:
        with contextlib.suppress(StreamClosedError):  # its end may be among what came and was not handled yet
            self._h2.reset_stream(number, code)

    def _return_window(self, stream: _Stream) -> None:
        """What was not read takes no room any more."""
        size = stream.give_back()
        if size:
            self._h2.acknowledge_received_data(size, stream.id)

    def _forget(self, number: int) -> None:
        """The client, or the library for it, has reset a stream."""
        stream = self._streams.get(number)
        if stream is not None:
            self._return_window(stream)
            stream.lose()
            self._remove(stream)

    def _remove(self, stream: _Stream) -> None:
        self._streams.pop(stream.id, None)
        self._since = self.now()
        if self._is_leaving and not self._streams:
            self._part()

    def flush_soon(self) -> None:
        """`flush`, together with what follows at once."""
        if not self._flushes_soon:
            self._flushes_soon = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what the library has made."""
        self._flushes_soon = False
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._http.counters.bytes_out += len(data)
            self._transport.write(data)

    # ---- closing

    def shutdown(self) -> None:
        """Begin nothing new, and close when all that has begun is over."""
        self._leave()
        if self._streams:
            return
        if self.now() - self._since >= self._http.settings.linger:
            self._transport.close()  # it has long read all
        else:
            self._part()

    def _part(self) -> None:
        """All that was to be sent is: close as soon as the client has read it."""
        if self._is_parting or self._is_lingering or self._transport.is_closing():
            return
        self.flush()
        self._is_parting = True
        self._since = self._parting_since = self.now()
        self._transport.write_eof()

    def _leave(self) -> None:
        if self._is_leaving or self._is_lingering:
            return
        self._is_leaving = True
        frame = GoAwayFrame(0, last_stream_id=self._h2.highest_inbound_stream_id, error_code=0)
        if not self._transport.is_closing():
            self._transport.write(frame.serialize())

    def abort(self) -> None:
        """Close with a reset, which no client takes for the end of a response."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX and not self._transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def _end(self, code: ErrorCodes | None, why: str) -> None:
        """The client broke the rules of the connection; without *code* the library has said which."""
        _log.debug("HTTP/2 connection ended: %s", why)
        self._http.counters.client_errors += 1
        last_words = self._h2.data_to_send()
        if code is not None or not last_words:
            self._h2.close_connection(ErrorCodes.PROTOCOL_ERROR if code is None else code)
            last_words += self._h2.data_to_send()
        if not self._transport.is_closing():
            self._transport.write(last_words)
        self._is_lingering = True
        self._since = self.now()
        self._lose_all()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def _lose_all(self) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.lose()

    def check(self, now: float) -> None:
        """Act on timeouts; called by the server's timer with monotonic seconds."""
        settings = self._http.settings
        if self._is_stuck(now):
            self._http.counters.client_errors += 1
            self.abort()
        elif self._is_lingering:
            if now - self._since >= settings.linger:
                self._transport.abort()
        elif self._is_parting:
            if self._unsent:
                self._since = self._parting_since = now  # the client is slow but taking
            elif now - self._since >= settings.linger or now - self._parting_since >= settings.client:
                self._transport.abort()
        elif self._guard.in_block and now - self._guard.block_since >= settings.request_head:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, "the head stopped coming")
        elif self._streams:
            for stream in list(self._streams.values()):
                self._check_stream(stream, now)
        elif now - self._since >= (settings.keep_alive if self._number else settings.request_head):
            self.shutdown()

    def _check_stream(self, stream: _Stream, now: float) -> None:
        limit = self._http.settings.client
        exchange = stream.exchange
        if stream.unsent and now - stream.moved_at >= limit:
            self._http.counters.client_errors += 1
            self.reset(stream, ErrorCodes.CANCEL)
        elif exchange is not None and exchange.waits_for_body and now - stream.since >= limit:
            exchange.feed_error(ClientError("the body stopped coming", 408))

    def _is_stuck(self, now: float) -> bool:
        """Whether the client has taken nothing of what waits to be sent for its whole time."""
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent = unsent
            self._unsent_since = now
        return unsent > 0 and now - self._unsent_since >= self._http.settings.client


def _peer(transport: asyncio.BaseTransport, which: str) -> Peer:
    name = transport.get_extra_info(which)
    if isinstance(name, tuple) and len(name) >= 2:
        return str(name[0]), int(name[1])
    return None
