"""Messages and descriptors between the parent process and a worker, over a pair of Unix sockets.

A frame is the length of the message and the number of descriptors that come with it, then the message as
JSON. Descriptors go with the first byte of their frame (unix(7), SCM_RIGHTS), so they are there before the
message is whole. Sending never waits: what the other side does not take is queued, and the owner looks
at `queued` and `stuck_for` to bound it. Receiving is the owner's loop: who reads slowly slows the sender.

JSON and not pickle: what may be said is a closed list (`lbkit.runtime.messages`), checked on arrival.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence

from lbkit.runtime.messages import Message, decode, encode

__all__ = ["MOST_DESCRIPTORS", "Channel", "ChannelBroken", "pair"]

MOST_DESCRIPTORS = 250
"""With one message; Linux allows 253 (SCM_MAX_FD)."""
_HEAD = struct.Struct("!IH")
_MOST = 256 * 1024 * 1024
_PIECE = 256 * 1024


class ChannelBroken(Exception):
    """The bytes are no frame. Both ends are ours, so this is a bug and no `LbkitError`."""


def _copies(descriptors: Sequence[int]) -> list[int]:
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, descriptors))
    except OSError:
        _close_all(copies)
        raise
    return copies


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected, non-blocking sockets for a channel."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


class Channel:
    """One end, on *sock*, which it owns. One task may receive at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.queued = 0
        """Bytes that the other side has not taken yet."""
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self._moved_at = self._loop.time()
        self._in = bytearray()
        self._descriptors: deque[int] = deque()
        self._is_writing = False
        self._is_closed = False
        self._readable: asyncio.Future[None] | None = None

    # ------------------------------------------------------------ sending

    def send(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Send or queue *message*; copies of *descriptors*, at most `MOST_DESCRIPTORS`, go with it.

        No effect where the other side is gone: `receive` says so. Raises OSError where there are no
        descriptors for the copies, with nothing sent.
        """
        if self._is_closed:
            return
        body = encode(message)
        numbers = _copies(descriptors or ())  # the caller may close its own meanwhile
        frame = memoryview(_HEAD.pack(len(body), len(numbers)) + body)
        if not self._out:
            self._moved_at = self._loop.time()
        self._out.append((frame, numbers))
        self.queued += len(frame)
        if not self._is_writing:
            self._write()

    def stuck_for(self) -> float:
        """Seconds since the other side took something of what is queued; 0 where nothing is."""
        return self._loop.time() - self._moved_at if self._out else 0.0

    def _write(self) -> None:
        while self._out:
            frame, numbers = self._out[0]
            try:
                sent = socket.send_fds(self._sock, [frame[:_PIECE]], numbers)
            except (BlockingIOError, InterruptedError):
                self._wait_for_room()
                return
            except OSError:
                # Gone, or the kernel lacks memory: with a message lost nothing after it may arrive.
                self._drop_queue()
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)
                return
            self._moved_at = self._loop.time()
            self.queued -= sent
            _close_all(numbers)
            if sent == len(frame):
                self._out.popleft()
            else:
                self._out[0] = (frame[sent:], [])
        self._stop_writing()

    def _wait_for_room(self) -> None:
        if not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._sock.fileno(), self._write)

    def _stop_writing(self) -> None:
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._sock.fileno())

    def _drop_queue(self) -> None:
        self._stop_writing()
        for _, numbers in self._out:
            _close_all(numbers)
        self._out.clear()
        self.queued = 0

    # ------------------------------------------------------------ receiving

    async def receive(self) -> tuple[Message, list[int]] | None:
        """The next message and its descriptors, which the caller owns; None when the other side is gone.

        Raises ChannelBroken and msgspec.ValidationError for what is no message.
        """
        while True:
            whole = self._take()
            if whole is not None:
                return whole
            if not await self._read():
                return None

    def _take(self) -> tuple[Message, list[int]] | None:
        if len(self._in) < _HEAD.size:
            return None
        length, count = _HEAD.unpack_from(self._in)
        if length > _MOST:
            raise ChannelBroken(f"a message of {length} bytes")
        end = _HEAD.size + length
        if len(self._in) < end:
            return None
        if count > len(self._descriptors):
            raise ChannelBroken(f"{count} descriptors announced, {len(self._descriptors)} came")
        body = bytes(memoryview(self._in)[_HEAD.size : end])
        del self._in[:end]
        return decode(body), [self._descriptors.popleft() for _ in range(count)]

    async def _read(self) -> bool:
        """Wait for bytes; False at the end."""
        while True:
            try:
                data, numbers, _, _ = socket.recv_fds(self._sock, _PIECE, MOST_DESCRIPTORS)
            except (BlockingIOError, InterruptedError):
                await self._until_readable()
            except OSError:
                return False
            else:
                self._in += data
                self._descriptors.extend(numbers)
                return bool(data)

    async def _until_readable(self) -> None:
        future = self._readable = self._loop.create_future()
        self._loop.add_reader(self._sock.fileno(), _wake, future)
        try:
            await future
        finally:
            self._readable = None
            if not self._is_closed:
                self._loop.remove_reader(self._sock.fileno())

    def close(self) -> None:
        """Close it; what is queued is lost, and a `receive` in progress ends with None."""
        if self._is_closed:
            return
        self._is_closed = True
        self._drop_queue()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        _close_all(self._descriptors)
        if self._readable is not None:
            _wake(self._readable)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _close_all(descriptors: list[int] | deque[int]) -> None:
    for number in descriptors:
        os.close(number)
    descriptors.clear()
