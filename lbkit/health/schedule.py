"""When the next check of a server is due.

First checks run at once, because a server is unknown until then. Later ones follow after `interval`, or
`fast` while the server's state is changing (some results in a row speak against it), or `down` while it is
down: HAProxy's `inter`, `fastinter` and `downinter`. They are moved by a random part of that, so that many
balancers, or many servers of one balancer, don't check in step (HAProxy's `spread-checks`). They are only
ever moved earlier: a server that dies is then down within fall × interval, which people rely on when they
choose the two.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from lbkit.health.record import Health, HealthState

__all__ = ["CheckSchedule", "Intervals"]


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds between the start of two checks. `jitter` is the largest part, 0 to under 1, that one is
    moved earlier by. `fast` and `down` of None are `interval`.

    Raises ValueError for values out of range.
    """

    interval: float = 2.0
    fast: float | None = None
    down: float | None = None
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if min(self.interval, self.fast or self.interval, self.down or self.interval) <= 0:
            raise ValueError("intervals must be positive")
        if not 0 <= self.jitter < 1:
            raise ValueError("jitter must be from 0 to under 1")

    def after(self, health: Health) -> float:
        """What follows a check of a server in this state."""
        if health.streak:
            return self.fast or self.interval
        if health.state is HealthState.DOWN:
            return self.down or self.interval
        return self.interval


class CheckSchedule:
    """Due times of one server's checks; `due` is monotonic seconds."""

    __slots__ = ("_intervals", "_rng", "_started", "due")

    def __init__(self, intervals: Intervals, now: float, rng: random.Random) -> None:
        self._intervals = intervals
        self._rng = rng
        self._started = now
        self.due = now

    def started(self, now: float, health: Health) -> None:
        """A check starts at *now*; the following one is due as *health* is now."""
        self._started = now
        self.due = now + self._moved(self._intervals.after(health))

    def ended(self, health: Health) -> None:
        """Its result was counted: the state that the pause depends on may be another one."""
        self.due = self._started + self._moved(self._intervals.after(health))

    def hurry(self) -> None:
        """Something is wrong with the server: check within the fast interval."""
        fast = self._intervals.fast or self._intervals.interval
        self.due = min(self.due, self._started + fast)

    def _moved(self, interval: float) -> float:
        return interval * (1 - self._intervals.jitter * self._rng.random())
