"""Socket to socket through one buffer of the whole process: what relays on raw sockets begin with.

Strategy: a socket that is ready is read into the shared buffer and what came is sent on at once from there.
No object is made for a chunk, nothing is queued, and no transport stands between. Only what the other
socket does not take is copied out, at most one buffer a direction; until it is gone nothing more is read.

Readiness is edge-triggered (see `kernel.poller`): a read that did not fill the buffer has emptied the socket,
and what comes later is a new event. Two cases need reading until it would block: the other end has finished
(the end is told once, maybe together with the last bytes), and urgent data, at which a read stops early.

A socket whose other end is gone takes no bytes, but may still have some to give: what a server said before
it left is read and passed on before its reset is.

This is no relay of its own in the registry. `splice` and `sockmap` take over where they are better.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import ClassVar, cast

from lbkit.kernel.poller import READ_HANG_UP, READABLE, URGENT, WRITABLE, Poller
from lbkit.relay.base import Relay, RelayEnd
from lbkit.relay.resources import BUFFER, Resources

__all__ = ["CopyRelay", "Side"]

_LINGER_NONE = struct.pack("ii", 1, 0)
_TO_THE_END = URGENT | READ_HANG_UP
_NOT_WRITABLE = ~WRITABLE
_READY = READABLE | WRITABLE
_ROUNDS = 8  # full buffers in a row after which others have their turn


class _Over:
    """Stands for the relay of a session that is over."""

    is_over = True


_OVER = cast("CopyRelay", _Over())


class Side:
    """One of the two sockets; `peer` is the other."""

    __slots__ = (
        "attention",
        "broken",
        "ended",
        "is_blocked",
        "is_elsewhere",
        "on_first_byte",
        "peer",
        "pending",
        "received",
        "relay",
        "reset",
        "sock",
        "to_the_end",
    )

    peer: Side
    usual_attention: ClassVar[int] = sys.maxsize

    def __init__(self, relay: CopyRelay, sock: socket.socket, reset: RelayEnd) -> None:
        self.relay = relay
        self.sock = sock
        self.reset = reset
        self.received = 0
        self.attention = self.usual_attention
        """Bytes of a message from which on `passed_on` is told of it: most messages cost no call."""
        self.on_first_byte: Callable[[], None] | None = None
        self.is_blocked = False
        """Bytes of the peer's wait for this side; meanwhile the peer is not read."""
        self.pending: memoryview | None = None
        """Those bytes, where they are here."""
        self.is_elsewhere = False
        """What comes goes another way than through the buffer: `read_elsewhere`."""
        # On a Unix socket a read also stops where descriptors were sent along.
        self.to_the_end = sock.family == socket.AF_UNIX
        """A read that did not fill the buffer does not show that the socket is empty."""
        self.ended = False
        """Its end has finished: nothing more will come."""
        self.broken = False
        """It takes no bytes any more, because its other end is gone."""

    def ready(self, mask: int) -> None:
        """What the poller tells."""
        if mask == _READY and not self.is_blocked:  # nearly always
            self.read()
            return
        if self.is_blocked and mask & WRITABLE:
            self.flush()
        if mask & _NOT_WRITABLE:
            if mask & _TO_THE_END:
                self.to_the_end = True
            self.read()

    def read(self) -> None:
        """Pass on what has come, until there is no more or the peer takes no more."""
        relay = self.relay
        if relay.is_over or self.ended:
            return
        peer = self.peer
        if peer.is_blocked or peer.broken:
            return
        if self.is_elsewhere:
            self.read_elsewhere()
            return
        view = relay.resources.view
        rounds = _ROUNDS
        while True:
            try:
                count = self.sock.recv_into(view)
            except BlockingIOError:
                if self.broken:
                    relay.fail(self.reset)
                return
            except OSError:
                relay.fail(self.reset)
                return
            if not count:
                self.end()
                return
            self.received += count
            try:
                sent = peer.sock.send(view[:count])
            except BlockingIOError:
                sent = 0
            except OSError:
                peer.lose()
                return
            if sent < count:
                peer.pending = memoryview(bytes(view[sent:count]))
                peer.is_blocked = True
            if count >= self.attention and self.passed_on(count):
                return
            if peer.is_blocked or (count < BUFFER and not self.to_the_end):
                return
            rounds -= 1
            if not rounds:
                relay.poller.again(self)
                return

    def passed_on(self, count: int) -> bool:
        """*count* bytes were read, and sent unless the peer is blocked; True: stop reading for now."""
        if self.on_first_byte is not None:
            heard, self.on_first_byte = self.on_first_byte, None
            self.attention = self.usual_attention
            heard()
        return False

    def read_elsewhere(self) -> None:
        """`read` where the bytes go another way."""

    def flush(self) -> None:
        """Send what waits; when all is gone the peer is read again."""
        pending = self.pending
        if self.relay.is_over or pending is None:
            return
        try:
            sent = self.sock.send(pending)
        except BlockingIOError:
            return
        except OSError:
            self.lose()
            return
        if sent < len(pending):
            self.pending = pending[sent:]
            return
        self.pending = None
        self.is_blocked = False
        self.peer.read()

    def end(self) -> None:
        """Its end has finished, and all that it sent is passed on."""
        self.ended = True
        peer = self.peer
        if self.broken:
            self.relay.fail(self.reset)
        elif peer.ended:
            self.relay.finish(RelayEnd.DONE)
        else:
            try:
                peer.sock.shutdown(socket.SHUT_WR)
            except OSError:
                peer.lose()

    def lose(self) -> None:
        """It takes no bytes any more. What it sent before may still wait to be read."""
        self.broken = True
        self.pending = None
        self.is_blocked = False
        if self.ended or self.peer.broken:
            self.relay.fail(self.reset)
        elif not self.peer.is_blocked:
            self.to_the_end = True
            self.read()  # which fails it at the end

    @property
    def unsent(self) -> int:
        """Bytes of the peer's that wait for this side."""
        return 0 if self.pending is None else len(self.pending)

    def settle(self) -> None:
        """The session is over, and its sockets are closed next: give back what went another way."""


