"""`Rate`: how often something may happen."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Rate"]

_RATE = re.compile(r"([0-9]{1,9})/(s|m|h)(?: burst ([0-9]{1,9}))?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` times in `seconds`, of which `burst` may come at once.

    A token bucket: it holds `burst` tokens, gets a new one every `interval`, and each time takes one. So in
    the long run it is the rate, and over no time at all more than the burst on top of it.
    """

    count: int
    seconds: float
    burst: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read ``100/s``, ``30/m`` or ``1000/h``, each maybe with a burst as in ``100/s burst 20``; without
        one the burst is the count. Raises ValueError."""
        match = _RATE.fullmatch(text)
        if match is None:
            expected = 'write a number and /s, /m or /h, such as "100/s" or "100/s burst 20"'
            raise ValueError(f'"{text}" is not a rate: {expected}')
        count = int(match[1])
        burst = int(match[3]) if match[3] else count
        if not count or not burst:
            raise ValueError(f'"{text}" would let nobody in: the least is 1')
        return cls(count, _SECONDS[match[2]], burst)

    @property
    def interval(self) -> float:
        """Seconds between two, in the long run."""
        return self.seconds / self.count

    def share(self, workers: int, burst: int) -> Rate:
        """The part of one of *workers*, with a *burst* of its own."""
        return Rate(self.count, self.seconds * workers, burst)

    def __str__(self) -> str:
        unit = next((name for name, seconds in _SECONDS.items() if seconds == self.seconds), None)
        rate = f"{self.count}/{unit}" if unit else f"{self.count} in {self.seconds:g} s"
        return rate if self.burst == self.count else f"{rate} burst {self.burst}"
