"""`TlsTransport`: TLS over a transport of the event loop, from the handshake to both ends of the stream.

It is the protocol of the socket's own transport, and itself the transport of whoever speaks inside: OpenSSL
turns bytes into bytes between two buffers in memory, and there is no task, and no timer but one for the
handshake. What it can do that asyncio's own TLS cannot is to close one direction: a client that has sent all
and waits for the answer gets it, as without TLS (RFC 8446 §6.1), and a relay passes such an end on. It also
keeps nothing while idle, where asyncio's has a buffer of 256 KiB for each connection.

An end of the connection without close_notify counts as an end, as in HAProxy and nginx: many clients leave
so, and what is inside knows where its messages end.

Between the handshake and `attach` nothing is read, so that a server can be found first.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

from lbkit.relay.adopt import adopt

__all__ = ["TlsTransport"]

_READ = 256 * 1024
_ANSWERS = 100
"""Changes of keys that one connection may ask for: each is answered, also to a client that never reads. One
is due after some 400 GB (RFC 8446 §5.5)."""


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One side's connection. Use: make it, `start`; after *secured* was called with it, `attach` a protocol.

    *failed* is called once where the connection ends before that, also by `abort`, with what went wrong
    (ssl.SSLError, another OSError, TimeoutError); *sock* is closed then, or is about to be.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket | None,
        context: ssl.SSLContext,
        *,
        timeout: float,
        secured: Callable[[TlsTransport], None],
        failed: Callable[[Exception], None],
        server_name: str | None = None,
    ) -> None:
        """*timeout* bounds the handshake, seconds, 0 is none. *server_name*: connect to that server; else be
        one."""
        super().__init__()
        self._sock = sock
        self._loop = loop
        self._timeout = timeout
        self._secured = secured
        self._failed: Callable[[Exception], None] | None = failed
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._is_server = server_name is None
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=self._is_server, server_hostname=server_name
        )
        self._raw: asyncio.Transport | None = None
        self._protocol: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_secured = False
        self._has_ended = False
        self._ends_early = False
        """Whether the end came before anybody was attached."""
        self._answers = 0
        self._has_sent_end = False
        self._is_shut = False
        """Whether nothing can be sent any more, not even by TLS itself."""
        self._is_aborted = False
        self._is_lost = False
        self._error: Exception | None = None

    @property
    def is_secured(self) -> bool:
        """Whether the handshake is over."""
        return self._is_secured

    @property
    def sock(self) -> socket.socket:
        """The socket that it was made for."""
        assert self._sock is not None
        return self._sock

    def start(self) -> None:
        """Begin the handshake on the socket; call once."""
        self.expect()
        adopt(self._loop, self, self.sock, self._fail)

    def expect(self) -> None:
        """In place of `start`, without a socket: as the protocol of a connection that the loop accepts."""
        if self._timeout:
            self._timer = self._loop.call_later(self._timeout, self._timed_out)

    def attach(self, protocol: asyncio.Protocol) -> None:
        """From now on *protocol* gets what comes, and its `connection_made` is called first."""
        self._protocol = protocol
        self.resume_reading()  # first: a protocol that at once gets more than it can take stops it again
        protocol.connection_made(self)
        if self._is_lost:
            self._loop.call_soon(protocol.connection_lost, self._error)
        elif not self.is_closing():
            self._pull()
            if self._ends_early:
                self._end()

    # ---- the socket's transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        if self._is_aborted:
            self._raw.abort()
        else:
            self._shake()

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if not self._is_secured:
            self._shake()
        elif self._protocol is not None:
            self._pull()

    def eof_received(self) -> bool:
        if not self._is_secured:
            self._fail(ConnectionResetError("the other side left in the handshake"))
            return False
        self._end()
        return True

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = True
        if self._protocol is not None:
            self._protocol.connection_lost(self._error or error)
        else:
            self._fail(error or ConnectionResetError("the connection was lost"))

    # ---- the handshake

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except (ssl.SSLError, ValueError) as error:  # ValueError: a certificate for another name
            self._flush()  # the alert that says why
            self._fail(error)
        else:
            # What a server sends last in TLS 1.3 is a ticket for later: it goes with the first answer.
            if not self._is_server or self._tls.version() != "TLSv1.3":
                self._flush()
            self._is_secured = True
            self._stop_timer()
            self.pause_reading()
            self._secured(self)

    def _timed_out(self) -> None:
        self._fail(TimeoutError(f"no TLS handshake within {self._timeout:g} s"))

    def _fail(self, error: Exception) -> None:
        """The connection is over before anybody was attached."""
        self._stop_timer()
        failed, self._failed = self._failed, None
        if self._raw is None:
            self._is_aborted = True
        else:
            self._raw.close()
        if failed is not None:
            failed(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- what is inside

    def _pull(self) -> None:
        """Give on what OpenSSL can open of what has come."""
        chunks: list[bytes] = []
        has_ended = False
        tls, incoming = self._tls, self._incoming
        before = self._outgoing.pending
        try:
            while incoming.pending or tls.pending():
                chunk = tls.read(_READ)
                if not chunk:
                    has_ended = True
                    break
                chunks.append(chunk)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            has_ended = True
        except ssl.SSLError as error:
            self._flush()
            self._break(error.reason or str(error))
            return
        if self._outgoing.pending > before:  # an answer of TLS itself, to a change of keys
            self._answers += 1
            if self._answers > _ANSWERS:
                self._break("too many changes of keys")
                return
            self._flush()
        if chunks and not self._has_ended and self._protocol is not None:
            self._protocol.data_received(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if has_ended:
            incoming.read()
            self._end()

    def _end(self) -> None:
        """The other side will send no more."""
        if self._protocol is None:
            self._ends_early = True
            return
        if self._has_ended:
            return
        self._has_ended = True
        if not self._protocol.eof_received():
            self.close()

    def _break(self, why: str) -> None:
        """What came is no TLS, or too much of it."""
        self._error = self._error or ConnectionAbortedError(f"broken TLS: {why}")
        self.abort()

    def _flush(self) -> None:
        assert self._raw is not None
        if self._outgoing.pending:
            data = self._outgoing.read()
            if not (self._is_shut or self._raw.is_closing()):
                self._raw.write(data)

    # ---- as a transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not data or self._has_sent_end or self.is_closing():
            return
        try:
            sent = self._tls.write(data)
            while sent < len(data):
                data = memoryview(data)[sent:]
                sent = self._tls.write(data)
        except ssl.SSLError as error:
            self._break(error.reason or str(error))
            return
        self._flush()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._incoming.pending and self._protocol is not None:
            self._pull()  # it is being attached: see `_say_end`
        if self._has_sent_end or self.is_closing():
            return
        self._say_end()
        assert self._raw is not None
        self._is_shut = True
        self._raw.write_eof()

    def _say_end(self) -> None:
        """close_notify. All that has come was opened before, or this would find data where it seeks the
        other side's."""
        self._has_sent_end = True
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()  # it would wait for the other side's, too, and that comes by `_pull`
        self._flush()

    def close(self) -> None:
        if self._raw is None:
            self.abort()
            return
        if self._is_secured and not self._has_sent_end and not self.is_closing():
            self._say_end()
        self._raw.close()

    def abort(self) -> None:
        self._is_aborted = True
        self._stop_timer()
        if self._raw is not None:
            self._raw.abort()

    def is_closing(self) -> bool:
        return self._is_aborted or (self._raw is not None and self._raw.is_closing())

    def pause_reading(self) -> None:
        if self._raw is not None and not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self._raw is not None and not self._raw.is_closing():
            self._raw.resume_reading()

    def get_write_buffer_size(self) -> int:
        return 0 if self._raw is None else self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._tls
        return default if self._raw is None else self._raw.get_extra_info(name, default)