class CopyRelay(Relay):
    """The two sides of a session on raw sockets."""

    needs_poller: ClassVar[bool] = True
    side: ClassVar[type[Side]] = Side

    __slots__ = ("_on_end", "client", "is_over", "poller", "resources", "server")

    def __init__(
        self,
        resources: Resources,
        downstream: socket.socket,
        upstream: socket.socket,
        on_end: Callable[[RelayEnd], None],
        on_first_byte: Callable[[], None] | None = None,
    ) -> None:
        assert resources.poller is not None
        self.resources = resources
        self.poller: Poller = resources.poller
        self._on_end = on_end
        self.is_over = False
        self.client = self.side(self, downstream, RelayEnd.CLIENT_RESET)
        self.server = self.side(self, upstream, RelayEnd.SERVER_RESET)
        if on_first_byte is not None:
            self.server.on_first_byte = on_first_byte
            self.server.attention = 0
        self.client.peer, self.server.peer = self.server, self.client

    def start(self) -> None:
        try:
            for side in (self.server, self.client):
                fd = side.sock.fileno()
                if self.poller.watches(fd):
                    self.poller.take_over(fd, side)
                else:
                    self.poller.watch(fd, side)
        except OSError:  # epoll_ctl(2): no memory, or the user's max_user_watches
            self.abort()

    def finish(self, end: RelayEnd) -> None:
        """Close both sides and say how it ended."""
        if self.is_over:
            return
        self.is_over = True
        client, server = self.client, self.server
        if client.is_elsewhere or client.is_blocked or server.is_elsewhere or server.is_blocked:
            client.settle()
            server.settle()
        self.poller.close(client.sock)
        self.poller.close(server.sock)
        self._on_end(end)
        # Nothing refers to itself in a circle any more, so that no collection is needed to free a session.
        client.relay = server.relay = _OVER
        del client.peer, server.peer, self._on_end

    def fail(self, end: RelayEnd) -> None:
        """One end has reset the connection: the other one is to see a reset, too."""
        for side in (self.client, self.server):
            if side.sock.family != socket.AF_UNIX and not self.is_over:
                side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self.finish(end)

    def abort(self) -> None:
        self.finish(RelayEnd.ABORTED)

    @property
    def bytes_in(self) -> int:
        return self.client.received

    @property
    def bytes_out(self) -> int:
        return self.server.received

    def progress(self) -> tuple[int, int]:
        moved = self.client.received + self.server.received
        return moved - self.client.unsent, moved - self.server.unsent
