"""Long transfers through pipes: the bytes stay in the kernel, only their number comes here.

Strategy: a session begins by copying (`copying`), which is the cheapest for messages that fit into a read. A
direction in which big reads follow one another is a long transfer: then splice(2) moves its pages from
socket to pipe and from pipe to socket, at half the processor time of copying. When little comes at a time
splicing has no use, and the direction is copied again.

A pipe is taken for a run of full speed or while the other side is slow, and goes back as soon as it is
empty, so that idle sessions hold none. Where no pipe is to be had the direction is copied.

Rejected: SPLICE_F_MORE, which makes the kernel wait for more at the end of each answer; pipes kept by
session, two descriptors and up to 256 KiB each.
"""

from __future__ import annotations

import os
import socket
from typing import ClassVar

from lbkit.kernel.pipes import CAPACITY, Pipe
from lbkit.relay.base import RELAYS, RelayEnd
from lbkit.relay.copying import CopyRelay, Side

__all__ = ["BIG", "SpliceRelay", "SplicingSide"]

BIG = 64 * 1024
"""Bytes of a read that may be part of a long transfer."""
_LONG = 3  # big reads in a row that are one
_LITTLE = 16 * 1024  # bytes of a splice that was not worth it
_ROUNDS = 16  # pipes in a row after which others have their turn
_FLAGS: int = getattr(os, "SPLICE_F_MOVE", 1) | getattr(os, "SPLICE_F_NONBLOCK", 2)


class SplicingSide(Side):
    """A side whose long transfers go through a pipe. `pipe` is held while one runs."""

    __slots__ = ("big_reads", "pipe")

    peer: SplicingSide
    usual_attention: ClassVar[int] = BIG

    def __init__(self, relay: CopyRelay, sock: socket.socket, reset: RelayEnd) -> None:
        super().__init__(relay, sock, reset)
        self.big_reads = 0
        self.pipe: Pipe | None = None

    def passed_on(self, count: int) -> bool:
        super().passed_on(count)
        if count < BIG:
            self.big_reads = 0
            self.attention = self.usual_attention
            return False
        self.big_reads += 1
        self.attention = 0  # to hear of a small one, too
        if self.big_reads < _LONG or self.peer.is_blocked:
            return False
        self.is_elsewhere = True
        self.read_elsewhere()
        return True

    def read_elsewhere(self) -> None:
        """Pass on what has come through a pipe."""
        pipe = self.pipe = self.relay.resources.pipes.take()
        if pipe is None:
            # Not by a call from here: it would come back for each few big reads, deeper each time.
            self._copy_again()
            self.relay.poller.again(self)
            return
        for _ in range(_ROUNDS):
            try:
                count = os.splice(self.sock.fileno(), pipe.write_end, CAPACITY, flags=_FLAGS)
            except BlockingIOError:
                self._free_pipe()
                if self.broken:
                    self.relay.fail(self.reset)
                return
            except OSError:
                self.relay.fail(self.reset)
                return
            if not count:
                self._free_pipe()
                self.end()
                return
            self.received += count
            pipe.held = count
            if not self._empty_pipe(pipe):
                return
            self.big_reads = self.big_reads - 1 if count < _LITTLE else 2 * _LONG
            if self.big_reads < _LONG:
                self._copy_again()
                break
        self._free_pipe()
        self.relay.poller.again(self)

    def _copy_again(self) -> None:
        self.big_reads = 0
        self.attention = self.usual_attention
        self.is_elsewhere = False

    def _empty_pipe(self, pipe: Pipe) -> bool:
        """Send what is in *pipe* to the peer; whether that was all and the session goes on."""
        peer = self.peer
        while pipe.held:
            try:
                pipe.held -= os.splice(pipe.read_end, peer.sock.fileno(), pipe.held, flags=_FLAGS)
            except BlockingIOError:
                peer.is_blocked = True
                return False
            except OSError:
                self._free_pipe()
                peer.lose()
                return False
        return True

    def _free_pipe(self) -> None:
        if self.pipe is not None:
            self.relay.resources.pipes.give_back(self.pipe)
            self.pipe = None

    def flush(self) -> None:
        if self.relay.is_over or self.pending is not None:
            super().flush()
            return
        peer = self.peer
        if peer.pipe is not None and peer._empty_pipe(peer.pipe):
            peer._free_pipe()
            self.is_blocked = False
            peer.read()

    @property
    def unsent(self) -> int:
        pipe = self.peer.pipe
        return super().unsent + (0 if pipe is None else pipe.held)

    def settle(self) -> None:
        self._free_pipe()


@RELAYS.register("splice")
class SpliceRelay(CopyRelay):
    """Copies messages through one buffer and long transfers through pipes; needs Linux."""

    preference: ClassVar[int] = 1
    side: ClassVar[type[Side]] = SplicingSide

    __slots__ = ()

    @classmethod
    def unsupported(cls) -> str | None:
        return None if hasattr(os, "splice") else "needs splice(2) and epoll, which are Linux's"
