"""When the next check of a server is due.

First checks run at once, because a server is unknown until then. Later ones are moved by a random
part of the interval, so that many balancers, or many servers of one balancer, don't check in step
(HAProxy's `spread-checks`). They are only ever moved earlier: a server that dies is then down within
fall × interval, which people rely on when they choose the two.
"""

from __future__ import annotations

import random

__all__ = ["CheckSchedule"]


class CheckSchedule:
    """Due times of one server's checks.

    `interval` is seconds between the start of two checks and `jitter` the largest part of it, 0–1,
    by which one is moved earlier.
    """

    __slots__ = ("_rng", "due", "interval", "jitter")

    def __init__(self, interval: float, jitter: float, now: float, rng: random.Random) -> None:
        if interval <= 0 or not 0 <= jitter < 1:
            raise ValueError("interval must be positive and jitter from 0 to under 1")
        self.interval = interval
        self.jitter = jitter
        self._rng = rng
        self.due = now

    def started(self, now: float) -> None:
        """A check starts at *now*: set when the following one is due."""
        self.due = now + self.interval * (1 - self.jitter * self._rng.random())
