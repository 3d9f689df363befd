"""`WebSocket`: one WebSocket of an application, from the handshake to the close (RFC 6455).

It is the application's `receive` and `send`, and once it is accepted the protocol of the connection, which
the exchange gives away with the 101. wsproto reads and writes the frames.

What is held for a slow application is bounded: with so many messages unread, or bytes of one longest message,
the connection is no longer read from, and frames that have come stay unparsed. A slow client holds up `send`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any

from wsproto.frame_protocol import CloseReason, Frame, FrameProtocol, Opcode, ParseFailed

from lbkit.asgi.call import HttpCall
from lbkit.asgi.types import Message
from lbkit.errors import ClientError
from lbkit.exchange import Exchange, Switched
from lbkit.http.websocket import accept_headers, agreed_deflate, may_close_with

__all__ = ["ClientGone", "WebSocket", "WebSocketSettings"]

_SMALL = 1024
"""Fragments of fewer bytes are joined: each kept by itself would cost many times its size."""
_DENIAL = "websocket."
_EARLY = 0.005
"""Seconds by which a timer of the loop may come too soon: uvloop's clock has whole milliseconds."""


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """Limits of an application's WebSockets. Durations are seconds, sizes bytes; the defaults are uvicorn's
    but for `close`, which is that of the websockets library."""

    max_message: int = 16 * 1024 * 1024
    """A longer message, also when it is inflated, ends the connection with 1009."""
    queue: int = 32
    """Messages held for the application before the client is no longer read from."""
    ping: float = 20.0
    """A ping is sent after each such time; 0: none."""
    ping_timeout: float = 20.0
    """A client that says nothing for so long after a ping is cut."""
    close: float = 10.0
    """How long a client may take to answer a close."""
    compression: bool = True
    """Whether permessage-deflate is agreed to."""


class ClientGone(ConnectionResetError):
    """`send` for a client that is gone; an OSError, as ASGI says."""


class _Phase(Enum):
    ASKED = 1
    """The application has not yet said whether it takes it."""
    DENIED = 2
    """It answers by a response of HTTP instead."""
    OPEN = 3
    CLOSING = 4
    """A close was sent; only the client's is waited for."""
    OVER = 5


