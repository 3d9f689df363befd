"""`FaultyProxy`: a TCP connection that breaks on request, between real programs.

It stands before a server, passes bytes on in both directions, and does to them what networks do: `hang` lets
nothing through, without a word to either side, as a cable that is pulled out, and `heal` goes on where it
stopped, as TCP does when the cable is back; `cut` resets what there is and whoever comes; `delay` holds each
piece for a while. Reading stops meanwhile, so that memory is bounded by the sockets' own buffers.

Faults of a network as such (loss, reordering) need namespaces and root; this needs neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from enum import Enum
from typing import cast

from lbkit.server import Address

__all__ = ["FaultyProxy"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CONNECT = 5.0


class _Way(Enum):
    OPEN = "open"
    HANGS = "hangs"
    CUT = "cut"


class _End(asyncio.Protocol):
    """One side of a pair; what comes goes to `peer`."""

    peer: _End | None = None

    def __init__(self, proxy: FaultyProxy) -> None:
        self.proxy = proxy
        self.transport: asyncio.Transport | None = None
        self.is_full = False
        """Whether what is written here waits."""
        self.has_ended = False
        self.late: deque[tuple[float, bytes]] = deque()
        """What came here, and when it is due at the peer."""
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.proxy._ends.add(self)
        self.proxy._loop.call_soon(self.regulate)  # uvloop begins to read after this, whatever is said here
        self.proxy._joined(self)

    def data_received(self, data: bytes) -> None:
        self.proxy.bytes += len(data)
        if self.proxy._delay or self.late or self.peer is None or self.peer.transport is None:
            self.late.append((self.proxy._loop.time() + self.proxy._delay, data))
            if self.timer is None:
                self.deliver()
        else:
            self.give(data)

    def deliver(self) -> None:
        """Give on what is due."""
        self.timer = None
        if self.peer is None or self.peer.transport is None or self.proxy._way is _Way.HANGS:
            return  # whoever changes that comes here again
        now = self.proxy._loop.time()
        while self.late and (self.late[0][0] <= now or not self.proxy._delay):
            data = self.late.popleft()[1]
            if data:
                self.give(data)
            else:
                self.end()
        if self.late:
            self.timer = self.proxy._loop.call_at(self.late[0][0], self.deliver)

    def give(self, data: bytes) -> None:
        peer = self.peer
        if peer is not None and peer.transport is not None and not peer.transport.is_closing():
            peer.transport.write(data)

    def eof_received(self) -> bool:
        if self.late:
            self.late.append((self.late[-1][0], b""))
        else:
            self.end()
        return True

    def end(self) -> None:
        """The end of what comes here goes on; after both the connection is over."""
        self.has_ended = True
        peer = self.peer
        if peer is None or peer.transport is None or peer.transport.is_closing():
            return
        if peer.has_ended:
            peer.transport.close()
            if self.transport is not None:
                self.transport.close()
        else:
            peer.transport.write_eof()

    def pause_writing(self) -> None:
        self.is_full = True
        if self.peer is not None:
            self.peer.regulate()

    def resume_writing(self) -> None:
        self.is_full = False
        if self.peer is not None:
            self.peer.regulate()

    def regulate(self) -> None:
        """Read or do not."""
        if self.transport is None or self.transport.is_closing():
            return
        peer = self.peer
        blocked = peer is None or peer.transport is None or peer.is_full or self.proxy._way is _Way.HANGS
        if blocked:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.proxy._left(self)
        if self.timer is not None:
            self.timer.cancel()
        peer = self.peer
        if peer is not None and peer.transport is not None:
            if error is None:
                peer.transport.close()
            else:
                peer.abort()

    def abort(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


class FaultyProxy:
    """Passes connections on to *target*; `address` is where it listens, on a free port of loopback.

    Use: ``async with FaultyProxy(target) as proxy``, then `hang`, `cut`, `heal` and `delay` at any time.
    """

    def __init__(self, target: Address) -> None:
        self.target = target
        self.address = Address()
        self.connections = 0
        """Connections since the start."""
        self.bytes = 0
        """Bytes passed on."""
        self._way = _Way.OPEN
        self._delay = 0.0
        self._ends: set[_End] = set()
        self._waiting: list[_End] = []
        """Clients that came while nothing went through."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FaultyProxy:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        self._empty = asyncio.Event()
        self._server = await self._loop.create_server(lambda: _End(self), "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Cut everything."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._way = _Way.CUT
        self._abort_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._ends:
            await self._empty.wait()

    # ---- faults

    def hang(self) -> None:
        """Nothing goes through any more, and nobody is told. Who comes is let in and not answered."""
        self._way = _Way.HANGS
        self._regulate()

    def cut(self) -> None:
        """Every connection is reset, and so is whoever comes."""
        self._way = _Way.CUT
        self._abort_all()

    def heal(self) -> None:
        """All goes through again, also what has hung."""
        self._way = _Way.OPEN
        self._regulate()
        for end in list(self._ends):
            if end.timer is None:
                end.deliver()
        waiting, self._waiting = self._waiting, []
        for end in waiting:
            self._joined(end)

    def delay(self, seconds: float) -> None:
        """Hold each piece that comes from now on for so long, in each direction; 0 is no more."""
        self._delay = seconds

    def reset(self) -> None:
        """Reset the connections that there are; new ones work."""
        self._abort_all()

    # ---- inside

    def _joined(self, end: _End) -> None:
        """A client came, or the connection to the server for one."""
        if end.peer is not None:
            for one in (end, end.peer):
                one.regulate()
                if one.timer is None:
                    one.deliver()
            return
        end.regulate()
        if self._way is _Way.CUT:
            self._loop.call_soon(end.abort)
        elif self._way is _Way.HANGS:
            self._waiting.append(end)
        else:
            self.connections += 1
            task = self._loop.create_task(self._connect(end))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _left(self, end: _End) -> None:
        self._ends.discard(end)
        if not self._ends and self._server is None:
            self._empty.set()

    async def _connect(self, client: _End) -> None:
        def make() -> _End:
            server = _End(self)
            server.peer, client.peer = client, server
            return server

        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT):
                await self._loop.create_connection(make, self.target.host, self.target.port)
            return
        client.abort()

    def _regulate(self) -> None:
        for end in list(self._ends):
            if end.peer is not None:
                end.regulate()

    def _abort_all(self) -> None:
        self._waiting.clear()
        for end in list(self._ends):
            end.abort()
