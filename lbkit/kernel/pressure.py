"""Whether this thread is short of time while the machine has some left."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Pressure", "read_usage"]

_INTERVAL = 1.0  # seconds that one answer is good for
_BUSY = 0.85  # of this thread's time
_IDLE = 0.25  # of the machine's time
_OLD = 10.0  # seconds after which two readings say nothing about now

Usage = tuple[float, float, float, float]
"""Now and this thread's processor time, seconds; the machine's idle and whole time, in any unit."""


def read_usage() -> Usage:
    """What /proc/stat says at this moment; where there is none the machine is never idle."""
    idle = whole = 0.0
    try:
        with Path("/proc/stat").open("rb") as file:
            fields = [float(field) for field in file.readline().split()[1:9]]
        idle, whole = fields[3] + fields[4], sum(fields)
    except (OSError, ValueError, IndexError):
        pass
    return time.monotonic(), time.thread_time(), idle, whole


class Pressure:
    """Answers from the usage between two questions that are about a second apart; *read* gives it."""

    __slots__ = ("_is_high", "_last", "_read")

    def __init__(self, read: Callable[[], Usage] = read_usage) -> None:
        self._read = read
        self._last: Usage | None = None
        self._is_high = False

    def is_high(self) -> bool:
        """Whether this thread had no time left, and the machine did."""
        last = self._last
        if last is not None and time.monotonic() - last[0] < _INTERVAL:
            return self._is_high
        usage = self._last = self._read()
        if last is None or usage[0] - last[0] > _OLD:
            self._is_high = False
            return False
        seconds, own, idle, whole = (new - old for new, old in zip(usage, last, strict=True))
        self._is_high = own > _BUSY * seconds and idle > _IDLE * whole > 0
        return self._is_high
