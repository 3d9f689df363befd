"""`Trail`: where a request's time went, and who answered it; kept only where somebody logs it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

__all__ = ["Trail"]


class Trail:
    """Times are seconds. `pool` and `server` are empty where no server was asked."""

    __slots__ = (
        "asked_at",
        "began_at",
        "connect",
        "end",
        "ended_at",
        "pool",
        "queue",
        "response",
        "retries",
        "server",
        "time",
    )

    def __init__(self) -> None:
        self.time = datetime.now(UTC)
        """When the request's head had come."""
        self.began_at = time.perf_counter()
        self.asked_at = 0.0
        """When the server was asked that answered, or the last one that failed."""
        self.ended_at = 0.0
        """When the response was complete; 0 where it never was."""
        self.pool = ""
        self.server = ""
        self.retries = 0
        self.queue = 0.0
        """Waiting for a place at a server."""
        self.connect = 0.0
        """Connecting to the server that answered."""
        self.response = 0.0
        """From the connection to the head of its answer."""
        self.end = ""
        """Why the request ended as it did; empty where all went well."""

    def ask(self, server: str, now: float) -> None:
        """*server* is asked now, maybe after others; *now* is of the clock that `began_at` is of."""
        self.server, self.asked_at = server, now
        self.connect = self.response = 0.0

    @property
    def served(self) -> float:
        """What the server took from its connection to the end of the response; 0 where none was asked."""
        return max(0.0, self.ended_at - self.asked_at - self.connect) if self.server else 0.0

    def over(self) -> None:
        """The response is complete, or will never be; the first call counts."""
        if not self.ended_at:
            self.ended_at = time.perf_counter()

    @property
    def duration(self) -> float:
        """From the request's head to the end of the response."""
        return self.ended_at - self.began_at