class WebSocket(asyncio.Protocol):
    """A WebSocket that *exchange* asks for; *settings* bound it."""

    def __init__(self, exchange: Exchange, settings: WebSocketSettings) -> None:
        self._exchange = exchange
        self._settings = settings
        self._phase = _Phase.ASKED
        self._denial = HttpCall(exchange)
        self._is_connect_told = False
        self._is_stopping = self._was_closed = False
        self._end: tuple[int, str] | None = None
        """The code and reason of the end, for the application."""
        self._queue: deque[Message] = deque()
        self._queued = 0
        self._parts: list[Any] = []
        self._size = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._is_read_paused = self._is_write_paused = self._is_lost = False
        self._owed_pong: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._was_heard = True
        self._silent_from: float | None = None
        """When the first ping was sent that nothing was heard after."""
        self._next_ping = 0.0
        self._unsent = 0
        exchange.on_disconnect = self._left

    # ---- for the application ----

    async def receive(self) -> Message:
        """The next message; after the end always ``websocket.disconnect``."""
        if not self._is_connect_told:
            self._is_connect_told = True
            return {"type": "websocket.connect"}
        while not self._queue:
            if self._end is not None:
                return {"type": "websocket.disconnect", "code": self._end[0], "reason": self._end[1]}
            await self._changed()
        message = self._queue.popleft()
        self._queued -= _size_of(message)
        if self._is_read_paused:
            self._read_on()
        return message

    async def send(self, message: Message) -> None:
        """Raises ClientGone once the client is, and RuntimeError for a message that is out of turn."""
        kind = message["type"]
        if kind == "websocket.send" and self._phase is _Phase.OPEN:
            data = message.get("bytes")
            self._write(self._frames.send_data(message["text"] if data is None else data))
            while self._is_write_paused and not self._is_lost:
                await self._changed()
        elif kind == "websocket.accept" and self._phase is _Phase.ASKED:
            self._accept(message)
        elif kind == "websocket.close" and self._phase is _Phase.OPEN:
            self._close_by_app(message.get("code", 1000), message.get("reason") or "")
        elif kind == "websocket.close" and self._phase is _Phase.ASKED:
            self._phase = _Phase.DENIED
            await self._exchange.respond_error(403)
            self._ended(1006, "")
        elif kind.startswith("websocket.http.response.") and self._phase in (_Phase.ASKED, _Phase.DENIED):
            await self._deny(message)
        elif kind not in ("websocket.send", "websocket.accept", "websocket.close"):
            raise ValueError(f'unexpected ASGI message "{kind}"')
        elif self._end is not None and self._phase is not _Phase.DENIED and not self._was_closed:
            raise ClientGone("the client of this websocket is gone")
        else:
            raise RuntimeError(f"{kind} came when the websocket was {self._phase.name.lower()}")

    def _accept(self, message: Message) -> None:
        if self._end is not None:
            raise ClientGone("the client of this websocket is gone")
        agreed = None
        request, settings = self._exchange.request, self._settings
        if settings.compression:
            agreed = agreed_deflate(request, settings.max_message)
        own = [(bytes(name), bytes(value)) for name, value in message.get("headers") or ()]
        extensions = None if agreed is None else agreed[1]
        headers = accept_headers(request, own, message.get("subprotocol"), extensions)
        try:
            switched = self._exchange.switch(headers, b"Switching Protocols")
        except ClientError:
            raise ClientGone("the client of this websocket is gone") from None
        self._frames = FrameProtocol(client=False, extensions=[] if agreed is None else [agreed[0]])
        self._open(switched)

    def _open(self, switched: Switched) -> None:
        self._exchange.on_disconnect = None
        self._switched = switched
        self._counters = switched.counters
        self._transport = switched.transport
        self._is_write_paused = switched.is_clogged
        self._phase = _Phase.OPEN
        switched.transport.set_protocol(self)
        if self._settings.ping:
            self._arm(self._settings.ping, self._ping)
        if self._is_stopping:
            self.shutdown()
        if switched.rest:
            self.data_received(switched.rest)

    async def _deny(self, message: Message) -> None:
        """The extension "websocket.http.response": the answer is one of HTTP."""
        self._phase = _Phase.DENIED
        await self._denial.send({**message, "type": message["type"].removeprefix(_DENIAL)})
        if self._exchange.ended:
            self._ended(1006, "")

    def _close_by_app(self, code: int, reason: str) -> None:
        if code != 1005 and not may_close_with(code):
            raise ValueError(f"a websocket cannot be closed with the code {code}")
        self._was_closed = True
        self._close(None if code == 1005 else code, reason)
        self._ended(code, reason)

    # ---- for the handler ----

    def shutdown(self) -> None:
        """The server stops: the client is told so, and the application that it is over (1012)."""
        self._is_stopping = True
        if self._phase is _Phase.OPEN:
            self._close(1012, "the server stops")
            self._ended(1012, "the server stops")

    async def finish(self, code: int) -> None:
        """The application has returned: close with *code* what is open, and wait for the connection's end,
        which the client can delay for a while only."""
        if self._phase in (_Phase.ASKED, _Phase.DENIED):
            self._exchange.on_disconnect = None
            return
        try:
            if self._phase is _Phase.OPEN:
                self._close(code, "")
                self._ended(code, "")
            while not self._is_lost:
                await self._changed()
        finally:
            self._exchange.finish()

    # ---- the transport's calls ----

    def data_received(self, data: bytes) -> None:
        self._counters.bytes_in += len(data)
        self._was_heard = True
        if self._phase is not _Phase.OVER:
            self._frames.receive_bytes(data)
            self._read_on()

    def eof_received(self) -> bool:
        return False  # a websocket is never half-closed

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self._owed_pong is not None:
            owed, self._owed_pong = self._owed_pong, None
            self._write(self._frames.pong(owed))
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._phase = _Phase.OVER
        self._arm(0, None)
        self._ended(1006, "")
        self._switched.ended(exc)

    # ---- reading ----

    @property
    def _is_full(self) -> bool:
        """Whether the application has enough to do; while it closes, what comes is thrown away."""
        settings = self._settings
        is_much = len(self._queue) >= settings.queue or self._queued >= settings.max_message
        return is_much and self._phase is _Phase.OPEN

    def _read_on(self) -> None:
        """Take the frames that have come, until the application has enough of them."""
        if not self._is_full:
            try:
                for frame in self._frames.received_frames():
                    self._take(frame)
                    if self._phase is _Phase.OVER or self._is_full:
                        break
            except ParseFailed as error:
                is_too_big = error.code is CloseReason.MESSAGE_TOO_BIG  # found while it was inflated
                self._fail(error.code, self._too_big if is_too_big else str(error))
        is_full = self._is_full
        if is_full != self._is_read_paused and not self._transport.is_closing():
            self._is_read_paused = is_full
            if is_full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    @property
    def _too_big(self) -> str:
        return f"a message may have {self._settings.max_message} bytes"

    def _take(self, frame: Frame) -> None:
        opcode, payload = frame.opcode, frame.payload
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if self._phase is _Phase.OPEN:
                self._take_data(payload, frame.message_finished)
        elif opcode is Opcode.CLOSE:
            self._closed_by_client(*payload)
        elif opcode is Opcode.PING and self._phase is _Phase.OPEN:
            if self._is_write_paused:
                self._owed_pong = bytes(payload)  # type: ignore[arg-type] # the last one only (§5.5.3)
            else:
                self._write(self._frames.pong(payload))  # type: ignore[arg-type] # bytes, for a ping

    def _take_data(self, payload: Any, is_last: bool) -> None:
        size = len(payload)
        if isinstance(payload, str) and not payload.isascii():
            size = len(payload.encode())
        self._size += size
        if self._size > self._settings.max_message:
            self._fail(1009, self._too_big)
            return
        parts = self._parts
        if not is_last:
            if parts and len(parts[-1]) < _SMALL:
                parts[-1] += payload
            elif payload:
                parts.append(payload)
            return
        if parts:
            parts.append(payload)
            payload = (b"" if isinstance(payload, bytes | bytearray) else "").join(parts)
            self._parts = []
        self._size = 0
        if isinstance(payload, str):
            message: Message = {"type": "websocket.receive", "text": payload}
        else:
            message = {"type": "websocket.receive", "bytes": bytes(payload)}
        self._queue.append(message)
        self._queued += _size_of(message)
        self._wake()

    # ---- closing ----

    def _left(self) -> None:
        """The client is gone before there was an answer."""
        self._ended(1006, "")

    def _ended(self, code: int, reason: str) -> None:
        """The first end is what the application is told."""
        self._end = self._end or (code, reason)
        self._wake()

    def _close(self, code: int | None, reason: str) -> None:
        self._write(self._frames.close(code, reason or None))
        self._phase = _Phase.CLOSING
        self._parts.clear()
        self._arm(self._settings.close, self._transport.abort)
        if self._is_read_paused:
            self._is_read_paused = False
            self._transport.resume_reading()

    def _closed_by_client(self, code: int, reason: str | None) -> None:
        if self._phase is _Phase.OPEN:
            self._close(None if code == CloseReason.NO_STATUS_RCVD else code, "")
        self._phase = _Phase.OVER
        self._ended(int(code), reason or "")
        self._transport.close()

    def _fail(self, code: int, reason: str) -> None:
        """The client broke the protocol: what it still sends is thrown away until it has read why
        (§7.1.7)."""
        self._counters.client_errors += 1
        if self._phase is _Phase.OPEN:
            self._close(code, reason)
        self._phase = _Phase.OVER
        self._ended(int(code), reason)
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def _ping(self) -> None:
        """Send a ping, or cut a client that was silent since the last one for as long as it may, unless it
        took what it was sent, or nobody listened to it."""
        settings = self._settings
        now = asyncio.get_running_loop().time()
        unsent = self._transport.get_write_buffer_size()
        if self._was_heard or self._is_read_paused or unsent < self._unsent:
            self._silent_from = None
        elif self._silent_from is not None and now - self._silent_from >= settings.ping_timeout - _EARLY:
            self._ended(1011, "no answer to a ping")
            self._transport.abort()
            return
        if now >= self._next_ping - _EARLY:
            self._next_ping = now + settings.ping
            self._was_heard, self._unsent = False, unsent
            if self._silent_from is None:
                self._silent_from = now
            if not self._is_write_paused:
                self._write(self._frames.ping(b""))
        due = self._next_ping
        if self._silent_from is not None:
            due = min(due, self._silent_from + settings.ping_timeout)
        self._arm(due - now, self._ping)

    # ---- inside ----

    def _arm(self, delay: float, action: Any) -> None:
        """The one timer does *action* after *delay* seconds; None: nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = action and asyncio.get_running_loop().call_later(delay, action)

    def _write(self, data: bytes | bytearray) -> None:
        self._counters.bytes_out += len(data)
        self._exchange.bytes_out += len(data)
        self._transport.write(data)

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


def _size_of(message: Message) -> int:
    return len(message["text"] if "text" in message else message["bytes"])
