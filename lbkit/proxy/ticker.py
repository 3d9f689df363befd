"""One coarse timer for everything that times out.

A timer per session, restarted by each chunk, would cost more than moving the chunk. Instead each
service is asked a few times a second which of its sessions made no progress. While nobody has
anything to time, no timer runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["TICK", "Ticker"]

TICK = 0.1
"""Seconds between two looks: the precision of every timeout."""


class Ticker:
    """Calls `tick(now)` of each subscriber every `TICK` seconds while `tick` returns True."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._active: set[Callable[[float], bool]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def wake(self, tick: Callable[[float], bool]) -> None:
        """Call *tick* from now on, until it returns False."""
        self._active.add(tick)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK, self._run)

    def _run(self) -> None:
        self._timer = None
        now = self._loop.time()
        for tick in list(self._active):
            if not self._tick(tick, now):
                self._active.discard(tick)
        if self._active and self._timer is None:
            self._timer = self._loop.call_later(TICK, self._run)

    def _tick(self, tick: Callable[[float], bool], now: float) -> bool:
        try:
            return tick(now)
        except Exception as error:  # noqa: BLE001 - a bug in one must not take the timeouts of all away
            message = "a look at what times out failed"
            self._loop.call_exception_handler({"message": message, "exception": error})
            return True

    def close(self) -> None:
        """Stop; nobody is called any more."""
        self._active.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
