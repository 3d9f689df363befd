"""Counts the frames of an HTTP/2 connection before anything is done with them.

Every frame costs work, and some cost a client nothing: a stream that is opened and reset at once starts a
handler (CVE-2023-44487), and so does one that the client makes *us* reset (CVE-2025-8671); a header block
without an end is held in memory (CVE-2024-27316), and so is each setting, even one that nobody knows; pings,
settings, priorities and empty frames ask for answers or for nothing (CVE-2019-9512 to 9518). So what no
client needs often comes out of a budget that refills with time. Only the nine bytes of each frame's head are
looked at here; the frames themselves are the h2 library's.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbkit.errors import ClientError

__all__ = ["Budget", "FrameGuard", "H2Limits"]

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEAD = 9
_DATA, _HEADERS, _SETTINGS, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 4, 8, 9
_SETTING = 6
"""Bytes of one."""
_END_STREAM, _END_HEADERS = 0x1, 0x4
_PER_WINDOW = 2048
"""Bytes of bodies sent for which one WINDOW_UPDATE is in order: Go's client sends two for each 4 KiB that it
reads, others two for each DATA frame."""


@dataclass(frozen=True, slots=True)
class H2Limits:
    """What one HTTP/2 connection may do. Rates are per second, after a burst."""

    streams: int = 100
    """Requests at a time (HAProxy tune.h2.max-concurrent-streams)."""
    resets: int = 100
    reset_rate: float = 20.0
    """Requests given up before their end, as a browser does that leaves a page full of pictures."""
    frames: int = 500
    frame_rate: float = 50.0
    """Frames other than requests, bodies and windows."""
    windows: int = 2000
    window_rate: float = 2000.0
    """WINDOW_UPDATE frames, beside those that what was sent to the client is worth: see `_PER_WINDOW`."""
    settings: int = 500
    """Settings that a client may name in all; there are less than ten."""
    block_frames: int = 16
    """Frames of one header block; the block itself is bounded by what a head may have."""
    block_size: int = 64 * 1024


class Budget:
    """So many at once, and then at a rate: a token bucket."""

    __slots__ = ("_burst", "_left", "_rate", "_since")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._left = float(burst)
        self._rate = rate
        self._since = now

    def take(self, now: float) -> bool:
        """One more; False where it is one too many."""
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def give(self, number: float) -> None:
        """So many more, up to the burst."""
        self._left = min(self._burst, self._left + number)


class FrameGuard:
    """One connection's."""

    def __init__(self, limits: H2Limits, now: float) -> None:
        self.in_block = False
        """Whether a header block has begun and not ended."""
        self.block_since = now
        """When the last one began."""
        self._limits = limits
        self._skip = _PREFACE
        self._head = b""
        self._block_frames = self._block_size = self._settings_size = 0
        self._frames = Budget(limits.frames, limits.frame_rate, now)
        self._windows = Budget(limits.windows, limits.window_rate, now)
        self._resets = Budget(limits.resets, limits.reset_rate, now)

    def feed(self, data: bytes, now: float) -> None:
        """Look at what has come. Raises ClientError where it is too much: the connection is to be closed."""
        at = 0
        while True:
            if self._skip:
                skipped = min(self._skip, len(data) - at)
                self._skip -= skipped
                at += skipped
            if at == len(data):
                return
            taken = data[at : at + _HEAD - len(self._head)]
            self._head += taken
            at += len(taken)
            if len(self._head) < _HEAD:
                return
            head, self._head = self._head, b""
            self._skip = int.from_bytes(head[:3], "big")
            self._frame(head[3], head[4], self._skip, now)

    def _frame(self, kind: int, flags: int, size: int, now: float) -> None:
        if kind in (_HEADERS, _CONTINUATION):
            self._block(kind, flags, size, now)
        elif kind == _WINDOW_UPDATE:
            if not self._windows.take(now):
                raise ClientError("too many WINDOW_UPDATE frames", 0)
        elif (kind != _DATA or (not size and not flags & _END_STREAM)) and not self._frames.take(now):
            raise ClientError("too many frames that carry nothing", 0)
        if kind == _SETTINGS:
            self._settings_size += size
            if self._settings_size > self._limits.settings * _SETTING:
                raise ClientError("too many settings", 0)

    def _block(self, kind: int, flags: int, size: int, now: float) -> None:
        if kind == _HEADERS:
            self._block_frames = self._block_size = 0
            self.block_since = now
        self._block_frames += 1
        self._block_size += size
        if self._block_frames > self._limits.block_frames or self._block_size > self._limits.block_size:
            raise ClientError("a header block that does not end", 0)
        self.in_block = not flags & _END_HEADERS

    def sent(self, size: int) -> None:
        """*size* bytes of bodies were sent, for which the client will open its windows again."""
        self._windows.give(size / _PER_WINDOW)

    def reset(self, now: float) -> None:
        """A request was given up, by whomever. Raises ClientError where that happens too often."""
        if not self._resets.take(now):
            raise ClientError("too many requests that are given up", 0)
