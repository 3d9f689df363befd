"""How long to wait before something that ended is started again."""

from __future__ import annotations

__all__ = ["Backoff"]


class Backoff:
    """Seconds to wait before the next start.

    `first` doubles up to `longest` while the child ends within `steady` seconds of its start, and
    begins anew after it ran for longer. `first` is short, because a process that was killed should be
    back before anybody misses it.
    """

    def __init__(self, first: float = 0.1, longest: float = 10.0, steady: float = 10.0) -> None:
        self.first = first
        self.longest = longest
        self.steady = steady
        self._next = first

    def after(self, lifetime: float) -> float:
        """The wait after a child that ran for *lifetime* seconds."""
        if lifetime >= self.steady:
            self._next = self.first
        wait = self._next
        self._next = min(self._next * 2, self.longest)
        return wait
