"""Pipes for splice(2), kept for the next transfer.

A pipe is only held while bytes are in it or a transfer runs at full speed, so that few serve many sessions.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

__all__ = ["CAPACITY", "Pipe", "PipePool"]

CAPACITY = 256 * 1024
"""Bytes of one pipe. Measured for 10 MB bodies: faster than the usual 64 KiB, and no slower than 1 MiB."""
_SET_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)


class Pipe:
    """An empty non-blocking pipe; `held` bytes are in it."""

    __slots__ = ("held", "read_end", "write_end")

    def __init__(self) -> None:
        """Raises OSError where there are no descriptors left."""
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        # Over the user's share of pipe memory (pipe(7), pipe-user-pages-soft) the smaller one has to do.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.write_end, _SET_SIZE, CAPACITY)

    def close(self) -> None:
        """What is in it is lost."""
        os.close(self.read_end)
        os.close(self.write_end)


class PipePool:
    """At most *most* pipes in use and *kept* in store: with 256 KiB each, their memory is bounded, too."""

    __slots__ = ("_kept", "_limit", "_most", "in_use")

    def __init__(self, most: int = 1024, kept: int = 32) -> None:
        self._most = most
        self._limit = kept
        self._kept: list[Pipe] = []
        self.in_use = 0

    def take(self) -> Pipe | None:
        """An empty pipe; None where all are in use or no descriptors are left."""
        if self.in_use >= self._most:
            return None
        try:
            pipe = self._kept.pop() if self._kept else Pipe()
        except OSError:
            return None
        self.in_use += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """*pipe* is used no more; with bytes in it, it is closed."""
        self.in_use -= 1
        if pipe.held or len(self._kept) >= self._limit:
            pipe.close()
        else:
            self._kept.append(pipe)

    def close(self) -> None:
        """Close those in store."""
        while self._kept:
            self._kept.pop().close()
