"""Transport to transport: works on every loop and every platform.

Strategy: two protocols that hold each other's transport. A chunk that arrives is handed to the
other side's `write` at once; nothing else happens on the way but one addition. There is no task, no
queue of our own and no timer per chunk. When the other side's write buffer is over the transport's
high-water mark (64 KiB), reading stops here until it has drained, so memory stays bounded by that
mark plus one read for each direction.

Rejected: asyncio streams, with a task and two wake-ups a chunk (less than half the speed); and
BufferedProtocol with a reused buffer: the loop may keep what it is given to write, so each chunk
must be copied anyway.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import ClassVar, cast

from lbkit.relay.adopt import adopt
from lbkit.relay.base import RELAYS, Relay, RelayEnd
from lbkit.relay.resources import Resources

__all__ = ["StreamRelay"]

_LINGER_NONE = struct.pack("ii", 1, 0)


class _Side(asyncio.Protocol):
    """One of the two sockets; `peer` is the other."""

    __slots__ = (
        "_early",
        "ended",
        "forward",
        "lost",
        "peer",
        "received",
        "relay",
        "reset",
        "sock",
        "transport",
    )

    peer: _Side

    def __init__(self, relay: StreamRelay, sock: socket.socket, reset: RelayEnd) -> None:
        self.relay = relay
        self.sock = sock
        self.reset = reset
        self.transport: asyncio.Transport | None = None
        self.received = 0
        self.ended = False
        self.lost = False
        self._early: list[bytes] = []
        # What comes before the other transport exists is kept; afterwards this is its `write`.
        self.forward: Callable[[bytes], None] = self._early.append

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.peer.lost or self.relay.is_aborted:
            self.transport.abort()
        elif self.peer.transport is not None:
            self.open_way()
            self.peer.open_way()

    def open_way(self) -> None:
        peer = self.peer.transport
        assert peer is not None
        for data in self._early:
            peer.write(data)
        self._early.clear()
        self.forward = peer.write
        if self.ended:
            peer.write_eof()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.forward(data)

    def eof_received(self) -> bool:
        self.ended = True
        peer = self.peer
        if peer.ended:
            self.relay.close()
        elif peer.transport is not None and not peer.lost:
            peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.peer.transport is not None and not self.peer.lost:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer.transport is not None and not self.peer.lost:
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if error is not None:
            self.relay.fail(self.reset)
        elif self.peer.transport is not None and not self.peer.lost:
            self.peer.transport.close()
        if self.peer.lost:
            self.relay.finished()

    def unsent(self) -> int:
        return 0 if self.transport is None or self.lost else self.transport.get_write_buffer_size()

    def send_reset(self) -> None:
        """Close so that the other end sees a reset instead of a clean end."""
        if self.transport is not None and not self.lost:
            if self.sock.family != socket.AF_UNIX:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            self.transport.abort()


class _TimedSide(_Side):
    """The server's side of a session whose first byte somebody waits for."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        if not self.received:
            self.relay.first_byte()
        self.received += len(data)
        self.forward(data)


@RELAYS.register("stream")
class StreamRelay(Relay):
    """Transport to transport through the event loop; works everywhere."""

    preference: ClassVar[int] = 0

    __slots__ = ("_downstream", "_end", "_loop", "_on_end", "_on_first_byte", "_poller", "_upstream")

    def __init__(
        self,
        resources: Resources,
        downstream: socket.socket,
        upstream: socket.socket,
        on_end: Callable[[RelayEnd], None],
        on_first_byte: Callable[[], None] | None = None,
    ) -> None:
        self._loop = resources.loop
        self._poller = resources.poller
        self._on_first_byte = on_first_byte
        self._on_end = on_end
        self._end = RelayEnd.DONE
        self._downstream = _Side(self, downstream, RelayEnd.CLIENT_RESET)
        # A class of its own, so that sessions that nobody times pay nothing for each chunk.
        server_side = _Side if on_first_byte is None else _TimedSide
        self._upstream = server_side(self, upstream, RelayEnd.SERVER_RESET)
        self._downstream.peer, self._upstream.peer = self._upstream, self._downstream

    def start(self) -> None:
        for side in (self._upstream, self._downstream):
            if self._poller is not None:  # which a session began with before a reload chose this relay
                self._poller.forget(side.sock.fileno())
            adopt(self._loop, side, side.sock, side.connection_lost)

    @property
    def is_aborted(self) -> bool:
        return self._end is RelayEnd.ABORTED

    def close(self) -> None:
        """Both directions have ended: close as soon as everything is written."""
        for side in (self._downstream, self._upstream):
            if side.transport is not None:
                side.transport.close()

    def fail(self, end: RelayEnd) -> None:
        """Pass a reset on to the side that is still there."""
        if self._end is RelayEnd.DONE:
            self._end = end
        self._downstream.send_reset()
        self._upstream.send_reset()

    def first_byte(self) -> None:
        if self._on_first_byte is not None:
            self._on_first_byte()

    def finished(self) -> None:
        self._on_end(self._end)

    def abort(self) -> None:
        self._end = RelayEnd.ABORTED
        for side in (self._downstream, self._upstream):
            if side.transport is not None and not side.lost:
                side.transport.abort()

    @property
    def bytes_in(self) -> int:
        return self._downstream.received

    @property
    def bytes_out(self) -> int:
        return self._upstream.received

    def progress(self) -> tuple[int, int]:
        received_in, received_out = self._downstream.received, self._upstream.received
        return (
            received_in + received_out - self._downstream.unsent(),
            received_in + received_out - self._upstream.unsent(),
        )
