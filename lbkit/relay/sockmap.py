"""Sessions that last move into the kernel: their bytes go from socket to socket without user space.

Strategy: a session begins as in `splice`, because most of what costs in a short one is its beginning and
end. With the client's second message both directions are joined in the kernel's socket map (`kernel.bpf`),
and from then on only ends and errors come here. They are joined at a moment at which nothing of either is in
our hands, and what is in a socket's queue goes first, so that no byte is overtaken.

The kernel takes from a fast sender whatever a slow reader leaves. So it may move a megabyte, and each half of
one it is looked whether the other side has taken most of what came (`relay.joins`). Where it has not, the
kernel stops at the limit, and when what it holds is handed over, the direction goes on by copying, which
holds the sender back. For that the socket stays in the map: what it receives reaches user space in order
only on the way by which it came since the stop. Sessions with big messages are not joined: `splice` is as
fast for them.

The end of a direction needs care: the kernel may still hold bytes that it took from one socket and has not
given to the other when the event of the FIN comes. So the FIN is passed on only when the other connection
has taken as many bytes as the first one received, looked at in growing steps of milliseconds. Only then are
the sockets closed. A reset waits in the same way for what came before it.

Rejected: joining at once, which costs a short session eight system calls and gains nothing; closing at the
FIN, which loses the tail; looking at each joined session's TCP_INFO from time to time, which either costs
more than copying or lets hundreds of megabytes pile up in between; taking the socket out of the map when
its reader is slow, after which bytes that still wait in the kernel's own queue could be overtaken.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import Callable
from functools import cache
from typing import ClassVar

from lbkit.errors import KernelUnsupported
from lbkit.kernel.bpf import SocketMap
from lbkit.kernel.poller import ANY, ENDS, ERROR, HANG_UP, READ_HANG_UP, WRITABLE
from lbkit.kernel.tcp_info import TcpInfo, taken, tcp_info
from lbkit.relay.base import RELAYS, Relay, RelayEnd
from lbkit.relay.copying import CopyRelay, Side
from lbkit.relay.joins import CREDIT
from lbkit.relay.resources import Resources
from lbkit.relay.splice import BIG, SplicingSide

__all__ = ["SockmapRelay"]

_MESSAGES = 2  # of the client's that make a session one that lasts
_HELD = CREDIT // 4  # bytes that may be on their way when the limit is raised
_FINISHED = READ_HANG_UP | HANG_UP
_TRIES = 5  # at a moment in which no acknowledgement comes
_FIRST_LOOK = 0.001
_LAST_LOOK = 0.1  # seconds from one look to the next, from the first to the slowest


class JoiningSide(SplicingSide):
    """A side that the kernel may read in our place."""

    __slots__ = ("before", "cookie", "has_finished", "is_joined", "messages", "shift", "stopped_at")

    relay: SockmapRelay
    peer: JoiningSide

    def __init__(self, relay: CopyRelay, sock: socket.socket, reset: RelayEnd) -> None:
        super().__init__(relay, sock, reset)
        self.messages = 0
        self.cookie = b""
        """Its name in the map, once it is there."""
        self.is_joined = False
        """The kernel reads, not we."""
        self.before = 0
        """Bytes received before it was joined."""
        self.shift = 0
        """What `taken` counts beside the peer's bytes."""
        self.stopped_at = -1
        """Bytes that were received when the kernel stopped."""
        self.has_finished = False
        """Its end has finished; what it sent may be on its way."""

    def passed_on(self, count: int) -> bool:
        if self.cookie:
            self.attention = sys.maxsize  # bytes that the kernel leaves to us can't be spliced
            return False
        relay = self.relay
        if relay.may_join and count >= BIG:
            relay.stay()
        elif relay.may_join and self is relay.client:
            self.messages += 1
            if self.messages >= _MESSAGES:
                relay.join()
                if self.is_joined:
                    return True
        is_over = super().passed_on(count)
        if relay.may_join and self is relay.client:
            relay.watch_messages()
        return is_over

    def measure(self) -> None:
        """Learn what `taken` counts beside the peer's bytes, all of which it has. Raises OSError."""
        for _ in range(_TRIES):
            before, count, after = tcp_info(self.sock).acked, taken(self.sock), tcp_info(self.sock).acked
            if before == after:
                self.shift = count - self.peer.received
                return
        raise BlockingIOError(errno.EAGAIN, "acknowledgements come too fast")

    def taken(self) -> int:
        """Bytes of the peer's that its connection has taken, at least. Raises OSError."""
        return taken(self.sock) - self.shift

    def join(self) -> None:
        """Let the kernel read. Raises OSError where it can't."""
        self.relay.resources.joins.join(self.sock, self.cookie, self)
        self.is_joined = self.is_elsewhere = True
        self.before = self.received
        fd = self.sock.fileno()
        self.relay.poller.take_over(fd, _Joined(self))
        # Tells again of a FIN that came a moment ago.
        self.relay.poller.change(fd, ENDS)

    def ready_when_joined(self, mask: int) -> None:
        """What the poller tells while the kernel reads."""
        if self.is_blocked and mask & WRITABLE:
            self.flush()
        if self.relay.is_over:
            return
        if mask & ERROR and self.is_lost():
            self.broken = True
        if (self.broken or mask & _FINISHED) and not self.ended:
            self.has_finished = True
            self.look()

    def is_lost(self) -> bool:
        """Whether an error on the joined socket means that its connection is gone.

        EPIPE may mean nothing: what the kernel could not send to a socket that was shut down meanwhile is
        noted there (sk_psock_backlog in net/core/skmsg.c). Where there is no connection any more and our end
        had not finished it, it is a reset.
        """
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error not in (0, errno.EPIPE):
            return True
        info = self.info
        return info is None or (info.is_closed and not self.peer.ended)

    def look(self) -> None:
        """Go on where that waited for the kernel to hand over what it holds."""
        try:
            if self.stopped_at >= 0:
                self._go_on()
            elif self.has_finished and not self.ended:
                self._finish()
        except OSError:
            self.relay.fail(self.reset)

    def _finish(self) -> None:
        """Pass the end on when the peer has taken all that came before it."""
        if self.broken:
            # What had come before a reset was moved before the reset was noticed.
            came, stopped = self.relay.resources.joins.moved(self.cookie)
            if stopped:
                return  # that is told, too, and then the rest is read here
            came += self.before
        else:
            came = tcp_info(self.sock).received - 1
        if self.peer.broken or self.peer.taken() >= came:
            self.end()
        else:
            self.relay.look_later()

    def limit_is_near(self, moved: int, stopped: bool) -> None:
        """Raise the limit where the peer keeps up. Where the kernel has stopped, prepare to go on without."""
        if self.relay.is_over or not self.is_joined:
            return
        if stopped:
            self.stopped_at = self.before + moved
            self.look()
            return
        with contextlib.suppress(OSError):  # the event of that is on its way
            if self.before + moved - self.peer.taken() <= _HELD:
                self.relay.resources.joins.allow(self.cookie, moved)

    def _go_on(self) -> None:
        """Read here again when the peer has taken all that the kernel moved."""
        if not self.peer.broken and self.peer.taken() < self.stopped_at:
            self.relay.look_later()
        else:
            self.relay.hurry()
            self.received, self.stopped_at = self.stopped_at, -1
            self.is_joined = self.is_elsewhere = False
            self.to_the_end = True
            fd = self.sock.fileno()
            self.relay.poller.take_over(fd, self)
            self.relay.poller.change(fd, ANY)
            if self.peer.is_joined:  # it is written to from here again
                self.relay.poller.change(self.peer.sock.fileno(), ENDS | WRITABLE)

    def end(self) -> None:
        # Bytes that found no room in the socket's queue wait in another one, which a read does not see.
        # A reset has no claim to those, and they might never come.
        info = None if self.is_joined or self.broken or not self.cookie else self.info
        if info is not None and self.received < info.received - 1:
            self.relay.look_later()
        else:
            super().end()

    def read_elsewhere(self) -> None:
        if not self.is_joined:
            super().read_elsewhere()

    def lose(self) -> None:
        if self.is_joined:
            self.broken = self.has_finished = True
            self.pending = None
            self.is_blocked = False
            self.look()
        else:
            super().lose()

    @property
    def info(self) -> TcpInfo | None:
        """What the kernel counts on it; None where there is no connection any more."""
        try:
            return tcp_info(self.sock)
        except OSError:
            return None

    def count(self) -> int:
        """Bytes received so far."""
        if not self.relay.is_over:
            self._take_count()
        return self.received

    def _take_count(self) -> None:
        # Not what TCP counts: that has what waits in the socket, too, and would have to be taken back.
        if self.is_joined:
            with contextlib.suppress(OSError):
                self.received = self.before + self.relay.resources.joins.moved(self.cookie)[0]

    def part(self) -> None:
        """Take it out of the map, before it is closed."""
        self._take_count()
        if self.cookie:
            self.relay.resources.joins.part(self.cookie)


