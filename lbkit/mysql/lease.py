"""`Lease`: how long what somebody else granted for a time can be relied on, by our own clock alone.

The grantor counts from when it carried a request out, we from before we sent it: that is never later, so
what has not run out here has not run out there. How fast two clocks go may differ a little, and what is done
with a lease takes a moment to arrive: a part of it is never used.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MARGIN", "Lease"]

MARGIN = 0.2  # of a lease is not used: of 5 s one, which is more than any step's way to a server


@dataclass(slots=True)
class Lease:
    """Nothing until it is `granted`. All times are seconds of one monotonic clock."""

    until: float = float("-inf")

    def granted(self, sent: float, ttl: float) -> None:
        """An answer to what was sent at *sent* says that it lives for *ttl* seconds; 0 or less: it is gone.

        Answers may come late and in any order.
        """
        self.until = max(self.until, sent + ttl * (1 - MARGIN)) if ttl > 0 else float("-inf")

    def held(self, now: float) -> bool:
        """Whether nobody else can have it yet."""
        return now < self.until
