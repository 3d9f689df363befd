"""The rise/fall counter (HAProxy's `rise` and `fall`): a check probes, this counter judges."""

from __future__ import annotations

from enum import Enum

__all__ = ["Health", "HealthState"]


class HealthState(Enum):
    """UNKNOWN takes no traffic: no check has ended yet."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Health:
    """Turns single results into up or down.

    `rise` consecutive passes bring a server up and `fall` consecutive failures bring it down
    (HAProxy's defaults 2 and 3). The very first result decides alone: a server that nobody has
    seen alive gets no traffic, and one just seen alive need not wait for a second look.
    `changed_at` is monotonic seconds; `reason` is the last result in words.
    """

    __slots__ = ("changed_at", "fall", "reason", "rise", "state", "streak")

    def __init__(self, rise: int = 2, fall: int = 3) -> None:
        if rise < 1 or fall < 1:
            raise ValueError("rise and fall are at least 1")
        self.rise = rise
        self.fall = fall
        self.state = HealthState.UNKNOWN
        self.streak = 0
        """Consecutive results that speak against `state`."""
        self.reason = "not checked yet"
        self.changed_at = 0.0

    def observe(self, passed: bool, reason: str, now: float) -> bool:
        """Count one result; True when `state` changed by it."""
        self.reason = reason
        if self.state is HealthState.UNKNOWN:
            return self._become(HealthState.UP if passed else HealthState.DOWN, now)
        if passed == (self.state is HealthState.UP):
            self.streak = 0
            return False
        self.streak += 1
        if self.streak < (self.rise if passed else self.fall):
            return False
        return self._become(HealthState.UP if passed else HealthState.DOWN, now)

    def assume_up(self, now: float) -> None:
        """A server without a check counts as up."""
        self.reason = "no check configured"
        self._become(HealthState.UP, now)

    def _become(self, state: HealthState, now: float) -> bool:
        self.state = state
        self.streak = 0
        self.changed_at = now
        return True
