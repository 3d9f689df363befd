"""What is written down during a run: latencies as a histogram, and load over time in windows.

A histogram's buckets are the top bits of the numbers themselves: an IEEE float of 32 bits, cut to its
exponent and the first 10 bits of its mantissa, is the number of a bucket 0.05 to 0.1 % wide (HdrHistogram's
log-linear scale, without a logarithm to compute). So percentiles are within 0.05 %, means and extremes are
exact, and ten million latencies take as much memory as ten thousand. Rejected: all latencies in an array,
whose sorting needs a list of ten million floats.

The hot path only appends to a buffer, which is folded into the buckets from time to time.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Histogram", "Recorder", "Window"]

_CUT = 13
"""Bits of the mantissa that are cut off, of 23."""
_WINDOW_CUT = 17
"""The same for windows that are over, of which there are hundreds: percentiles within 0.8 %."""


class Histogram:
    """Counts of positive seconds. Add with `fold`; what is asked is answered in seconds, NaN when empty."""

    __slots__ = ("buckets", "count", "cut", "highest", "total")

    def __init__(self) -> None:
        self.cut = _CUT
        self.buckets: Counter[int] = Counter()
        self.count = 0
        self.total = 0.0
        self.highest = 0.0

    def fold(self, values: array[float]) -> None:
        """Add *values*, an array of type ``f``, none of them negative."""
        if not values:
            return
        self.count += len(values)
        self.total += math.fsum(values)
        self.highest = max(self.highest, max(values))
        bits = array("i")
        bits.frombytes(values.tobytes())
        cut = self.cut
        self.buckets.update([word >> cut for word in bits])

    def merge(self, other: Histogram) -> None:
        """Add what *other* counted; the wider buckets of both are taken."""
        self.widen(other.cut)
        if other.cut == self.cut:
            self.buckets.update(other.buckets)
        else:
            _add_wider(self.buckets, other.buckets, self.cut - other.cut)
        self.count += other.count
        self.total += other.total
        self.highest = max(self.highest, other.highest)

    def widen(self, cut: int) -> None:
        """Cut off *cut* bits, if that is more than before: fewer buckets, and less memory."""
        if cut > self.cut:
            buckets: Counter[int] = Counter()
            _add_wider(buckets, self.buckets, cut - self.cut)
            self.buckets, self.cut = buckets, cut

    @property
    def mean(self) -> float:
        """The mean, exact but for the rounding to 32 bits."""
        return self.total / self.count if self.count else math.nan

    def percentile(self, part: float) -> float:
        """The smallest value that is not exceeded by *part* (0–1) of them (nearest rank)."""
        return self.percentiles([part])[0]

    def percentiles(self, parts: list[float]) -> list[float]:
        """`percentile` for several rising parts in one pass."""
        found: list[float] = []
        seen = 0
        points = iter(sorted(self.buckets.items()))
        bucket = 0
        for part in parts:
            rank = max(1, math.ceil(part * self.count - 1e-9))
            while seen < rank:
                point = next(points, None)
                if point is None:
                    break
                bucket, count = point
                seen += count
            found.append(min(_middle(bucket, self.cut), self.highest) if self.count else math.nan)
        return found

    def exceeded(self) -> list[tuple[float, float]]:
        """(seconds, part of all that took longer), rising: the points of the distribution's tail."""
        points, seen = [], 0
        for bucket, count in sorted(self.buckets.items()):
            seen += count
            points.append((_middle(bucket, self.cut), 1 - seen / self.count))
        return points


def _add_wider(into: Counter[int], buckets: Counter[int], bits: int) -> None:
    for bucket, count in buckets.items():
        into[bucket >> bits] += count


def _middle(bucket: int, cut: int) -> float:
    low, high = array("f"), array("f")
    low.frombytes(array("i", [bucket << cut]).tobytes())
    high.frombytes(array("i", [(bucket + 1) << cut]).tobytes())
    return (low[0] + high[0]) / 2 if bucket else 0.0


@dataclass(slots=True)
class Window:
    """A piece of the run: what came to its end in it, and each server's load at its end."""

    start: float
    end: float
    arrivals: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)
    """Of the successful."""
    loads: array[int] = field(default_factory=lambda: array("I"))
    """Requests in each server."""


class Recorder:
    """Collects while a run goes on. Append to `buffer` the seconds of each request that succeeded."""

    def __init__(self) -> None:
        self.counted = 0
        """Requests that came after the warm-up."""
        self.errors: dict[str, int] = {}
        """By reason."""
        self.latency = Histogram()
        """Of all windows that are closed."""
        self.failed = Histogram()
        """How long those took that failed."""
        self.windows: list[Window] = []
        self.buffer = array("f")
        self._failed_buffer = array("f")
        self._window = Window(0.0, math.inf)
        self._told_arrivals = 0
        self._told_errors = 0

    def open_window(self, start: float, end: float) -> None:
        """What comes to its end from now on belongs to a new window."""
        self._window = Window(start, end)

    def close_window(self, now: float, loads: Iterable[int]) -> None:
        """The present window is over; *loads* are the requests in each server."""
        self.fold()
        window = self._window
        window.end = max(window.end, now)  # what ends after the last arrivals comes late
        window.arrivals = self.counted - self._told_arrivals
        window.errors = sum(self.errors.values()) - self._told_errors
        self._told_arrivals += window.arrivals
        self._told_errors += window.errors
        window.loads = array("I", loads)
        self.latency.merge(window.latency)
        window.latency.widen(_WINDOW_CUT)
        self.windows.append(window)

    def fail(self, why: str, seconds: float) -> None:
        """A request failed, *seconds* after it came."""
        self.errors[why] = self.errors.get(why, 0) + 1
        self._failed_buffer.append(seconds)

    @property
    def unanswered(self) -> int:
        """Requests after the warm-up that neither succeeded nor failed until now."""
        succeeded = self.latency.count + self._window.latency.count + len(self.buffer)
        return self.counted - succeeded - sum(self.errors.values())

    def fold(self) -> None:
        """Empty the buffers. To be called now and then, as they grow with each request."""
        self._window.latency.fold(self.buffer)
        self.failed.fold(self._failed_buffer)
        del self.buffer[:], self._failed_buffer[:]