class _Joined:
    """Watches the socket of *side* in its place while the kernel reads."""

    __slots__ = ("_side",)

    def __init__(self, side: JoiningSide) -> None:
        self._side = side

    def ready(self, mask: int) -> None:
        """What the poller tells."""
        if not self._side.relay.is_over:
            self._side.ready_when_joined(mask)


@RELAYS.register("sockmap")
class SockmapRelay(CopyRelay):
    """Lets the kernel move the bytes of sessions that last; needs Linux 6.5, and root or CAP_BPF."""

    preference: ClassVar[int] = 2
    side: ClassVar[type[Side]] = JoiningSide

    client: JoiningSide
    server: JoiningSide

    __slots__ = ("_delay", "_timer", "may_join")

    def __init__(
        self,
        resources: Resources,
        downstream: socket.socket,
        upstream: socket.socket,
        on_end: Callable[[RelayEnd], None],
        on_first_byte: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(resources, downstream, upstream, on_end, on_first_byte)
        self._timer: asyncio.TimerHandle | None = None
        self._delay = _FIRST_LOOK
        # Only TCP sockets have a place in the map.
        self.may_join = downstream.family != socket.AF_UNIX != upstream.family
        if self.may_join:
            self.watch_messages()

    @classmethod
    def unsupported(cls) -> str | None:
        return _why_not()

    @classmethod
    def for_auto(cls) -> type[Relay]:
        return _RelievingRelay

    def watch_messages(self) -> None:
        """Count what the client sends."""
        self.client.attention = 0

    def stay(self) -> None:
        """Never join."""
        self.may_join = False
        self.client.attention = self.client.usual_attention

    def join(self) -> None:
        """Hand both directions to the kernel, where nothing of either is in our hands."""
        client, server = self.client, self.server
        if client.is_blocked or server.is_blocked or server.on_first_byte is not None:
            return
        self.may_join = False
        # One end has left already, the map is full, or none can be had any more: go on as before.
        with contextlib.suppress(OSError, KernelUnsupported):
            joins = self.resources.joins
            client.measure()
            server.measure()
            client.cookie = joins.route(client.sock, server.sock)
            server.cookie = joins.route(server.sock, client.sock)
            client.join()
            server.join()
        if client.is_joined and not server.is_joined:  # then its socket is written to from here
            self.poller.change(client.sock.fileno(), ENDS | WRITABLE)

    def look_later(self) -> None:
        """Look at both sides again in a moment."""
        if self._timer is None:
            self._timer = self.resources.loop.call_later(self._delay, self._look)
            self._delay = min(2 * self._delay, _LAST_LOOK)

    def hurry(self) -> None:
        """What was waited for has happened: wait in small steps again."""
        self._delay = _FIRST_LOOK

    def _look(self) -> None:
        self._timer = None
        for side in (self.client, self.server):
            if self.is_over:
                return
            if side.is_joined:
                side.look()
            else:
                side.read()

    def finish(self, end: RelayEnd) -> None:
        if self.is_over:
            return
        if self.client.cookie or self.server.cookie:
            self.client.part()
            self.server.part()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().finish(end)

    @property
    def bytes_in(self) -> int:
        return self.client.count()

    @property
    def bytes_out(self) -> int:
        return self.server.count()

    def progress(self) -> tuple[int, int]:
        client, server = self.client, self.server
        if not (client.cookie and server.cookie):
            return super().progress()
        return _moved(client), _moved(server)


class _RelievingRelay(SockmapRelay):
    """The one of ``auto``: sessions join when this process is short of time and the machine is not.

    Where client, balancer and server share the cores, a small message costs more in the kernel's socket map
    than here: two switches to a kernel thread (README, "How fast"). But there it costs other cores' time, and
    one process has only one. Nothing is counted for it on the way of a message.
    """

    may_relieve: ClassVar[bool] = True

    __slots__ = ()

    def watch_messages(self) -> None:
        """There is nothing to count."""

    def relieve(self) -> bool:
        if not (self.may_join and self.client.received and self.server.received):
            return False
        self.join()
        return self.client.is_joined


def _moved(side: JoiningSide) -> int:
    info = side.info
    return 0 if info is None else info.received + info.acked


@cache
def _why_not() -> str | None:
    """Tried once a process: a map made and thrown away."""
    try:
        SocketMap(CREDIT, 256).close()
    except KernelUnsupported as error:
        return str(error)
    return None
