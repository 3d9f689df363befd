"""The line of those who wait for a server under its connection limit: first come, first served."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection

from lbkit.server import Server

__all__ = ["Queue", "Waiter"]


class Waiter:
    """A place in the queue. `wake(self)` is called once: `server` is then the one that was acquired for it,
    or None when its time was over.
    """

    __slots__ = ("deadline", "exclude", "only", "server", "wake")

    def __init__(
        self,
        deadline: float,
        wake: Callable[[Waiter], None],
        exclude: Collection[Server],
        only: Server | None,
    ) -> None:
        self.deadline = deadline
        self.wake = wake
        self.exclude = exclude
        self.only = only
        self.server: Server | None = None

    def accepts(self, server: Server) -> bool:
        """Whether *server* will do."""
        return (self.only is None or self.only is server) and server not in self.exclude


class Queue:
    """Waiters in the order of their arrival."""

    def __init__(self) -> None:
        # A plain dict would pass over all that left before, each time the first one is looked for.
        self._line: OrderedDict[Waiter, None] = OrderedDict()
        self._due = math.inf

    def __len__(self) -> int:
        return len(self._line)

    def add(self, waiter: Waiter) -> None:
        """At the end of the line."""
        self._line[waiter] = None
        self._due = min(self._due, waiter.deadline)

    def remove(self, waiter: Waiter) -> bool:
        """Take *waiter* out; False where it is not in the line any more."""
        if waiter not in self._line:
            return False
        del self._line[waiter]
        return True

    def take(self, server: Server, *, only: bool = False) -> Waiter | None:
        """The first one that accepts *server*, out of the line; of those who want just that one if *only*."""
        for waiter in self._line:
            if waiter.accepts(server) and (not only or waiter.only is server):
                del self._line[waiter]
                return waiter
        return None

    def let_go(self, can_be_had: Callable[[Server], bool]) -> None:
        """Those who want just one server that cannot be had any more take any, where they stand."""
        for waiter in self._line:
            if waiter.only is not None and not can_be_had(waiter.only):
                waiter.only = None

    def next_deadline(self) -> float:
        """When somebody's time may be over; never later than it is."""
        return self._due if self._line else math.inf

    def expire(self, now: float) -> list[Waiter]:
        """Those whose time is over, out of the line."""
        if now < self._due:
            return []
        over = [waiter for waiter in self._line if waiter.deadline <= now]
        for waiter in over:
            del self._line[waiter]
        self._due = min((waiter.deadline for waiter in self._line), default=math.inf)
        return over
