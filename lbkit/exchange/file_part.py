"""`FilePart`: bytes of an open file that are sent as they are, and `FileSending`, which has the kernel do it.

``os.sendfile`` on the connection's own socket copies nothing and costs a system call for half a megabyte.
Neither a slow client nor a cold disk holds up the event loop by it:

- The socket does not block. A copy of its descriptor is watched for room: the loop refuses to watch the one
  that a transport owns, and uvloop has no ``loop.sendfile``.
- Whether the disk would have to be waited for is asked before, by reading a byte here and there with
  RWF_NOWAIT (preadv2(2)). What is not in memory is read by a thread first. Between the two it could be thrown
  out again; then this once the disk is waited for.

Rejected: sendfile in a thread, always: a hand-over for each time that the socket has room costs more than all
the rest. Reading and writing in the loop: two copies, and it cannot be asked not to wait.

A file must not change while it is sent: what has gone out is of the version before, and the length was
promised. So it is looked at before each piece, and the connection is cut where it is another. What the kernel
holds for the client by then are the file's own pages: where it is written over in place, and not replaced by
a rename, the client may get the new ones of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from lbkit.errors import ClientError
from lbkit.exchange.disk import on_disk

__all__ = ["FilePart", "FileSending"]

_WINDOW = 512 * 1024
"""Bytes that are sent, or read, at a time."""
_BURST = 4
"""So many of them before it is others' turn: 2 MiB, as nginx (sendfile_max_chunk)."""
_UNSENT = 128 * 1024
"""Bytes that wait in the kernel before there is room for more: what a slow client takes late is not held
twice, and what a fast one takes is sent while it is still in the processor's cache."""
_STRIDE = 128 * 1024
"""Of what the kernel reads ahead by default, one byte stands for the rest."""
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class FilePart:
    """Bytes *start* up to but not including *stop* of the file that is open as *descriptor*.

    They are of the version that *status* tells of. The descriptor stays the caller's to close.
    """

    def __init__(self, descriptor: int, start: int, stop: int, status: os.stat_result) -> None:
        self.descriptor = descriptor
        self.position = start
        self.stop = stop
        self._size = status.st_size
        self._mtime_ns = status.st_mtime_ns
        self._warm_until = start

    @property
    def left(self) -> int:
        """Bytes that are still to come."""
        return self.stop - self.position

    def check(self) -> None:
        """Raises ClientError with status 0 where the file is not what it was any more."""
        status = os.fstat(self.descriptor)
        if status.st_size != self._size or status.st_mtime_ns != self._mtime_ns:
            raise ClientError("the file changed while it was sent", 0)

    def read(self) -> bytes:
        """The next piece; may wait for the disk. Raises as `check`."""
        self.check()
        data = os.pread(self.descriptor, min(_WINDOW, self.left), self.position)
        if not data:
            raise ClientError("the file changed while it was sent", 0)
        self.position += len(data)
        return data

    def send(self, sock: int) -> bool:
        """Have the kernel send some on *sock*. False where the disk would be waited for: `warm` first.

        Raises BlockingIOError where the socket has no room, OSError where it is lost, and as `check`.
        """
        self.check()
        if self.position >= self._warm_until and not self._is_warm():
            return False
        sent = os.sendfile(sock, self.descriptor, self.position, self._warm_until - self.position)
        if not sent:
            raise ClientError("the file changed while it was sent", 0)
        self.position += sent
        return True

    def _is_warm(self) -> bool:
        end = min(self.position + _WINDOW, self.stop)
        probe = [bytearray(1)]
        try:
            for place in (*range(self.position, end, _STRIDE), end - 1):
                os.preadv(self.descriptor, probe, place, _NOWAIT)
        except OSError:  # not in memory, or the file system cannot say
            return False
        self._warm_until = end
        return True

    def warm(self) -> None:
        """Read what comes next into memory; may wait for the disk."""
        end = min(self.position + _WINDOW, self.stop)
        os.pread(self.descriptor, end - self.position, self.position)
        self._warm_until = end


class FileSending:
    """A `FilePart` on its way out of a socket."""

    is_possible = _NOWAIT != 0
    """Elsewhere than on Linux nobody can say what would wait for the disk."""

    def __init__(self, sock: int, part: FilePart) -> None:
        """*sock* is the descriptor of a socket that does not block; it is copied. Raises OSError."""
        self._part = part
        self._sock = os.dup(sock)
        # A Unix socket has no such option, and nothing depends on it.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock)) as same:
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        self._turn: asyncio.Future[None] | None = None
        self._is_stopped = False

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken."""
        return self._part.left

    async def run(self) -> None:
        """Send it. Raises ClientError with status 0 where the client is lost or the file changes."""
        try:
            while self._part.left:
                if self._is_stopped:
                    raise ClientError("the client left", 0)
                await self._send_what_is_warm()
                if self._part.left and not self._is_stopped:
                    await on_disk(self._part.warm)
        finally:
            self.close()

    def close(self) -> None:
        """Give the copied descriptor back, unless `run` has."""
        if self._sock >= 0:
            os.close(self._sock)
            self._sock = -1

    async def _send_what_is_warm(self) -> None:
        loop = asyncio.get_running_loop()
        self._turn = loop.create_future()
        loop.add_writer(self._sock, self._step, self._turn)
        try:
            await self._turn
        finally:
            loop.remove_writer(self._sock)
            self._turn = None

    def _step(self, turn: asyncio.Future[None]) -> None:
        """There is room in the socket."""
        if turn.done():
            return
        try:
            for _ in range(_BURST):
                if not self._part.send(self._sock) or not self._part.left:
                    turn.set_result(None)
                    return
        except BlockingIOError:
            pass
        except ClientError as error:
            turn.set_exception(error)
        except OSError:
            turn.set_exception(ClientError("the client left", 0))

    def stop(self) -> None:
        """The client is lost."""
        self._is_stopped = True
        with contextlib.suppress(asyncio.InvalidStateError):
            if self._turn is not None:
                self._turn.set_exception(ClientError("the client left", 0))
