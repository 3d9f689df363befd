"""`Watch`: says where an application holds up the event loop.

A thread looks at a mark that the loop renews. Nothing in the loop could say it: that is what is held up. The
loop's own debug mode tells of a slow step afterwards and not where it was, and costs every step.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback

__all__ = ["Watch"]

_log = logging.getLogger("lbkit.asgi")


class Watch:
    """Logs the stack of the running loop's thread, once each time that it is held up for *limit* seconds."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._look, name="lbkit-blocked", daemon=True)
        self._watched = threading.get_ident()
        self._is_over = threading.Event()
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._turn()
        self._thread.start()

    def stop(self) -> None:
        """End; the thread is gone then."""
        self._is_over.set()
        if self._timer is not None:
            self._timer.cancel()
        self._thread.join()

    def _turn(self) -> None:
        self._turns += 1
        self._timer = self._loop.call_later(self._limit / 4, self._turn)

    def _look(self) -> None:
        seen, is_told = 0, False
        while not self._is_over.wait(self._limit):
            if seen != self._turns:
                seen, is_told = self._turns, False
            elif not is_told:
                is_told = True
                frame = sys._current_frames().get(self._watched)
                stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
                _log.error(
                    "the event loop is blocked for %g s, and with it every client:\n%s", self._limit, stack
                )
